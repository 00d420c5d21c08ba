//! Tasks: the request that starts one, its UPID, what the journal says at its start and at its end.

use super::world::{Act, Request, World};

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
        let request = Request {
            node: caller.node,
            client: caller.client.clone(),
            user: caller.user.clone(),
            call,
            status,
            length,
        };
        if target != caller.node {
            let twin = Request {
                node: target,
                client: self.nodes[caller.node].address.clone(),
                ..request.clone()
            };
            self.plan(delay, Act::Access(twin));
        }
        self.plan(delay + 2, Act::Access(request));
    }

    /// A task that `caller` starts by `call`; `None` for the scheduler and the shell, which ask nobody. Gives the time at
    /// which it ends [ms from now].
    pub(super) fn task(
        &mut self,
        delay: i64,
        caller: Option<(&Caller, String)>,
        user: &str,
        ident: &'static str,
        task: Task,
    ) -> i64 {
        let Task {
            kind,
            id,
            node,
            says,
            takes,
            ends,
        } = task;
        let upid = self.upid(node, delay, kind, &id, user);
        let pid = if caller.is_some() {
            self.daemon_pid(node)
        } else {
            self.nodes[node].next_pid
        };
        self.journal(
            delay,
            node,
            ident,
            pid,
            format!("<{user}> starting task {upid}"),
        );
        if let Some(says) = says {
            let worker = self.nodes[node].next_pid;
            self.journal(delay + 3, node, ident, worker, format!("{says} {upid}"));
        }
        if let Some((caller, call)) = caller {
            // `{"data":"UPID…","success":1}`, or without the last part in plain JSON. A console answers an object.
            let frame = match kind {
                "vncproxy" => 1480,
                _ if call.contains("/extjs/") => 23,
                _ => 11,
            };
            let length = u32::try_from(upid.len()).unwrap_or(0) + frame;
            self.request(delay + 20, caller, node, call, 200, Some(length));
        }
        let end = delay + takes;
        if ends != "OK" && ends != "job errors" {
            let worker = self.nodes[node].next_pid;
            self.journal(end - 2, node, ident, worker, ends.to_owned());
        }
        self.journal(
            end,
            node,
            ident,
            pid,
            format!("<{user}> end task {upid} {ends}"),
        );
        end
    }

    fn upid(&mut self, node: usize, delay: i64, kind: &str, id: &str, user: &str) -> String {
        let when = self.now + delay;
        let step = self.random.u32(3..40);
        let node = &mut self.nodes[node];
        node.next_pid += step;
        let ticks = (when - node.booted) / 10;
        format!(
            "UPID:{}:{:08X}:{ticks:08X}:{:08X}:{kind}:{id}:{user}:",
            node.name,
            node.next_pid,
            when / 1000
        )
    }
}
