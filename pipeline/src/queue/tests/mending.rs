//! What `queue check`, `dump` and `repair` make of damaged files.

use super::super::{read, repair};
use super::*;

fn codes(bench: &Bench) -> Vec<(&'static str, u64)> {
    let report = read(&bench.folder, false, |_| true).unwrap();
    let findings = report.findings.into_iter();
    findings.map(|one| (one.code, one.lost)).collect()
}

#[test]
fn a_good_queue_has_nothing_to_mend_and_tells_what_is_in_it() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 1 << 20);
    for n in 0..5 {
        bench.write(n * 10..n * 10 + 10).unwrap();
    }
    bench.take(2);
    assert!(matches!(
        repair(&bench.folder),
        Err(super::super::OpenError::InUse { .. })
    ));
    let report = read(&bench.folder, false, |_| true).unwrap();
    assert!(report.in_use);
    bench.files = None;
    let mut ids = Vec::new();
    let report = read(&bench.folder, false, |event| {
        ids.push(event.id().0[1]);
        true
    })
    .unwrap();
    assert_eq!(ids, (20..50).collect::<Vec<_>>());
    assert_eq!(
        (report.waiting, report.events, report.records, report.files),
        (30, 50, 5, 1)
    );
    assert!(report.findings.is_empty() && !report.in_use);
    let mut first = None;
    read(&bench.folder, true, |event| {
        first = Some(event.id().0[1]);
        false
    })
    .unwrap();
    assert_eq!(first, Some(0));
    assert_eq!(repair(&bench.folder).unwrap().deeds, [""; 0]);
}

#[test]
fn damaged_parts_are_put_aside_and_good_records_stay() {
    // A record in the middle, the head of a file, and a torn end, alone and together.
    for what in 1_u8..8 {
        let data = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(data.path(), 2500);
        let mut starts = Vec::new();
        for n in 0..9 {
            bench.write(n * 10..n * 10 + 10).unwrap();
            starts.push(std::fs::metadata(bench.file(0)).unwrap().len() as usize);
        }
        bench.files = None;
        let last = bench
            .names()
            .into_iter()
            .rfind(|name| name.ends_with(".seg"))
            .unwrap()
            .as_bytes()[9]
            - b'0';
        let mut good: Vec<u64> = (0..90).collect();
        if what & 1 > 0 {
            bench.spoil(0, |bytes| bytes[starts[0] + 3] ^= 0x40);
            good.retain(|id| !(10..20).contains(id));
        }
        if what & 2 > 0 {
            bench.spoil(0, |bytes| bytes[20] ^= 0x40);
        }
        if what & 4 > 0 {
            bench.spoil(u64::from(last), |bytes| {
                bytes.extend_from_slice(b"half a record")
            });
        }
        assert_eq!(
            codes(&bench).len(),
            what.count_ones() as usize,
            "{what}: {:?}",
            codes(&bench)
        );
        let deeds = repair(&bench.folder).unwrap().deeds;
        assert!(deeds.len() >= what.count_ones() as usize, "{deeds:?}");
        assert_eq!(codes(&bench), [], "{what}");
        let report = read(&bench.folder, false, |_| true).unwrap();
        assert_eq!(report.lost, u64::from(what & 1) * 10);
        assert!(report.aside > 0);
        assert_eq!(
            repair(&bench.folder).unwrap().deeds,
            [""; 0],
            "once is enough"
        );
        bench.open();
        assert_eq!(bench.notes, []);
        assert_eq!(bench.read(), (good, u64::from(what & 1) * 10));
    }
}

#[test]
fn a_damaged_position_means_that_everything_comes_again() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 1 << 20);
    bench.write(0..10).unwrap();
    bench.write(10..20).unwrap();
    bench.take(1);
    bench.files = None;
    std::fs::write(bench.folder.join("position"), "nonsense").unwrap();
    assert_eq!(codes(&bench), [("position", 0)]);
    assert_eq!(repair(&bench.folder).unwrap().deeds.len(), 1);
    assert_eq!(codes(&bench), []);
    bench.open();
    assert_eq!(bench.read(), ((0..20).collect(), 0));
}

#[test]
fn where_nothing_can_be_read_the_whole_file_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 1 << 20);
    bench.write(0..10).unwrap();
    bench.files = None;
    bench.spoil(0, |bytes| bytes[20] ^= 1);
    let _ = std::fs::remove_file(bench.folder.join("position"));
    // Neither the file nor a position says the salt.
    assert_eq!(codes(&bench).len(), 2);
    assert_eq!(repair(&bench.folder).unwrap().deeds.len(), 1);
    assert_eq!(bench.names(), ["0000000000.seg.damaged"]);
    bench.open();
    assert_eq!(bench.read(), (Vec::new(), 0));
}

#[test]
fn a_damaged_last_record_leaves_a_note_of_its_events_and_a_damaged_head_of_one_is_no_torn_end() {
    let data = tempfile::tempdir().unwrap();
    for (spoilt, lost) in [("body", 10), ("head", 0)] {
        let mut bench = Bench::new(&data.path().join(spoilt), 1 << 20);
        bench.write(0..10).unwrap();
        let last = std::fs::metadata(bench.file(0)).unwrap().len() as usize;
        bench.write(10..20).unwrap();
        bench.files = None;
        bench.spoil(0, |bytes| {
            let at = if spoilt == "head" {
                last
            } else {
                bytes.len() - 1
            };
            bytes[at] ^= 0x40;
        });
        assert_eq!(codes(&bench), [("checksum", lost)], "{spoilt}");
        assert!(!repair(&bench.folder).unwrap().deeds.is_empty());
        assert_eq!(codes(&bench), []);
        let report = read(&bench.folder, false, |_| true).unwrap();
        assert_eq!((report.events, report.lost), (10, lost), "{spoilt}");
        assert_eq!(report.aside, 1);
        bench.open();
        assert_eq!(bench.read(), ((0..10).collect(), lost));
    }
}
