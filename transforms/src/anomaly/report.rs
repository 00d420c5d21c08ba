//! What the watch tells of itself and of its inputs: clocks that are wrong, events that were too late, groups that were given
//! up, and alerts whose rules are not what they were.

use pipeline::{Event, Outputs, Time, Told, Value, fields};

use super::alert::{self, Ended};
use super::saved::Dropped;
use super::spec::SECOND;
use super::write::NAMES;
use super::{ALERTS, Anomaly, FUTURE};

/// A clock that is so far behind never ran [ns].
const PAST: i64 = 20 * 365 * 86_400 * SECOND;
/// Most nodes whose clocks are told of within one pause [nodes].
const MOST_SKEWED: usize = 1_024;
/// A rule that gave something up is `degraded` until nothing was for so many reports [reports, one a minute].
const CALM: u32 = 60;
/// What is repeated is told at most so often [ns].
const PAUSE: i64 = 60 * SECOND;

/// Whether no clock that runs can say `at` when it is `now`.
pub(super) fn is_wrong(at: Time, now: Time) -> bool {
    let ahead = at.0.saturating_sub(now.0);
    !(-PAST..=FUTURE).contains(&ahead)
}

/// The rules that begin anew or are gone.
pub(super) fn names(dropped: &[Dropped]) -> String {
    let anew = dropped.iter().filter(|one| one.anew);
    let ids: Vec<&str> = anew.map(|one| &*one.id).collect();
    ids.join(", ")
}

impl Anomaly {
    /// A clock is ahead, or decades behind: its events count as of now.
    #[cold]
    pub(super) fn skew(&mut self, event: &mut Event, at: Time, now: Time, out: &mut Outputs) {
        let ahead = at.0.saturating_sub(now.0) / 1_000_000;
        event.set(NAMES.skew, ahead);
        let node = event.str(fields::HOST_NAME).unwrap_or_default();
        let told = self.skewed.get(node);
        if told.is_none_or(|told| now.0.saturating_sub(told.0) >= PAUSE) {
            if self.skewed.len() >= MOST_SKEWED {
                self.skewed
                    .retain(|_, told| now.0.saturating_sub(told.0) < PAUSE);
            }
            let node = node.to_owned();
            if self.skewed.len() < MOST_SKEWED {
                self.skewed.insert(node.clone(), now);
            }
            let (by, way) = match ahead {
                0.. => (ahead, "ahead"),
                _ => (-ahead, "behind"),
            };
            let text = format!("the clock of {node} is {} s {way}", by / 1000);
            let told = Told::new("PVE-9051", text)
                .object("node", node)
                .field(NAMES.skew, Value::Int(ahead));
            out.tell(told);
        }
    }

    /// Alerts whose rules are not what they were are over, and say why.
    pub(super) fn end_orphans(&mut self, out: &mut Outputs) {
        for dropped in std::mem::take(&mut self.orphans) {
            let rule = self.set.rule(&dropped.id);
            let ended = match rule {
                None => Ended::Gone,
                Some(rule) if !rule.enabled => Ended::Off,
                Some(_) => Ended::Changed,
            };
            for (group, mut alert) in dropped.alerts {
                let at = self.engine.watermark.max(alert.told);
                alert.ended = Some(ended);
                let told = alert::Told {
                    rule: usize::MAX,
                    turn: alert.resolve(at),
                    group,
                    at,
                    alert,
                };
                let rule = rule.map(|rule| &**rule);
                let event = self.writer.event_of(&told, &dropped.id, rule, out.now());
                out.make(ALERTS, event);
            }
        }
    }

    /// Tells what is told once a minute at most.
    pub(super) fn report(&mut self, out: &mut Outputs) {
        let now = out.now();
        if now.0.saturating_sub(self.reported.0) < PAUSE {
            return;
        }
        self.reported = now;
        let (mut late, mut gone) = (Vec::new(), Vec::new());
        let mut evicted = 0;
        for (rule, memory) in self.set.rules().iter().zip(&mut self.engine.memory) {
            out.rule_keys(&rule.id, memory.store.len() + memory.terms.len());
            evicted += memory.evicted;
            if let Some((from, to)) = memory.late_span.take() {
                let count = std::mem::take(&mut memory.late);
                late.push(format!(
                    "{} {count} ({} to {})",
                    rule.id,
                    Time(from),
                    Time(to)
                ));
            }
            memory.calm += 1;
            memory.degraded &= memory.calm <= CALM;
            out.rule_degraded(&rule.id, memory.degraded);
            let lost = std::mem::take(&mut memory.evicted);
            if lost > 0 {
                gone.push(format!("{} {lost}", rule.id));
            }
        }
        if evicted > 0 {
            self.evicted += evicted;
            out.evicted(usize::try_from(evicted).unwrap_or(usize::MAX));
        }
        if !late.is_empty() {
            let text = format!(
                "events came too late for their windows: {}",
                late.join(", ")
            );
            out.tell(Told::new("PVE-9017", text).failed(
                "`pvetrail rules run --replay --from … --to …` shows what they would have fired",
            ));
        }
        if !gone.is_empty() {
            let text = format!(
                "rules gave up groups to stay within their bounds: {}",
                gone.join(", ")
            );
            out.tell(Told::new("PVE-9018", text).failed("raise max_groups or state_budget"));
        }
    }
}
