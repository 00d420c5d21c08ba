//! `networks`: rows of a CSV or JSON file with a column of networks; an address finds the row of the smallest network that
//! holds it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pipeline::table::{Index, Rows, TableConfig, TableError, Wanted};
use pipeline::{Bytes, ValueRef};
use prefix_trie::PrefixMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::address;
use super::cells::Cells;
use super::read::{self, ColumnType, FileOptions, Limits};

/// Rows of a CSV or JSON file with a column of networks; an address finds the row of the smallest network that holds it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which file, and how it is written.
    file: FileOptions,
    /// The column that holds the network: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
    #[serde(default = "column")]
    column: String,
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

fn column() -> String {
    "network".to_owned()
}

impl TableConfig for Config {
    const TYPE: &'static str = "networks";
    const EXAMPLE: &'static str = r#"file = { path = "/etc/pvetrail/tables/networks.csv" }
column = "cidr""#;
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
        let cells = self.file.read(&file, &limits)?;
        Ok(Arc::new(Networks::new(cells, &self.column)?))
    }
}

struct Networks {
    cells: Arc<Cells>,
    v4: PrefixMap<Ipv4Net, u32>,
    v6: PrefixMap<Ipv6Net, u32>,
    /// The first two rows with the same network.
    twice: Option<(usize, usize)>,
}

impl Networks {
    fn new(cells: Cells, column: &str) -> Result<Networks, TableError> {
        let Some(place) = cells.columns.iter().position(|held| held == column) else {
            return Err(
                TableError::new(format!("there is no column {column:?}")).help(format!(
                    "say with `column` which of {} holds the networks",
                    cells.columns.join(", ")
                )),
            );
        };
        let (mut v4, mut v6) = (PrefixMap::new(), PrefixMap::new());
        let mut twice = None;
        for row in 0..cells.len() {
            let text = match cells.get(row, place) {
                Some(ValueRef::Str(text)) => text,
                None => return Err(cells.wrong(row, format!("{column} is empty"))),
                Some(other) => {
                    let message = format!("{column} is {}, which is no network", other.to_json());
                    return Err(cells.wrong(row, message));
                }
            };
            let network = network(text.trim()).map_err(|(why, help)| {
                let error = cells.wrong(row, format!("{column} is {text:?}, {why}"));
                match help {
                    Some(help) => error.help(help),
                    None => error,
                }
            })?;
            let before = match network {
                IpNet::V4(net) => v4.get(&net).copied(),
                IpNet::V6(net) => v6.get(&net).copied(),
            };
            if let Some(first) = before {
                twice = twice.or(Some((first as usize, row)));
                continue;
            }
            match network {
                IpNet::V4(net) => _ = v4.insert(net, row as u32),
                IpNet::V6(net) => _ = v6.insert(net, row as u32),
            }
        }
        Ok(Networks {
            cells: Arc::new(cells),
            v4,
            v6,
            twice,
        })
    }
}

/// A network, or why it is none and what to write instead.
fn network(text: &str) -> Result<IpNet, (&'static str, Option<String>)> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => {
                let help = "write one like 10.0.0.0/8 or 2001:db8::/32".to_owned();
                return Err(("which is no network", Some(help)));
            }
        },
    };
    if network.trunc() != network {
        let help = format!("write {}, or the single address", network.trunc());
        return Err((
            "whose address has bits beyond the length of the network",
            Some(help),
        ));
    }
    // Addresses are looked for as IPv4 where they are that.
    if let IpNet::V6(net) = network
        && net.prefix_len() >= 96
        && let Some(v4) = net.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(v4, net.prefix_len() - 96)
    {
        return Ok(IpNet::V4(v4));
    }
    Ok(network)
}

impl Rows for Networks {
    fn columns(&self) -> Vec<String> {
        self.cells.columns.clone()
    }

    fn by_address(&self) -> bool {
        true
    }

    fn len(&self) -> usize {
        self.cells.len()
    }

    fn index(self: Arc<Self>, wanted: &Wanted) -> Result<Arc<dyn Index>, TableError> {
        if let (Some((first, row)), true) = (self.twice, wanted.unique) {
            let message = format!("its network stands also in {}", self.cells.place(first));
            return Err(self.cells.wrong(row, message).help(
                "keep one of the two rows, or write on_duplicate = \"first\" where it is looked up",
            ));
        }
        Ok(Arc::new(ByNetwork {
            columns: self.cells.places(&wanted.columns),
            rows: self,
        }))
    }
}

struct ByNetwork {
    rows: Arc<Networks>,
    columns: Vec<usize>,
}

impl Index for ByNetwork {
    fn find(&self, key: &[u8], show: &mut dyn FnMut(usize, ValueRef<'_>)) -> bool {
        let row = match address(key) {
            Some(IpAddr::V4(address)) => {
                let found = self.rows.v4.get_lpm(&Ipv4Net::from(address));
                found.map(|(_, row)| *row)
            }
            Some(IpAddr::V6(address)) => {
                let found = self.rows.v6.get_lpm(&Ipv6Net::from(address));
                found.map(|(_, row)| *row)
            }
            None => None,
        };
        let Some(row) = row else { return false };
        self.rows.cells.show(row as usize, &self.columns, show);
        true
    }
}
