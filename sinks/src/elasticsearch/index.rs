//! The name of an index by the time of the event: `pve-audit-%Y.%m`.
//!
//! The same event always meets the same index, so that `create` with its id is idempotent. Names are made once for each
//! month (day, hour), not for each event.

use pipeline::Time;

/// Nanoseconds in an hour.
const HOUR: i64 = 3_600_000_000_000;

/// Action lines remembered at once; more are needed only when old and new files are read side by side.
const REMEMBERED: usize = 16;

/// How often the name changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grain {
    Hour,
    Day,
    Month,
    Year,
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Year,
    Month,
    Day,
    Hour,
}

/// A checked template.
#[derive(Clone, Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
    grain: Grain,
}

impl Template {
    /// Reads it; the error names the range of bytes that is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, (std::ops::Range<usize>, String)> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut grain = Grain::Never;
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            if c == '%' {
                let (end, kind) = chars
                    .next()
                    .map_or((at + 1, '\0'), |(i, k)| (i + k.len_utf8(), k));
                let (part, fine) = match kind {
                    'Y' => (Part::Year, Grain::Year),
                    'm' => (Part::Month, Grain::Month),
                    'd' => (Part::Day, Grain::Day),
                    'H' => (Part::Hour, Grain::Hour),
                    _ => return Err((at..end, "a name knows %Y, %m, %d and %H".to_owned())),
                };
                grain = grain.min(fine);
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(part);
                continue;
            }
            if c.is_uppercase() || c.is_control() || "\\/*?\"<>| ,#:{}".contains(c) {
                return Err((
                    at..at + c.len_utf8(),
                    format!("`{c}` cannot stand in the name of an index"),
                ));
            }
            plain.push(c);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        if text.is_empty() || text.len() > 200 {
            return Err((0..text.len(), "a name has 1 to 200 bytes".to_owned()));
        }
        if text.starts_with(['-', '_', '+', '.']) {
            return Err((0..1, "a name starts with a letter or a digit".to_owned()));
        }
        Ok(Self { parts, grain })
    }

    /// Everything before the first part that changes, for the pattern of a template: `pve-audit-`.
    pub(super) fn prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether the name is the same for ever.
    pub(super) fn is_fixed(&self) -> bool {
        self.grain == Grain::Never
    }

    /// The name at `time`, and until when it holds: from, to [ns].
    fn name(&self, time: Time) -> (String, i64, i64) {
        // Room to look around the year without leaving the range of times.
        let clamped = Time(
            time.0
                .clamp(i64::MIN + 800 * 24 * HOUR, i64::MAX - 800 * 24 * HOUR),
        );
        let (year, month, day) = clamped.date();
        let hour = clamped.0.rem_euclid(24 * HOUR) / HOUR;
        let name = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Year => format!("{year:04}"),
            Part::Month => format!("{month:02}"),
            Part::Day => format!("{day:02}"),
            Part::Hour => format!("{hour:02}"),
        });
        let midnight = clamped.0 - clamped.0.rem_euclid(24 * HOUR);
        // Walking days needs no calendar of its own, and happens once for each month.
        let edge = |step: i64, same: &dyn Fn((i64, u32, u32)) -> bool| {
            let mut at = midnight;
            while same(Time(at + step).date()) {
                at += step;
            }
            at
        };
        let (from, to) = match self.grain {
            Grain::Never => (i64::MIN, i64::MAX),
            Grain::Hour => (midnight + hour * HOUR, midnight + (hour + 1) * HOUR),
            Grain::Day => (midnight, midnight + 24 * HOUR),
            Grain::Month => {
                let same = |d: (i64, u32, u32)| (d.0, d.1) == (year, month);
                (edge(-24 * HOUR, &same), edge(24 * HOUR, &same) + 24 * HOUR)
            }
            Grain::Year => {
                let same = |d: (i64, u32, u32)| d.0 == year;
                (edge(-24 * HOUR, &same), edge(24 * HOUR, &same) + 24 * HOUR)
            }
        };
        (name.collect(), from, to)
    }
}

/// Makes the start of an action line, up to the id, from the time of the event.
#[derive(Clone, Debug)]
pub(super) struct Action {
    template: Template,
    verb: &'static str,
    known: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    from: i64,
    to: i64,
    text: Vec<u8>,
}

impl Action {
    /// `verb` is `create` or `index`.
    pub(super) fn new(template: Template, verb: &'static str) -> Self {
        Self {
            template,
            verb,
            known: Vec::new(),
        }
    }

    /// `{"create":{"_index":"pve-audit-2026.11","_id":"`.
    #[inline]
    pub(super) fn line(&mut self, time: Time) -> &[u8] {
        let fits = |line: &Line| line.from <= time.0 && time.0 < line.to;
        if !self.known.first().is_some_and(fits) {
            self.find(time);
        }
        &self.known[0].text
    }

    #[cold]
    fn find(&mut self, time: Time) {
        if let Some(at) = self
            .known
            .iter()
            .position(|line| line.from <= time.0 && time.0 < line.to)
        {
            self.known.swap(0, at);
            return;
        }
        let (name, from, to) = self.template.name(time);
        let text = format!("{{\"{}\":{{\"_index\":\"{name}\",\"_id\":\"", self.verb).into_bytes();
        self.known.insert(
            0,
            Line {
                from: from.min(time.0),
                to: to.max(time.0.saturating_add(1)),
                text,
            },
        );
        self.known.truncate(REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(template: &str, time: &str) -> String {
        let mut action = Action::new(Template::parse(template).unwrap(), "create");
        let line = String::from_utf8(action.line(Time::parse(time).unwrap()).to_vec()).unwrap();
        line.split('"').nth(5).unwrap().to_owned()
    }

    #[test]
    fn names_follow_the_time_of_the_event_in_utc() {
        assert_eq!(
            name("pve-audit-%Y.%m", "2026-03-31T23:59:59.999Z"),
            "pve-audit-2026.03"
        );
        assert_eq!(
            name("pve-audit-%Y.%m", "2026-04-01T00:30:00+02:00"),
            "pve-audit-2026.03"
        );
        assert_eq!(
            name("a-%Y.%m.%d-%H", "2024-02-29T07:00:00Z"),
            "a-2024.02.29-07"
        );
        assert_eq!(name("a-%Y", "1970-01-01T00:00:00Z"), "a-1970");
        assert_eq!(name("fixed", "1970-01-01T00:00:00Z"), "fixed");
    }

    #[test]
    fn a_remembered_name_is_the_one_a_fresh_look_gives() {
        for template in ["x-%Y.%m", "x-%Y.%m.%d", "x-%H", "x-%Y", "x"] {
            let mut kept = Action::new(Template::parse(template).unwrap(), "index");
            let mut time = 951_782_400_i64; // 2000-02-29
            for step in 0..4000_i64 {
                time += (step * 7919) % 100_000 - 30_000;
                let at = Time::from_secs(time);
                let mut fresh = Action::new(Template::parse(template).unwrap(), "index");
                assert_eq!(kept.line(at), fresh.line(at), "{template} at {at}");
            }
        }
    }

    #[test]
    fn no_time_breaks_a_name() {
        for time in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
            for template in ["x-%Y.%m", "x-%Y.%m.%d-%H", "x-%Y", "x"] {
                let mut action = Action::new(Template::parse(template).unwrap(), "create");
                let line = String::from_utf8(action.line(Time(time)).to_vec()).unwrap();
                assert!(line.len() < 80 && line.contains("x"), "{line}");
                assert_eq!(action.line(Time(time)), line.as_bytes());
            }
        }
    }

    #[test]
    fn what_no_index_can_be_called_is_told_with_its_place() {
        for (text, range) in [
            ("Pve", 0..1),
            ("a b", 1..2),
            ("a-%Q", 2..4),
            ("a-%", 2..3),
            ("a/%Y", 1..2),
            ("-a", 0..1),
            ("a{{x}}", 1..2),
        ] {
            assert_eq!(Template::parse(text).unwrap_err().0, range, "{text}");
        }
        assert!(Template::parse("").is_err());
        assert_eq!(
            Template::parse("pve-audit-%Y.%m").unwrap().prefix(),
            "pve-audit-"
        );
    }
}
