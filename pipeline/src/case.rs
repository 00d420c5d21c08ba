//! Runs a graph as a test: on one thread, without sockets, files of its own or a clock, the same bytes every time.
//!
//! Lines stand in for the sources: each source's place in the graph is fed from `in.log`. The transforms are the real ones,
//! those that remember inside their real wrapper, with a disk that answers at once. What arrives at the sinks is written
//! down as JSON instead of being sent.
//!
//! A **case** is a folder with
//! - `graph.toml`: the smallest graph that shows what the folder's name promises,
//! - `in.log`: raw lines for every source (or `in.<source>.log` for one of them); `@ +61 s` on a line of its own moves the
//!   clock, `@ 2026-03-14T23:00:00Z` sets it; while it moves, every source says once a second that there is nothing to read,
//! - `in.jsonl` or `in.<source>.jsonl`: the same with whole events, for sources that do not read lines,
//! - `in/1`, `in/2` … (or `in.<source>/1`): for sources that read folders, what lies under `${TREE}` at the beginning, a minute
//!   later, and so on; the real source reads it,
//! - `out.jsonl`: what comes out, one JSON object a line (`out.<sink>.jsonl` for each sink if there are several).
//!
//! Inputs are merged by (time, source in the order of the graph, place in the file). The clock starts at [`START`], the host
//! is `pve1`.

mod bench;
mod condition;
mod folder;
mod input;
mod replay;
mod told;
mod trees;

pub use folder::{CaseResult, CaseVerdict, find_cases, run_folder};
pub(crate) use input::event;
pub use replay::{Replay, to_write};
pub use told::{TestResult, run_tests};

use crate::clock::Time;

/// When every case begins: 2026-03-14T23:00:00Z.
pub const START: Time = Time(1_773_529_200 * crate::clock::SECOND);

/// The host on which every case happens.
pub const HOST: &str = "pve1";
