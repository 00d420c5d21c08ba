//! What is known of PVE from its source alone, looked at on this node: the rules of the joins rest on it.

use std::collections::HashSet;

use sources::pve_tasks::Survey;

use super::Findings;
use super::journal::ask;
use crate::node::Root;

const CHECK: &str = "facts";
/// Most of the journal that is looked through [bytes].
const MOST: u64 = 64 << 20;

pub(super) fn look(root: &Root, survey: Option<&Survey>, findings: &mut Findings) {
    if let Some(survey) = survey {
        lists(survey, findings);
        ends(root, survey, findings);
    }
    consoles(root, findings);
}

fn lists(survey: &Survey, findings: &mut Findings) {
    let tasks = survey.ended.len();
    if survey.unexpected > 0 {
        findings.note(
            CHECK,
            format!(
                "{} of {tasks} tasks have the status `unexpected status`; the logs of {} of them say how they ended after all",
                survey.unexpected, survey.unexpected_with_a_word
            ),
            match survey.unexpected_with_a_word {
                0 => "their node died or lost power while they ran, or they were killed",
                _ => "PVE looked at the log of a tool in the foreground before it was written to its end; the trail reads the log",
            },
            &[],
        );
    }
    if survey.duplicates > 0 {
        findings.note(
            CHECK,
            format!(
                "PVE wrote {} tasks into its lists more than once; the trail tells each once",
                survey.duplicates
            ),
            "",
            &[],
        );
    }
    if survey.unseen_by_the_api > 0 {
        findings.note(
            CHECK,
            format!("PVE's own API and web page leave out {} tasks, whose exit text begins with a space", survey.unseen_by_the_api),
            "over the API alone they are not known; the lists have them",
            &[],
        );
    }
    if survey.malformed > 0 {
        findings.problem(
            CHECK,
            format!("{} lines of the task lists are no tasks", survey.malformed),
            "they go through the trail with the tag parse_error, without a user",
            &["grep -vE '^UPID:[^ ]+: [0-9A-Fa-f]{8}( |$)' /var/log/pve/tasks/index /var/log/pve/tasks/index.1"],
        );
    }
    if tasks > 0 && survey.malformed == 0 {
        findings.good(
            CHECK,
            format!("all {tasks} UPIDs of the lists are understood"),
        );
    }
}

/// A worker that ends itself after its thousandth request says nothing of the end of the tasks it began.
fn ends(root: &Root, survey: &Survey, findings: &mut Findings) {
    let Some(oldest) = survey.oldest else { return };
    // Some began long before they ended.
    let since = format!("--since=@{}", oldest.0.div_euclid(1_000_000_000) - 86_400);
    let identifiers = [
        "pvedaemon",
        "pveproxy",
        "pvescheduler",
        "pve-guests",
        "qm",
        "pct",
        "vzdump",
        "pvesh",
    ];
    let identifiers = identifiers.map(|name| format!("SYSLOG_IDENTIFIER={name}"));
    let mut arguments = vec!["--output=cat", since.as_str()];
    arguments.extend(identifiers.iter().map(String::as_str));
    // That the journal cannot be read is said elsewhere.
    let Ok(text) = ask(root, &arguments, MOST) else {
        return;
    };
    let upids = |word: &str| -> HashSet<&str> {
        text.lines()
            .filter_map(|line| {
                let rest = &line[line.find(word)? + word.len()..];
                rest.split_whitespace()
                    .next()
                    .filter(|upid| upid.starts_with("UPID:"))
            })
            .collect()
    };
    let (started, ended) = (upids("starting task "), upids("end task "));
    let known: Vec<&String> = survey
        .ended
        .iter()
        .filter(|upid| started.contains(upid.as_str()))
        .collect();
    let silent = known
        .iter()
        .filter(|upid| !ended.contains(upid.as_str()))
        .count();
    match (known.len(), silent) {
        (0, _) => {}
        (all, 0) => findings.good(CHECK, format!("the journal tells start and end of all {all} tasks it began to tell")),
        (all, silent) => findings.note(
            CHECK,
            format!("the journal never tells the end of {silent} of {all} tasks whose start it tells"),
            "with the journal alone they would run for ever; the trail takes ends from the task lists",
            &[],
        ),
    }
}

/// The proxy of a console asks the daemon about its ticket, past the access log.
fn consoles(root: &Root, findings: &mut Findings) {
    let Ok(text) = root.end("/var/log/pveproxy/access.log", 4 << 20) else {
        return;
    };
    let opened = text
        .lines()
        .filter(|line| line.contains("/vncwebsocket?") && line.contains("\" 101 "))
        .count();
    let checked = text
        .lines()
        .filter(|line| line.contains("/access/vncticket HTTP"))
        .count();
    if opened > 0 {
        let says = format!(
            "{opened} consoles were opened lately, and {checked} of their tickets were checked through the access log"
        );
        match checked {
            0 => findings.good(CHECK, says),
            _ => findings.note(
                CHECK,
                says,
                "checks of console tickets look like logins; the trail counts them as none",
                &[],
            ),
        }
    }
}
