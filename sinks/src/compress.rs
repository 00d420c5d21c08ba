//! Compression of what is sent, with the memory for it.

use std::io;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use pipeline::{BuildError, BuildErrors, Compression};

/// Compresses bodies; one per worker.
#[derive(Default)]
pub(crate) enum Compressor {
    /// The body as it is.
    #[default]
    None,
    /// gzip at a level from 0 to 9.
    Gzip { level: u32, out: Vec<u8> },
    /// Zstandard at a level from 1 to 22.
    Zstd { level: i32, out: Vec<u8> },
}

impl Compressor {
    /// From `compression` and `compression_level`.
    pub(crate) fn new(
        compression: Compression,
        level: Option<u32>,
    ) -> Result<Compressor, BuildErrors> {
        let wrong = |range: &str| BuildError::key("compression_level", format!("is {range}"));
        match compression {
            Compression::None if level.is_some() => Err(BuildError::key(
                "compression_level",
                "needs `compression = \"gzip\"` or `\"zstd\"`",
            )
            .into()),
            Compression::None => Ok(Compressor::None),
            Compression::Gzip if level.is_none_or(|l| l <= 9) => Ok(Compressor::Gzip {
                level: level.unwrap_or(1),
                out: Vec::new(),
            }),
            Compression::Gzip => Err(wrong("0 to 9 for gzip").into()),
            Compression::Zstd if level.is_none_or(|l| (1..=22).contains(&l)) => {
                let level = i32::try_from(level.unwrap_or(1)).unwrap_or(1);
                Ok(Compressor::Zstd {
                    level,
                    out: Vec::new(),
                })
            }
            Compression::Zstd => Err(wrong("1 to 22 for zstd").into()),
        }
    }

    /// The value of `Content-Encoding`.
    pub(crate) fn name(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip { .. } => Some("gzip"),
            Self::Zstd { .. } => Some("zstd"),
        }
    }

    /// Compresses `body` into its own memory.
    pub(crate) fn run(&mut self, body: &[u8]) -> io::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Gzip { level, out } => {
                out.clear();
                let mut encoder = GzEncoder::new(std::mem::take(out), Level::new(*level));
                io::Write::write_all(&mut encoder, body)?;
                *out = encoder.finish()?;
                Ok(())
            }
            Self::Zstd { level, out } => {
                out.clear();
                zstd::stream::copy_encode(body, out, *level)
            }
        }
    }

    /// The same where it holds up nobody else; takes the body and gives it back.
    pub(crate) async fn run_aside(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        if matches!(self, Compressor::None) {
            return Ok(());
        }
        let (mut compressor, plain) = (std::mem::take(self), std::mem::take(body));
        let work = tokio::task::spawn_blocking(move || {
            let result = compressor.run(&plain);
            (compressor, plain, result)
        });
        let (compressor, plain, result) = work.await.map_err(io::Error::other)?;
        (*self, *body) = (compressor, plain);
        result
    }

    /// What is sent: the compressed body, or the plain one.
    pub(crate) fn sent<'a>(&'a self, body: &'a [u8]) -> &'a [u8] {
        match self {
            Self::None => body,
            Self::Gzip { out, .. } | Self::Zstd { out, .. } => out,
        }
    }
}
