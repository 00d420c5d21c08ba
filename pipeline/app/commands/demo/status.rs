//! The line at the bottom of the terminal: the rows above it scroll, it stays.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::termios::tcgetwinsize;

use super::tally::Tally;
use crate::say;

/// Between two pictures.
const TICK: Duration = Duration::from_millis(500);
/// Fewer rows have no room for it.
const LEAST_ROWS: u16 = 5;

/// Draws until it is dropped, and then leaves the terminal as it was.
pub(super) struct StatusLine(Option<tokio::task::JoinHandle<()>>);

impl StatusLine {
    /// Draws nothing where standard output is no terminal.
    pub(super) fn start(tally: Arc<Tally>) -> Self {
        StatusLine(
            std::io::stdout()
                .is_terminal()
                .then(|| tokio::spawn(draw(tally))),
        )
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            if let Some(rows) = rows() {
                // All rows scroll again, and the last one is empty.
                say::write(&format!("\x1b7\x1b[r\x1b[{rows};1H\x1b[2K\x1b8"));
            }
        }
    }
}

async fn draw(tally: Arc<Tally>) {
    let mut framed = None;
    let mut last = (Instant::now(), 0_u64);
    loop {
        let events = tally.events.load(Ordering::Relaxed);
        let took = last.0.elapsed().as_millis().max(1);
        let rate = u128::from(events - last.1) * 1000 / took;
        if last.0.elapsed() >= 2 * TICK {
            last = (Instant::now(), events);
        }
        if let Some(rows) = rows() {
            let mut text = String::new();
            if framed != Some(rows) {
                framed = Some(rows);
                // One row up, if the cursor stands in the last; then everything but the last row scrolls.
                text.push_str(&format!("\x1bD\x1bM\x1b7\x1b[1;{}r\x1b8", rows - 1));
            }
            let line = tally.line(u64::try_from(rate).unwrap_or(u64::MAX));
            text.push_str(&format!(
                "\x1b7\x1b[{rows};1H\x1b[2K\x1b[7m {line} \x1b[0m\x1b8"
            ));
            if !say::write(&text) {
                return;
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

fn rows() -> Option<u16> {
    tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| size.ws_row)
        .filter(|rows| *rows >= LEAST_ROWS)
}
