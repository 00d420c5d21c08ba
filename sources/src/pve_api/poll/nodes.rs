//! The nodes of the cluster, one by one: which there are, what their task lists hold, what is behind single tasks.

use std::time::{Duration, Instant};

use pipeline::Stopped;
use serde_json::Value;

use super::{ANYWAY, AWAY_WAIT, Job, LONGEST_WAIT, MOST_NODES, Poller, SLOWLY, of_node};
use crate::pve_api::Collect;
use crate::pve_api::client::Trouble;
use crate::pve_api::details::{self, Detail};
use crate::pve_api::node::{FEW, Maker, Node};
use crate::pve_api::rows::{self, News, What, text};

impl Poller<'_> {
    pub(super) fn take_nodes(&mut self, answer: Result<Value, Trouble>) {
        match answer {
            Ok(data) => {
                self.troubles.well("the list of nodes", "", &self.out);
                let mut listed = Vec::new();
                for row in data.as_array().map_or(&[][..], Vec::as_slice) {
                    let Some(name) = text(row.get("node")) else {
                        continue;
                    };
                    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
                    if name.is_empty() || !name.bytes().all(plain) || listed.len() >= MOST_NODES {
                        continue;
                    }
                    if !self.nodes.contains_key(&name) {
                        self.nodes.insert(name.clone(), Node::new(&name, &self.out));
                        self.soon(Job::Tasks(name.clone()));
                        self.soon(Job::Clock(name.clone()));
                    }
                    listed.push(name);
                }
                if !listed.is_empty() {
                    // One that left the cluster is asked no more; what was told of it is kept, should it come back.
                    let cursors = &self.out.metrics().api_poll_cursor;
                    self.nodes.retain(|name, _| {
                        let stays = listed.contains(name);
                        if !stays {
                            cursors.remove(name);
                        }
                        stays
                    });
                    let nodes = &self.nodes;
                    self.plans.retain(|job, _| match job {
                        Job::Tasks(name) | Job::Details(name) | Job::Clock(name) => {
                            nodes.contains_key(name)
                        }
                        _ => true,
                    });
                }
                self.again(&Job::Nodes, Some(SLOWLY), SLOWLY);
            }
            Err(why) => {
                self.again(&Job::Nodes, None, LONGEST_WAIT);
                self.trouble("the list of nodes", &why, "new nodes are not seen");
            }
        }
    }

    pub(super) async fn take_recent(
        &mut self,
        answer: Result<Value, Trouble>,
    ) -> Result<(), Stopped> {
        let interval = self.source.interval;
        match answer {
            Ok(data) => {
                self.troubles
                    .well("the latest tasks of the cluster", "", &self.out);
                let digests = rows::digests(&data);
                let names: Vec<String> = self.nodes.keys().cloned().collect();
                for name in names {
                    // Without the right to see all tasks the list is empty, and says nothing.
                    let changed =
                        digests.is_empty() || digests.get(&name) != self.digests.get(&name);
                    if changed && !self.troubles.has(&of_node(&name)) {
                        self.soon(Job::Tasks(name));
                    } else if self.is_quiet(&name)
                        && let Some(node) = self.nodes.get(&name)
                    {
                        let lane = node.lane;
                        self.out.idle(lane).await?;
                    }
                }
                self.digests = digests;
                self.again(&Job::Recent, Some(interval), LONGEST_WAIT);
            }
            Err(why) => {
                self.again(&Job::Recent, None, LONGEST_WAIT);
                self.trouble(
                    "the latest tasks of the cluster",
                    &why,
                    "tasks are seen up to a minute later",
                );
            }
        }
        Ok(())
    }

    /// Whether all that is known of a node has been told.
    pub(super) fn is_quiet(&self, name: &str) -> bool {
        let busy = |job| self.plans.get(&job).is_some_and(|plan| plan.under_way);
        !self.troubles.has(&of_node(name))
            && !busy(Job::Tasks(name.to_owned()))
            && !busy(Job::Details(name.to_owned()))
            && self
                .nodes
                .get(name)
                .is_some_and(|node| node.whole_at.is_some() && node.pending.is_empty())
    }

    pub(super) async fn take_tasks(
        &mut self,
        name: String,
        asked: usize,
        answer: Result<Value, Trouble>,
    ) -> Result<(), Stopped> {
        let job = Job::Tasks(name.clone());
        let Some(node) = self.nodes.get_mut(&name) else {
            self.plans.remove(&job);
            return Ok(());
        };
        let data = match answer {
            Ok(data) => data,
            Err(why) => {
                if why == Trouble::TooLong && asked > 1 {
                    node.most = asked / 2;
                    node.limit = node.limit.min(node.most);
                }
                if matches!(why, Trouble::Away(_)) && node.since_away.is_none() {
                    node.since_away = Some(0);
                }
                // Whatever it did meanwhile, all of its list is looked at when it is back.
                node.whole_at = None;
                let most = self.source.interval * AWAY_WAIT;
                self.again(&job, None, most.min(LONGEST_WAIT));
                let cost = "its tasks are not seen; those that are in its lists when it is back are read then";
                self.trouble(&of_node(&name), &why, cost);
                return Ok(());
            }
        };
        let rows = rows::read(&data, &name);
        let begins = std::mem::take(&mut node.begins);
        if begins {
            node.told.write_down();
        }
        let gap = node.take(rows, asked);
        if begins && self.source.config.since_now {
            let (stay, go): (Vec<News>, Vec<News>) = node
                .pending
                .drain(..)
                .partition(|news| news.what == What::Start);
            node.pending = stay.into();
            for news in go {
                node.told.remember(&news, None);
            }
        }
        // Who may see its own tasks only does not see the others go.
        if let Some(gap) = gap
            && !self.partial.contains(&Collect::Tasks)
        {
            self.maker.gap(&name, gap, &self.out);
        }
        if node.pending.is_empty() {
            self.finish(&name).await
        } else {
            // The list is not asked again before all in it is told.
            self.soon(Job::Details(name));
            Ok(())
        }
    }

    /// All of an answer about a node is told.
    pub(super) async fn finish(&mut self, name: &str) -> Result<(), Stopped> {
        let Some(node) = self.nodes.get_mut(name) else {
            return Ok(());
        };
        if node.settle() {
            let position = node.told.position();
            self.out.send(node.lane, Vec::new(), &position).await?;
        }
        self.out.idle(node.lane).await?;
        let back = node.since_away.take();
        let more = match back {
            Some(n) => format!("; {n} tasks that ended meanwhile are told now"),
            None => String::new(),
        };
        let wait = match (node.dirty, node.limit > FEW) {
            (_, true) => Duration::ZERO,
            (true, _) => self.source.interval,
            // Spread, so that not all nodes are asked in one moment.
            _ => ANYWAY.mul_f64(0.9 + 0.2 * fastrand::f64()),
        };
        let newest = self.out.now();
        self.out
            .metrics()
            .api_poll_cursor
            .set([name], newest.0 as f64 / 1e9);
        self.troubles.well(&of_node(name), &more, &self.out);
        self.again(&Job::Tasks(name.to_owned()), Some(wait), LONGEST_WAIT);
        Ok(())
    }

    pub(super) async fn take_details(
        &mut self,
        name: String,
        done: Vec<(News, Detail)>,
        failed: Option<(News, Trouble)>,
    ) -> Result<(), Stopped> {
        let job = Job::Details(name.clone());
        self.plans.remove(&job);
        let Some(node) = self.nodes.get_mut(&name) else {
            return Ok(());
        };
        let mut events = Vec::with_capacity(done.len());
        // What stands behind the one that failed waits with it, but for what needs no question.
        let mut waiting = Vec::new();
        let gave_up = failed.is_some() && Maker::gives_up(node);
        if failed.is_none() {
            node.tries = 0;
        }
        for (news, detail) in done {
            let told_without = details::wanted(&news) && is_empty(&detail);
            if failed.is_some() && told_without && !gave_up {
                waiting.push(news);
                continue;
            }
            if !self
                .maker
                .events(node, &news, detail, &self.out, &mut events)
            {
                // It is looked at again with the next answer.
                node.dirty = true;
            }
        }
        if let Some((news, why)) = &failed {
            if gave_up {
                node.tries = 0;
                let detail = Detail {
                    trouble: Some(why.clone()),
                    ..Detail::default()
                };
                self.maker
                    .events(node, news, detail, &self.out, &mut events);
            } else {
                waiting.push(news.clone());
            }
        }
        for news in waiting.into_iter().rev() {
            node.pending.push_front(news);
        }
        let left = !node.pending.is_empty();
        if !events.is_empty() {
            let position = node.told.position();
            self.out.send(node.lane, events, &position).await?;
        }
        if let Some((_, why)) = failed
            && !gave_up
        {
            let cost = "the logs of its failed tasks are not read";
            self.trouble(&of_node(&name), &why, cost);
            self.soon(job.clone());
            if let Some(plan) = self.plans.get_mut(&job) {
                plan.due = Instant::now() + self.source.interval;
            }
            return Ok(());
        }
        match left {
            true => self.soon(job),
            false => self.finish(&name).await?,
        }
        Ok(())
    }
}

fn is_empty(detail: &Detail) -> bool {
    detail.log.is_none()
        && detail.guests.is_empty()
        && detail.status.is_none()
        && detail.trouble.is_none()
}
