//! The program's own surroundings: its configuration, its unit, the clock, room on the disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use pipeline::SystemEnv;

use super::Findings;
use super::journal::answer;
use crate::node::{Node, Root};

/// What a configuration says.
pub(super) struct Setting {
    pub(super) given: bool,
    pub(super) data_dir: PathBuf,
    /// The token of its source `pve_api`, without the secret.
    pub(super) token: Option<String>,
}

/// Sources, by their type, that read a place of the node.
const READS: [(&str, &str, &str); 4] = [
    (
        "file",
        "/var/log/pveproxy",
        "no source address is ever known",
    ),
    (
        "pve_tasks",
        "/var/log/pve/tasks",
        "how an act ended is not known",
    ),
    (
        "journald",
        "/var/log/journal",
        "logins, ssh, sudo, HA and quorum are not known",
    ),
    (
        "pve_config",
        "/etc/pve",
        "what changed in which file is not known",
    ),
];

/// Whether the configuration holds, and whether it reads what is there.
pub(super) fn look(root: &Root, files: &[PathBuf], findings: &mut Findings) -> Setting {
    const CHECK: &str = "config";
    let mut setting = Setting {
        given: !files.is_empty(),
        data_dir: root.path("/var/lib/pvetrail"),
        token: None,
    };
    if files.is_empty() {
        findings.note(
            CHECK,
            "none was named (-c FILE)",
            "whether a graph reads what is there was not looked at",
            &[
                "pvetrail generate pve > /etc/pvetrail/pvetrail.toml",
                "pvetrail doctor -c /etc/pvetrail/pvetrail.toml",
            ],
        );
        return setting;
    }
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let names = names.join(" ");
    let tables = sections(files);
    setting.token = tables.iter().find_map(|(kind, table)| {
        let token = table.get("token")?.as_str()?;
        (kind == "pve_api").then(|| token.split('=').next().unwrap_or(token).to_owned())
    });
    match pipeline::load(files, &crate::registry(), &SystemEnv) {
        Ok((graph, _)) => {
            setting.data_dir.clone_from(&graph.globals.data_dir);
            findings.good(CHECK, format!("{names} holds"));
        }
        Err(mistakes) => {
            let validate = format!("pvetrail validate {names}");
            findings.problem(
                CHECK,
                format!(
                    "{names} does not hold: {}",
                    mistakes
                        .iter()
                        .next()
                        .map_or_else(String::new, |first| first.message.clone())
                ),
                "the program does not start with it",
                &[&validate],
            );
        }
    }
    for (kind, place, costs) in READS {
        let reads = tables.iter().any(|(held, table)| {
            held == kind && (kind != "file" || table.to_string().contains(place))
        });
        if !reads && root.exists(place) {
            findings.problem(
                CHECK,
                format!("no source reads {place} (type {kind})"),
                costs,
                &["pvetrail generate pve     # shows the section"],
            );
        }
    }
    setting
}

/// Types and tables of all sources, as they are written: secrets need not be there to be looked past.
fn sections(files: &[PathBuf]) -> Vec<(String, toml::Table)> {
    let mut all = Vec::new();
    let mut one = |file: &Path| {
        let table: Option<toml::Table> = std::fs::read_to_string(file)
            .ok()
            .and_then(|text| text.parse().ok());
        let sources = table.and_then(|mut table| match table.remove("sources") {
            Some(toml::Value::Table(sources)) => Some(sources),
            _ => None,
        });
        for (_, source) in sources.into_iter().flatten() {
            if let toml::Value::Table(table) = source {
                let kind = table.get("type").and_then(toml::Value::as_str);
                all.push((kind.unwrap_or_default().to_owned(), table));
            }
        }
    };
    for file in files {
        match std::fs::read_dir(file) {
            Ok(inside) => {
                let mut inside: Vec<PathBuf> = inside.flatten().map(|entry| entry.path()).collect();
                inside.sort();
                inside
                    .iter()
                    .filter(|file| file.extension().is_some_and(|end| end == "toml"))
                    .for_each(|file| one(file));
            }
            Err(_) => one(file),
        }
    }
    all
}

/// Whether the clock is kept in step.
pub(super) fn clock(root: &Root, node: &Node, findings: &mut Findings) {
    const CHECK: &str = "clock";
    const COSTS: &str = "records are joined by their times: what two nodes tell of one act is not recognised as one, and its address stays unknown";
    if !root.is_live() {
        findings.note(CHECK, "not looked at: this is a tree of files", "", &[]);
        return;
    }
    let mut command = Command::new("timedatectl");
    command.args(["show", "--property=NTPSynchronized", "--value"]);
    match answer(command, 4096).as_deref().map(str::trim) {
        Ok("yes") => findings.good(CHECK, "it is kept in step with others"),
        Ok("no") => findings.problem(
            CHECK,
            "it is not kept in step with any other",
            COSTS,
            &[
                "apt install chrony && systemctl enable --now chrony",
                "chronyc tracking",
            ],
        ),
        Ok(_) | Err(_) => findings.note(
            CHECK,
            "whether it is kept in step is not known: timedatectl does not say",
            COSTS,
            &["chronyc tracking"],
        ),
    }
    if node.members.len() > 1 {
        let names: Vec<&str> = node.members.iter().map(String::as_str).collect();
        let look = format!(
            "for n in {}; do echo $n $(ssh root@$n date +%s.%N); done",
            names.join(" ")
        );
        // Names come from a file: what is shown may be run as it is.
        let plain = |name: &&str| name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        let remedy: &[&str] = if names.iter().all(plain) {
            &[&look]
        } else {
            &[]
        };
        let what = "compare the nodes with each other: more than 5 s apart is too much";
        findings.note(CHECK, what, "", remedy);
    }
}

/// Room for positions, states, queues and the store.
pub(super) fn space(root: &Root, data_dir: &Path, findings: &mut Findings) {
    const CHECK: &str = "disk";
    const GIB: u64 = 1 << 30;
    for (what, folder, costs) in [
        (
            "data",
            data_dir.to_owned(),
            "when it is full, positions and events cannot be stored, and the trail stands still until there is room",
        ),
        (
            "logs",
            root.path("/var/log"),
            "when it is full, PVE and journald write no more, and nobody can know what happened",
        ),
    ] {
        let Some(there) = folder.ancestors().find(|folder| folder.exists()) else {
            continue;
        };
        let Ok(found) = rustix::fs::statvfs(there) else {
            findings.note(
                CHECK,
                format!("room under {} is not known", there.display()),
                costs,
                &[],
            );
            continue;
        };
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let all = found.f_blocks.saturating_mul(found.f_frsize).max(1);
        let share = free.saturating_mul(100) / all;
        let says = format!(
            "{what}: {} GiB free of {} under {}",
            free / GIB,
            all / GIB,
            folder.display()
        );
        // 5 % of a large disk is room enough.
        if free < GIB || (share < 5 && free < 10 * GIB) {
            findings.problem(
                CHECK,
                says,
                costs,
                &[
                    "journalctl --vacuum-size=1G",
                    "du -xh --max-depth=2 /var | sort -h | tail",
                ],
            );
        } else {
            findings.good(CHECK, says);
        }
    }
}

/// Whether the program runs under systemd with the one right that it needs.
pub(super) fn unit(root: &Root, findings: &mut Findings) {
    const CHECK: &str = "unit";
    let places = [
        "/etc/systemd/system/pvetrail.service",
        "/usr/lib/systemd/system/pvetrail.service",
        "/lib/systemd/system/pvetrail.service",
    ];
    let Some(file) = places.into_iter().find(|file| root.exists(file)) else {
        findings.note(
            CHECK,
            "there is no unit for systemd",
            "after a reboot nothing is recorded until somebody starts it",
            &[
                "pvetrail generate unit > /etc/systemd/system/pvetrail.service",
                "systemctl daemon-reload && systemctl enable --now pvetrail",
            ],
        );
        return;
    };
    let mut text = root.text(file).unwrap_or_default();
    let drop_ins = "/etc/systemd/system/pvetrail.service.d";
    for (name, _) in root.list(drop_ins).unwrap_or_default() {
        text.push_str(&root.text(&format!("{drop_ins}/{name}")).unwrap_or_default());
    }
    let (mut user, mut right) = (String::new(), false);
    for line in text.lines() {
        match line.trim().split_once('=') {
            Some(("User", value)) => value.trim().clone_into(&mut user),
            Some(("AmbientCapabilities", value)) => {
                right = value
                    .split_whitespace()
                    .any(|word| word == "CAP_DAC_READ_SEARCH");
            }
            _ => {}
        }
    }
    match (user.as_str(), right) {
        ("" | "root", _) => findings.note(
            CHECK,
            format!("{file} runs the program as root"),
            "it could do far more than it has to: one right to read is enough",
            &["pvetrail generate unit     # User=pvetrail with AmbientCapabilities=CAP_DAC_READ_SEARCH"],
        ),
        (user, true) => findings.good(CHECK, format!("{file} runs the program as {user} with CAP_DAC_READ_SEARCH")),
        (user, false) => findings.problem(
            CHECK,
            format!("{file} runs the program as {user} without CAP_DAC_READ_SEARCH"),
            "the access log and task logs cannot be read: no source address is ever known",
            &[
                "mkdir -p /etc/systemd/system/pvetrail.service.d && printf '[Service]\\nAmbientCapabilities=CAP_DAC_READ_SEARCH\\n' > /etc/systemd/system/pvetrail.service.d/rights.conf",
                "systemctl daemon-reload && systemctl restart pvetrail",
            ],
        ),
    }
}
