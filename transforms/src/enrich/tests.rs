//! Lookups in every kind of table, tables that are replaced, and mistakes in the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipeline::table::{Table, TableConfig};
use pipeline::testing::{self, TransformBench};
use pipeline::{Kind, events};
use serde_json::json;

use super::*;
use crate::tables::{FileTable, GeoipTable, Mmdb, NetworksTable};

mod replaced;

/// A file with that text, in a folder that goes with the value.
struct File {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl File {
    fn new(name: &str, text: impl AsRef<[u8]>) -> File {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        File {
            path,
            _folder: folder,
        }
    }

    /// Another file in its place, as a careful operator does it.
    fn replace(&self, text: impl AsRef<[u8]>) {
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, &self.path).unwrap();
    }
}

fn open<C: TableConfig>(path: &Path, keys: &str) -> Result<Arc<Table>, String> {
    let path = match C::PATH_KEY {
        "path" => format!("path = {path:?}"),
        _ => format!("file.path = {path:?}"),
    };
    testing::table::<C>("t", &format!("{path}\n{keys}"))
}

fn enrich(toml: &str, table: &Arc<Table>) -> TransformBench {
    testing::transform_with::<Config>(toml, [Arc::clone(table)])
}

/// What `build` has to say.
fn mistakes(toml: &str, table: &Arc<Table>) -> Vec<String> {
    let mut registry = pipeline::Registry::new();
    registry.transform::<Config>();
    let env = pipeline::config::FakeEnv::new();
    let config =
        pipeline::config::parse_component(Kind::Transform, "enrich", toml, &registry, &env)
            .unwrap();
    let cx = Context::for_tests(Kind::Transform, "enrich").with_tables([Arc::clone(table)]);
    let errors = config.build(&cx).err().into_iter().flatten();
    errors.map(|error| error.to_string()).collect()
}

const HOSTS: &str = "name,owner,rack,weight,live\n\
    pve1,ops,3,1.5,yes\n\
    pve2,\"web, and mail\",,2,no\n\
    \"p\u{e9}ve3\",db,7,,\n";

fn hosts() -> File {
    File::new("hosts.csv", HOSTS)
}

const TYPES: &str = "schema = { rack = 'integer', weight = 'float', live = 'boolean' }";

#[test]
fn a_row_is_found_by_its_key_and_its_values_have_their_types() {
    let file = hosts();
    let table = open::<FileTable>(&file.path, TYPES).unwrap();
    let mut bench = enrich(
        "lookups = [{ table = 't', match = { name = 'host.name' }, prefix = 'en.host', default = { owner = 'nobody' } }]",
        &table,
    );
    let out = bench.feed(events![
        {"host.name": "pve1"}, {"host.name": "pve2"}, {"host.name": "PVE1"}, {"else": 1}, {"host.name": "p\u{e9}ve3"}
    ]);
    assert_eq!(out.kept(), [0, 1, 2, 3, 4]);
    let en: Vec<_> = out.json().iter().map(|e| e["en"].clone()).collect();
    assert_eq!(
        en[0],
        json!({"host": {"owner": "ops", "rack": 3, "weight": 1.5, "live": true}})
    );
    assert_eq!(
        en[1],
        json!({"host": {"owner": "web, and mail", "weight": 2.0, "live": false}})
    );
    assert_eq!(en[2], json!({"host": {"owner": "nobody"}}));
    assert_eq!(en[3], json!(null));
    assert_eq!(en[4], json!({"host": {"owner": "db", "rack": 7}}));
    assert_eq!(out.missed(), [("t".to_owned(), 1)]);
}

#[test]
fn keys_compare_as_text_and_without_case_where_asked() {
    let file = File::new(
        "v.csv",
        "vmid,pool,owner\n100,Web,a\n100,db,b\n\u{c4}1,x,c\n",
    );
    let table = open::<FileTable>(&file.path, "").unwrap();
    let mut bench = enrich(
        "lookups = [{ table = 't', match = { vmid = 'pve.vmid', pool = 'pool' }, fields = { owner = 'ek.owner' }, case_sensitive = false }]",
        &table,
    );
    let out = bench.feed(events![
        {"pve.vmid": 100, "pool": "WEB"}, {"pve.vmid": "100", "pool": "db"}, {"pve.vmid": 100},
        {"pve.vmid": "\u{e4}1", "pool": "x"}, {"pve.vmid": 10, "pool": "0Web"}
    ]);
    let owners: Vec<_> = out
        .json()
        .iter()
        .map(|e| e["ek"]["owner"].clone())
        .collect();
    assert_eq!(
        owners,
        [json!("a"), json!("b"), json!(null), json!("c"), json!(null)]
    );
    assert_eq!(out.missed(), [("t".to_owned(), 1)]);
}

#[test]
fn a_field_that_is_there_can_be_kept() {
    let file = hosts();
    let table = open::<FileTable>(&file.path, TYPES).unwrap();
    let mut bench = enrich(
        "lookups = [{ table = 't', match = { name = 'host.name' }, fields = { owner = 'eo.owner', rack = 'eo.rack' }, overwrite = false }]",
        &table,
    );
    let out = bench.feed(events![{"host.name": "pve1", "eo.owner": "mine"}]);
    assert_eq!(out.json()[0]["eo"], json!({"owner": "mine", "rack": 3}));
}

#[test]
fn json_in_its_two_forms_is_read_with_its_own_types() {
    let rows = [
        json!({"id": 7, "tags": ["a", "b"], "up": true}),
        json!({"id": 8, "note": "x"}),
    ];
    let lines: String = rows.iter().map(|row| format!("{row}\n\n")).collect();
    for (name, text) in [("t.json", json!(rows).to_string()), ("t.ndjson", lines)] {
        let file = File::new(name, text);
        let table = open::<FileTable>(&file.path, "").unwrap();
        let mut bench = enrich(
            "lookups = [{ table = 't', match = { id = 'n' }, prefix = 'ej' }]",
            &table,
        );
        let out = bench.feed(events![{"n": 7}, {"n": 8}, {"n": 9}]);
        assert_eq!(
            out.json()[0]["ej"],
            json!({"tags": ["a", "b"], "up": true}),
            "{name}"
        );
        assert_eq!(out.json()[1]["ej"], json!({"note": "x"}), "{name}");
        assert_eq!(out.missed(), [("t".to_owned(), 1)], "{name}");
    }
}

#[test]
fn an_address_finds_the_smallest_network_that_holds_it() {
    let file = File::new(
        "nets.csv",
        "net;zone\n10.0.0.0/8;inside\n10.1.0.0/16;lab\n10.1.2.3;printer\n2001:db8::/32;v6\n::ffff:192.0.2.0/120;old\n",
    );
    let table =
        open::<NetworksTable>(&file.path, "column = 'net'\nfile.encoding.delimiter = ';'").unwrap();
    let mut bench = enrich(
        "lookups = [{ table = 't', field = 'source.ip', fields = { zone = 'source.zone' } }]",
        &table,
    );
    let addresses = [
        ("10.2.0.1", Some("inside")),
        ("10.1.9.9", Some("lab")),
        ("10.1.2.3", Some("printer")),
        ("11.0.0.1", None),
        ("2001:db8:1::1", Some("v6")),
        ("::ffff:10.1.0.1", Some("lab")),
        ("192.0.2.77", Some("old")),
        ("fe80::1%eth0", None),
        ("not an address", None),
        ("", None),
    ];
    let events = addresses.iter().map(|(ip, _)| json!({"source.ip": ip}));
    let out = bench.feed(testing::events(events));
    for (event, (ip, zone)) in out.json().iter().zip(addresses) {
        assert_eq!(event["source"]["zone"], json!(zone), "{ip}");
    }
    assert_eq!(out.missed(), [("t".to_owned(), 4)]);
}

#[test]
fn geoip_answers_in_the_words_of_ecs() {
    let city = json!({
        "city": {"names": {"en": "Zurich"}}, "continent": {"code": "EU", "names": {"en": "Europe"}},
        "country": {"iso_code": "CH", "names": {"en": "Switzerland"}}, "postal": {"code": "8001"},
        "location": {"latitude": 47.5, "longitude": 8.5, "time_zone": "Europe/Zurich"},
        "subdivisions": [{"iso_code": "ZH", "names": {"en": "Zurich"}}],
    });
    let bytes = Mmdb::new("GeoLite2-City")
        .with("203.0.113.0/24", &city)
        .with("2001:db8::/32", &json!({"country": {"iso_code": "FR"}}))
        .bytes();
    let file = File::new("city.mmdb", &bytes);
    let table = open::<GeoipTable>(&file.path, "").unwrap();
    assert!(!table.columns().contains(&"as.number".to_owned()));
    let toml = "lookups = [{ table = 't', field = 'source.ip' }]";
    let out = enrich(toml, &table).feed(events![
        {"source.ip": "::ffff:203.0.113.45"}, {"source.ip": "2001:db8::7"}, {"source.ip": "192.0.2.1"}
    ]);
    let expected = json!({
        "city_name": "Zurich", "continent_code": "EU", "continent_name": "Europe", "country_iso_code": "CH",
        "country_name": "Switzerland", "location": {"lat": 47.5, "lon": 8.5}, "postal_code": "8001",
        "region_iso_code": "CH-ZH", "region_name": "Zurich", "timezone": "Europe/Zurich",
    });
    assert_eq!(out.json()[0]["source"]["geo"], expected);
    assert_eq!(
        out.json()[1]["source"]["geo"],
        json!({"country_iso_code": "FR"})
    );
    assert_eq!(out.missed(), [("t".to_owned(), 1)]);

    let asn =
        json!({"autonomous_system_number": 64500, "autonomous_system_organization": "Example"});
    let file = File::new(
        "asn.mmdb",
        Mmdb::new("GeoLite2-ASN")
            .with("203.0.113.0/24", &asn)
            .bytes(),
    );
    let table = open::<GeoipTable>(&file.path, "").unwrap();
    let out = enrich(toml, &table).feed(events![{"source.ip": "203.0.113.1"}]);
    assert_eq!(
        out.json()[0]["source"]["as"],
        json!({"number": 64500, "organization": {"name": "Example"}})
    );
}

#[test]
fn a_database_that_was_cut_anywhere_is_refused_or_answers_right_and_never_panics() {
    let record = json!({"country": {"iso_code": "CH"}});
    let whole = Mmdb::new("GeoLite2-City")
        .with("203.0.113.0/24", &record)
        .bytes();
    for len in (0..whole.len()).step_by(7) {
        let file = File::new("cut.mmdb", &whole[..len]);
        let why = open::<GeoipTable>(&file.path, "").unwrap_err();
        assert!(why.contains("only a part of one"), "{len}: {why}");
    }
    // Bytes that fell over: whatever is answered, it is an answer.
    for at in (0..whole.len()).step_by(3) {
        let mut bent = whole.clone();
        bent[at] ^= 0xff;
        let file = File::new("bent.mmdb", &bent);
        if let Ok(table) = open::<GeoipTable>(&file.path, "") {
            let mut bench = enrich("lookups = [{ table = 't', field = 'source.ip' }]", &table);
            assert_eq!(
                bench.feed(events![{"source.ip": "203.0.113.1"}]).kept(),
                [0]
            );
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_line() {
    let quoted = "a,b\n1,\"2\n3\"\n4\n";
    for (name, text, keys, expected) in [
        (
            "t.csv",
            "a,b\n1,2\n3\n",
            "",
            ":3: the row is too short: 1 values for 2 columns",
        ),
        ("t.csv", quoted, "", ":4: the row is too short"),
        (
            "t.csv",
            "a,b\n1,2,3\n",
            "",
            ":2: the row is too long: 3 values",
        ),
        ("t.csv", "a,a\n", "", ":1: two columns are called \"a\""),
        ("t.csv", "a,\n", "", ":1: the column number 2 has no name"),
        ("t.csv", "", "", "it is empty"),
        (
            "t.csv",
            "a\n1\nx\n",
            "schema = { a = 'integer' }",
            ":3: a is \"x\", which is no whole number",
        ),
        (
            "t.csv",
            "a\n1\n",
            "schema = { aa = 'float' }",
            "names a column \"aa\" that it does not have",
        ),
        (
            "t.csv",
            "a\n1\n2\n3\n",
            "max_rows = 2",
            "it has more than 2 rows",
        ),
        (
            "t.csv",
            "a\n1\n2\n3\n",
            "max_size = '5B'",
            "it is larger than 5B",
        ),
        ("t.json", "{\"a\": 1}", "", "it is no JSON array of objects"),
        (
            "t.json",
            "[{\"a\": 1}, 2]",
            "",
            "it is no JSON array of objects",
        ),
        (
            "t.ndjson",
            "{\"a\": 1}\n{\"a\"\n",
            "",
            ":2: it is no JSON object",
        ),
        (
            "t.csv",
            "a\n1\n",
            "file.encoding.delimiter = '\u{e4}'",
            "no ASCII character",
        ),
    ] {
        let file = File::new(name, text);
        let why = open::<FileTable>(&file.path, keys).unwrap_err();
        assert!(why.contains(expected), "{text:?}: {why}");
    }
    let mut latin = b"a,b\n1,".to_vec();
    latin.extend_from_slice(b"\xe4\n");
    let file = File::new("t.csv", latin);
    assert!(
        open::<FileTable>(&file.path, "")
            .unwrap_err()
            .contains(":2: it is not UTF-8")
    );
    assert!(
        open::<FileTable>(Path::new("/none/t.csv"), "")
            .unwrap_err()
            .contains("there is no such file")
    );
    for (row, expected) in [
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("10.0.0.0/33", "which is no network"),
        ("x", "which is no network"),
        ("", "network is empty"),
    ] {
        let file = File::new("t.csv", format!("network,z\n10.0.0.0/8,a\n{row},b\n"));
        let why = open::<NetworksTable>(&file.path, "").unwrap_err();
        assert!(
            why.contains(":3: ") && why.contains(expected),
            "{row}: {why}"
        );
    }
    let deep = format!("[{{\"a\": {}1{}}}]", "[".repeat(10_000), "]".repeat(10_000));
    let file = File::new("t.json", deep);
    assert!(
        open::<FileTable>(&file.path, "")
            .unwrap_err()
            .contains("recursion limit")
    );
}

#[test]
fn two_rows_with_one_key_are_a_mistake_unless_the_first_is_wanted() {
    let file = File::new("t.csv", "k,v\na,1\nb,2\na,3\n");
    let table = open::<FileTable>(&file.path, "").unwrap();
    let toml = "lookups = [{ table = 't', match = { k = 'k' }, fields = { v = 'v' } }]";
    let told = mistakes(toml, &table);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("line 4: k is \"a\" also in line 2") && told[0].contains("on_duplicate"),
        "{told:?}"
    );
    let first = toml.replace("fields", "on_duplicate = 'first', fields");
    let out = enrich(&first, &table).feed(events![{"k": "a"}]);
    assert_eq!(out.json()[0]["v"], json!("1"));
}

#[test]
fn every_mistake_is_told_with_its_remedy() {
    let file = hosts();
    let table = open::<FileTable>(&file.path, TYPES).unwrap();
    for (toml, expected) in [
        ("lookups = []", "lookups: is empty"),
        (
            "lookups = [{ table = 'tt', match = { name = 'n' }, prefix = 'x' }]",
            "no enrichment table called \"tt\"; did you mean \"t\"?",
        ),
        (
            "lookups = [{ table = 't', prefix = 'x' }]",
            "nothing says which row",
        ),
        (
            "lookups = [{ table = 't', field = 'source.ip', prefix = 'x' }]",
            "match = { name = \"field\" }",
        ),
        (
            "lookups = [{ table = 't', match = { nme = 'n' }, prefix = 'x' }]",
            "lookups[0].match: the table \"t\" has no column \"nme\"; did you mean \"name\"?",
        ),
        (
            "lookups = [{ table = 't', match = { name = 'n' }, fields = { ownr = 'o' } }]",
            "did you mean \"owner\"?",
        ),
        (
            "lookups = [{ table = 't', match = { name = 'n' } }]",
            "add prefix",
        ),
        (
            "lookups = [{ table = 't', match = { name = 'n' }, fields = { owner = 'o' }, default = { rack = 1 } }]",
            "has a value for \"rack\"",
        ),
    ] {
        let told = mistakes(toml, &table);
        assert_eq!(told.len(), 1, "{toml}: {told:?}");
        assert!(told[0].contains(expected), "{toml}: {told:?}");
    }
}

/// Not a check: prints what a lookup costs:
/// `cargo test --release -p transforms what_a_lookup_costs -- --ignored --nocapture`.
#[test]
#[ignore = "prints a figure: cargo test --release -p transforms what_a_lookup_costs -- --ignored --nocapture"]
#[allow(clippy::print_stderr, reason = "the figure is what it is for")]
fn what_a_lookup_costs() {
    let rows: String = (0..100_000).map(|n| format!("host{n:06},{n}\n")).collect();
    let file = File::new("t.csv", format!("name,rack\n{rows}"));
    let table = open::<FileTable>(&file.path, "schema = { rack = 'integer' }").unwrap();
    let toml =
        "lookups = [{ table = 't', match = { name = 'ec.name' }, fields = { rack = 'ec.rack' } }]";
    for (what, prefix) in [("found", "host"), ("missed", "none")] {
        let mut bench = enrich(toml, &table);
        let batch =
            (0..1000_u64).map(|n| json!({"ec.name": format!("{prefix}{:06}", n * 97 % 100_000)}));
        let batch = testing::events(batch);
        let batches: Vec<_> = (0..500).map(|_| batch.clone()).collect();
        let start = std::time::Instant::now();
        for batch in batches {
            bench.feed(batch);
        }
        let each = start.elapsed().as_nanos() as f64 / 500_000.0;
        eprintln!(
            "{what}: {each:.0} ns per event, the bench's own work and the end of the event included"
        );
    }
}
