//! Attribution against a known truth: real lines go through `grok`, `event_id` and `correlate`, and every user and address
//! that comes out is compared with who it really was and from where. Not knowing is allowed; a wrong answer is not.
//!
//! A short form runs with all tests. The whole day of a hundred thousand acts:
//! `cargo test --test attribution -- --ignored --nocapture`, which `PVETRAIL_LONG=1 tests/all` runs too.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]
#![allow(
    clippy::print_stdout,
    reason = "the counts of right and wrong answers are what it shows"
)]

#[path = "attribution/judge.rs"]
mod judge;
#[path = "attribution/road.rs"]
mod road;
#[path = "attribution/world.rs"]
mod world;

use road::run;
use world::{Setup, World};

/// [ms]
const MINUTE: i64 = 60_000;
/// Five minutes ahead, four behind, and set right at noon.
const APART: [[i64; 2]; 3] = [[0, 0], [290_000, 290_000], [-240_000, 0]];
/// The node whose files are watched is the one that is wrong.
const OBSERVER: [[i64; 2]; 3] = [[-290_000, -290_000], [0, 0], [200_000, 200_000]];

fn judge(setup: Setup) {
    println!("{setup:?}");
    // Where a list of tasks is read every half minute and no journal is, much stays open.
    let seldom = setup.lists.iter().any(|every| *every > 15_000);
    run(World::new(setup)).check(if seldom { 0.7 } else { 1.0 });
}

#[test]
fn nobody_is_accused_where_clocks_are_right() {
    judge(Setup::new(11, 3000, 4));
}

#[test]
fn nobody_is_accused_where_clocks_are_wrong() {
    for (seed, clocks) in [(2, APART), (3, OBSERVER)] {
        judge(Setup {
            clocks,
            ..Setup::new(seed, 3000, 4)
        });
    }
}

#[test]
fn nobody_is_accused_after_the_program_or_the_folder_stood_still() {
    judge(Setup {
        stops: vec![(60 * MINUTE, 90 * MINUTE), (150 * MINUTE, 151 * MINUTE)],
        hangs: vec![(100 * MINUTE, 120 * MINUTE), (200 * MINUTE, 201 * MINUTE)],
        ..Setup::new(4, 3000, 4)
    });
}

#[test]
fn nobody_is_accused_where_tasks_are_listed_late_and_the_api_tells_what_changed() {
    judge(Setup {
        lists: [2000, 30_000, 30_000],
        api: true,
        ..Setup::new(5, 3000, 4)
    });
    judge(Setup {
        api: true,
        config: false,
        ..Setup::new(6, 3000, 4)
    });
}

#[test]
#[ignore = "a whole day, some minutes: cargo test --test attribution -- --ignored --nocapture"]
fn a_hundred_thousand_acts_and_nobody_is_accused() {
    for seed in [7, 8] {
        let hour = 60 * MINUTE;
        judge(Setup {
            clocks: if seed == 7 { APART } else { OBSERVER },
            api: true,
            stops: vec![(6 * hour, 7 * hour), (15 * hour, 15 * hour + 2 * MINUTE)],
            hangs: vec![(10 * hour, 11 * hour)],
            ..Setup::new(seed, 100_000, 24)
        });
    }
}
