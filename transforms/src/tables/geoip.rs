//! `geoip`: a MaxMind database (city, country, ASN); an address finds where it is and whose it is, under the names of ECS.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maxminddb::{MaxMindDbError, PathElement, Reader};
use pipeline::table::{Index, Rows, TableConfig, TableError, Wanted};
use pipeline::{Bytes, Value, ValueRef};
use schemars::JsonSchema;
use serde::Deserialize;

use super::address;

/// A MaxMind database (GeoLite2 or GeoIP2: city, country, ASN); an address finds where it is and whose it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The `.mmdb` file.
    path: PathBuf,
    /// The language of names: `de`, `en`, `es`, `fr`, `ja`, `pt-BR`, `ru`, `zh-CN`, as far as the database has it.
    #[serde(default = "locale")]
    locale: String,
    /// Largest file; a larger one is refused.
    #[serde(default = "max_size")]
    max_size: Bytes,
}

fn locale() -> String {
    "en".to_owned()
}

fn max_size() -> Bytes {
    Bytes::mib(512)
}

impl TableConfig for Config {
    const TYPE: &'static str = "geoip";
    const EXAMPLE: &'static str = r#"path = "/usr/share/GeoIP/GeoLite2-City.mmdb""#;
    const PATH_KEY: &'static str = "path";

    fn path(&self) -> &Path {
        &self.path
    }

    fn max_size(&self) -> Bytes {
        self.max_size
    }

    fn read(&self, file: Vec<u8>) -> Result<Arc<dyn Rows>, TableError> {
        let len = file.len();
        let reader = Reader::from_source(file).map_err(|why| {
            TableError::new(format!("it is no MaxMind database, or only a part of one ({len} bytes): {why}"))
                .help("fetch it again; its last part says how to read the others, so one that was cut is of no use")
        })?;
        Ok(Arc::new(Geoip {
            reader,
            locale: self.locale.clone(),
        }))
    }
}

/// One column and where it stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    CityName,
    ContinentCode,
    ContinentName,
    CountryCode,
    CountryName,
    Location,
    PostalCode,
    RegionCode,
    RegionName,
    Timezone,
    AsNumber,
    AsName,
}

const COLUMNS: [(&str, Column); 12] = [
    ("geo.city_name", Column::CityName),
    ("geo.continent_code", Column::ContinentCode),
    ("geo.continent_name", Column::ContinentName),
    ("geo.country_iso_code", Column::CountryCode),
    ("geo.country_name", Column::CountryName),
    ("geo.location", Column::Location),
    ("geo.postal_code", Column::PostalCode),
    ("geo.region_iso_code", Column::RegionCode),
    ("geo.region_name", Column::RegionName),
    ("geo.timezone", Column::Timezone),
    ("as.number", Column::AsNumber),
    ("as.organization.name", Column::AsName),
];

struct Geoip {
    reader: Reader<Vec<u8>>,
    locale: String,
}

impl Geoip {
    /// Databases of owners know no places, and those of places mostly no owners.
    fn has(&self, name: &str) -> bool {
        let kind = &self.reader.metadata().database_type;
        let is = |words: &[&str]| words.iter().any(|word| kind.contains(word));
        let (owners, places) = (is(&["ASN", "ISP"]), is(&["City", "Country"]));
        match name.starts_with("as.") {
            true => owners || !places,
            false => places || !owners,
        }
    }
}

impl Rows for Geoip {
    fn columns(&self) -> Vec<String> {
        let names = COLUMNS.iter().map(|(name, _)| *name);
        names
            .filter(|name| self.has(name))
            .map(str::to_owned)
            .collect()
    }

    fn by_address(&self) -> bool {
        true
    }

    fn columns_are_fields(&self) -> bool {
        true
    }

    /// Nodes of its tree: the number of networks is not written in it.
    fn len(&self) -> usize {
        self.reader.metadata().node_count as usize
    }

    fn index(self: Arc<Self>, wanted: &Wanted) -> Result<Arc<dyn Index>, TableError> {
        let column = |name: &String| {
            let known = COLUMNS.iter().find(|(held, _)| held == name);
            known.map(|(_, column)| *column)
        };
        Ok(Arc::new(ByAddress {
            columns: wanted.columns.iter().filter_map(column).collect(),
            rows: self,
        }))
    }
}

struct ByAddress {
    rows: Arc<Geoip>,
    columns: Vec<Column>,
}

impl Index for ByAddress {
    fn find(&self, key: &[u8], show: &mut dyn FnMut(usize, ValueRef<'_>)) -> bool {
        let Some(address) = address(key) else {
            return false;
        };
        match self.try_find(address, show) {
            Ok(found) => found,
            // Which the program cannot know before it comes to the place.
            Err(why) => {
                pipeline::log_limited!(warn, %address, %why, "the GeoIP database is damaged at this address");
                false
            }
        }
    }
}

type Found<'r> = maxminddb::LookupResult<'r, Vec<u8>>;

impl ByAddress {
    fn try_find(
        &self,
        address: IpAddr,
        show: &mut dyn FnMut(usize, ValueRef<'_>),
    ) -> Result<bool, MaxMindDbError> {
        if address.is_ipv6() && self.rows.reader.metadata().ip_version == 4 {
            return Ok(false);
        }
        let found = self.rows.reader.lookup(address)?;
        if !found.has_data() {
            return Ok(false);
        }
        for (place, column) in self.columns.iter().enumerate() {
            self.show(&found, *column, &mut |value| show(place, value))?;
        }
        Ok(true)
    }

    fn show(
        &self,
        found: &Found<'_>,
        column: Column,
        show: &mut dyn FnMut(ValueRef<'_>),
    ) -> Result<(), MaxMindDbError> {
        use PathElement::{Index, Key};
        let locale = self.rows.locale.as_str();
        let text = |path: &[PathElement<'_>]| found.decode_path::<&str>(path);
        let value = match column {
            Column::CityName => text(&[Key("city"), Key("names"), Key(locale)])?,
            Column::ContinentCode => text(&[Key("continent"), Key("code")])?,
            Column::ContinentName => text(&[Key("continent"), Key("names"), Key(locale)])?,
            Column::CountryCode => text(&[Key("country"), Key("iso_code")])?,
            Column::CountryName => text(&[Key("country"), Key("names"), Key(locale)])?,
            Column::PostalCode => text(&[Key("postal"), Key("code")])?,
            Column::RegionName => {
                text(&[Key("subdivisions"), Index(0), Key("names"), Key(locale)])?
            }
            Column::Timezone => text(&[Key("location"), Key("time_zone")])?,
            Column::AsName => match text(&[Key("autonomous_system_organization")])? {
                Some(name) => Some(name),
                None => text(&[Key("traits"), Key("autonomous_system_organization")])?,
            },
            Column::RegionCode => {
                // ECS writes it as ISO 3166-2 does, with the country before it.
                let country = text(&[Key("country"), Key("iso_code")])?;
                let region = text(&[Key("subdivisions"), Index(0), Key("iso_code")])?;
                if let (Some(country), Some(region)) = (country, region) {
                    show(ValueRef::Str(&format!("{country}-{region}")));
                }
                None
            }
            Column::Location => {
                let degrees = |key| found.decode_path::<f64>(&[Key("location"), Key(key)]);
                if let (Some(lat), Some(lon)) = (degrees("latitude")?, degrees("longitude")?) {
                    show(ValueRef::Map(&[
                        ("lat".to_owned(), Value::Float(lat)),
                        ("lon".to_owned(), Value::Float(lon)),
                    ]));
                }
                None
            }
            Column::AsNumber => {
                let number = |path: &[PathElement<'_>]| found.decode_path::<u32>(path);
                let number = match number(&[Key("autonomous_system_number")])? {
                    Some(number) => Some(number),
                    None => number(&[Key("traits"), Key("autonomous_system_number")])?,
                };
                if let Some(number) = number {
                    show(ValueRef::Int(i64::from(number)));
                }
                None
            }
        };
        if let Some(text) = value {
            show(ValueRef::Str(text));
        }
        Ok(())
    }
}
