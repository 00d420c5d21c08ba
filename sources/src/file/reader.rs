//! Bytes of a file by decompressed offset, plain or gzip.
//!
//! A gzip stream cannot be entered in the middle: going back means starting over, so the last stretch stays at hand.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// Stretch of decompressed text kept at hand [bytes].
const WINDOW: usize = 128 * 1024;

/// Opens a regular file for reading; never waits, whatever the path has become meanwhile.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // A FIFO put in the place of a log would block an ordinary open for ever.
    let flags =
        rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    Ok((file, meta))
}

/// When a file was last written to, ns since 1970.
pub(crate) fn mtime(meta: &Metadata) -> i64 {
    meta.mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(meta.mtime_nsec())
}

/// Is this the beginning of a gzip stream?
pub(crate) fn is_gzip(file: &File) -> io::Result<bool> {
    let mut magic = [0; 2];
    Ok(file.read_at(&mut magic, 0)? == 2 && magic == [0x1f, 0x8b])
}

/// A file to read from.
pub(crate) enum Reader {
    /// As it lies on disk.
    Plain(File),
    /// Decompressed on the way.
    Gzip(Box<Gunzip>),
}

impl Reader {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(if is_gzip(&file)? {
            Self::Gzip(Box::new(Gunzip::new(file)?))
        } else {
            Self::Plain(file)
        })
    }

    pub(crate) fn is_gzip(&self) -> bool {
        matches!(self, Self::Gzip(_))
    }

    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        match self {
            Self::Plain(file) => file.metadata(),
            Self::Gzip(gunzip) => gunzip.file.metadata(),
        }
    }

    /// Bytes from `at` on; 0 is the end. A gzip file that stops short is an `UnexpectedEof`, not an end.
    pub(crate) fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => loop {
                match file.read_at(into, at) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => return other,
                }
            },
            Self::Gzip(gunzip) => gunzip.read(at, into),
        }
    }

    /// As many bytes from `at` on as there are, at most the length of `into`.
    pub(crate) fn read_full(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut have = 0;
        while have < into.len() {
            match self.read(at + have as u64, &mut into[have..])? {
                0 => break,
                n => have += n,
            }
        }
        Ok(have)
    }
}

/// A gzip file, member after member.
pub(crate) struct Gunzip {
    file: File,
    stream: MultiGzDecoder<File>,
    /// The last decompressed stretch and where it begins.
    window: Vec<u8>,
    window_at: u64,
    /// The stream broke here; nothing more comes out of it.
    broken: Option<io::ErrorKind>,
}

impl Gunzip {
    fn new(file: File) -> io::Result<Self> {
        let stream = Self::stream(&file)?;
        Ok(Self {
            file,
            stream,
            window: Vec::new(),
            window_at: 0,
            broken: None,
        })
    }

    fn stream(file: &File) -> io::Result<MultiGzDecoder<File>> {
        let mut again = file.try_clone()?;
        again.seek(SeekFrom::Start(0))?;
        Ok(MultiGzDecoder::new(again))
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        if at < self.window_at {
            self.stream = Self::stream(&self.file)?;
            self.window.clear();
            self.window_at = 0;
            self.broken = None;
        }
        loop {
            let skip = at - self.window_at;
            if skip < self.window.len() as u64 {
                let from = &self.window[skip as usize..];
                let n = from.len().min(into.len());
                into[..n].copy_from_slice(&from[..n]);
                return Ok(n);
            }
            if self.next_window()? == 0 {
                return Ok(0);
            }
        }
    }

    fn next_window(&mut self) -> io::Result<usize> {
        if let Some(kind) = self.broken {
            return Err(kind.into());
        }
        let next_at = self.window_at + self.window.len() as u64;
        // Filled aside, so that an end or an error leaves the last stretch at hand.
        let mut next = vec![0; WINDOW];
        let mut have = 0;
        while have < WINDOW {
            match self.stream.read(&mut next[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What came out before the break is good text.
                Err(error) if have > 0 => {
                    self.broken = Some(error.kind());
                    break;
                }
                Err(error) => {
                    self.broken = Some(error.kind());
                    return Err(error);
                }
            }
        }
        if have > 0 {
            next.truncate(have);
            self.window = next;
            self.window_at = next_at;
        }
        Ok(have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;

    fn gz(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn reader(bytes: &[u8]) -> Reader {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Reader::new(file).unwrap()
    }

    #[test]
    fn gzip_is_read_by_decompressed_offsets_forth_and_back() {
        let text: Vec<u8> = (0..900_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let (left, right) = text.split_at(400_000);
        let mut reader = reader(&[gz(left), gz(right)].concat());
        for at in [0usize, 850_000, 399_990, 128 * 1024, 5] {
            let mut buffer = [0; 300];
            assert_eq!(reader.read_full(at as u64, &mut buffer).unwrap(), 300);
            assert_eq!(buffer[..], text[at..at + 300], "at {at}");
        }
        assert_eq!(reader.read(900_000, &mut [0; 10]).unwrap(), 0);
        let mut last = [0; 10];
        assert_eq!(
            reader.read_full(899_995, &mut last).unwrap(),
            5,
            "the last stretch is still at hand after the end"
        );
    }

    #[test]
    fn a_gzip_file_that_stops_short_is_no_end() {
        let whole = gz(&b"one line of text\n".repeat(1000));
        let mut reader = reader(&whole[..whole.len() - 9]);
        let mut at = 0;
        let error = loop {
            match reader.read(at, &mut [0; 4096]) {
                Ok(0) => panic!("this is not the end"),
                Ok(n) => at += n as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(at <= 17_000);
    }
}
