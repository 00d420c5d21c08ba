//! Anything may happen to a log in any order; nothing is lost, and nothing is told twice.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::testing::World;

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// So many lines are written to the log.
    Append(u8),
    /// A line is written to the youngest rotated file by somebody who still has it open.
    Late,
    /// Half a line now, the other half with the next deed.
    Half,
    Look,
    Wait,
    Restart,
    /// rename, create, gzip all but the youngest: logrotate with `delaycompress`.
    Rotate,
    /// The same with `copytruncate`. The copy has everything, as it does where nobody writes meanwhile.
    CopyTruncate,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1u8..40).prop_map(Deed::Append),
        1 => Just(Deed::Late),
        1 => Just(Deed::Half),
        5 => Just(Deed::Look),
        1 => Just(Deed::Wait),
        2 => Just(Deed::Restart),
        2 => Just(Deed::Rotate),
        1 => Just(Deed::CopyTruncate),
    ]
}

struct Log {
    world: World,
    written: Vec<String>,
    half: bool,
    /// Somebody still has `a.log.1` open: it was renamed, not copied.
    open: bool,
}

impl Log {
    fn line(&mut self) -> String {
        let n = self.written.len();
        // As long as an access-log line, so that a rotated file is recognised by more than a few bytes.
        let line = format!(
            "::ffff:192.0.2.{} - root@pam [26/01/2026:09:15:{:02} +0100] \"GET /api2/json/nodes/pve1/qemu/{n}/status/current?{} HTTP/1.1\" 200 {n}",
            n % 250,
            n % 60,
            "x".repeat(n % 170),
        );
        self.written.push(line.clone());
        line + "\n"
    }

    fn append(&mut self, name: &str, text: &str) {
        self.world.append(name, text);
    }

    fn end_half(&mut self) {
        if std::mem::take(&mut self.half) {
            let last = self.written.last().unwrap().clone();
            self.append("a.log", &format!("{}\n", &last[last.len() / 2..]));
        }
    }

    fn shift(&mut self) {
        let exists = |log: &Self, name: &str| log.world.at(name).exists();
        for n in (1..40).rev() {
            for suffix in ["", ".gz"] {
                let (from, to) = (
                    format!("a.log.{n}{suffix}"),
                    format!("a.log.{}{suffix}", n + 1),
                );
                if exists(self, &from) {
                    self.world.rename(&from, &to);
                }
            }
        }
        if exists(self, "a.log.2") {
            self.world.gzip("a.log.2");
        }
    }

    fn does(&mut self, deed: Deed) {
        self.end_half();
        match deed {
            Deed::Append(count) => {
                let text: String = (0..count).map(|_| self.line()).collect();
                self.append("a.log", &text);
            }
            Deed::Late if self.open => {
                let line = self.line();
                self.append("a.log.1", &line);
            }
            Deed::Late => {}
            Deed::Half => {
                let line = self.line();
                self.append("a.log", &line[..(line.len() - 1) / 2]);
                self.half = true;
            }
            Deed::Look => {
                self.world.step();
            }
            Deed::Wait => {
                self.world.wait(61);
            }
            Deed::Restart => {
                self.world.restart();
            }
            Deed::Rotate => {
                // An empty log that was never seen before it was rotated is no generation to go on with.
                self.open = fs::metadata(self.world.at("a.log")).unwrap().len() > 0;
                self.shift();
                self.world.rename("a.log", "a.log.1");
                self.world.write("a.log", "");
            }
            Deed::CopyTruncate => {
                self.shift();
                self.open = false;
                fs::copy(self.world.at("a.log"), self.world.at("a.log.1")).unwrap();
                fs::File::options()
                    .write(true)
                    .truncate(true)
                    .open(self.world.at("a.log"))
                    .unwrap();
            }
        }
    }
}

fn run(include: &str, max_open: usize, deeds: &[Deed]) -> Result<(), TestCaseError> {
    let mut log = Log {
        world: World::with(&[include], move |settings| settings.max_open = max_open),
        written: Vec::new(),
        half: false,
        open: false,
    };
    // Whoever includes only the log itself is promised what comes after the first look.
    log.does(Deed::Append(3));
    log.does(Deed::Look);
    for deed in deeds {
        log.does(*deed);
    }
    log.end_half();
    log.world.step().step();
    log.world.wait(61).wait(61);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &log.world.lines {
        *seen.entry(line.text.as_str()).or_default() += 1;
    }
    for line in &log.written {
        prop_assert_eq!(seen.remove(line.as_str()), Some(1), "{}", line);
    }
    prop_assert!(seen.is_empty(), "nobody wrote {:?}", seen);
    let places: std::collections::BTreeSet<_> = log
        .world
        .lines
        .iter()
        .map(|line| (&line.lane, line.offset))
        .collect();
    prop_assert_eq!(
        places.len(),
        log.world.lines.len(),
        "every line has a place of its own"
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(deeds in prop::collection::vec(deed(), 1..40)) {
        run("a.log*", 512, &deeds)?;
    }

    #[test]
    fn nor_where_only_the_log_itself_is_included(deeds in prop::collection::vec(deed(), 1..40)) {
        run("a.log", 512, &deeds)?;
    }

    #[test]
    fn nor_where_only_one_file_may_be_open(deeds in prop::collection::vec(deed(), 1..40)) {
        run("a.log*", 1, &deeds)?;
    }
}
