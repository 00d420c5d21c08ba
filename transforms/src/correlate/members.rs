//! The list of the cluster's nodes is kept up to date.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use pipeline::{Outputs, Time};

use super::{Correlate, hosts};

impl Correlate {
    /// Reads the cluster's list of its nodes once a minute, and every second while no node is known. The cluster file system
    /// may hang, so whoever reads it is no thread of ours, and is waited for no longer than [`LIMIT`].
    pub(super) fn read_members(&mut self, now: Time, out: &mut Outputs) {
        let every = Duration::from_secs(if self.hosts.knows_members() { 60 } else { 1 });
        let early = |at: Time| now.since(at) < every && at <= now;
        if self.reading.is_none() && self.looked.is_some_and(early) {
            return;
        }
        let mut known = false;
        if let Some(inventory) = &self.inventory {
            for (name, node) in inventory.snapshot().nodes() {
                if let Some(ip) = node.address {
                    self.hosts
                        .add_member(ip.to_canonical(), Some(name), Some(now));
                    known = true;
                }
            }
        }
        let (reading, wait) = match self.reading.take() {
            Some(reading) => (reading, Duration::ZERO),
            None => match self.ask_members() {
                Ok(reading) => (reading, LIMIT),
                Err(why) => {
                    self.looked = Some(now);
                    return self.tell_unreadable(&why.to_string(), out);
                }
            },
        };
        let text = match reading.recv_timeout(wait) {
            Ok(Ok(text)) => text,
            Ok(Err(why)) => {
                self.looked = Some(now);
                return self.tell_unreadable(&why.to_string(), out);
            }
            Err(RecvTimeoutError::Timeout) => {
                (self.looked, self.reading) = (Some(now), Some(reading));
                return self.tell_unreadable("the cluster file system does not answer", out);
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.looked = Some(now);
                return self.tell_unreadable("whoever was to read it is gone", out);
            }
        };
        let Some(text) = text else {
            // No node of a cluster; the API may have named some.
            if known {
                self.members_named(now, out);
            }
            self.looked = Some(now);
            return;
        };
        let nodes = hosts::parse_members(&text);
        if nodes.is_empty() {
            self.tell_unreadable("it names no node", out);
        } else {
            self.unreadable = false;
            for (node, ip) in nodes {
                self.hosts.add_member(ip, Some(&node), Some(now));
            }
            self.members_named(now, out);
        }
        self.looked = Some(now);
    }

    /// The cluster has said which nodes it has: those that left go, and it is told, once an hour, where there is no room.
    fn members_named(&mut self, now: Time, out: &mut Outputs) {
        let just = |at: Time| at <= now && now.since(at) < Duration::from_secs(3600);
        if !self.hosts.forget_members(now) || self.crowded.is_some_and(just) {
            return;
        }
        self.crowded = Some(now);
        let most = hosts::MOST;
        let text = format!(
            "the cluster names more than {most} addresses of nodes, and no more are known apart; nodes that are not known may be taken for clients"
        );
        tracing::warn!(
            most,
            "there are more addresses of nodes than are remembered"
        );
        out.tell(pipeline::Told::new("PVE-9018", text));
    }

    /// Begins to read the list.
    fn ask_members(&self) -> std::io::Result<Reading> {
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let path = self.members.clone();
        let read = move || {
            // Nobody waits for it any more where this fails.
            let _ = send.send(hosts::read_members(&path));
        };
        std::thread::Builder::new()
            .name("members".to_owned())
            .spawn(read)?;
        Ok(receive)
    }

    /// The list cannot be read: that is told once, until it can.
    fn tell_unreadable(&mut self, why: &str, out: &mut Outputs) {
        if std::mem::replace(&mut self.unreadable, true) {
            return;
        }
        let path = self.members.display().to_string();
        tracing::warn!(%path, %why, "the cluster's list of its nodes cannot be read");
        let text = format!(
            "the cluster's list of its nodes cannot be read: {path}: {why}; nodes that are not known may be taken for clients"
        );
        out.tell(pipeline::Told::new("PVE-9012", text).failed(why));
    }
}

/// The list of members as it will have been read.
pub(super) type Reading = Receiver<std::io::Result<Option<Vec<u8>>>>;

/// So long the cluster file system is waited for.
const LIMIT: Duration = Duration::from_secs(1);
