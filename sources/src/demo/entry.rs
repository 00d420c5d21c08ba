//! What the cluster writes down: an entry of one of its seven records, and how each looks to whoever reads that record.

use std::sync::Arc;

/// One of the records in which a cluster leaves traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Log {
    /// `/var/log/pveproxy/access.log`
    Access,
    /// The journal of PVE's own daemons, as `journald` reads it.
    Journal,
    /// `/var/log/auth.log`, as rsyslog writes it: ssh, sudo, PAM.
    Syslog,
    /// `/var/log/pve-firewall.log`
    Firewall,
    /// The task lists, as `pve_tasks` reads them.
    Tasks,
    /// The cluster's log and what guests and nodes are doing, as `pve_api` reads them.
    Cluster,
    /// Files below `/etc/pve`, as `pve_config` reads them.
    Config,
}

impl Log {
    pub(super) const ALL: [Log; 7] = [
        Log::Access,
        Log::Journal,
        Log::Syslog,
        Log::Firewall,
        Log::Tasks,
        Log::Cluster,
        Log::Config,
    ];

    /// Its name in lanes.
    pub(super) fn name(self) -> &'static str {
        match self {
            Log::Access => "access",
            Log::Journal => "journal",
            Log::Syslog => "syslog",
            Log::Firewall => "firewall",
            Log::Tasks => "tasks",
            Log::Cluster => "cluster",
            Log::Config => "config",
        }
    }

    /// The file, of those that are files of lines.
    pub(super) fn path(self) -> Option<&'static str> {
        match self {
            Log::Access => Some("/var/log/pveproxy/access.log"),
            Log::Syslog => Some("/var/log/auth.log"),
            Log::Firewall => Some("/var/log/pve-firewall.log"),
            Log::Journal | Log::Tasks | Log::Cluster | Log::Config => None,
        }
    }
}

/// On whose behalf something is written: what an auditor wants to know, and what the records do not always tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// `alice@pve`, with a token `alice@pve!ci`.
    pub user: String,
    /// Where the person or the program sits; `None` where the cluster acts by itself.
    pub address: Option<String>,
    /// The attack that it belongs to.
    pub attack: Option<&'static str>,
}

/// Something written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its number in this world.
    pub number: u64,
    /// [ms since 1970]
    pub when: i64,
    /// The node that writes it.
    pub node: usize,
    pub by: Option<Arc<Who>>,
    pub what: What,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Access(Request),
    Journal(Said),
    Syslog(Said),
    Firewall(Packet),
    Task(TaskFact),
    ClusterLog {
        said: Said,
        /// When it was said [s since 1970]; whoever asks the API hears of it later.
        at: i64,
    },
    State(StateFact),
    Config(Change),
}

impl What {
    pub(super) fn log(&self) -> Log {
        match self {
            What::Access(_) => Log::Access,
            What::Journal(_) => Log::Journal,
            What::Syslog(_) => Log::Syslog,
            What::Firewall(_) => Log::Firewall,
            What::Task(_) => Log::Tasks,
            What::ClusterLog { .. } | What::State(_) => Log::Cluster,
            What::Config(_) => Log::Config,
        }
    }
}

/// A request, as the access log sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub client: String,
    /// `-` where nobody was logged in.
    pub user: String,
    /// `GET /api2/json/version`
    pub call: String,
    pub status: u16,
    /// Bytes of the answer.
    pub length: Option<u32>,
}

/// A line that a program says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub ident: &'static str,
    /// 0 where the line carries none, as sudo's do not.
    pub pid: u32,
    pub text: String,
}

impl Said {
    /// syslog's severity: PVE says most things at `info`, and what failed at `err`.
    pub(super) fn severity(&self) -> u8 {
        let failed = self.text.contains("authentication failure")
            || self.text.starts_with("ERROR:")
            || self.text.contains("> end task ") && !self.text.ends_with(": OK");
        match failed {
            true if self.ident == "pveproxy" => 4,
            true => 3,
            false => 6,
        }
    }
}

/// A packet that the firewall logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub vmid: u32,
    pub chain: String,
    /// `policy DROP: IN=vmbr0 …`
    pub text: String,
}

/// A task, as the task lists know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TaskFact {
    pub upid: String,
    /// [s since 1970]
    pub start: i64,
    pub phase: Phase,
}

/// What is told of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Start,
    End {
        /// [s since 1970]
        at: i64,
        status: String,
        /// The end of its log, where it did not end well.
        log: String,
    },
    /// One guest of a backup of several.
    Guest {
        vmid: u32,
        /// [s since 1970]
        began: i64,
        ended: i64,
        status: String,
    },
}

/// What an object is doing, as the inventory sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateFact {
    pub object: &'static str,
    pub id: String,
    pub name: String,
    pub vmid: Option<u32>,
    pub node: String,
    pub status: &'static str,
    /// Once an hour.
    pub shares: Option<Shares>,
}

/// Processor, memory, disk [thousandths of what there is].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares(pub [u16; 3]);

/// An object that changed in a file below `/etc/pve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub path: String,
    pub object: &'static str,
    pub id: String,
    /// The permission path, where there is one.
    pub object_path: Option<String>,
    pub vmid: Option<u32>,
    pub kind: Kind,
    pub rows: Vec<Row>,
    /// The account acted upon.
    pub target: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Creation,
    Change,
    Deletion,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Creation => "creation",
            Kind::Change => "change",
            Kind::Deletion => "deletion",
        }
    }
}

/// A key before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub key: &'static str,
    pub old: Option<String>,
    pub new: Option<String>,
}
