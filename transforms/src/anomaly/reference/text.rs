//! A random rule as text for the rule language.

use std::fmt::Write as _;

use super::plain::{Cut, Kind, Measure, Plain, REOPEN};

impl Plain {
    pub(super) fn toml(&self) -> String {
        let mut to = String::from("schema = 1\n");
        if let Some(secs) = self.during {
            let _ = writeln!(
                to,
                "[[calendar]]\nname = \"c\"\nzone = \"Europe/Berlin\"\ndays = [\"mon\"]\nfrom = \"13:00\"\nto = \"13:{:02}\"",
                secs / 60
            );
        }
        if let Kind::Fed(n, span) = self.kind {
            let skip = if self.skip {
                "missing = \"skip\"\n"
            } else {
                ""
            };
            let lateness = self.lateness;
            let _ = writeln!(
                to,
                "[[rule]]\nid = \"PVR-998\"\nname = \"feeds\"\nseverity = \"low\"\nversion = 1\nexplain = \"x\"\ninternal = true\ngroup_by = [\"user.id\"]\nlateness = \"{lateness}s\"\n{skip}type = \"event_count\"\nwhen = \"a\"\ncondition = {{ gte = {n} }}\ntimespan = \"{span}s\"\n[rule.select.a]\n\"event.code\" = \"PVE-2001\""
            );
        }
        let _ = write!(
            to,
            "[[rule]]\nid = \"PVR-999\"\nname = \"random\"\nseverity = \"low\"\nversion = 1\nexplain = \"x\"\ngroup_by = [\"user.id\"]\nlateness = \"{}s\"\nreopen = \"{REOPEN}s\"\nrepeat = \"0s\"\n",
            self.lateness
        );
        if self.skip {
            to.push_str("missing = \"skip\"\n");
        }
        if self.during.is_some() {
            to.push_str("during = \"c\"\n");
        }
        let (span, resolve) = (self.span, self.resolve);
        let spans = format!("timespan = \"{span}s\"\nresolve_after = \"{resolve}s\"");
        let rest = match &self.kind {
            Kind::Event => format!("type = \"event\"\nwhen = \"a\"\ndedupe = \"{resolve}s\""),
            Kind::Hold(hold) => format!(
                "type = \"event\"\nwhen = \"a\"\nhold = \"{hold}s\"\nunless = \"b\"\ndedupe = \"{resolve}s\""
            ),
            Kind::Absence(every) => {
                format!("type = \"absence\"\nwhen = \"a\"\nevery = \"{every}s\"\nlearn = \"1s\"")
            }
            Kind::New(history, known) => format!(
                "type = \"new_term\"\nwhen = \"a\"\nfields = [\"user.id\", \"pve.vmid\"]\nhistory = \"{history}s\"\nwarmup = \"1s\"\nresolve_after = \"{resolve}s\"{}",
                if *known {
                    "\nknown = [\"user.id\"]"
                } else {
                    ""
                }
            ),
            Kind::Spike(min, factor, baseline) => format!(
                "type = \"spike\"\nwhen = \"a\"\nmin = {min}\nfactor = {factor}\nfloor = 1\nbaseline = {baseline}\n{spans}"
            ),
            Kind::Window(measure, cut, test, n) => {
                let (sort, field) = match measure {
                    Measure::Count => ("event_count", ""),
                    Measure::Distinct => ("value_count", "field = \"pve.vmid\", "),
                    Measure::Sum => ("value_sum", "field = \"pve.vmid\", "),
                    Measure::Mean => ("value_avg", "field = \"pve.vmid\", "),
                };
                let window = match cut {
                    Cut::Sliding => String::new(),
                    Cut::Tumbling => "window = \"tumbling\"\n".to_owned(),
                    Cut::Session(gap) => {
                        format!("window = {{ type = \"session\", gap = \"{gap}s\" }}\n")
                    }
                };
                format!(
                    "type = \"{sort}\"\nwhen = \"a\"\n{window}condition = {{ {field}{test} = {n} }}\n{spans}"
                )
            }
            Kind::Any(stages) => format!(
                "type = \"temporal\"\nrules = {:?}\n{spans}",
                &["a", "b", "c"][..*stages]
            ),
            Kind::Ordered(stages, without) => format!(
                "type = \"temporal_ordered\"\nrules = {:?}{}\n{spans}",
                &["a", "b", "c"][..*stages],
                if *without { "\nwithout = \"d\"" } else { "" }
            ),
            Kind::Fed(..) => {
                format!("type = \"temporal_ordered\"\nrules = [\"PVR-998\", \"c\"]\n{spans}")
            }
        };
        to.push_str(&rest);
        to.push('\n');
        let used: &[&str] = match &self.kind {
            Kind::Hold(_) => &["a", "b"],
            Kind::Any(n) | Kind::Ordered(n, false) => &["a", "b", "c"][..*n],
            Kind::Ordered(2, true) => &["a", "b", "d"],
            Kind::Ordered(_, true) => &["a", "b", "c", "d"],
            Kind::Fed(..) => &["c"],
            _ => &["a"],
        };
        for name in used {
            let code = match *name {
                "a" => "PVE-2001",
                "b" => "PVE-2002",
                "c" => "PVE-2003",
                _ => "PVE-2004",
            };
            let _ = writeln!(to, "[rule.select.{name}]\n\"event.code\" = \"{code}\"");
        }
        to
    }
}
