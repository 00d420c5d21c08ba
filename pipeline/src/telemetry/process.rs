//! What the kernel says about this process, under the names every Prometheus client uses.

use std::fs;

use super::samples::Families;

/// Parts of a second in which Linux counts CPU time for programs: the same on every architecture it runs PVE on.
const TICKS: f64 = 100.0;

/// Adds memory, CPU time and open files; a system without `/proc` adds nothing.
pub(super) fn read(families: &mut Families) {
    if let Ok(text) = fs::read_to_string("/proc/self/status") {
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        if let Some(kib) = line.and_then(|line| field(line, 0)) {
            let help = "Memory held by this process.";
            families.gauge("process_resident_memory_bytes", help, &[], kib * 1024.0);
        }
    }
    if let Ok(text) = fs::read_to_string("/proc/self/stat") {
        // The name of the program stands in brackets and may hold blanks; the counting begins behind it.
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        if let (Some(user), Some(system)) = (field(rest, 11), field(rest, 12)) {
            let help = "CPU time used by this process.";
            families.counter(
                "process_cpu_seconds_total",
                help,
                &[],
                (user + system) / TICKS,
            );
        }
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        let open = u32::try_from(entries.count()).unwrap_or(u32::MAX);
        let help = "Files held open by this process.";
        families.gauge("process_open_fds", help, &[], f64::from(open));
    }
}

fn field(text: &str, at: usize) -> Option<f64> {
    text.split_ascii_whitespace().nth(at)?.parse().ok()
}
