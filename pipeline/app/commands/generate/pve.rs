//! `pvetrail generate pve`: a graph for this node, from what is found on it.
//!
//! What is there becomes a source; what is not stands there as a comment, with what is not known without it.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::exit::Exit;
use crate::node::{Node, Root};
use crate::say;

/// Arguments of `generate pve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look at a prepared tree of files instead of this machine; the graph reads from there.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Ask also the API, here: https://127.0.0.1:8006 knows all nodes of the cluster.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,

    /// The token for it, like audit@pve!trail. Its secret is read from the credential `pve_token` when the graph runs, and
    /// is never written down here.
    #[arg(long, value_name = "USER@REALM!NAME")]
    token: Option<String>,

    /// The name of the cluster, instead of its own.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

/// Prints the graph.
pub(super) fn run(args: &Args) -> Exit {
    let token = match args.token.as_deref().map(identity).transpose() {
        Ok(token) => token,
        Err(why) => {
            say::error(why);
            return Exit::Failed;
        }
    };
    if args
        .token
        .as_deref()
        .is_some_and(|token| token.contains('='))
    {
        say::error(
            "the secret of the token was left out; store it where only the program finds it: LoadCredential=pve_token:/etc/pvetrail/pve_token",
        );
    }
    let root = Root::new(args.root.as_deref());
    let found = Found::look(&root);
    if !found.anything() {
        say::error(format!(
            "nothing of Proxmox VE was found under {}; the graph is a frame to fill in",
            root.path("/").display()
        ));
    }
    say::write(&graph(&root, &found, args, token.as_deref()));
    Exit::Done
}

/// The token without its secret.
fn identity(token: &str) -> Result<String, String> {
    let identity = token.split('=').next().unwrap_or_default();
    let good = identity.split_once('!').is_some_and(|(user, name)| {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '$' | ':' | '/');
        user.contains('@') && !name.is_empty() && identity.chars().all(plain)
    });
    match good {
        true => Ok(identity.to_owned()),
        false => Err(format!(
            "{:?} is no token; write USER@REALM!NAME, like audit@pve!trail",
            pipeline::printable(identity)
        )),
    }
}

/// What is there.
struct Found {
    node: Node,
    access: bool,
    tasks: bool,
    journal: bool,
    config: bool,
    firewall: bool,
    /// Files that rsyslog writes.
    syslog: Vec<&'static str>,
    ca: bool,
}

impl Found {
    fn look(root: &Root) -> Found {
        let journals = ["/var/log/journal", "/run/log/journal"];
        let journal = journals
            .iter()
            .any(|folder| root.list(folder).is_ok_and(|files| !files.is_empty()));
        let files = [
            "/var/log/syslog",
            "/var/log/auth.log",
            "/var/log/daemon.log",
        ];
        Found {
            node: Node::look(root),
            access: root.exists("/var/log/pveproxy"),
            tasks: root.exists("/var/log/pve/tasks"),
            journal,
            // A copy of the tree has no `.version`, and a new node may lack most files.
            config: ["/etc/pve/.version", "/etc/pve/nodes", "/etc/pve/user.cfg"]
                .iter()
                .any(|path| root.exists(path)),
            firewall: root.exists("/var/log/pve-firewall.log"),
            syslog: files.into_iter().filter(|file| root.exists(file)).collect(),
            ca: root.exists("/etc/pve/pve-root-ca.pem"),
        }
    }

    fn anything(&self) -> bool {
        self.access || self.tasks || self.config
    }
}

/// A text as TOML writes it.
fn quoted(text: impl Into<String>) -> String {
    // A dollar sign begins a variable.
    toml::Value::String(text.into().replace('$', "$$")).to_string()
}

/// Sections one after another; what is not there becomes a comment.
struct Text {
    text: String,
    /// Sources that the event ids are given to.
    audit: Vec<&'static str>,
}

impl Text {
    /// `id` takes part if it is `there`.
    fn source(&mut self, there: bool, id: &'static str, says: &str, body: &str) {
        let mark = if there { "" } else { "# " };
        self.text.push('\n');
        for line in says.lines() {
            self.line("# ", line);
        }
        self.line(mark, &format!("[sources.{id}]"));
        for line in body.lines() {
            self.line(mark, line);
        }
        if there && !matches!(id, "access") {
            self.audit.push(id);
        }
    }

    fn line(&mut self, mark: &str, line: &str) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "{mark}{line}");
    }
}

fn graph(root: &Root, found: &Found, args: &Args, token: Option<&str>) -> String {
    let path = |absolute: &str| root.path(absolute).display().to_string();
    let node = &found.node;
    let name = node.name.as_deref().unwrap_or("this node");
    let cluster = args
        .cluster
        .as_deref()
        .or(node.cluster.as_deref())
        .or(node.name.as_deref());
    let mut text = Text {
        text: String::new(),
        audit: Vec::new(),
    };
    let _ = write!(
        text.text,
        "# Who did what on {}, from where, and what came of it.\n\
         # Written by `pvetrail generate pve` for what was found here; yours to change.\n\
         #\n\
         #   pvetrail validate FILE     every mistake, with its place and its remedy\n\
         #   pvetrail doctor -c FILE    what is missing on this node, what that costs, and how to get it\n\
         #   pvetrail run FILE          as root, or with the unit of `pvetrail generate unit`\n\
         #   pvetrail query --since 24h ask what it has found\n\n\
         # Positions, states and the search store.\n\
         data_dir = \"${{PVETRAIL_DATA:-/var/lib/pvetrail}}\"\n\
         # Part of every event's id: never change it later.\n\
         cluster = {}\n\
         # The sentences in events: \"en\" or \"de\".\n\
         # language = \"en\"\n\n\
         # Metrics for Prometheus, health, reload; `enabled = false` opens no port.\n\
         [admin]\naddress = \"${{PVETRAIL_ADMIN:-127.0.0.1:8687}}\"\n",
        pipeline::printable(name),
        quoted(cluster.unwrap_or("pve")),
    );
    text.source(
        found.access,
        "access",
        "Who asked the API for what, from where. Nothing else knows addresses: without it, no act has one.\n\
         Rotated and gzipped siblings are read too, each once and oldest first, so the first run brings the last week.",
        &format!("type = \"file\"\ninclude = [{}]", quoted(path("/var/log/pveproxy/access.log") + "*")),
    );
    text.source(
        found.tasks,
        "tasks",
        "What ran: guests started, moved, destroyed, backups, consoles. Without it, how a task ended is not known.",
        &format!("type = \"pve_tasks\"\npath = {}", quoted(path("/var/log/pve/tasks"))),
    );
    let folder = match (root.is_live(), root.exists("/var/log/journal")) {
        (true, _) => String::new(),
        (false, true) => format!("\njournal_directory = {}", quoted(path("/var/log/journal"))),
        (false, false) => format!("\njournal_directory = {}", quoted(path("/run/log/journal"))),
    };
    text.source(
        found.journal,
        "journal",
        "Logins and failed logins, starts of tasks, values of changed options, ssh, sudo, HA, quorum.\n\
         All units are read, so that a hole in the journal is seen; `include_units` would hide it.",
        &format!("type = \"journald\"{folder}"),
    );
    let files: Vec<String> = match found.syslog.is_empty() {
        true => vec![
            quoted(path("/var/log/syslog") + "*"),
            quoted(path("/var/log/auth.log") + "*"),
        ],
        false => found
            .syslog
            .iter()
            .map(|file| quoted(path(file) + "*"))
            .collect(),
    };
    text.source(
        !found.journal && !found.syslog.is_empty(),
        "syslog",
        match found.journal {
            true => "The same lines as rsyslog writes them. The journal has them all: both would tell everything twice.",
            false => "The lines of the daemons as rsyslog writes them, for there is no journal to read.",
        },
        &format!(
            "type = \"file\"\ninclude = [{}]\nencoding = \"latin-1\"",
            files.join(", ")
        ),
    );
    text.source(
        found.config,
        "config",
        "What changed in guests, users, permissions, storage, firewall, jobs: before and after. Nothing else knows the\n\
         values, and edits by hand are seen nowhere else. What is secret is never kept; /etc/pve/priv is never read.",
        &format!("type = \"pve_config\"\npath = {}", quoted(path("/etc/pve"))),
    );
    text.source(
        found.firewall,
        "firewall",
        "Packets the firewall has logged. It drops lines by itself when there are many, so it never is complete.",
        &format!("type = \"file\"\ninclude = [{}]", quoted(path("/var/log/pve-firewall.log") + "*")),
    );
    let endpoint = args.endpoint.as_deref().unwrap_or("https://127.0.0.1:8006");
    let tls = match found.ca {
        // The leaf is renewed every two years, or every 60 days by ACME; the cluster's own CA stays.
        true => format!(
            "\ntls = {{ ca_file = {} }}",
            quoted(path("/etc/pve/pve-root-ca.pem"))
        ),
        false => String::new(),
    };
    // Users and permissions stand in a file that `pve_config` reads at once; asked again every minute they would be told twice.
    let (users, collect) = match found.config {
        true => (
            "",
            "\ncollect = [\"tasks\", \"cluster_log\", \"status\", \"inventory\"]",
        ),
        false => (", users and permissions", ""),
    };
    text.source(
        token.is_some(),
        "cluster",
        &format!(
            "All nodes by their API: tasks, cluster log, status, names and pools of guests{users}. A token is made so:\n\
         \x20 pveum user add audit@pve && pveum user token add audit@pve trail\n\
         \x20 pveum role add PvetrailSyslog --privs Sys.Syslog     (without it: only its own entries of the cluster log)\n\
         \x20 pveum acl modify / --users audit@pve --tokens 'audit@pve!trail' --roles PVEAuditor,PvetrailSyslog"
        ),
        &format!(
            "type = \"pve_api\"\nendpoint = {}\ntoken = \"{}=${{cred:pve_token}}\"{tls}{collect}",
            quoted(endpoint),
            token.unwrap_or("audit@pve!trail"),
        ),
    );
    text.source(
        true,
        "self",
        "What the program itself has to say: starts, gaps, sinks that fail.",
        "type = \"internal\"",
    );
    let mut audit: Vec<String> = Vec::new();
    if found.access {
        audit.push(quoted("parsed"));
        text.text.push_str(
            "\n[transforms.parsed]\ntype = \"grok\"\ninputs = [\"access\"]\npatterns = ['%{PVEPROXY_ACCESS}']\n",
        );
    }
    // A task that is read from its files and over the API has one id.
    let twice = found.tasks && token.is_some();
    let single = |id: &&&str| !(twice && matches!(**id, "tasks" | "cluster"));
    audit.extend(text.audit.iter().filter(single).map(|id| quoted(*id)));
    if twice {
        audit.push(quoted("once"));
        text.text.push_str(
            "\n# The tasks of this node come from its files and from its API, with the same id.\n\
             [transforms.once]\ntype = \"dedupe\"\ninputs = [\"tasks\", \"cluster\"]\n",
        );
    }
    let nodes = match node.members.is_empty() {
        true => "# cluster_nodes = [\"pve1=192.0.2.11\", \"pve2=192.0.2.12\"]     # what comes from one of these was relayed".to_owned(),
        false => format!(
            "members = {}     # what comes from one of these was relayed",
            quoted(path("/etc/pve/.members"))
        ),
    };
    // Without a source that knows guests there are no names to give.
    let (named, before) = match found.config || token.is_some() {
        true => (
            "\n# What guests are called, in which pool they are; a guest that is gone is known for another day.\n\
             [transforms.named]\ntype = \"enrich\"\ninputs = [\"audit\"]\ninventory = true\n",
            "named",
        ),
        false => ("", "audit"),
    };
    let _ = write!(
        text.text,
        "\n# One code, one outcome and one sentence for every kind of event.\n\
         [transforms.audit]\ntype = \"event_id\"\ninputs = [{}]\n\
         {named}\n# One act, one event: the task, the call that began it and the file it changed, with the address and how it is known.\n\
         [transforms.who]\ntype = \"correlate\"\ninputs = [\"{before}\"]\n{nodes}\n\
         \n# What `pvetrail query` asks.\n\
         [sinks.search]\ntype = \"sqlite\"\ninputs = [\"who\"]\n\
         \n# And on to a store of yours, as many as you like:\n\
         # [sinks.es]\n# type = \"elasticsearch\"\n# inputs = [\"who\"]\n# endpoints = [\"https://es1:9200\"]\n\
         # auth = {{ strategy = \"api_key\", api_key = \"${{cred:es_key}}\" }}\n\
         # bulk = {{ index = \"pve-audit-%Y.%m\" }}\n# buffer = {{ type = \"disk\", max_size = \"1GiB\" }}\n",
        audit.join(", "),
    );
    text.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_named_and_its_secret_never() {
        assert_eq!(
            identity("audit@pve!trail=0000-secret").as_deref(),
            Ok("audit@pve!trail")
        );
        for bad in [
            "audit@pve",
            "audit!trail",
            "a@b!",
            "a@b!\"\n[x]",
            "a@b!${HOME}",
            "",
        ] {
            assert!(identity(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_copied_tree_is_watched_and_has_the_name_of_its_cluster() {
        let tree = tempfile::tempdir().unwrap();
        let pve = tree.path().join("etc/pve");
        std::fs::create_dir_all(pve.join("nodes/pve1")).unwrap();
        let members = r#"{"cluster": {"name": "prod", "quorate": 1}, "nodelist": {"pve1": {}}}"#;
        std::fs::write(pve.join(".members"), members).unwrap();
        let found = Found::look(&Root::new(Some(tree.path())));
        assert!(found.config);
        assert_eq!(found.node.cluster.as_deref(), Some("prod"));
    }

    #[test]
    fn whatever_a_node_is_called_the_graph_is_toml() {
        let found = Found {
            node: Node {
                name: Some("a\nb\"]".to_owned()),
                cluster: Some("${HOME}\"\n[x]".to_owned()),
                members: vec!["n".to_owned()],
                quorate: None,
            },
            access: true,
            tasks: true,
            journal: true,
            config: true,
            firewall: true,
            syslog: vec!["/var/log/syslog"],
            ca: true,
        };
        let args = Args {
            root: None,
            endpoint: None,
            token: None,
            cluster: None,
        };
        let root = Root::new(Some(std::path::Path::new("/a \"tree\" for $5")));
        let text = graph(&root, &found, &args, Some("audit@pve!trail"));
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["cluster"].as_str(), Some("$${HOME}\"\n[x]"));
        let sources = table["sources"].as_table().unwrap();
        assert_eq!(
            sources.keys().collect::<Vec<_>>(),
            [
                "access", "tasks", "journal", "config", "firewall", "cluster", "self"
            ]
        );
        assert_eq!(
            table["transforms"]["named"]["inputs"][0].as_str(),
            Some("audit")
        );
        assert_eq!(
            table["transforms"]["who"]["inputs"][0].as_str(),
            Some("named")
        );
        assert_eq!(
            table["transforms"]["audit"]["inputs"]
                .as_array()
                .map(Vec::len),
            Some(6)
        );
    }
}
