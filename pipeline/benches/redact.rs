//! What redaction costs: `cargo bench -p pipeline --bench redact`.
//!
//! Buffers of 256 KiB with lines of an access log, as a source reads them; the clean ones hold no secret, in the others one
//! line of a hundred is a console's websocket call with its ticket. Each figure is the best of seven rounds, so that what
//! else the machine does counts least.

use std::hint::black_box;
use std::time::Instant;

use pipeline::Redactor;

const BUFFER: usize = 256 * 1024;
const ROUNDS: usize = 7;
/// Buffers per round: about 256 MiB of text.
const BUFFERS: usize = 1000;

fn main() {
    let redactor = Redactor::default();
    for (name, tickets) in [("no secrets", false), ("1 line of 100 with a ticket", true)] {
        let (text, lines) = buffer(tickets);
        let mut hits = Vec::new();
        let mut out = Vec::with_capacity(BUFFER);
        let mut best = f64::MAX;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for _ in 0..BUFFERS {
                redactor.find(black_box(&text), &mut hits);
                if !hits.is_empty() {
                    out.clear();
                    redactor.apply(&text, &hits, &mut out);
                    black_box(&out);
                }
            }
            best = best.min(began.elapsed().as_secs_f64());
        }
        let made = (lines * BUFFERS) as f64;
        let bytes = (text.len() * BUFFERS) as f64;
        #[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
        {
            println!(
                "{name}: {:.1} ns per line of {} bytes, {:.1} GB/s",
                best / made * 1e9,
                text.len() / lines,
                bytes / best / 1e9
            );
        }
    }
}

/// Whole lines that fill a buffer, and their number.
fn buffer(tickets: bool) -> (Vec<u8>, usize) {
    let mut random = fastrand::Rng::with_seed(7);
    let users = [
        "root@pam",
        "admin@pve",
        "alice@pam",
        "bob@ldap",
        "automation@pve!terraform",
        "monitoring@pve!prom",
        "-",
    ];
    let calls = [
        "GET /api2/json/cluster/resources",
        "GET /api2/json/cluster/tasks",
        "GET /api2/json/nodes/pve1/status",
        "GET /api2/extjs/nodes/pve2/qemu/104/status/current",
        "GET /api2/json/nodes/pve3/qemu/210/rrddata?timeframe=hour&cf=AVERAGE",
        "POST /api2/extjs/access/ticket",
        "GET /pve2/ext6/theme-crisp/resources/theme-crisp-all_1.css",
        "PUT /api2/json/nodes/pve1/lxc/115/config",
    ];
    let (mut text, mut lines) = (Vec::new(), 0);
    while text.len() < BUFFER {
        let call = match tickets && lines % 100 == 50 {
            true => {
                "GET /api2/json/nodes/pve1/qemu/104/vncwebsocket?port=5900&vncticket=PVEVNC%3A69B5F213%3A%3AQk9ETVhBSkxLU0pESEZLSlNIREZLSlNIREY%3D"
            }
            false => calls[random.usize(..calls.len())],
        };
        let line = format!(
            "::ffff:10.0.0.{} - {} [20/11/2026:00:{:02}:{:02} +0100] \"{call} HTTP/1.1\" 200 {}\n",
            random.u8(1..30),
            users[random.usize(..users.len())],
            random.u8(..60),
            random.u8(..60),
            random.u32(10..90_000)
        );
        text.extend_from_slice(line.as_bytes());
        lines += 1;
    }
    (text, lines)
}
