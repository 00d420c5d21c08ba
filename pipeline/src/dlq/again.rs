//! Dead letters that are tried once more, after the reason is mended.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use super::edit::{AtWork, Decision, edit};
use super::letter::{Filter, Letter, Line, lines};
use crate::event::Event;
use crate::topology::{End, Rewriter};

/// Letters written together [letters].
const TOGETHER: usize = 500;
/// And their text [bytes].
const TOGETHER_BYTES: usize = 4 << 20;

/// What became of the letters that were tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Delivered, and removed.
    pub delivered: u64,
    /// Refused again; they stay, with the new reason and one more attempt.
    pub refused: u64,
    /// Time was up before the other side said anything; they stay.
    pub undone: u64,
    /// Lines that are no letters, or letters whose event cannot be read; they stay.
    pub unreadable: u64,
    /// Why the refused were refused: kind and text, as often as they were.
    pub reasons: BTreeMap<(String, String), u64>,
    /// Why time was up, if there was a reason.
    pub trouble: Option<String>,
}

/// Kinds of reasons are few, their texts need not be: the rest is only counted [texts].
const MOST_REASONS: usize = 100;

/// Writes the letters of one component that `filter` takes, at most `limit` of them, with `sink`. What is delivered is
/// removed file by file; a crash in between leaves letters of events that are delivered, which the sink then knows by
/// their id. A running program may append meanwhile.
///
/// # Errors
/// Another command is at work on these letters, or the files cannot be read or written anew.
pub async fn again(
    data_dir: &Path,
    component: &str,
    filter: &Filter,
    limit: &mut u64,
    sink: &mut Rewriter,
    tally: &mut Tally,
) -> io::Result<()> {
    let _at_work = AtWork::on(data_dir, component)?;
    for (path, lines) in lines(data_dir, component)? {
        if *limit == 0 || sink.is_over() {
            return Ok(());
        }
        let mut ends = HashMap::new();
        let mut chunk = Chunk::default();
        for (n, line) in lines.enumerate() {
            let letter = match line? {
                Line::Letter(letter) if filter.takes(&letter) => letter,
                Line::Letter(_) => continue,
                Line::Unreadable(_) => {
                    tally.unreadable += 1;
                    continue;
                }
            };
            let Ok(event) = Event::from_json(letter.event.clone()) else {
                tally.unreadable += 1;
                continue;
            };
            *limit -= 1;
            chunk.add(n, letter, event);
            if chunk.is_full() {
                chunk.write(sink, tally, &mut ends).await;
            }
            if *limit == 0 || sink.is_over() {
                break;
            }
        }
        chunk.write(sink, tally, &mut ends).await;
        if !ends.is_empty() {
            edit(&path, |n, _| ends.remove(&n).unwrap_or(Decision::Keep))?;
        }
    }
    Ok(())
}

/// Letters that are written together.
#[derive(Default)]
struct Chunk {
    letters: Vec<(usize, Box<Letter>)>,
    events: Vec<Event>,
    bytes: usize,
}

impl Chunk {
    fn add(&mut self, n: usize, letter: Box<Letter>, event: Event) {
        self.bytes += event.size();
        self.events.push(event);
        self.letters.push((n, letter));
    }

    fn is_full(&self) -> bool {
        self.events.len() >= TOGETHER || self.bytes >= TOGETHER_BYTES
    }

    /// Writes them and notes what becomes of their lines.
    async fn write(
        &mut self,
        sink: &mut Rewriter,
        tally: &mut Tally,
        decisions: &mut HashMap<usize, Decision>,
    ) {
        let Chunk {
            letters, events, ..
        } = std::mem::take(self);
        if events.is_empty() {
            return;
        }
        let ends = sink.write(events).await;
        for ((n, mut letter), end) in letters.into_iter().zip(ends) {
            match end {
                End::Delivered => {
                    tally.delivered += 1;
                    decisions.insert(n, Decision::Remove);
                }
                End::Refused(reason) => {
                    tally.refused += 1;
                    let why = (reason.kind.name().to_owned(), reason.text.clone());
                    if tally.reasons.len() < MOST_REASONS || tally.reasons.contains_key(&why) {
                        *tally.reasons.entry(why).or_default() += 1;
                    }
                    letter.attempts = letter.attempts.saturating_add(1);
                    letter.reason.kind = reason.kind.name().to_owned();
                    letter.reason.text = reason.text;
                    decisions.insert(n, Decision::Change(letter));
                }
                End::Undone(why) => {
                    tally.undone += 1;
                    if let Some(why) = why {
                        tally.trouble = Some(why.to_string());
                        letter.attempts = letter.attempts.saturating_add(1);
                        decisions.insert(n, Decision::Change(letter));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::clock::{Clock, Time};
    use crate::component::{Reason, ReasonKind, Sink, WriteError, Written};
    use crate::dlq::DeadLetters;
    use crate::event::EventId;
    use crate::events::Events;
    use crate::topology::{DeadLetterBox, Pace};

    /// Takes all but the poison, or nothing at all.
    struct Picky {
        taken: Arc<Mutex<Vec<u64>>>,
        poison: u64,
        gone: bool,
    }

    #[async_trait]
    impl Sink for Picky {
        async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
            let ids: Vec<u64> = events.iter().map(|event| event.id().0[1]).collect();
            if self.gone {
                let reason = Reason::new(ReasonKind::Connection, "refused");
                return Err(WriteError::Retry {
                    reason,
                    after: None,
                });
            }
            if ids.contains(&self.poison) {
                return Err(WriteError::Refused {
                    reason: Reason::new(ReasonKind::Mapping, "still no ip"),
                });
            }
            self.taken.lock().extend(ids);
            Ok(Written::default())
        }
    }

    fn sink(taken: &Arc<Mutex<Vec<u64>>>, poison: u64, gone: bool, patience: Duration) -> Rewriter {
        let taken = Arc::clone(taken);
        let build = move || -> Result<Box<dyn Sink>, String> {
            Ok(Box::new(Picky {
                taken: Arc::clone(&taken),
                poison,
                gone,
            }))
        };
        let pace = Pace {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(1),
        };
        Rewriter::new("es", "picky", Arc::new(build), pace, patience)
    }

    fn bury(data_dir: &Path, ids: std::ops::Range<u64>, kind: ReasonKind) {
        let letters = DeadLetters::new(data_dir, Clock::system());
        let events: Vec<Event> = ids
            .map(|n| Event::new(EventId([0, n]), Time::from_secs(5)))
            .collect();
        letters
            .append("es", "picky", &Reason::new(kind, "no"), 1, &events)
            .unwrap();
    }

    fn left(data_dir: &Path) -> Vec<(u64, String, u32)> {
        let lines = lines(data_dir, "es")
            .unwrap()
            .into_iter()
            .flat_map(|(_, lines)| lines);
        let letters = lines.filter_map(|line| match line.unwrap() {
            Line::Letter(letter) => Some((
                EventId::parse(letter.id())?.0[1],
                letter.reason.text,
                letter.attempts,
            )),
            Line::Unreadable(_) => None,
        });
        letters.collect()
    }

    #[tokio::test]
    async fn what_is_delivered_goes_and_what_is_refused_again_stays() {
        let data = tempfile::tempdir().unwrap();
        bury(data.path(), 0..1200, ReasonKind::Mapping);
        bury(data.path(), 5000..5003, ReasonKind::TooLarge);
        let taken = Arc::default();
        let mut sink = sink(&taken, 700, false, Duration::from_secs(60));
        let filter = Filter {
            reason: Some("mapping".to_owned()),
            ..Filter::default()
        };
        let mut tally = Tally::default();
        let mut limit = u64::MAX;
        again(
            data.path(),
            "es",
            &filter,
            &mut limit,
            &mut sink,
            &mut tally,
        )
        .await
        .unwrap();
        assert_eq!(
            *taken.lock(),
            (0..1200).filter(|n| *n != 700).collect::<Vec<_>>()
        );
        assert_eq!((tally.delivered, tally.refused, tally.undone), (1199, 1, 0));
        assert_eq!(
            tally.reasons[&("mapping".to_owned(), "still no ip".to_owned())],
            1
        );
        let no = |n| (n, "no".to_owned(), 1);
        assert_eq!(
            left(data.path()),
            [
                (700, "still no ip".to_owned(), 2),
                no(5000),
                no(5001),
                no(5002)
            ]
        );
    }

    #[tokio::test]
    async fn a_receiver_that_is_gone_leaves_everything_where_it_was() {
        let data = tempfile::tempdir().unwrap();
        bury(data.path(), 0..3, ReasonKind::Mapping);
        let taken = Arc::default();
        let mut sink = sink(&taken, 9, true, Duration::from_millis(30));
        let mut tally = Tally::default();
        again(
            data.path(),
            "es",
            &Filter::default(),
            &mut 1000,
            &mut sink,
            &mut tally,
        )
        .await
        .unwrap();
        assert!(sink.is_over());
        assert_eq!(
            (tally.undone, tally.trouble.as_deref()),
            (3, Some("connection: refused"))
        );
        assert_eq!(
            left(data.path()),
            [
                (0, "no".to_owned(), 2),
                (1, "no".to_owned(), 2),
                (2, "no".to_owned(), 2)
            ]
        );
    }

    #[tokio::test]
    async fn no_more_are_tried_than_asked_for() {
        let data = tempfile::tempdir().unwrap();
        bury(data.path(), 0..9, ReasonKind::Mapping);
        let taken = Arc::default();
        let mut sink = sink(&taken, 99, false, Duration::from_secs(60));
        let mut tally = Tally::default();
        again(
            data.path(),
            "es",
            &Filter::default(),
            &mut 4,
            &mut sink,
            &mut tally,
        )
        .await
        .unwrap();
        assert_eq!(*taken.lock(), [0, 1, 2, 3]);
        assert_eq!(left(data.path()).len(), 5);
    }
}
