//! What an event is to the correlation, by the fields that `event_id` gave it.

use std::net::IpAddr;

use pipeline::pve::{Answer, Endpoint, Upid, Verdict, upid_length};
use pipeline::{Event, ValueRef, fields};

use super::names::NAMES;

/// Reading over the API: nothing is ever joined with it, and it is nearly everything there is.
pub(super) const READ: &str = "PVE-1013";
/// A writing call of which the catalogue knows nothing, so that nothing is ever joined with it either.
const UNKNOWN_WRITE: &str = "PVE-1014";
/// A login.
pub(super) const LOGIN: &str = "PVE-1001";
/// A login that failed.
pub(super) const LOGIN_FAILED: &str = "PVE-1002";
/// A login renewed.
pub(super) const RENEWED: &str = "PVE-1003";
/// A first factor, a second one pending.
pub(super) const FIRST_FACTOR: &str = "PVE-1005";
/// A call without a valid login.
pub(super) const REFUSED: &str = "PVE-1011";

/// A password changed.
pub(super) const PASSWORD: &str = "PVE-3006";
/// A second factor unlocked.
pub(super) const UNLOCK: &str = "PVE-3007";

/// What an event is.
pub(super) enum Kind {
    /// Nothing to do with it.
    Other,
    /// A record of a task: its UPID and phase are there.
    Task,
    /// A line of the access log that is no reading.
    Line,
    /// Someone logged in, without an address.
    Login,
    /// A login that failed, or a refusal, as the journal tells it.
    Refusal,
    /// A change that the journal or the cluster log tells with its author.
    Change,
    /// A difference of a configuration.
    Difference,
}

/// Records of the same thing, the best first: PVE's own list, the journal, a file of syslog, the cluster log.
pub(super) fn rank(event: &Event) -> u8 {
    match event.str(NAMES.origin) {
        Some("task") => 0,
        Some("journal") => 1,
        Some("syslog") => 2,
        _ => 3,
    }
}

/// Whether an event goes on as it is, by as few looks as can be.
#[inline]
pub(super) fn passes(event: &Event) -> bool {
    match event.str(fields::EVENT_CODE) {
        Some(UNKNOWN_WRITE) => true,
        // A websocket is the other end of a console.
        Some(READ) => event.get(fields::HTTP_STATUS) != Some(ValueRef::Int(101)),
        None => true,
        Some(_) => matches!(kind(event), Kind::Other),
    }
}

/// What the event is.
pub(super) fn kind(event: &Event) -> Kind {
    let names = &*NAMES;
    if !event.has(names.record) {
        return Kind::Other;
    }
    let code = event.str(fields::EVENT_CODE).unwrap_or_default();
    match event.str(names.origin).unwrap_or_default() {
        "access" if code != UNKNOWN_WRITE && event.has(fields::HTTP_METHOD) => Kind::Line,
        "task" if has_task(event) => Kind::Task,
        "journal" | "syslog" | "api" if has_task(event) => Kind::Task,
        "journal" | "syslog" | "api" if code == LOGIN => Kind::Login,
        "journal" | "syslog" if code == REFUSED => Kind::Refusal,
        // PAM tells the same attempt a second time, as evidence.
        "journal" | "syslog" if code == LOGIN_FAILED => match event.str(names.record) {
            Some("primary") => Kind::Refusal,
            _ => Kind::Other,
        },
        // It says whose password was changed, and the call by whom.
        "journal" | "syslog" if code == PASSWORD => Kind::Difference,
        "config" => Kind::Difference,
        "api"
            if event.has(names.changes)
                && event.has(names.object_type)
                && !event.has(fields::PROCESS_NAME)
                && event.str(fields::EVENT_KIND) != Some("state")
                // Nobody takes a node or the quorum away with a call.
                && !matches!(code, "PVE-6004" | "PVE-6005" | "PVE-6021" | "PVE-6022") =>
        {
            Kind::Difference
        }
        "journal" | "syslog" | "api"
            if event.has(names.vmid)
                && event.has(fields::USER_ID)
                && event.str(fields::EVENT_KIND) != Some("state")
                && is_guest(code) =>
        {
            Kind::Change
        }
        _ => Kind::Other,
    }
}

fn has_task(event: &Event) -> bool {
    event.has(NAMES.upid) && event.has(NAMES.phase)
}

/// Codes of acts upon guests.
fn is_guest(code: &str) -> bool {
    code.starts_with("PVE-20") || code.starts_with("PVE-21")
}

/// Whether such an act can be what changed a file of the configuration. Whoever sends keys or commands to a running guest, or
/// checks a ticket, changes none, and must not be taken for the author of a change that came by just then.
pub(super) fn writes_files(code: &str) -> bool {
    !matches!(
        code,
        "PVE-1001"
            | "PVE-1002"
            | "PVE-1015"
            | "PVE-2023"
            | "PVE-2123"
            | "PVE-2026"
            | "PVE-2027"
            | "PVE-2028"
            | "PVE-2029"
            | "PVE-2301"
            | "PVE-2302"
            | "PVE-2311"
            | "PVE-5205"
            | "PVE-6001"
            | "PVE-6035"
            | "PVE-6073"
            | "PVE-6074"
            | "PVE-6075"
            | "PVE-6093"
    )
}

/// `alice@pve` or `alice@pve!ci`.
pub(super) fn user(event: &Event) -> Option<String> {
    let id = event.str(fields::USER_ID).filter(|id| *id != "-")?;
    Some(match event.str(NAMES.token) {
        Some(token) => format!("{id}!{token}"),
        None => id.to_owned(),
    })
}

/// The address in `source.ip`.
pub(super) fn address(event: &Event) -> Option<IpAddr> {
    let ip: IpAddr = event.str(fields::SOURCE_IP)?.parse().ok()?;
    Some(ip.to_canonical())
}

/// A whole number, also where it came as text.
fn number(event: &Event, field: pipeline::Field) -> Option<i64> {
    match event.get(field)? {
        ValueRef::Int(number) => Some(number),
        ValueRef::Str(text) => text.parse().ok(),
        _ => None,
    }
}

/// What a line of the access log may be joined with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It forked a task, or may have.
    Fork,
    /// It changed something without a task.
    Write,
    /// Someone logged in.
    Ticket,
    /// Someone tried to.
    BadTicket,
    /// It was refused for want of a valid login.
    Unknown,
    /// It failed, or was refused.
    Failed,
}

impl Role {
    pub(super) const ALL: [Role; 6] = [
        Role::Fork,
        Role::Write,
        Role::Ticket,
        Role::BadTicket,
        Role::Unknown,
        Role::Failed,
    ];
}

/// A call as a line tells it.
pub(super) struct Call {
    pub(super) role: Role,
    /// The node the call is for, if the path says so.
    pub(super) node: Option<String>,
    pub(super) vmid: Option<i64>,
    /// The guest that its task names.
    pub(super) owner: Option<i64>,
    /// Types of task it may have forked, as [`class`] puts them together.
    pub(super) classes: Vec<&'static str>,
    /// How long the UPID in the answer was; 0 where it holds none.
    pub(super) upid: u64,
    /// Whether it surely forked a task.
    pub(super) firm: bool,
}

/// What a line says; `None` for a call of which nothing is known, and for reading.
pub(super) fn call(event: &Event) -> Option<Call> {
    let method = event.str(fields::HTTP_METHOD)?;
    let status = number(event, fields::HTTP_STATUS)?;
    let bytes = number(event, fields::HTTP_BYTES).and_then(|bytes| u64::try_from(bytes).ok());
    let path = event.str(fields::URL_PATH)?;
    let refused = |role| Call {
        role,
        node: None,
        vmid: None,
        owner: None,
        classes: Vec::new(),
        upid: 0,
        firm: false,
    };
    if status == 401 && event.str(fields::EVENT_CODE) == Some(REFUSED) {
        return Some(refused(Role::Unknown));
    }
    let call = Endpoint::find(method, path)?;
    let endpoint = call.endpoint;
    match endpoint.path.as_str() {
        "/access/ticket" => {
            return Some(refused(match Verdict::of_ticket(status, bytes) {
                Verdict::Success => Role::Ticket,
                _ => Role::BadTicket,
            }));
        }
        "/access/openid/login" => {
            return Some(refused(match status {
                200 => Role::Ticket,
                _ => Role::BadTicket,
            }));
        }
        _ => {}
    }
    let outcome = event.str(fields::EVENT_OUTCOME).unwrap_or("unknown");
    let classes: Vec<&'static str> = {
        let mut classes: Vec<_> = endpoint.tasks.iter().map(|kind| class(kind)).collect();
        classes.dedup();
        classes
    };
    let length = bytes.and_then(|bytes| upid_length(call.format, bytes, endpoint.answers));
    let silent = classes.iter().any(|class| is_silent(class));
    let role = match (classes.is_empty(), outcome) {
        (_, "failure") => Role::Failed,
        (true, _) => Role::Write,
        (false, _) => Role::Fork,
    };
    let firm = role == Role::Fork
        && status == 200
        && (silent || endpoint.answers == Answer::Object || length.is_some());
    Some(Call {
        role,
        node: call.param("node").map(str::to_owned),
        vmid: call.vmid(),
        owner: call.vmid().or_else(|| call.volume_owner()),
        firm,
        upid: if silent { 0 } else { length.unwrap_or(0) },
        classes,
    })
}

/// Types of task of which a call makes one or the other, put together where their names are equally long: the length of
/// the answer does not tell them apart, and one call makes only one of them.
pub(super) fn class(kind: &str) -> &'static str {
    match kind {
        "qmstart" | "vzstart" | "hastart" => "start",
        "qmstop" | "vzstop" | "hastop" => "stop",
        "qmigrate" | "vzmigrate" | "hamigrate" => "migrate",
        "termproxy" => "vncproxy",
        other => pipeline::pve::TaskType::find(other).map_or("unknown", |kind| kind.kind.as_str()),
    }
}

/// Whether the answer to such a call does not hold the UPID: consoles and tunnels answer an object, and a volume that is
/// deleted at once `null`.
pub(super) fn is_silent(class: &str) -> bool {
    matches!(
        class,
        "vncproxy" | "vncshell" | "spiceproxy" | "spiceshell" | "qmtunnel" | "vzmtunnel" | "imgdel"
    )
}

/// Whether the task is a console, which is open as long as it runs.
pub(super) fn is_console(kind: &str) -> bool {
    matches!(
        kind,
        "vncproxy" | "vncshell" | "spiceproxy" | "spiceshell" | "termproxy"
    )
}

/// Whether the call waits for its worker, so that its line comes late.
pub(super) fn waits(class: &str) -> bool {
    matches!(class, "imgdel" | "unknown")
}

/// Whether the path of the call names the guest; that of a deleted volume does so in the volume's name.
pub(super) fn names_guest(class: &str) -> bool {
    !matches!(
        class,
        "qmcreate" | "qmrestore" | "vzcreate" | "vzrestore" | "vzdump" | "pbs-download"
    ) && (class.starts_with("qm")
        || class.starts_with("vz")
        || matches!(
            class,
            "start"
                | "stop"
                | "migrate"
                | "resize"
                | "vncproxy"
                | "spiceproxy"
                | "move_volume"
                | "hashutdown"
                | "imgdel"
        ))
}

/// The guest that the id of a task begins with.
pub(super) fn guest(id: &str) -> &str {
    let digits = id.find(|c: char| !c.is_ascii_digit()).unwrap_or(id.len());
    &id[..digits]
}

/// Writes the key of the pool of such tasks and calls.
pub(super) fn pool_key(
    node: &str,
    user: &str,
    class: &str,
    guest: &str,
    upid: u64,
    to: &mut String,
) {
    use std::fmt::Write as _;
    to.clear();
    let guest = if names_guest(class) { guest } else { "" };
    // Writing into a text does not fail.
    let _ = write!(to, "{node}\n{user}\n{class}\n{guest}\n{upid}");
}

/// The key of a task.
pub(super) fn task_key(upid: &Upid<'_>, length: usize, to: &mut String) {
    let class = class(upid.kind);
    let length = if is_silent(class) { 0 } else { length as u64 };
    pool_key(upid.node, upid.user, class, guest(upid.id), length, to);
}
