//! What a writing call of the API means.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use hashbrown::HashMap as FastMap;
use serde::Deserialize;
use smallvec::SmallVec;

use super::answer::Answer;
use super::path::{Format, normalise};
use super::task::Act;

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
    let file: File = toml::from_str(include_str!("../../../configs/catalogue/endpoints.toml"))
        .expect("a test reads the table that is built in");
    file.endpoint
});

static TREES: LazyLock<HashMap<&str, Branch>> = LazyLock::new(|| {
    let mut trees = HashMap::<&str, Branch>::new();
    for endpoint in ENDPOINTS.iter() {
        let mut at = trees.entry(endpoint.method.as_str()).or_default();
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
    /// All, in the order of the table.
    #[must_use]
    pub fn all() -> &'static [Endpoint] {
        &ENDPOINTS
    }

    /// What a request means; `raw` is the path as it stands in the request line, without the query. `None` for reads and for
    /// what the table does not know.
    #[must_use]
    pub fn find<'a>(method: &str, raw: &'a str) -> Option<Call<'a>> {
        let tree = match method {
            "POST" | "PUT" | "DELETE" => TREES.get(method)?,
            _ => return None,
        };
        let (format, path) = normalise(raw)?;
        let mut params = SmallVec::new();
        let endpoint = tree.find(&path, 1, &mut params)?;
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
        let mut id = String::with_capacity(endpoint.id.len());
        let mut rest = endpoint.id.as_str();
        while let Some((text, after)) = rest.split_once('{') {
            id.push_str(text);
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            id.push_str(self.param(name).unwrap_or_default());
            rest = after;
        }
        id.push_str(rest);
        let object_type = match (endpoint.object.as_str(), self.param("sid")) {
            ("guest", Some(sid)) if sid.starts_with("ct:") => "ct",
            ("guest", Some(sid)) if sid.starts_with("vm:") => "vm",
            ("vm", _) if endpoint.path.contains("/lxc/") => "ct",
            (object, _) => object,
        };
        if endpoint.object == "guest"
            && let Some(vmid) = self.vmid()
        {
            id = vmid.to_string();
        }
        Act {
            code: &endpoint.code,
            object_type,
            object_id: Cow::Owned(id),
            vmid: self.vmid(),
        }
    }

    /// The shortest and longest UPID that an answer to this call can hold, by what is known of its parts; `None` where the
    /// id of the task is unknown, so that every length would do. `node` is the node that logged the line.
    #[must_use]
    pub fn upid_lengths(&self, node: &str, user: &str) -> Option<(u64, u64)> {
        if self.endpoint.tasks.is_empty() {
            return None;
        }
        let node = self.param("node").unwrap_or(node);
        let (least, most) = match (self.param("vmid"), self.endpoint.object.as_str()) {
            (Some(vmid), _) => (vmid.len(), vmid.len()),
            (None, "vm" | "ct" | "guest") => (3, 9),
            (None, "backup") if self.endpoint.path.ends_with("/vzdump") => (0, 9),
            (None, "node") => (0, 0),
            (None, "service") => {
                let service = self.param("service")?;
                (service.len(), service.len())
            }
            _ => return None,
        };
        let kinds = self.endpoint.tasks.iter().map(String::len);
        let (shortest, longest) = (kinds.clone().min()?, kinds.max()?);
        // `UPID:`, node, three numbers (8, 8 or 9, 8 digits), type, id and user, each with its colon.
        let around = 5 + node.len() + 1 + 9 + 9 + 9 + 1 + 1 + user.len() + 1;
        Some((
            (around + shortest + least) as u64,
            (around + longest + most + 1) as u64,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::pve::TaskType;

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
    fn every_endpoint_has_a_code_and_is_found_by_its_own_path() {
        assert_eq!(Endpoint::all().len(), 328);
        for endpoint in Endpoint::all() {
            let name = format!("{} {}", endpoint.method, endpoint.path);
            assert!(Catalogue::builtin().get(&endpoint.code).is_some(), "{name}");
            let path = format!("/api2/json{}", endpoint.path.replace(['{', '}'], ""));
            let call = Endpoint::find(&endpoint.method, &path).expect(&name);
            assert_eq!(call.endpoint.path, endpoint.path, "{name}");
            for kind in &endpoint.tasks {
                assert!(TaskType::find(kind).is_some(), "{name}: {kind}");
            }
            let mut rest = endpoint.id.as_str();
            while let Some((_, after)) = rest.split_once('{') {
                let (param, after) = after.split_once('}').expect(&name);
                assert!(call.param(param).is_some(), "{name}: {param}");
                rest = after;
            }
        }
    }
}
