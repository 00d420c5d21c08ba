//! Which store is read, and that it was read.

use std::path::{Path, PathBuf};

use pipeline::{Catalogue, SystemEnv, config};
use sinks::sqlite::{self, Reader, TroubleKind};

use super::{failed, trace};
use crate::exit::Exit;
use crate::{load, say};

/// Where the store is.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::commands) struct Place {
    /// The file of the store.
    #[arg(long, value_name = "FILE", conflicts_with = "config", global = true)]
    pub(in crate::commands) store: Option<PathBuf>,
    /// The configuration whose `sqlite` sink writes it; without either, /var/lib/pvetrail/search.db.
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(in crate::commands) config: Vec<PathBuf>,
}

/// A store, and where to leave the note that it was read.
pub(crate) struct Store {
    file: PathBuf,
    data_dir: Option<PathBuf>,
}

impl Place {
    pub(in crate::commands) fn find(&self) -> Result<Store, Exit> {
        if let Some(file) = &self.store {
            let folder = file.parent().unwrap_or(Path::new("")).to_owned();
            // Beside a copy of a store somewhere else there is nobody to tell.
            let inbox = folder.join(pipeline::inbox::FOLDER);
            return Ok(Store {
                file: file.clone(),
                data_dir: inbox.is_dir().then_some(folder),
            });
        }
        if self.config.is_empty() {
            let data_dir = PathBuf::from(config::DATA_DIR);
            return Ok(Store {
                file: data_dir.join(sqlite::FILE),
                data_dir: Some(data_dir),
            });
        }
        let graph = load::graph(&self.config, &crate::registry(), &SystemEnv)?;
        let data_dir = graph.globals.data_dir.clone();
        let files: Vec<PathBuf> = graph
            .sinks
            .iter()
            .filter_map(|node| node.component.as_any().downcast_ref::<sqlite::Config>())
            .map(|config| config.file(&data_dir))
            .collect();
        match files.as_slice() {
            [file] => Ok(Store {
                file: file.clone(),
                data_dir: Some(data_dir),
            }),
            [] => {
                say::error(
                    "the configuration has no sink of type sqlite; add one, or name a store with --store",
                );
                Err(Exit::Failed)
            }
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|file| file.display().to_string())
                    .collect();
                say::error(format!(
                    "the configuration has several stores; name one with --store: {}",
                    names.join(", ")
                ));
                Err(Exit::Failed)
            }
        }
    }
}

/// The JSON of the one event whose id begins so, from the store at its usual place or that of a configuration.
pub(crate) fn one_event(
    config: &[PathBuf],
    store: Option<&Path>,
    id: &str,
) -> Result<String, Exit> {
    Catalogue::builtin();
    let place = Place {
        store: store.map(Path::to_owned),
        config: config.to_vec(),
    };
    let store = place.find()?;
    let reader = store.open()?;
    let found = reader.find(id, 2).map_err(failed)?;
    let [row] = found.as_slice() else {
        let what = if found.is_empty() {
            "no event has"
        } else {
            "several events have"
        };
        say::error(format!(
            "{what} an id that begins with {}",
            pipeline::printable(id)
        ));
        store.leave_trace(0);
        return Err(Exit::Failed);
    };
    let json = reader.bodies().json(row).map_err(failed)?.to_owned();
    store.leave_trace(1);
    Ok(json)
}

impl Store {
    pub(crate) fn open(&self) -> Result<Reader, Exit> {
        Reader::open(&self.file).map_err(|why| {
            if why.kind == TroubleKind::Missing {
                say::error(format!(
                    "{why}; a store is written by a sink of type sqlite, and named by --store FILE or -c CONFIG"
                ));
            } else {
                say::error(why);
            }
            Exit::Failed
        })
    }

    pub(crate) fn leave_trace(&self, rows: u64) {
        trace::leave(self.data_dir.as_deref(), &self.file, rows);
    }
}

/// The store of a configuration, or that file, for a command that reads all of it.
pub(crate) fn store(config: &[PathBuf], store: Option<&Path>) -> Result<Store, Exit> {
    Catalogue::builtin();
    let place = Place {
        store: store.map(Path::to_owned),
        config: config.to_vec(),
    };
    place.find()
}
