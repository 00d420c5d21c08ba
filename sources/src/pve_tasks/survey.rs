//! What the lists of a node look like as a whole, for whoever examines it (`pvetrail doctor`).

use std::collections::HashSet;
use std::path::Path;

use pipeline::Time;

use super::lists::Looker;
use super::logs::Logs;
use super::row;

/// The lists of one node, counted.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// UPIDs of the tasks that have ended and are still in `index` or `index.1`, oldest first.
    pub ended: Vec<String>,
    /// Tasks that run.
    pub running: usize,
    /// Lines of tasks that stand there once already.
    pub duplicates: usize,
    /// Lines that are no task.
    pub malformed: usize,
    /// Exit texts that begin with a space, which PVE's own API leaves out.
    pub unseen_by_the_api: usize,
    /// Tasks of which PVE says `unexpected status`.
    pub unexpected: usize,
    /// Of those, tasks whose log says how they ended after all.
    pub unexpected_with_a_word: usize,
    /// The first end in the lists, and the last.
    pub oldest: Option<Time>,
    /// The last end in the lists.
    pub newest: Option<Time>,
    /// Logs that could not be read.
    pub unreadable_logs: usize,
}

/// Counts what the lists under `folder` hold. An error says which of them cannot be read, and why.
pub fn survey(folder: &Path) -> Result<Survey, String> {
    let lists = Looker::new(folder).look(true)?.unwrap_or_default();
    let logs = Logs::new(folder);
    let mut survey = Survey::default();
    let mut seen = HashSet::new();
    for list in [&lists.previous, &lists.index] {
        let (lines, _) = list.lines();
        for line in lines {
            let (line, _) = row::text(line);
            let Ok(row) = row::index(&line) else {
                survey.malformed += 1;
                continue;
            };
            let Some((end, status)) = row.end else {
                continue;
            };
            if !seen.insert(row.text.to_owned()) {
                survey.duplicates += 1;
                continue;
            }
            survey.ended.push(row.text.to_owned());
            survey.oldest = Some(survey.oldest.map_or(end, |oldest| oldest.min(end)));
            survey.newest = survey.newest.max(Some(end));
            if status.starts_with(' ') {
                survey.unseen_by_the_api += 1;
            }
            let unexpected = status == "unexpected status";
            survey.unexpected += usize::from(unexpected);
            if unexpected || status != "OK" {
                match logs.end(row.text, row.upid.start) {
                    Ok(Some(log)) if unexpected && log.status.is_some() => {
                        survey.unexpected_with_a_word += 1;
                    }
                    Ok(_) => {}
                    Err(_) => survey.unreadable_logs += 1,
                }
            }
        }
    }
    let (lines, _) = lists.active.lines();
    let runs = |line: &[u8]| {
        let (line, _) = row::text(line);
        row::active(&line).is_ok_and(|row| row.end.is_none())
    };
    survey.running = lines.filter(|line| runs(line)).count();
    Ok(survey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve_tasks::testing::Node;

    #[test]
    fn everything_odd_about_lists_is_counted() {
        let mut node = Node::new();
        let first = node.ended("qmstart", "1", "OK");
        node.rotate();
        node.end(&first, "OK");
        node.ended("qmstart", "2", " odd");
        let raced = node.ended("qmstart", "3", "unexpected status");
        node.log(&raced, "TASK OK\n");
        let died = node.ended("qmstart", "4", "unexpected status");
        node.log(&died, "x");
        node.append("no task\n");
        let runs = node.upid("vncproxy", "1");
        node.active(&[format!("{runs} 0"), format!("{first} 1 697722A7 OK")]);
        let survey = survey(node.path()).unwrap();
        assert_eq!(survey.ended.len(), 4);
        assert_eq!(
            (survey.running, survey.duplicates, survey.malformed),
            (1, 1, 1)
        );
        assert_eq!((survey.unexpected, survey.unexpected_with_a_word), (2, 1));
        assert_eq!((survey.unseen_by_the_api, survey.unreadable_logs), (1, 0));
        assert!(survey.oldest < survey.newest);
        assert!(super::survey(Path::new("/nowhere/at/all")).is_err());
    }
}
