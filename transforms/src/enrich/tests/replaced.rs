//! A table that is replaced while it is used.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use pipeline::events;
use pipeline::testing::{self, json};

use super::{File, enrich, hosts, open};
use crate::tables::FileTable;

/// Every version of the table has every key; the values of one row always belong to one version.
fn version(n: usize) -> String {
    let rows: String = (0..50).map(|key| format!("k{key},{n},{n}\n")).collect();
    format!("key,one,two\n{rows}")
}

#[test]
fn a_table_that_is_replaced_under_load_never_gives_a_wrong_row_or_none() {
    let file = File::new("t.csv", version(0));
    let table =
        open::<FileTable>(&file.path, "schema = { one = 'integer', two = 'integer' }").unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (table, ended) = (&table, &ended);
                scope.spawn(move || {
                    let mut bench = enrich(
                        "lookups = [{ table = 't', match = { key = 'k' }, fields = { one = 'one', two = 'two' } }]",
                        table,
                    );
                    let (mut seen, mut newest) = (BTreeSet::new(), 0);
                    while !ended.load(Ordering::Acquire) || newest < 100 {
                        let out = bench.feed(testing::events((0..50).map(|n| json!({"k": format!("k{n}")}))));
                        assert!(out.missed().is_empty());
                        let first = out.json()[0]["one"].clone();
                        for event in out.json() {
                            // One batch sees one state.
                            assert_eq!((&event["one"], &event["two"]), (&first, &first));
                        }
                        let n = first.as_u64().unwrap();
                        assert!(n >= newest, "{n} after {newest}");
                        newest = n;
                        seen.insert(n);
                    }
                    seen.len()
                })
            })
            .collect();
        for n in 1..=100 {
            file.replace(version(n));
            table.refresh();
            if n % 10 == 0 {
                file.replace("key,one,two\nk1,1\n");
                table.refresh();
            }
        }
        // The last of them was broken, so the hundredth is in force.
        ended.store(true, Ordering::Release);
        for worker in workers {
            assert!(
                worker.join().unwrap() > 1,
                "the worker saw the table change"
            );
        }
    });
    let state = table.state();
    assert_eq!((state.loads, state.failures), (101, 10));
    assert!(
        state
            .trouble
            .unwrap()
            .contains("line 2: the row is too short")
    );
    file.replace(version(101));
    table.refresh();
    assert_eq!(table.state().trouble, None);
}

#[test]
fn a_new_file_without_a_column_that_is_used_leaves_the_old_rows() {
    let file = hosts();
    let table = open::<FileTable>(&file.path, "").unwrap();
    let toml = "lookups = [{ table = 't', match = { name = 'host.name' }, fields = { owner = 'en.owner' } }]";
    let mut bench = enrich(toml, &table);
    for (text, owner) in [
        ("name,owners\npve1,new\n", "ops"),
        ("owner,name\nnew,pve1\nx,pve1\n", "ops"),
        ("rack,owner,name\n3,new,pve1\n", "new"),
    ] {
        file.replace(text);
        table.refresh();
        let out = bench.feed(events![{"host.name": "pve1"}]);
        assert_eq!(out.json()[0]["en"]["owner"], json!(owner), "{text:?}");
    }
    std::fs::remove_file(&file.path).unwrap();
    table.refresh();
    assert!(
        table
            .state()
            .trouble
            .unwrap()
            .contains("there is no such file")
    );
    assert_eq!(
        bench.feed(events![{"host.name": "pve1"}]).json()[0]["en"]["owner"],
        json!("new")
    );
}
