//! The memory that `correlate` takes for a hundred thousand tasks that run at once, counted by the allocator.
#![allow(
    unsafe_code,
    reason = "an allocator that counts hands everything on to that of the system"
)]
#![allow(clippy::print_stdout, reason = "the figure is worth reading")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use pipeline::{Event, EventId, Field, Time, fields, testing};
use transforms::correlate::Config;

/// Counts what is held [bytes].
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to `System` as it came, and counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TASKS: u32 = 100_000;
const MOST: usize = 64 << 20;

struct Maker {
    number: u64,
    fields: Vec<(&'static str, Field)>,
}

impl Maker {
    fn event(&mut self, at: Time, values: &[(&'static str, &str)]) -> Event {
        self.number += 1;
        let mut event = Event::new(EventId([7, self.number]), at);
        for (path, value) in values {
            let known = self.fields.iter().find(|(held, _)| held == path);
            let field = match known {
                Some((_, field)) => *field,
                None => {
                    self.fields.push((path, Field::new(path)));
                    Field::new(path)
                }
            };
            match value.parse::<i64>() {
                Ok(number) if *path != "pve.object.id" => event.set(field, number),
                _ => event.set_str(field, value),
            }
        }
        event
    }

    /// The line of the call and the start of its task.
    fn task(&mut self, n: u32) -> [Event; 2] {
        let at = testing::at("0 s").after(Duration::from_secs(7200 + u64::from(n / 2)));
        let vmid = (100 + n).to_string();
        let start = at.0 / 1_000_000_000;
        let upid = format!("UPID:pve1:{n:08X}:00F3C1D2:{start:08X}:qmstart:{vmid}:alice@pve:");
        let path = format!("/api2/extjs/nodes/pve1/qemu/{vmid}/status/start");
        let bytes = (upid.len() + 23).to_string();
        let original = format!("192.0.2.10 - alice@pve [x] \"POST {path} HTTP/1.1\" 200 {bytes}");
        let line = self.event(
            at,
            &[
                ("host.name", "pve1"),
                ("pve.origin", "access"),
                ("pve.record", "evidence"),
                ("pve.source.attribution", "direct"),
                ("source.ip", "192.0.2.10"),
                ("related.ip", "192.0.2.10"),
                ("http.request.method", "POST"),
                ("url.path", &path),
                ("http.response.status_code", "200"),
                ("http.response.body.bytes", &bytes),
                ("event.code", "PVE-2003"),
                ("event.outcome", "success"),
                ("event.original", &original),
                ("user.id", "alice@pve"),
                ("pve.object.type", "vm"),
                ("pve.object.id", &vmid),
                ("pve.vmid", &vmid),
            ],
        );
        let task = self.event(
            at,
            &[
                ("host.name", "pve1"),
                ("pve.origin", "journal"),
                ("pve.record", "primary"),
                ("pve.source.attribution", "none"),
                ("pve.task.upid", &upid),
                ("pve.task.phase", "start"),
                ("pve.task.type", "qmstart"),
                ("event.code", "PVE-2003"),
                ("event.outcome", "unknown"),
                (
                    "event.original",
                    &format!("<alice@pve> starting task {upid}"),
                ),
                ("user.id", "alice@pve"),
                ("process.name", "pvedaemon"),
                ("pve.object.type", "vm"),
                ("pve.object.id", &vmid),
                ("pve.vmid", &vmid),
            ],
        );
        [line, task]
    }
}

#[test]
fn a_hundred_thousand_open_tasks_take_64_mib_at_most() {
    let mut maker = Maker {
        number: 0,
        fields: Vec::new(),
    };
    let mut bench = testing::stateful::<Config>("");
    let _ = (maker.task(0), fields::MESSAGE);
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let (mut told, mut matched) = (0, 0);
    let ground = Field::new("pve.source.attribution");
    let phase = Field::new("pve.task.phase");
    let mut count = |outcome: &testing::Outcome| {
        for event in outcome.events().iter().filter(|event| event.has(phase)) {
            told += 1;
            matched += usize::from(event.str(ground) == Some("matched"));
        }
    };
    // Two in a second: after fourteen hours all of them run.
    for tenth in 0..TASKS / 20 {
        let events = (0..20)
            .flat_map(|n| maker.task(1 + tenth * 20 + n))
            .collect();
        count(&bench.feed(events));
        count(&bench.wait(Duration::from_secs(10)));
    }
    let busy = PEAK.load(Relaxed) - before;
    // The lines of the calls are forgotten after two hours; the tasks run on.
    count(&bench.wait(Duration::from_secs(3600 * 3)));
    let rest = HELD.load(Relaxed) - before;
    println!(
        "at most {} KiB with their lines, {} KiB without",
        busy >> 10,
        rest >> 10
    );
    assert_eq!((told, matched), (TASKS as usize, TASKS as usize));
    assert!(busy <= MOST && rest <= MOST, "{busy} and {rest} bytes");
}
