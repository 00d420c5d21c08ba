//! What a component may know about the program it is built into.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use super::{BuildError, Kind, Spanned};
use crate::config::{Batch as BatchOptions, Globals, Language, Request, nearest};
use crate::event::digest_parts;
use crate::lines::hex;
use crate::pve::Inventory;
use crate::table::{Table, Tables};

/// Handed to `build`: who the component is and what holds for the whole program.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) type_name: &'static str,
    pub(crate) globals: Arc<Globals>,
    pub(crate) request: Request,
    pub(crate) batch: BatchOptions,
    pub(crate) tables: Tables,
    pub(crate) warnings: Arc<Mutex<Vec<BuildError>>>,
    pub(crate) feeds_state: bool,
}

impl Context {
    /// A context for a test: id `test`, data in the system's folder for temporary files, host `localhost`.
    pub fn for_tests(kind: Kind, type_name: &'static str) -> Self {
        Context {
            id: "test".to_owned(),
            kind,
            type_name,
            globals: Arc::new(Globals {
                data_dir: std::env::temp_dir(),
                host: "localhost".to_owned(),
                ..Globals::default()
            }),
            request: Request::default(),
            batch: BatchOptions::default(),
            tables: Tables::default(),
            warnings: Arc::default(),
            feeds_state: false,
        }
    }

    /// Something is doubtful and yet no error: `validate` shows it as a warning at its place.
    pub fn warn(&self, warning: BuildError) {
        let mut warnings = self.warnings.lock();
        // A component is built again after a failure, with the same to say.
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// What was said so.
    pub(crate) fn take_warnings(&self) -> Vec<BuildError> {
        std::mem::take(&mut self.warnings.lock())
    }

    /// The same for another place for data.
    #[must_use]
    pub fn with_data_dir(mut self, data_dir: impl Into<PathBuf>) -> Self {
        let globals = Arc::make_mut(&mut self.globals);
        globals.data_dir = data_dir.into();
        self
    }

    /// The same with enrichment tables.
    #[must_use]
    pub fn with_tables(mut self, tables: impl IntoIterator<Item = Arc<Table>>) -> Self {
        let tables = tables.into_iter();
        self.tables.open = tables.map(|table| (table.id().to_owned(), table)).collect();
        self
    }

    /// The enrichment table that the configuration calls so.
    pub fn table(&self, id: &Spanned<String>) -> Result<Arc<Table>, BuildError> {
        if let Some(table) = self.tables.get(id) {
            return Ok(Arc::clone(table));
        }
        let help = match nearest(id, self.tables.ids()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("add [enrichment_tables.{id}]"),
        };
        let message = format!("there is no enrichment table called {:?}", id.get());
        Err(BuildError::at(id, message).help(help))
    }

    /// The component's id, as the operator named it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Source, transform or sink.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The word after `type =`.
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Where the program keeps what must survive a restart.
    pub fn data_dir(&self) -> &Path {
        &self.globals.data_dir
    }

    /// What is known of the cluster's guests and nodes, shared by all components.
    pub fn inventory(&self) -> Arc<Inventory> {
        Inventory::shared(self.data_dir())
    }

    /// The operator's name for the cluster, if one was given.
    pub fn cluster(&self) -> Option<&str> {
        self.globals.cluster.as_deref()
    }

    /// The language of sentences in events.
    pub fn language(&self) -> Language {
        self.globals.language
    }

    /// The name of this host, as `host.name` says it.
    pub fn host(&self) -> &str {
        &self.globals.host
    }

    /// `agent.id`: the name of this host and six digits made of its machine id, so that two hosts of one name differ.
    pub fn agent_id(&self) -> String {
        static MACHINE: LazyLock<Vec<u8>> =
            LazyLock::new(|| std::fs::read("/etc/machine-id").unwrap_or_default());
        let digest = digest_parts(&[
            b"pvetrail agent",
            MACHINE.trim_ascii(),
            self.host().as_bytes(),
        ]);
        format!("{}-{}", self.host(), hex(&digest.as_ref()[..3]))
    }

    /// Everything at the top level of the configuration.
    pub fn globals(&self) -> &Globals {
        &self.globals
    }

    /// Whether a transform that remembers lies behind it: such a one holds the answers of its inputs until its state is
    /// saved, for up to 30 s.
    pub fn feeds_state(&self) -> bool {
        self.feeds_state
    }

    /// The sink's `request` options.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The sink's `batch` options, defaults filled in.
    pub fn batch(&self) -> &BatchOptions {
        &self.batch
    }
}
