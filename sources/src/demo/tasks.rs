//! Tasks: the request that starts one, its UPID, what the journal says at its start and at its end.

use super::entry::{Phase, Request};
use super::world::World;

/// Who asks, from where, and through which node.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub user: String,
    pub client: String,
    pub node: usize,
}

/// A task to be.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// `qmstart`
    pub kind: &'static str,
    pub id: String,
    /// The node that runs it.
    pub node: usize,
    /// What the worker says first, without the UPID: `start VM 100:`; nothing where it says nothing.
    pub says: Option<String>,
    /// How long it takes [ms].
    pub takes: i64,
    /// `OK`, or why it failed.
    pub ends: &'static str,
}

/// A task that was planned.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub upid: String,
    /// When it begins [s since 1970].
    pub start: i64,
    /// When it ends [ms from now].
    pub end: i64,
}

impl World {
    /// One request, and its twin where the node that was asked hands it on to another. The second node takes the first for
    /// the client.
    pub(super) fn request(
        &mut self,
        delay: i64,
        caller: &Caller,
        target: usize,
        call: String,
        status: u16,
        length: Option<u32>,
    ) {
        self.on_behalf_of(caller);
        let request = Request {
            client: caller.client.clone(),
            user: caller.user.clone(),
            call,
            status,
            length,
        };
        if target != caller.node {
            let twin = Request {
                client: self.nodes[caller.node].address.clone(),
                ..request.clone()
            };
            self.access(delay, target, twin);
        }
        self.access(delay + 2, caller.node, request);
    }

    /// A task that `caller` starts by `call`; `None` for the scheduler and the shell, which ask nobody.
    pub(super) fn task(
        &mut self,
        delay: i64,
        caller: Option<(&Caller, String)>,
        user: &str,
        ident: &'static str,
        task: Task,
    ) -> Run {
        let Task {
            kind,
            id,
            node,
            says,
            takes,
            ends,
        } = task;
        if let Some((caller, _)) = &caller {
            self.on_behalf_of(caller);
        }
        let (upid, start) = self.upid(node, delay, kind, &id, user);
        let worker = self.nodes[node].next_pid;
        let pid = if caller.is_some() {
            self.daemon_pid(node)
        } else {
            worker
        };
        self.journal(
            delay,
            node,
            ident,
            pid,
            format!("<{user}> starting task {upid}"),
        );
        if let Some(says) = says {
            self.journal(delay + 3, node, ident, worker, format!("{says} {upid}"));
        }
        self.task_fact(delay + 6, node, &upid, start, Phase::Start);
        if let Some((caller, call)) = caller {
            // `{"data":"UPID…","success":1}`, or without the last part in plain JSON. A console answers an object.
            let frame = match kind {
                "vncproxy" | "vncshell" => 1480,
                _ if call.contains("/extjs/") => 23,
                _ => 11,
            };
            let length = u32::try_from(upid.len()).unwrap_or(0) + frame;
            self.request(delay + 20, caller, node, call, 200, Some(length));
        }
        let end = delay + takes;
        if ends != "OK" && ends != "job errors" {
            self.journal(end - 2, node, ident, worker, ends.to_owned());
        }
        self.journal(
            end,
            node,
            ident,
            pid,
            format!("<{user}> end task {upid} {ends}"),
        );
        let log = match ends {
            "OK" => String::new(),
            why => format!("TASK ERROR: {why}"),
        };
        let ended = Phase::End {
            at: (self.now + end).div_euclid(1000),
            status: ends.to_owned(),
            log,
        };
        self.task_fact(end + 4, node, &upid, start, ended);
        Run { upid, start, end }
    }

    fn upid(&mut self, node: usize, delay: i64, kind: &str, id: &str, user: &str) -> (String, i64) {
        let when = self.now + delay;
        let pid = self.new_pid(node);
        let node = &self.nodes[node];
        let ticks = (when - node.booted) / 10;
        let start = when.div_euclid(1000);
        let upid = format!(
            "UPID:{}:{pid:08X}:{ticks:08X}:{start:08X}:{kind}:{id}:{user}:",
            node.name,
        );
        (upid, start)
    }
}
