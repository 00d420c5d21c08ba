//! Whatever happens in whatever order: every event whose write was answered is read once and in order, or told to be lost.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Deed {
    /// Write so many events as one record.
    Write(u8),
    /// Read and answer for so many records.
    Take(u8),
    /// End without a word, and open again.
    Kill,
    /// Begin a write and end when a part of it is on the disk.
    Tear(u8, prop::sample::Index),
    /// Flip a bit of what is on the disk, and open again.
    Flip(prop::sample::Index, prop::sample::Index),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (1_u8..40).prop_map(Deed::Write),
        4 => (1_u8..6).prop_map(Deed::Take),
        1 => Just(Deed::Kill),
        2 => (1_u8..40, any::<prop::sample::Index>()).prop_map(|(n, at)| Deed::Tear(n, at)),
        1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(file, bit)| Deed::Flip(file, bit)),
    ]
}

/// What should be in the queue.
#[derive(Default)]
struct Model {
    /// Ids that were written durably and not answered for yet.
    waiting: Vec<u64>,
    /// The id of every event, by its number in the queue.
    written: Vec<u64>,
    next: u64,
    /// Bits were flipped.
    spoilt: bool,
    /// How often.
    flips: u32,
    /// Events that were told to be lost when the queue was opened.
    lost: u64,
}

impl Model {
    /// What was cut off the end of the queue is told by a note, and its numbers are free again.
    fn opened(&mut self, bench: &Bench) -> Result<(), TestCaseError> {
        let lost = bench.notes.iter().map(|note| note.lost).sum::<u64>();
        self.lost += lost;
        prop_assert!(lost == 0 || self.spoilt, "{:?}", bench.notes);
        let next = bench.files().next() as usize;
        prop_assert!(next <= self.written.len());
        let cut = self.written.split_off(next);
        prop_assert!(
            cut.is_empty() || !bench.notes.is_empty(),
            "{cut:?} vanished"
        );
        prop_assert!(
            cut.is_empty() || self.spoilt,
            "{cut:?} had been answered for, and no bit was flipped"
        );
        // Where their number is told they stay among those that are missed in the end.
        let told = |text: &str| bench.notes.iter().any(|note| note.text.contains(text));
        let missed: Vec<u64> = cut
            .into_iter()
            .filter(|id| self.waiting.contains(id))
            .collect();
        if told("cannot be told") {
            prop_assert!(missed.len() as u64 >= lost, "{:?}", bench.notes);
            self.waiting
                .retain(|id| !missed[lost as usize..].contains(id));
        } else {
            prop_assert_eq!(missed.len() as u64, lost, "{:?}", bench.notes);
        }
        Ok(())
    }
}

fn run(deeds: &[Deed]) -> Result<(), TestCaseError> {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 4000);
    let mut model = Model::default();
    for deed in deeds {
        match deed {
            Deed::Write(n) => {
                let ids = model.next..model.next + u64::from(*n);
                bench.write(ids.clone()).unwrap();
                model.next = ids.end;
                model.written.extend(ids.clone());
                model.waiting.extend(ids);
            }
            Deed::Take(n) if !model.spoilt => {
                let taken = bench.take(usize::from(*n));
                let expected: Vec<u64> = model.waiting.drain(..taken.len()).collect();
                prop_assert_eq!(taken, expected);
            }
            Deed::Take(_) => {}
            Deed::Kill => {
                bench.open();
                model.opened(&bench)?;
            }
            Deed::Tear(n, at) => {
                let (records, _) = bench.record(model.next..model.next + u64::from(*n));
                let part = &records[..at.index(records.len())];
                let last = bench
                    .names()
                    .into_iter()
                    .rfind(|name| name.ends_with(".seg"));
                bench.files = None;
                if let Some(last) = last {
                    let path = bench.folder.join(last);
                    let mut bytes = std::fs::read(&path).unwrap();
                    bytes.extend_from_slice(part);
                    std::fs::write(&path, bytes).unwrap();
                }
                bench.open();
                prop_assert!(bench.notes.len() <= 1 || model.spoilt, "{:?}", bench.notes);
                model.opened(&bench)?;
            }
            Deed::Flip(file, bit) => {
                let files: Vec<String> = bench
                    .names()
                    .into_iter()
                    .filter(|name| name.ends_with(".seg"))
                    .collect();
                if files.is_empty() {
                    continue;
                }
                bench.files = None;
                let path = bench.folder.join(file.get(&files));
                let mut bytes = std::fs::read(&path).unwrap();
                let bit = bit.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, bytes).unwrap();
                model.spoilt = true;
                model.flips += 1;
                bench.open();
                model.opened(&bench)?;
            }
        }
    }
    let (ids, lost) = bench.read();
    if !model.spoilt {
        prop_assert_eq!((ids, lost), (model.waiting, 0));
        return Ok(());
    }
    prop_assert!(
        ids.is_sorted_by(|a, b| a < b),
        "in order, and each once: {ids:?}"
    );
    let missing = model
        .waiting
        .iter()
        .filter(|id| ids.binary_search(id).is_err())
        .count() as u64;
    // Damage upon damage may hide that an event had been delivered: then more is told than is missing, never less.
    let told = lost + model.lost;
    prop_assert!(
        told == missing || told > missing && model.flips > 1,
        "{told} told, {missing} missing: {ids:?} of {:?}",
        model.waiting
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("PVETRAIL_LONG").is_some() { 2000 } else { 150 }))]
    #[test]
    fn every_answered_event_is_read_once_in_order_or_told_to_be_lost(deeds in proptest::collection::vec(deed(), 1..40)) {
        run(&deeds)?;
    }
}
