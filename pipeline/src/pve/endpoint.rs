//! What a writing call of the API means.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

use hashbrown::HashMap as FastMap;
use serde::Deserialize;
use smallvec::SmallVec;

use super::answer::{Answer, Verdict, upid_length};
use super::path::{Format, normalise};
use super::task::{Act, TaskType};
use crate::catalogue::Catalogue;

/// A call that may change something; the rows stand in `configs/catalogue/endpoints.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// `POST`, `PUT` or `DELETE`.
    pub method: String,
    /// The path below `/api2/<format>`, with parameters in braces.
    pub path: String,
    /// Its event ID.
    pub code: String,
    /// What it acts upon; `guest` for a VM or a container.
    pub object: String,
    /// How that is named, with parameters in braces; empty where only the body knows.
    pub id: String,
    /// Types of task it may fork; the first that begins is the act itself.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// The id in their UPID, with parameters in braces; `None` where only the body knows it.
    pub task_id: Option<String>,
    /// The call says more than its task does, so the task's event takes the call's code: `imgdel` does not know that it
    /// deletes a backup, nor `imgcopy` that it is an upload.
    #[serde(default)]
    pub refines: bool,
    /// What a good answer holds.
    #[serde(default)]
    pub answers: Answer,
}

/// A call of an endpoint.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Which.
    pub endpoint: &'static Endpoint,
    /// In which form the answer was asked for.
    pub format: Format,
    path: Cow<'a, str>,
    params: SmallVec<[(&'static str, Range<usize>); 4]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    endpoint: Vec<Endpoint>,
}

/// Parts of a path: a literal, one parameter, or a parameter that takes the rest.
#[derive(Default)]
struct Branch {
    literals: FastMap<&'static str, Branch>,
    param: Option<(&'static str, Box<Branch>)>,
    rest: Option<(&'static str, &'static Endpoint)>,
    endpoint: Option<&'static Endpoint>,
}

static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| {
    Endpoint::parse(include_str!("../../../configs/catalogue/endpoints.toml"))
        .expect("a test reads the table that is built in")
});

/// One tree for each method that may change something.
const METHODS: [&str; 3] = ["POST", "PUT", "DELETE"];

static TREES: LazyLock<[Branch; 3]> = LazyLock::new(|| {
    let mut trees = [Branch::default(), Branch::default(), Branch::default()];
    for endpoint in ENDPOINTS.iter() {
        let tree = METHODS.iter().position(|known| *known == endpoint.method);
        let mut at = &mut trees[tree.expect("a test reads the table that is built in")];
        let mut parts = endpoint.path.split('/').skip(1).peekable();
        loop {
            let Some(part) = parts.next() else {
                at.endpoint = Some(endpoint);
                break;
            };
            match part
                .strip_prefix('{')
                .and_then(|part| part.strip_suffix('}'))
            {
                // Their values may hold slashes (`fragmentDelimiter` in PVE's sources).
                Some(name @ ("volume" | "cidr")) if parts.peek().is_none() => {
                    at.rest = Some((name, endpoint));
                    break;
                }
                Some(name) => at = &mut at.param.get_or_insert_with(|| (name, Box::default())).1,
                None => at = at.literals.entry(part).or_default(),
            }
        }
    }
    trees
});

impl Endpoint {
    /// Reads a table and holds it to its rules: one row for each call, codes and types of task that there are, ids made of what
    /// the path has.
    pub(super) fn parse(text: &str) -> Result<Vec<Endpoint>, String> {
        let file: File = toml::from_str(text).map_err(|why| why.to_string())?;
        let mut seen = HashSet::new();
        for row in &file.endpoint {
            let at = |why: String| format!("{} {}: {why}", row.method, row.path);
            if !METHODS.contains(&row.method.as_str()) || !row.path.starts_with('/') {
                return Err(at("a row is POST, PUT or DELETE of a path".to_owned()));
            }
            if !seen.insert((&row.method, &row.path)) {
                return Err(at("it stands twice".to_owned()));
            }
            if Catalogue::builtin().get(&row.code).is_none() {
                return Err(at(format!("{} is no event ID", row.code)));
            }
            if let Some(kind) = row.tasks.iter().find(|kind| TaskType::find(kind).is_none()) {
                return Err(at(format!("\"{kind}\" is no type of task")));
            }
            for template in std::iter::once(&row.id).chain(&row.task_id) {
                for part in template.split('{').skip(1) {
                    let name = part.split('}').next().unwrap_or_default();
                    let param = format!("{{{name}}}");
                    if !row.path.split('/').any(|part| part == param) {
                        return Err(at(format!("the path has no \"{param}\"")));
                    }
                }
            }
        }
        Ok(file.endpoint)
    }

    /// All, in the order of the table.
    #[must_use]
    pub fn all() -> &'static [Endpoint] {
        &ENDPOINTS
    }

    /// What a request means; `raw` is the path as it stands in the request line, without the query. `None` for reads and for
    /// what the table does not know.
    #[must_use]
    pub fn find<'a>(method: &str, raw: &'a str) -> Option<Call<'a>> {
        // Nineteen of twenty lines are reads; they end here.
        let tree = METHODS.iter().position(|known| *known == method)?;
        let (format, path) = normalise(raw)?;
        let mut params = SmallVec::new();
        let endpoint = TREES[tree].find(&path, 1, &mut params)?;
        Some(Call {
            endpoint,
            format,
            path,
            params,
        })
    }
}

impl Branch {
    fn find(
        &self,
        path: &str,
        from: usize,
        params: &mut SmallVec<[(&'static str, Range<usize>); 4]>,
    ) -> Option<&'static Endpoint> {
        if from >= path.len() {
            return self.endpoint;
        }
        let end = path[from..].find('/').map_or(path.len(), |at| from + at);
        if let Some(next) = self.literals.get(&path[from..end])
            && let Some(found) = next.find(path, end + 1, params)
        {
            return Some(found);
        }
        if let Some((name, next)) = &self.param {
            params.push((name, from..end));
            if let Some(found) = next.find(path, end + 1, params) {
                return Some(found);
            }
            params.pop();
        }
        let (name, endpoint) = self.rest?;
        params.push((name, from..path.len()));
        Some(endpoint)
    }
}

impl Call<'_> {
    /// The path, decoded, without `/api2/<format>`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A parameter of the path, decoded.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        let (_, range) = self.params.iter().find(|(known, _)| *known == name)?;
        self.path.get(range.clone())
    }

    /// The guest it is about, where the path names one.
    #[must_use]
    pub fn vmid(&self) -> Option<i64> {
        match self.param("vmid") {
            Some(vmid) => vmid.parse().ok(),
            // `vm:100`, `ct:101`
            None => self.param("sid")?.split_once(':')?.1.parse().ok(),
        }
    }

    /// What it does, and to what.
    #[must_use]
    pub fn act(&self) -> Act<'static> {
        let endpoint = self.endpoint;
        let mut id = self.fill(&endpoint.id);
        let object_type = match (endpoint.object.as_str(), self.param("sid")) {
            ("guest", Some(sid)) if sid.starts_with("ct:") => "ct",
            ("guest", Some(sid)) if sid.starts_with("vm:") => "vm",
            (object, _) => object,
        };
        if endpoint.object == "guest"
            && let Some(vmid) = self.vmid()
        {
            id = vmid.to_string();
        }
        let act = Act {
            code: &endpoint.code,
            object_type,
            object_id: Cow::Owned(id),
            vmid: self.vmid(),
        };
        match self.backup() {
            Some(backup) => Act {
                code: BACKUP_DELETED,
                object_type: "backup",
                object_id: Cow::Owned(backup),
                vmid: None,
            },
            None => act,
        }
    }

    /// The backup that the call deletes, as `storage:backup/name`; the path may leave the storage out.
    fn backup(&self) -> Option<String> {
        if self.endpoint.code != VOLUME_DELETED {
            return None;
        }
        let (volume, storage) = (self.param("volume")?, self.param("storage")?);
        let name = volume.split_once(':').map_or(volume, |(_, name)| name);
        name.starts_with("backup/")
            .then(|| format!("{storage}:{name}"))
    }

    /// The guest that a volume belongs to which the call deletes, as its name says: `PVE::Storage::Plugin` finds it there for
    /// the id of the task `imgdel`. `None` for a volume of no guest, like an ISO image.
    #[must_use]
    pub fn volume_owner(&self) -> Option<i64> {
        let volume = self.param("volume")?;
        let name = volume.split_once(':').map_or(volume, |(_, name)| name);
        let number = |text: &str| {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            text[..digits].parse().ok()
        };
        if let Some(backup) = name.strip_prefix("backup/") {
            // `vzdump-qemu-104-…`, or on a backup server `vm/104/…`.
            let of_file = ["vzdump-qemu-", "vzdump-lxc-", "vzdump-openvz-"];
            let of_server = ["vm/", "ct/"];
            let mut kinds = of_file.iter().chain(&of_server);
            return kinds.find_map(|kind| number(backup.strip_prefix(kind)?));
        }
        // `104/vm-104-disk-0.qcow2`, `vm-104-disk-0`; a linked clone stands behind its base.
        let name = name.rsplit('/').next().unwrap_or(name);
        let kinds = ["vm-", "base-", "subvol-", "basevol-"];
        kinds
            .iter()
            .find_map(|kind| number(name.strip_prefix(kind)?))
    }

    /// The code that the event of a task takes which this call forked; `None` where the task's own is as good.
    #[must_use]
    pub fn refined(&self) -> Option<&'static str> {
        let code = self.act().code;
        // A deleted volume is what `imgdel` says itself.
        (self.endpoint.refines && code != VOLUME_DELETED).then_some(code)
    }

    /// The template with the parameters of the path in it.
    fn fill(&self, template: &str) -> String {
        let mut out = String::with_capacity(template.len() + 16);
        let mut rest = template;
        while let Some((text, after)) = rest.split_once('{') {
            out.push_str(text);
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            out.push_str(self.param(name).unwrap_or_default());
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// Every length that the UPID in a good answer can have, ascending: one for each type of task, and one more for each, as
    /// the start of the process has eight digits or nine. Empty where the call forks none, or where its id is in no log.
    /// `node` is the node that logged the line, `user` as the line has it.
    #[must_use]
    pub fn upid_exact(&self, node: &str, user: &str) -> SmallVec<[u64; 8]> {
        let mut lengths = SmallVec::new();
        let Some(id) = &self.endpoint.task_id else {
            return lengths;
        };
        let Some(around) = self.around(node, user) else {
            return lengths;
        };
        let id = self.fill(id).len();
        for kind in &self.endpoint.tasks {
            let length = (around + kind.len() + id) as u64;
            lengths.extend([length, length + 1]);
        }
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    /// The shortest and longest UPID that an answer to this call can hold, by what is known of its parts; `None` where the
    /// id of the task is unknown, so that every length would do. `node` is the node that logged the line.
    #[must_use]
    pub fn upid_lengths(&self, node: &str, user: &str) -> Option<(u64, u64)> {
        let exact = self.upid_exact(node, user);
        if let (Some(least), Some(most)) = (exact.first(), exact.last()) {
            return Some((*least, *most));
        }
        // A guest that is being made: its number is in the body and has three to nine digits.
        if !matches!(
            self.endpoint.path.as_str(),
            "/nodes/{node}/qemu" | "/nodes/{node}/lxc"
        ) {
            return None;
        }
        let around = self.around(node, user)?;
        let kinds = self.endpoint.tasks.iter().map(String::len);
        let (shortest, longest) = (kinds.clone().min()?, kinds.max()?);
        Some((
            (around + shortest + 3) as u64,
            (around + longest + 10) as u64,
        ))
    }

    /// `UPID:`, node, three numbers (8, 8 and 8 digits) and user, each part with its colon. `None` where the answer may write
    /// the user in more bytes than the line does.
    fn around(&self, node: &str, user: &str) -> Option<usize> {
        if !user.bytes().all(|c| c.is_ascii_graphic()) {
            return None;
        }
        let escaped = user.bytes().filter(|c| matches!(c, b'"' | b'\\')).count();
        let node = self
            .param("node")
            .filter(|named| *named != "localhost")
            .unwrap_or(node);
        Some(5 + node.len() + 1 + 9 + 9 + 9 + 1 + 1 + user.len() + escaped + 1)
    }

    /// What became of it, by its line: status, and the length of the body (`None` where the line has `-`).
    #[must_use]
    pub fn verdict(&self, status: i64, length: Option<u64>, node: &str, user: &str) -> Verdict {
        let answers = self.endpoint.answers;
        if self.endpoint.path == "/access/ticket" {
            return Verdict::of_ticket(status, length);
        }
        let exact = self.upid_exact(node, user);
        if answers == Answer::Upid && !exact.is_empty() {
            let told = length.and_then(|length| upid_length(self.format, length, answers));
            let upid = told.filter(|told| exact.contains(told)).unwrap_or(exact[0]);
            return Verdict::of(self.format, status, length, answers, Some((upid, upid)));
        }
        Verdict::of(self.format, status, length, answers, None)
    }
}

const VOLUME_DELETED: &str = "PVE-5012";
const BACKUP_DELETED: &str = "PVE-5111";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_any_spelling_finds_its_endpoint() {
        let call = Endpoint::find("DELETE", "/api2/json/nodes/pve1/qemu/104").unwrap();
        let act = call.act();
        assert_eq!(
            (act.code, act.object_type, &*act.object_id, act.vmid),
            ("PVE-2002", "vm", "104", Some(104))
        );
        assert_eq!(call.endpoint.tasks, ["qmdestroy"]);
        assert_eq!(
            call.upid_lengths("pve9", "alice@pve!automation"),
            Some((72, 73))
        );
        let call = Endpoint::find("PUT", "/api2/extjs//access/users/alice%40pve/token/ci").unwrap();
        assert_eq!(call.act().object_id, "alice@pve!ci");
        assert_eq!(call.format, Format::Extjs);
        let call = Endpoint::find(
            "DELETE",
            "/api2/json/nodes/p/storage/nas/content/nas:backup/x.vma",
        )
        .unwrap();
        assert_eq!(call.param("volume"), Some("nas:backup/x.vma"));
        let call =
            Endpoint::find("PUT", "/api2/json/cluster/firewall/ipset/a/10.0.0.0%2F8").unwrap();
        assert_eq!(call.param("cidr"), Some("10.0.0.0/8"));
        let call = Endpoint::find("POST", "/api2/json/nodes/p/lxc/200/vncproxy").unwrap();
        assert_eq!(
            (call.act().code, call.act().object_type),
            ("PVE-2301", "ct")
        );
        let call =
            Endpoint::find("POST", "/api2/json/cluster/ha/resources/ct:200/migrate").unwrap();
        assert_eq!((call.act().object_type, call.act().vmid), ("ct", Some(200)));
        for (method, path) in [
            ("GET", "/api2/json/nodes"),
            ("POST", "/api2/json/nothing"),
            ("PATCH", "/api2/json/pools"),
            ("PUT", "/x"),
        ] {
            assert!(Endpoint::find(method, path).is_none(), "{method} {path}");
        }
    }

    #[test]
    fn a_table_that_breaks_a_rule_is_refused_with_the_reason() {
        let row = |method: &str, path: &str, code: &str, more: &str| {
            format!(
                "{{ method = \"{method}\", path = \"{path}\", code = \"{code}\", object = \"user\", id = \"\"{more} }},"
            )
        };
        let parse = |rows: &[String]| Endpoint::parse(&format!("endpoint = [{}]", rows.concat()));
        let one = row("PUT", "/a/{b}", "PVE-3002", "");
        assert_eq!(parse(std::slice::from_ref(&one)).unwrap().len(), 1);
        let refused = |rows: &[String]| parse(rows).unwrap_err();
        assert_eq!(refused(&[one.clone(), one]), "PUT /a/{b}: it stands twice");
        assert_eq!(
            refused(&[row("GET", "/a", "PVE-3002", "")]),
            "GET /a: a row is POST, PUT or DELETE of a path"
        );
        assert_eq!(
            refused(&[row("PUT", "/a", "PVE-3999", "")]),
            "PUT /a: PVE-3999 is no event ID"
        );
        assert_eq!(
            refused(&[row("PUT", "/a", "PVE-3002", ", tasks = [\"qmfly\"]")]),
            "PUT /a: \"qmfly\" is no type of task"
        );
        assert_eq!(
            refused(&[row("PUT", "/a/{b}", "PVE-3002", ", task_id = \"{c}\"")]),
            "PUT /a/{b}: the path has no \"{c}\""
        );
    }

    #[test]
    fn the_name_of_a_volume_says_whose_it_is() {
        for (volume, owner) in [
            (
                "backup/vzdump-qemu-104-2026_03_14-01_00_04.vma.zst",
                Some(104),
            ),
            (
                "nas1:backup/vzdump-lxc-201-2026_03_14-01_00_04.tar.zst",
                Some(201),
            ),
            ("pbs:backup/vm/104/2026-03-14T00:00:04Z", Some(104)),
            ("pbs:backup/host/pve1/2026-03-14T00:00:04Z", None),
            ("local:104/vm-104-disk-0.qcow2", Some(104)),
            ("local-lvm:vm-104-disk-1", Some(104)),
            ("ceph:base-9000-disk-0/vm-105-disk-0", Some(105)),
            ("tank:subvol-201-disk-0", Some(201)),
            ("local:iso/debian.iso", None),
            ("local:backup/vzdump-qemu-x.vma", None),
        ] {
            let path = format!("/api2/json/nodes/p/storage/s/content/{volume}");
            let call = Endpoint::find("DELETE", &path).unwrap();
            assert_eq!(call.volume_owner(), owner, "{volume}");
        }
    }
}
