//! `demo` writes what a three-node cluster would: logins, tasks, backups at night, polling, and an attack now and then.
//!
//! - out: lines of pveproxy's access log and of the journal, byte for byte as the product writes them, in `message`, with
//!   `host.name` and `log.file.path`
//! - the same seed and start give the same lines and the same event ids, also after a restart in the middle

mod attack;
mod machines;
mod people;
mod tasks;
mod text;
mod world;

#[cfg(test)]
mod tests {
    use super::world::{Laws, Log, World};

    fn laws(seed: u64) -> Laws {
        // 2026-03-14T22:30:00Z
        Laws {
            seed,
            start: 1_773_527_400_000,
            nodes: 3,
            attacks: true,
            noise: true,
        }
    }

    fn lines(laws: Laws, n: usize) -> Vec<(usize, Log, String)> {
        let mut world = World::new(laws);
        let mut text = Vec::new();
        let mut line = || {
            text.clear();
            let (node, log) = world.next(&mut text);
            (node, log, String::from_utf8(text.clone()).unwrap())
        };
        (0..n).map(|_| line()).collect()
    }

    #[test]
    fn the_same_seed_writes_the_same_day() {
        assert_eq!(lines(laws(1), 5000), lines(laws(1), 5000));
        assert_ne!(lines(laws(1), 100), lines(laws(2), 100));
    }

    #[test]
    fn every_line_has_the_shape_of_its_log() {
        let access = regex::Regex::new(r#"^(?P<ip>\S+) - (?P<user>.+?) \[\d{2}/\d{2}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4}\] "(?P<req>.*)" (?P<status>\d{3}) (?P<len>\d+|-)$"#).unwrap();
        let journal = regex::Regex::new(
            r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}\+01:00 pve[123] [A-Za-z.-]+\[\d+\]: .+$",
        )
        .unwrap();
        let upid = regex::Regex::new(
            r"UPID:pve\d:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:[^:\s/]+:[^:\s/]*:[^:\s/]+:",
        )
        .unwrap();
        for (node, log, text) in lines(laws(3), 50_000) {
            match log {
                Log::Access => assert!(access.is_match(&text), "{text}"),
                Log::Journal => {
                    assert!(journal.is_match(&text), "{text}");
                    assert!(text.contains(&format!(" pve{} ", node + 1)), "{text}");
                    assert_eq!(text.contains("UPID:"), upid.is_match(&text), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_day_holds_what_an_auditor_looks_for() {
        let day = lines(laws(1), 200_000);
        let count = |what: &str| {
            day.iter()
                .filter(|(_, _, text)| text.contains(what))
                .count()
        };
        let destroyed = day
            .iter()
            .filter(|(_, _, text)| text.contains("starting task") && text.contains("destroy:"))
            .count();
        assert!(destroyed >= 4, "{destroyed} guests destroyed");
        assert!(count("rhost=::ffff:203.0.113.") >= 25);
        assert!(count("INFO: Starting Backup") > 10);
        assert!(count("POST /api2/json/access/ticket") > 20);
        assert!(count("vncticket=PVEVNC%3A") > 3);
        assert!(count("\"GET ") > 150_000, "most lines are polling");
        assert!(count(" 403 ") > 0 && count(" 401 ") > 0);
        assert!(count("restore:") > 0);
    }

    #[test]
    fn without_attacks_nothing_is_destroyed() {
        let quiet = Laws {
            attacks: false,
            noise: false,
            ..laws(1)
        };
        assert!(
            !lines(quiet, 20_000)
                .iter()
                .any(|(_, _, text)| text.contains("destroy") || text.contains("203.0.113."))
        );
    }

    #[test]
    fn one_node_is_a_cluster_too() {
        assert!(
            lines(
                Laws {
                    nodes: 1,
                    ..laws(4)
                },
                10_000
            )
            .iter()
            .all(|(node, _, _)| *node == 0)
        );
    }
}
