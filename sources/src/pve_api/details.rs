//! What a list does not say of a task: the end of its log, the guests of a backup, how one ended that no list holds.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::client::{Client, Queue, Trouble, part};
use super::rows::{News, What, number};
use crate::pve_tasks::task::{LOG_LINES, wants_log};
use crate::pve_tasks::vzdump::{Guest, Guests};

/// Lines read of a log's end: more than are told, for a secret may span several.
const END: usize = 2 * LOG_LINES;
/// Lines of a backup's log that are read at once, and how often.
const PAGE: usize = 5000;
const PAGES: usize = 40;

/// What was found of one task.
#[derive(Clone, Debug, Default)]
pub(super) struct Detail {
    /// The last lines of its log, secrets still in them.
    pub(super) log: Option<String>,
    /// What a backup came to for each of its guests.
    pub(super) guests: Vec<Guest>,
    /// Of one that no list holds: its exit text, `None` while it runs.
    pub(super) status: Option<Option<String>>,
    /// What could not be read of it.
    pub(super) trouble: Option<Trouble>,
}

/// Whether something has to be asked for this piece of news.
pub(super) fn wanted(news: &News) -> bool {
    match &news.what {
        What::End(_, status) => wants_log(status) || has_guests(&news.upid),
        What::Missing => true,
        What::Start | What::Broken(_) => false,
    }
}

/// A backup of several guests has no id.
fn has_guests(upid: &str) -> bool {
    let mut parts = upid.split(':').skip(5);
    parts.next() == Some("vzdump") && parts.next() == Some("")
}

/// Asks for all that is wanted of one piece of news. That the node is away is told by the error: all has to be asked again.
pub(super) async fn ask(
    client: &Client,
    queue: Queue,
    node: &str,
    news: &News,
    zone: &TimeZone,
) -> Result<Detail, Trouble> {
    let mut detail = Detail::default();
    let task = format!("nodes/{node}/tasks/{}", part(&news.upid));
    let mut wants = match &news.what {
        What::End(_, status) => wants_log(status),
        _ => false,
    };
    if news.what == What::Missing {
        match client.get(queue, &format!("{task}/status"), &[]).await {
            Ok(answer) => {
                let data = &answer["data"];
                let exit = data["exitstatus"].as_str().map(str::to_owned);
                let runs = data["status"].as_str() == Some("running");
                wants = !runs && exit.as_deref().is_none_or(wants_log);
                detail.status = Some((!runs).then(|| exit.unwrap_or_default()));
            }
            // Its log is gone, and with it all that was known of it.
            Err(why @ Trouble::Refused(400 | 500, _)) => {
                detail.status = Some(Some(String::new()));
                detail.trouble = Some(why);
            }
            Err(why) => return Err(why),
        }
    }
    if wants {
        match end_of_log(client, queue, &task).await {
            Ok(log) => detail.log = log,
            Err(why) if must_wait(&why) => return Err(why),
            Err(why) => detail.trouble = Some(why),
        }
    }
    if has_guests(&news.upid) && !matches!(detail.status, Some(None)) {
        match guests(client, queue, &task, zone).await {
            Ok(guests) => detail.guests = guests,
            Err(why) if must_wait(&why) => return Err(why),
            Err(why) => detail.trouble = Some(why),
        }
    }
    Ok(detail)
}

fn must_wait(why: &Trouble) -> bool {
    why.is_general() || matches!(why, Trouble::Away(_))
}

async fn page(
    client: &Client,
    queue: Queue,
    task: &str,
    (start, limit): (usize, usize),
) -> Result<(Vec<String>, usize), Trouble> {
    let (start, limit) = (start.to_string(), limit.to_string());
    let query = [("start", start.as_str()), ("limit", limit.as_str())];
    let answer = client.get(queue, &format!("{task}/log"), &query).await?;
    let rows = answer["data"].as_array().map_or(&[][..], Vec::as_slice);
    let line = |row: &Value| row.get("t").and_then(Value::as_str).map(str::to_owned);
    let lines: Vec<String> = rows.iter().filter_map(line).collect();
    let total = number(answer.get("total")).and_then(|n| usize::try_from(n).ok());
    Ok((lines, total.unwrap_or(0)))
}

/// What PVE answers where there is no log is no text of one.
fn is_none(lines: &[String], total: usize) -> bool {
    matches!(lines, [one] if total <= 1 && (one == "no content" || one.starts_with("unable to open file - ")))
}

async fn end_of_log(client: &Client, queue: Queue, task: &str) -> Result<Option<String>, Trouble> {
    let (mut lines, total) = page(client, queue, task, (0, END)).await?;
    if is_none(&lines, total) {
        return Ok(None);
    }
    if total > lines.len() {
        let start = total.saturating_sub(END);
        (lines, _) = page(client, queue, task, (start, END)).await?;
    }
    Ok(Some(lines.iter().flat_map(|line| [line, "\n"]).collect()))
}

async fn guests(
    client: &Client,
    queue: Queue,
    task: &str,
    zone: &TimeZone,
) -> Result<Vec<Guest>, Trouble> {
    let mut guests = Guests::new(zone.clone());
    for n in 0..PAGES {
        let (lines, total) = page(client, queue, task, (n * PAGE, PAGE)).await?;
        if n == 0 && is_none(&lines, total) {
            break;
        }
        for line in &lines {
            guests.line(line);
        }
        if lines.len() < PAGE {
            break;
        }
    }
    Ok(guests.finish())
}

/// What the last line of a log says of how the task ended; `None` where it is not the line that ends one.
pub(super) fn last_word(log: &str) -> Option<&str> {
    let line = log.trim_end().rsplit('\n').next()?;
    let word = line.strip_prefix("TASK ")?;
    if word == "OK" || word.starts_with("WARNINGS: ") {
        return Some(word);
    }
    word.strip_prefix("ERROR: ")
}
