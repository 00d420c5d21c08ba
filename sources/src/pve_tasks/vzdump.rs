//! The log of a backup job: what came of each guest, which is written nowhere else when a job has several.
//!
//! ```text
//! INFO: Starting Backup of VM 100 (qemu)
//! INFO: Backup started at 2026-01-26 09:17:31
//! INFO: Finished Backup of VM 100 (00:01:12)
//! INFO: Backup finished at 2026-01-26 09:18:43
//! ERROR: Backup of VM 101 failed - no space left on device
//! INFO: Failed at 2026-01-26 09:20:00
//! ```

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pipeline::Time;

/// Most guests of one job; more are not told one by one.
const MOST: usize = 10_000;

/// What came of one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) vmid: u32,
    pub(crate) began: Option<Time>,
    pub(crate) end: Option<Time>,
    /// `OK`, or why not; `None` where the log ends before.
    pub(crate) status: Option<String>,
}

/// Reads the log, line by line.
#[derive(Debug)]
pub(crate) struct Guests {
    /// Times are in local time, without a word about the zone.
    zone: TimeZone,
    guests: Vec<Guest>,
    /// Whom a line with a time is about.
    last: Option<usize>,
}

impl Guests {
    pub(crate) fn new(zone: TimeZone) -> Guests {
        Guests {
            zone,
            guests: Vec::new(),
            last: None,
        }
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("INFO: ") {
            if let Some(vmid) = rest.strip_prefix("Starting Backup of VM ").and_then(number) {
                self.last = self.guest(vmid);
            } else if let Some(vmid) = rest.strip_prefix("Finished Backup of VM ").and_then(number)
            {
                self.ended(vmid, "OK");
            } else if let Some(at) = rest.strip_prefix("Backup started at ") {
                let at = self.time(at);
                if let Some(guest) = self.last() {
                    guest.began = guest.began.or(at);
                }
            } else if let Some(at) = rest
                .strip_prefix("Backup finished at ")
                .or_else(|| rest.strip_prefix("Failed at "))
            {
                let at = self.time(at);
                if let Some(guest) = self.last() {
                    guest.end = guest.end.or(at);
                }
            }
        } else if let Some(rest) = line.strip_prefix("ERROR: Backup of VM ")
            && let Some(vmid) = number(rest)
            && let Some((_, why)) = rest.split_once(" failed - ")
        {
            self.ended(vmid, why.trim_end());
        }
    }

    /// All guests, in the order in which they were begun.
    pub(crate) fn finish(self) -> Vec<Guest> {
        self.guests
    }

    fn last(&mut self) -> Option<&mut Guest> {
        self.guests.get_mut(self.last?)
    }

    fn guest(&mut self, vmid: u32) -> Option<usize> {
        // Guests come one after another, so it is nearly always the last.
        let known = self.guests.iter().rposition(|guest| guest.vmid == vmid);
        if known.is_some() || self.guests.len() >= MOST {
            return known;
        }
        self.guests.push(Guest {
            vmid,
            began: None,
            end: None,
            status: None,
        });
        Some(self.guests.len() - 1)
    }

    fn ended(&mut self, vmid: u32, status: &str) {
        self.last = self.guest(vmid);
        if let Some(guest) = self.last() {
            guest.status = Some(status.to_owned());
        }
    }

    fn time(&self, text: &str) -> Option<Time> {
        let at: DateTime = text.trim().parse().ok()?;
        let at = self.zone.to_ambiguous_zoned(at).compatible().ok()?;
        i64::try_from(at.timestamp().as_nanosecond()).ok().map(Time)
    }
}

/// The number at the beginning.
fn number(text: &str) -> Option<u32> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(zone: TimeZone, log: &str) -> Vec<Guest> {
        let mut guests = Guests::new(zone);
        log.lines().for_each(|line| guests.line(line));
        guests.finish()
    }

    #[test]
    fn each_guest_is_told_with_its_times_and_its_reason() {
        let log = "INFO: starting new backup job: vzdump 100 101 102 --mode snapshot\n\
            INFO: Starting Backup of VM 100 (qemu)\nINFO: Backup started at 2026-01-26 09:17:31\n\
            INFO: status = running\nINFO: Finished Backup of VM 100 (00:01:12)\nINFO: Backup finished at 2026-01-26 09:18:43\n\
            INFO: Starting Backup of VM 101 (lxc)\nINFO: Backup started at 2026-01-26 09:18:43\n\
            ERROR: Backup of VM 101 failed - command 'x' failed - exit code 2\nINFO: Failed at 2026-01-26 09:20:00\n\
            INFO: Starting Backup of VM 102 (qemu)\nINFO: Backup started at not a time\n";
        let found = guests(TimeZone::get("Europe/Berlin").unwrap(), log);
        let time = |text| Time::parse(text);
        assert_eq!(
            found,
            [
                Guest {
                    vmid: 100,
                    began: time("2026-01-26T08:17:31Z"),
                    end: time("2026-01-26T08:18:43Z"),
                    status: Some("OK".to_owned()),
                },
                Guest {
                    vmid: 101,
                    began: time("2026-01-26T08:18:43Z"),
                    end: time("2026-01-26T08:20:00Z"),
                    status: Some("command 'x' failed - exit code 2".to_owned()),
                },
                Guest {
                    vmid: 102,
                    began: None,
                    end: None,
                    status: None,
                },
            ]
        );
    }

    #[test]
    fn a_guest_that_failed_before_it_was_begun_is_told_too() {
        let found = guests(
            TimeZone::UTC,
            "ERROR: Backup of VM 9 failed - no such VM\nERROR: Backup of VM x failed - y\nINFO: Starting Backup of VM 99999999999 (qemu)\n",
        );
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].vmid, found[0].status.as_deref()),
            (9, Some("no such VM"))
        );
    }

    #[test]
    fn the_number_of_guests_is_bounded() {
        let mut guests = Guests::new(TimeZone::UTC);
        for vmid in 0..MOST as u32 + 5 {
            guests.line(&format!("INFO: Starting Backup of VM {vmid} (qemu)"));
        }
        assert_eq!(guests.finish().len(), MOST);
    }
}
