//! What the cluster tells as a whole: the token's rights, its log, its status, its inventory, who may do what.

use std::time::{Duration, Instant};

use pipeline::telemetry::Stage;
use pipeline::{LaneId, Stopped, Time};
use serde_json::Value;

use super::{API, Job, LONGEST_WAIT, NOTHING, Poller, RIGHTS, SLOWLY};
use crate::pve_api::client::Trouble;
use crate::pve_api::rows::{self, text};
use crate::pve_api::{Collect, access, cluster_log, node, objects, rights, states};

/// Changes told at once.
const PART: usize = 500;

impl Poller<'_> {
    pub(super) fn take_rights(&mut self, answer: Result<Value, Trouble>) {
        let permissions = match answer {
            Ok(permissions) => permissions,
            Err(why) => {
                self.again(&Job::Rights, None, LONGEST_WAIT);
                // A page instead of an answer is somebody else's who stands in front of it.
                if why.is_general() || matches!(why, Trouble::Nonsense(_)) {
                    self.troubles.met(API, &why, NOTHING, &self.out);
                    self.stalled = true;
                } else {
                    let what = "the rights of the token";
                    let cost = "nobody knows what the token may see";
                    self.troubles.met(what, &why, cost, &self.out);
                    self.go_on();
                }
                return;
            }
        };
        self.troubles.well(API, "", &self.out);
        self.troubles.well("the rights of the token", "", &self.out);
        self.go_on();
        self.partial.clear();
        for right in rights::check(&permissions, &self.source.config.collect) {
            let what = format!("the token {} lacks {}", self.source.token, right.name);
            if right.held {
                self.troubles.granted(&what, &right.name, &self.out);
            } else {
                self.partial.push(right.collect);
                self.troubles.lacks(&what, right.cost, &self.out);
            }
        }
        self.again(&Job::Rights, Some(RIGHTS), RIGHTS);
    }

    /// All that was not asked meanwhile is asked now.
    pub(super) fn go_on(&mut self) {
        if std::mem::take(&mut self.stalled) {
            let now = Instant::now();
            for plan in self.plans.values_mut() {
                plan.due = plan.due.min(now);
            }
        }
    }

    pub(super) async fn take_log(
        &mut self,
        answer: Result<cluster_log::Answer, Trouble>,
    ) -> Result<(), Stopped> {
        const WHAT: &str = "the cluster log";
        const BACK: &str = "what stands further back in the cluster log";
        let interval = self.source.interval;
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                self.again(&Job::Log, None, LONGEST_WAIT);
                let cost = "what nodes tell each other is not seen, and the ring keeps some hundred entries only";
                self.trouble(WHAT, &why, cost);
                return Ok(());
            }
        };
        let found = self.log.take(&answer);
        if found.broken > 0 {
            let metrics = self.out.metrics();
            metrics.error("parser_failed", Stage::Receiving, found.broken);
        }
        if found.more {
            self.again(&Job::Log, Some(Duration::ZERO), LONGEST_WAIT);
            return Ok(());
        }
        self.troubles.well(WHAT, "", &self.out);
        match &answer.broken {
            Some(why) => {
                let cost = format!(
                    "an entry breaks every answer that holds it, so that only the latest {} are seen; the journals of the nodes have them all",
                    answer.asked
                );
                self.troubles.sure(BACK, why, &cost, &self.out);
            }
            None if answer.asked > 50 => {
                self.troubles.well(BACK, "", &self.out);
            }
            None => {}
        }
        if found.gap {
            let why = "of what stood in the cluster log when it was read last nothing is left: entries in between may never have been seen".to_owned();
            node::missing(&self.source.id, "cluster_log", why, &self.out);
        }
        for (name, upid) in &found.upids {
            if let Some(node) = self.nodes.get_mut(name) {
                node.heard_of(upid);
            }
        }
        match found.events.is_empty() {
            true => self.out.idle(self.log_lane).await?,
            false => {
                let position = self.log.position();
                self.out
                    .send(self.log_lane, found.events, &position)
                    .await?;
            }
        }
        self.again(&Job::Log, Some(interval), LONGEST_WAIT);
        Ok(())
    }

    pub(super) async fn take_status(
        &mut self,
        answer: Result<Value, Trouble>,
    ) -> Result<(), Stopped> {
        const WHAT: &str = "the status of the cluster";
        let data = match answer {
            Ok(data) => data,
            Err(why) => {
                self.again(&Job::Status, None, LONGEST_WAIT);
                self.trouble(
                    WHAT,
                    &why,
                    "nobody sees a node going away or the quorum being lost",
                );
                return Ok(());
            }
        };
        self.troubles.well(WHAT, "", &self.out);
        for row in data.as_array().map_or(&[][..], Vec::as_slice) {
            if rows::number(row.get("local")) == Some(1)
                && let Some(name) = text(row.get("name"))
            {
                self.host = name;
            }
        }
        let objects = states::status(&data, &mut self.known, &self.out);
        if self.source.config.collect.contains(&Collect::Status) && !objects.is_empty() {
            let mut changes = self.status.compare(&["node", "cluster"], objects);
            // What is there from the beginning is the inventory's to tell.
            changes.retain(|change| change.way != "state");
            self.tell(changes, self.status_lane).await?;
        }
        self.learnt();
        self.again(&Job::Status, Some(self.source.interval), LONGEST_WAIT);
        Ok(())
    }

    pub(super) async fn take_resources(
        &mut self,
        answer: Result<Value, Trouble>,
    ) -> Result<(), Stopped> {
        const WHAT: &str = "the inventory";
        let data = match answer {
            Ok(data) => data,
            Err(why) => {
                self.again(&Job::Resources, None, LONGEST_WAIT);
                self.trouble(WHAT, &why, "names and states of guests are those of before");
                return Ok(());
            }
        };
        self.troubles.well(WHAT, "", &self.out);
        let whole = !self.partial.contains(&Collect::Inventory);
        // What the token may see is known anew before anything that is missing twice counts as gone.
        self.soon(Job::Rights);
        let (events, dirty) = self.states.take(&data, whole, &self.out);
        if whole {
            states::learn(&data, &mut self.known, self.out.now());
            self.learnt();
        }
        match dirty {
            true => {
                let position = &self.states.position;
                self.out.send(self.states_lane, events, position).await?;
            }
            false => self.out.idle(self.states_lane).await?,
        }
        self.again(&Job::Resources, Some(SLOWLY), LONGEST_WAIT);
        Ok(())
    }

    pub(super) async fn take_access(
        &mut self,
        answers: Vec<(&'static str, Result<Value, Trouble>)>,
    ) -> Result<(), Stopped> {
        let mut well = true;
        for (path, answer) in &answers {
            match answer {
                Ok(_) => {
                    self.troubles.well(path, "", &self.out);
                }
                Err(why) => {
                    well = false;
                    self.trouble(path, why, "changes there are not seen");
                }
            }
        }
        let wait = well.then_some(SLOWLY);
        self.again(&Job::Access, wait, LONGEST_WAIT);
        // Who may not see all sees a part of it, and what is not seen is not gone.
        if !access::is_whole(&answers) {
            self.soon(Job::Rights);
            return self.out.idle(self.access_lane).await;
        }
        let (types, mut objects) = access::read(&answers, &self.out);
        self.seal.objects(&mut objects);
        if types.contains(&"user") {
            self.known.users = access::users(&objects);
            self.learnt();
        }
        let since = self.access_since.replace(self.access_asked);
        let before = self.access.clone();
        let changes = self.access.compare(&types, objects);
        let cost = format!(
            "{} are remembered, and of the others no change is seen",
            objects::MOST
        );
        let left_out = self.access.left_out();
        let what = "the users, rights and roles";
        self.troubles.full(what, left_out, &cost, &self.out);
        if changes.is_empty() && self.access.is_as(&before) {
            return self.out.idle(self.access_lane).await;
        }
        self.tell_access(&changes, &before, since).await
    }

    /// Tells what changed, in parts; before the last of them a restart begins again, and tells the same.
    async fn tell_access(
        &mut self,
        changes: &[objects::Change],
        before: &objects::Memory,
        since: Option<Time>,
    ) -> Result<(), Stopped> {
        let seen = objects::Seen {
            host: &self.host,
            observer: &self.source.host,
            since: since.map_or(objects::Since::Stopped, objects::Since::Asked),
            at: self.out.now(),
        };
        let mut parts = changes.chunks(PART).peekable();
        loop {
            let part = parts.next().unwrap_or_default();
            let event = |change| self.objects.event(change, &seen);
            let events = part.iter().map(event).collect();
            if parts.peek().is_none() {
                return self.out.send(self.access_lane, events, &self.access).await;
            }
            self.out.send(self.access_lane, events, before).await?;
        }
    }

    pub(super) async fn tell(
        &mut self,
        changes: Vec<objects::Change>,
        lane: LaneId,
    ) -> Result<(), Stopped> {
        let seen = objects::Seen {
            host: &self.host,
            observer: &self.source.host,
            since: objects::Since::Now,
            at: self.out.now(),
        };
        let events: Vec<_> = changes
            .iter()
            .map(|change| self.objects.event(change, &seen))
            .collect();
        let quiet = events.is_empty();
        self.out.send(lane, events, &self.status).await?;
        match quiet {
            true => self.out.idle(lane).await,
            false => Ok(()),
        }
    }

    /// The inventory is kept for all who ask for names.
    pub(super) fn learnt(&mut self) {
        if let Err(why) = self
            .source
            .inventory
            .update(&self.source.id, self.known.clone())
        {
            let metrics = self.out.metrics();
            metrics.error("inventory_not_kept", Stage::Receiving, 1);
            tracing::warn!(component_id = self.source.id, %why, "the inventory cannot be kept; a restart will not know it");
        }
    }
}
