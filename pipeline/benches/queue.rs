//! What the disk queue costs, beside the bare disk: `cargo bench -p pipeline --bench queue [FOLDER]`.
//!
//! The disk's own rate is that of writing a file 1 MiB at a time with an fdatasync after each, as the queue does, and of
//! reading it back in such pieces, not from memory. Then the same bytes as events of an access log go through the queue.
//! Disks are moody, so bare disk and queue take turns and each figure is the best of its rounds.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark may end early")]

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use pipeline::testing::{QueueBench, RecordBench, access_batch};

const ROUNDS: usize = 5;
const PIECE: usize = 1 << 20;
/// As many as a read of 256 KiB holds.
const EVENTS: usize = 1300;
/// Batches of one round: about 110 MiB on the disk.
const BATCHES: usize = 320;

fn main() {
    records();
    let folder = std::env::args().nth(1).filter(|it| !it.starts_with('-'));
    let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("pvetrail-queue-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    disk(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Records alone, without a disk.
fn records() {
    let batch = access_batch(0, EVENTS);
    let mut bench = RecordBench::default();
    let (mut out, mut write, mut read) = (Vec::new(), f64::MAX, f64::MAX);
    for _ in 0..ROUNDS * 2 {
        let began = Instant::now();
        for _ in 0..BATCHES {
            out.clear();
            bench.write(black_box(&batch), &mut out);
        }
        write = write.min(began.elapsed().as_secs_f64());
        let began = Instant::now();
        for _ in 0..BATCHES {
            assert_eq!(bench.read(black_box(&out)), EVENTS);
        }
        read = read.min(began.elapsed().as_secs_f64());
    }
    let each = (EVENTS * BATCHES) as f64;
    println!(
        "records: {} bytes per event, written in {:.0} ns, read in {:.0} ns",
        out.len() / EVENTS,
        write / each * 1e9,
        read / each * 1e9
    );
}

fn disk(folder: &Path) {
    let queue = QueueBench::new(&folder.join("queue"));
    let mut best = [f64::MAX; 4];
    let mut cpu = [f64::MAX; 2];
    let mut size = 0;
    for round in 0..ROUNDS {
        let batches: Vec<_> = (0..BATCHES as u64)
            .map(|n| access_batch(n * EVENTS as u64, EVENTS))
            .collect();
        let (began, used) = (Instant::now(), cpu_time());
        queue.fill(batches);
        best[1] = best[1].min(began.elapsed().as_secs_f64());
        cpu[0] = cpu[0].min(cpu_time() - used);
        size = files(&folder.join("queue"));
        if round == 0 {
            println!("queue: {} MiB for {} events", size >> 20, BATCHES * EVENTS);
        }
        best[0] = best[0].min(write(&folder.join("bare"), size));
        forget(&folder.join("bare"));
        best[2] = best[2].min(read(&folder.join("bare")));
        let used = cpu_time();
        let (events, took) = queue.empty(|| {
            for entry in std::fs::read_dir(folder.join("queue")).unwrap() {
                forget(&entry.unwrap().path());
            }
        });
        assert_eq!(events, BATCHES * EVENTS);
        best[3] = best[3].min(took.as_secs_f64());
        cpu[1] = cpu[1].min(cpu_time() - used);
    }
    let rate = |secs: f64| size as f64 / secs / 1e6;
    for (name, bare, queue, cpu) in [
        ("write", best[0], best[1], cpu[0]),
        ("read", best[2], best[3], cpu[1]),
    ] {
        println!(
            "{name}: disk {:.0} MB/s, queue {:.0} MB/s = {:.0} %, {:.0} ns of CPU per event, of which the kernel has its part",
            rate(bare),
            rate(queue),
            bare / queue * 100.0,
            cpu / (BATCHES * EVENTS) as f64 * 1e9
        );
    }
}

fn write(path: &Path, size: u64) -> f64 {
    let piece = vec![0x5a; PIECE];
    let began = Instant::now();
    let mut file = File::create(path).unwrap();
    let mut left = size;
    while left > 0 {
        let n = left.min(PIECE as u64);
        file.write_all(&piece[..n as usize]).unwrap();
        file.sync_data().unwrap();
        left -= n;
    }
    began.elapsed().as_secs_f64()
}

fn read(path: &Path) -> f64 {
    let mut piece = vec![0; PIECE];
    let began = Instant::now();
    let mut file = File::open(path).unwrap();
    while file.read(&mut piece).unwrap() > 0 {}
    began.elapsed().as_secs_f64()
}

/// Takes a file out of memory, so that it is read from the disk.
fn forget(path: &Path) {
    let file = File::open(path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

fn files(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

/// Time on the CPU that this process has had, in steps of 10 ms [s].
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = |n: usize| -> f64 { fields.split_whitespace().nth(n).unwrap().parse().unwrap() };
    (ticks(11) + ticks(12)) / 100.0
}
