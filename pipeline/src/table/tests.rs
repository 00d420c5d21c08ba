//! A table that is replaced while it is used, and what the keeper makes of its file.
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::*;
use crate::component::Registry;
use crate::config::parse_table;

/// `key value` on each line.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Words {
    path: PathBuf,
}

struct WordRows(Vec<(String, String)>);

impl TableConfig for Words {
    const TYPE: &'static str = "words";
    const EXAMPLE: &'static str = "path = 'words.txt'";
    const PATH_KEY: &'static str = "path";
    fn path(&self) -> &Path {
        &self.path
    }
    fn max_size(&self) -> Bytes {
        Bytes::kib(1)
    }
    fn read(&self, file: Vec<u8>) -> Result<Arc<dyn Rows>, TableError> {
        let text = String::from_utf8(file).map_err(|why| TableError::new(why.to_string()))?;
        let rows = text.lines().zip(1..).map(|(line, n)| {
            let (key, value) = line
                .split_once(' ')
                .ok_or_else(|| TableError::at(n, "no value"))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        Ok(Arc::new(WordRows(rows.collect::<Result<_, TableError>>()?)))
    }
}

impl Rows for WordRows {
    fn columns(&self) -> Vec<String> {
        vec!["key".to_owned(), "value".to_owned()]
    }
    fn by_address(&self) -> bool {
        false
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn index(self: Arc<Self>, _: &Wanted) -> Result<Arc<dyn Index>, TableError> {
        Ok(self)
    }
}

impl Index for WordRows {
    fn find(&self, key: &[u8], show: &mut dyn FnMut(usize, ValueRef<'_>)) -> bool {
        let row = self.0.iter().find(|(held, _)| held.as_bytes() == key);
        row.map(|(_, value)| show(0, ValueRef::Str(value)))
            .is_some()
    }
}

fn wanted() -> Wanted {
    Wanted {
        by: vec!["key".to_owned()],
        case_sensitive: true,
        unique: true,
        columns: vec!["value".to_owned()],
    }
}

fn value(reader: &mut LookupReader, key: &str) -> Option<String> {
    let mut found = None;
    reader.renew();
    reader.index().find(key.as_bytes(), &mut |_, value| {
        found = value.as_str().map(str::to_owned)
    });
    found
}

fn open(path: &Path) -> Result<Arc<Table>, String> {
    let mut registry = Registry::new();
    registry.table::<Words>();
    parse_table("t", "words", &format!("path = {path:?}"), &registry)
}

/// Waits for a condition, at most a while.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_readings_of_a_configuration_share_a_table_and_one_that_nobody_holds_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    std::fs::write(&path, "a 1\n").unwrap();
    let (one, two) = (open(&path).unwrap(), open(&path).unwrap());
    assert!(Arc::ptr_eq(&one, &two));
    let lookups = (one.lookup(wanted()).unwrap(), two.lookup(wanted()).unwrap());
    assert!(Arc::ptr_eq(&lookups.0, &lookups.1));
    assert_eq!(one.state().loads, 1);
    drop((one, two, lookups));
    let again = open(&path).unwrap();
    assert_eq!(again.state().loads, 1, "a new one counts anew");
}

#[test]
fn a_changed_file_is_seen_and_a_broken_or_missing_one_is_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let replace = |text: &str| {
        std::fs::write(folder.path().join("new"), text).unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
    };
    replace("a 1\n");
    let table = open(&path).unwrap();
    let mut reader = table.lookup(wanted()).unwrap().reader();
    let mut keeper = Keeper::default();
    keeper.keep(vec![Arc::clone(&table)]).unwrap();
    replace("a 2\n");
    until("the new file", || {
        value(&mut reader, "a").as_deref() == Some("2")
    });
    // Written in place: seen when it lies still.
    std::fs::write(&path, "a 3\nb 1\n").unwrap();
    until("the rewritten file", || {
        value(&mut reader, "a").as_deref() == Some("3")
    });
    replace("a\n");
    until("the broken file", || table.state().failures == 1);
    assert!(table.state().trouble.unwrap().contains("line 1: no value"));
    replace(&"a 1\n".repeat(1000));
    until("the huge file", || table.state().failures == 2);
    assert!(table.state().trouble.unwrap().contains("larger than 1KiB"));
    std::fs::remove_file(&path).unwrap();
    until("the missing file", || table.state().failures == 3);
    assert_eq!(value(&mut reader, "a").as_deref(), Some("3"));
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(table.state().failures, 3, "it is said once");
    replace("a 4\n");
    until("the file that came back", || {
        value(&mut reader, "a").as_deref() == Some("4")
    });
    assert_eq!(table.state().trouble, None);
    drop(keeper);
}

#[test]
fn a_folder_or_a_device_is_no_table() {
    let folder = tempfile::tempdir().unwrap();
    assert!(open(folder.path()).unwrap_err().contains("no regular file"));
    assert!(
        open(Path::new("/dev/zero"))
            .unwrap_err()
            .contains("no regular file")
    );
}

#[test]
fn parts_of_a_key_cannot_be_moved_from_one_to_the_other() {
    let key = |parts: [&[u8]; 2]| {
        let mut key = Vec::new();
        parts.iter().for_each(|part| push_key(&mut key, part));
        key
    };
    assert_ne!(key([b"ab", b"c"]), key([b"a", b"bc"]));
    assert_eq!(key([b"ab", b""]), key([b"ab", b""]));
}
