//! `file`: rows of a CSV or JSON file, found by the values of columns.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pipeline::Bytes;
use pipeline::table::{Index, Rows, TableConfig, TableError, Wanted};
use schemars::JsonSchema;
use serde::Deserialize;

use super::cells::{ByValue, Cells};
use super::read::{self, ColumnType, FileOptions, Limits};

/// Rows of a CSV or JSON file, found by the values of their columns.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which file, and how it is written.
    file: FileOptions,
    /// What columns hold: `"string"`, `"integer"`, `"float"` or `"boolean"`; text where nothing is said.
    #[serde(default)]
    schema: BTreeMap<String, ColumnType>,
    /// Most rows; a file with more is refused [rows].
    #[serde(default = "read::max_rows")]
    max_rows: usize,
    /// Largest file; a larger one is refused.
    #[serde(default = "read::max_size")]
    max_size: Bytes,
}

impl TableConfig for Config {
    const TYPE: &'static str = "file";
    const EXAMPLE: &'static str = r#"file = { path = "/etc/pvetrail/tables/guests.csv" }
schema = { vmid = "integer" }"#;
    const PATH_KEY: &'static str = "file.path";

    fn path(&self) -> &Path {
        &self.file.path
    }

    fn max_size(&self) -> Bytes {
        self.max_size
    }

    fn check(&self) -> Result<(), TableError> {
        self.file.check()
    }

    fn read(&self, file: Vec<u8>) -> Result<Arc<dyn Rows>, TableError> {
        let limits = Limits {
            schema: &self.schema,
            max_rows: self.max_rows,
        };
        Ok(Arc::new(FileRows(Arc::new(
            self.file.read(&file, &limits)?,
        ))))
    }
}

struct FileRows(Arc<Cells>);

impl Rows for FileRows {
    fn columns(&self) -> Vec<String> {
        self.0.columns.clone()
    }

    fn by_address(&self) -> bool {
        false
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn index(self: Arc<Self>, wanted: &Wanted) -> Result<Arc<dyn Index>, TableError> {
        Ok(Arc::new(ByValue::new(Arc::clone(&self.0), wanted)?))
    }
}
