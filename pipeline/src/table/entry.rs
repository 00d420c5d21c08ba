//! One type of table in the registry, and a table's configuration whose type nobody needs to know.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use schemars::{Schema, SchemaGenerator};

use super::{Rows, TableConfig, TableError};
use crate::config::de::Reader;
use crate::units::Bytes;

/// A parsed configuration of some table.
pub(crate) trait AnyTable: Send + Sync {
    fn path(&self) -> &Path;
    fn max_size(&self) -> Bytes;
    fn check(&self) -> Result<(), TableError>;
    fn read(&self, file: Vec<u8>) -> Result<Arc<dyn Rows>, TableError>;
}

struct Any<C>(C);

impl<C: TableConfig> AnyTable for Any<C> {
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn max_size(&self) -> Bytes {
        self.0.max_size()
    }
    fn check(&self) -> Result<(), TableError> {
        self.0.check()
    }
    fn read(&self, file: Vec<u8>) -> Result<Arc<dyn Rows>, TableError> {
        self.0.read(file)
    }
}

/// Reads a table's keys; also says whether all of them were right.
type Parse = fn(&Reader<'_>) -> Option<(Box<dyn AnyTable>, bool)>;

/// One type of table.
#[derive(Clone, Copy)]
pub struct TableEntry {
    /// The word after `type =`.
    pub type_name: &'static str,
    /// Its keys, as an operator writes them.
    pub example: &'static str,
    /// The key that names its file.
    pub(crate) path_key: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) parse: Parse,
}

impl TableEntry {
    pub(crate) fn new<C: TableConfig>() -> TableEntry {
        TableEntry {
            type_name: C::TYPE,
            example: C::EXAMPLE,
            path_key: C::PATH_KEY,
            schema: |generator| C::json_schema(generator),
            parse: |reader| {
                let (c, whole) = reader.read::<C>()?;
                Some((Box::new(Any(c)) as Box<dyn AnyTable>, whole))
            },
        }
    }

    /// One sentence about it.
    pub fn summary(&self) -> String {
        let schema = (self.schema)(&mut SchemaGenerator::default());
        let text = schema.get("description").and_then(|d| d.as_str());
        text.unwrap_or_default().replace('\n', " ")
    }

    /// The JSON Schema of its own keys.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

impl fmt::Debug for TableEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enrichment table {:?}", self.type_name)
    }
}
