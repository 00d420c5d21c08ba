//! One program, once, against the counting stand-in: how long, how much CPU, how much memory.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What is measured, and how its events reach it.
pub(crate) struct Program {
    pub(crate) command: Command,
    /// What is sent to a program that listens.
    pub(crate) feed: Option<Feed>,
}

/// A file for a port of this machine.
pub(crate) struct Feed {
    pub(crate) port: u16,
    pub(crate) file: PathBuf,
    pub(crate) by: By,
}

/// How it is sent.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// Over one connection, as fast as it goes.
    Tcp,
    /// Line by line as datagrams, so many a second.
    Udp(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// From the start of the program to the last event in the stand-in [events/s].
    pub(crate) rate: f64,
    /// User and system time of the program alone [µs per event].
    pub(crate) cpu: f64,
    /// Most memory it ever held [MiB].
    pub(crate) peak: f64,
}

/// A program that has not delivered everything by then has failed.
const LIMIT: Duration = Duration::from_secs(300);

/// `start` is given the stand-in's port and makes the program.
pub(crate) fn run(
    events: u64,
    log: &Path,
    start: impl FnOnce(u16) -> io::Result<Program>,
) -> io::Result<Measure> {
    let mut stand_in = Command::new(std::env::current_exe()?)
        .args(["stand-in", &events.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(stand_in.stdout.take().expect("its output is piped"));
    let mut line = String::new();
    said.read_line(&mut line)?;
    let port = line.trim().parse().map_err(io::Error::other)?;
    let outcome = start(port).and_then(|program| watch(events, log, program, said));
    stand_in.kill()?;
    stand_in.wait()?;
    outcome
}

fn watch(
    events: u64,
    log: &Path,
    mut program: Program,
    mut stand_in: BufReader<std::process::ChildStdout>,
) -> io::Result<Measure> {
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if stand_in.read_line(&mut line).is_ok() && !line.is_empty() {
            // The other side has given up waiting if nobody takes it.
            let _ = done.send(Instant::now());
        }
    });
    let begun = Instant::now();
    let mut child = program
        .command
        .stdin(Stdio::piped())
        .stdout(File::create(log)?)
        .stderr(File::options().append(true).open(log)?)
        .spawn()?;
    if let Some(feed) = program.feed.take() {
        std::thread::spawn(move || match feed.by {
            By::Tcp => stream(feed.port, &feed.file),
            By::Udp(rate) => datagrams(feed.port, &feed.file, rate),
        });
    }
    let mut usage = Usage::default();
    let ended = loop {
        match finished.recv_timeout(Duration::from_millis(20)) {
            Ok(at) => break Ok(at),
            Err(mpsc::RecvTimeoutError::Disconnected) => break Err("the stand-in died".to_owned()),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        usage.look(child.id());
        if let Some(status) = child.try_wait()? {
            break Err(format!(
                "it ended with {status} before everything had arrived"
            ));
        }
        if begun.elapsed() > LIMIT {
            break Err(format!(
                "not everything had arrived after {} s",
                LIMIT.as_secs()
            ));
        }
    };
    usage.look(child.id());
    end(&mut child)?;
    match ended {
        Ok(at) => Ok(Measure {
            rate: events as f64 / (at - begun).as_secs_f64(),
            cpu: usage.cpu.as_secs_f64() * 1e6 / events as f64,
            peak: usage.peak_kib as f64 / 1024.0,
        }),
        Err(why) => {
            let text = fs::read_to_string(log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(5).collect();
            Err(io::Error::other(format!(
                "{why}; its last words, newest first: {}",
                tail.join(" | ")
            )))
        }
    }
}

fn stream(port: u16, file: &Path) -> io::Result<u64> {
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let sent = io::copy(&mut File::open(file)?, &mut stream)?;
    stream.flush()?;
    Ok(sent)
}

/// An even pace, a bunch every millisecond: what is measured is the receiver, not how it stands bursts.
fn datagrams(port: u16, file: &Path, rate: u64) -> io::Result<u64> {
    let bound = format!(":{port:04X} ");
    while !fs::read_to_string("/proc/net/udp")?.contains(&bound) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(("127.0.0.1", port))?;
    let began = Instant::now();
    let mut sent = 0;
    for line in BufReader::new(File::open(file)?).lines() {
        socket.send(line?.as_bytes())?;
        sent += 1;
        let due = began + Duration::from_secs_f64(sent as f64 / rate as f64);
        if sent % (rate / 1000).max(1) == 0 {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    Ok(sent)
}

#[derive(Default)]
struct Usage {
    cpu: Duration,
    peak_kib: u64,
}

impl Usage {
    /// Two clocks: the ticks count every thread there ever was, in steps of 10 ms; the scheduler's own clock counts in
    /// nanoseconds, but only threads that still live. The larger is the truth.
    fn look(&mut self, pid: u32) {
        let root = PathBuf::from(format!("/proc/{pid}"));
        if let Ok(stat) = fs::read_to_string(root.join("stat"))
            && let Some((_, fields)) = stat.rsplit_once(')')
        {
            let field = |n: usize| {
                fields
                    .split_whitespace()
                    .nth(n)
                    .and_then(|f| f.parse::<u64>().ok())
                    .unwrap_or(0)
            };
            self.cpu = self
                .cpu
                .max(Duration::from_millis((field(11) + field(12)) * 10));
        }
        if let Ok(threads) = fs::read_dir(root.join("task")) {
            let exact: u64 = threads
                .flatten()
                .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
                .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .sum();
            self.cpu = self.cpu.max(Duration::from_nanos(exact));
        }
        if let Ok(status) = fs::read_to_string(root.join("status"))
            && let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        {
            let kib = peak
                .split_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0);
            self.peak_kib = self.peak_kib.max(kib);
        }
    }
}

/// Closes its input, asks it to end, and insists after 10 s.
fn end(child: &mut Child) -> io::Result<()> {
    drop(child.stdin.take());
    if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        // Already gone is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let asked = Instant::now();
    while child.try_wait()?.is_none() {
        if asked.elapsed() > Duration::from_secs(10) {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
