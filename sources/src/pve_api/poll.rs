//! Who is asked when, and what becomes of the answers. Questions are under way side by side; answers are worked on one by one.

mod clock;
mod cluster;
mod nodes;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::pve::Known;
use pipeline::{LaneId, SourceOut, Stopped, Time};
use serde_json::Value;
use tokio::task::JoinSet;

use super::client::{Client, Queue, Trouble};
use super::cluster_log::{self, ClusterLog};
use super::details::{self, Detail};
use super::node::{CHUNK, Maker, Node, WHOLE};
use super::objects::{self, Memory};
use super::rows::News;
use super::states::{self, States};
use super::{Collect, PveApi, access};
use crate::pve_tasks::task::Tasks;

/// A node whose list did not seem to change is asked all the same, this often.
const ANYWAY: Duration = Duration::from_secs(60);
/// A node's list is read whole this often.
const WHOLLY: Duration = Duration::from_secs(900);
/// The inventory and the access objects are read this often.
const SLOWLY: Duration = Duration::from_secs(60);
/// The whole cluster log is read this often: entries that merge in late stand anywhere in it.
const LOG_WHOLLY: Duration = Duration::from_secs(60);
/// Rights are looked at again.
const RIGHTS: Duration = Duration::from_secs(600);
/// The longest wait after troubles.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Of a node that is away: so many intervals.
const AWAY_WAIT: u32 = 6;
/// Most nodes of a cluster that are asked.
const MOST_NODES: usize = 256;
/// What concerns all of the API.
const API: &str = "the API";
/// What it costs when that does not answer.
const NOTHING: &str =
    "nothing of the cluster is seen until it answers, and what can be is read then";

/// Something that is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Rights,
    Nodes,
    Recent,
    Tasks(String),
    Details(String),
    Clock(String),
    Log,
    Status,
    Resources,
    Access,
}

/// What came of each [`Job`].
enum Answer {
    Rights(Result<Value, Trouble>),
    Nodes(Result<Value, Trouble>),
    Recent(Result<Value, Trouble>),
    /// Of this node, asked for so many rows.
    Tasks(String, usize, Result<Value, Trouble>),
    Details(String, Vec<(News, Detail)>, Option<(News, Trouble)>),
    /// The time of this node, when it was answered, and how long that took.
    Clock(String, Instant, Duration, Result<Value, Trouble>),
    Log(Result<cluster_log::Answer, Trouble>),
    Status(Result<Value, Trouble>),
    Resources(Result<Value, Trouble>),
    Access(Vec<(&'static str, Result<Value, Trouble>)>),
}

/// When a job is due.
struct Plan {
    due: Instant,
    under_way: bool,
    /// It became due again while it was under way.
    once_more: bool,
    failures: u32,
}

impl Plan {
    fn now() -> Plan {
        Plan {
            due: Instant::now(),
            under_way: false,
            once_more: false,
            failures: 0,
        }
    }
}

type Asked = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One run.
pub(super) struct Poller<'s> {
    source: &'s PveApi,
    client: Arc<Client>,
    out: SourceOut,
    plans: BTreeMap<Job, Plan>,
    /// Under way, also while an answer waits to be handed over.
    asked: JoinSet<Answer>,
    nodes: BTreeMap<String, Node>,
    /// What `/cluster/tasks` said last of each node.
    digests: BTreeMap<String, u64>,
    maker: Maker,
    log: ClusterLog,
    log_lane: LaneId,
    log_whole: Instant,
    states: States,
    states_lane: LaneId,
    status: Memory,
    status_lane: LaneId,
    access: Memory,
    /// When the access objects that are remembered were asked for; `None` before this start.
    access_since: Option<Time>,
    /// When they were asked for last.
    access_asked: Time,
    access_lane: LaneId,
    objects: objects::Maker,
    seal: objects::Seal,
    troubles: super::troubles::Troubles,
    known: Known,
    /// What is not asked for as a whole, for rights are missing: what is not seen is not gone.
    partial: Vec<Collect>,
    /// The node that answers, as the events it tells of call it.
    host: String,
    /// Nodes whose clock differs from ours, and when that was told last.
    skewed: BTreeMap<String, Instant>,
    /// Nothing but the token's rights is asked until these are answered.
    stalled: bool,
}

impl<'s> Poller<'s> {
    pub(super) fn new(source: &'s PveApi, seal: objects::Seal, out: SourceOut) -> Poller<'s> {
        let host = source.client.endpoint();
        let host = host.rsplit('/').next().unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let collects = |what| source.config.collect.contains(&what);
        let mut jobs = vec![Job::Rights];
        if collects(Collect::Tasks) {
            jobs.extend([Job::Nodes, Job::Recent]);
        }
        for (what, job) in [
            (Collect::ClusterLog, Job::Log),
            (Collect::Status, Job::Status),
            (Collect::Inventory, Job::Resources),
            (Collect::Access, Job::Access),
        ] {
            if collects(what) {
                jobs.push(job);
            }
        }
        // The addresses of the nodes are part of the inventory.
        if collects(Collect::Inventory) && !collects(Collect::Status) {
            jobs.push(Job::Status);
        }
        let now = Instant::now();
        let mut access: Memory = out.position(access::LANE).unwrap_or_default();
        access.seal(&seal);
        Poller {
            client: Arc::clone(&source.client),
            plans: jobs.into_iter().map(|job| (job, Plan::now())).collect(),
            asked: JoinSet::new(),
            nodes: BTreeMap::new(),
            digests: BTreeMap::new(),
            maker: Maker {
                id: source.id.clone(),
                tasks: Tasks::new(&source.cluster),
            },
            log: ClusterLog::new(&source.cluster, out.position(cluster_log::LANE)),
            log_lane: out.lane(cluster_log::LANE),
            log_whole: now,
            states: States::new(&source.cluster, out.position(states::LANE)),
            states_lane: out.lane(states::LANE),
            status: out.position(states::STATUS_LANE).unwrap_or_default(),
            status_lane: out.lane(states::STATUS_LANE),
            access,
            access_since: None,
            access_asked: out.now(),
            seal,
            access_lane: out.lane(access::LANE),
            objects: objects::Maker::new(&source.cluster),
            troubles: super::troubles::Troubles::new(&source.id),
            known: source.inventory.known(&source.id),
            partial: Vec::new(),
            host: host.to_owned(),
            skewed: BTreeMap::new(),
            stalled: true,
            source,
            out,
        }
    }

    pub(super) async fn run(&mut self) -> Result<(), Stopped> {
        let stopped = self.out.stopped();
        tokio::pin!(stopped);
        loop {
            let next = self.begin();
            tokio::select! {
                biased;
                () = &mut stopped => return Ok(()),
                Some(asked) = self.asked.join_next(), if !self.asked.is_empty() => {
                    match asked {
                        Ok(answer) => self.take(answer).await?,
                        // A bug in asking is one of this source.
                        Err(why) if why.is_panic() => std::panic::resume_unwind(why.into_panic()),
                        // Only a runtime that ends cancels it.
                        Err(_) => return Ok(()),
                    }
                    self.complain();
                }
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Asks all that is due; says when something is due again.
    fn begin(&mut self) -> Instant {
        let now = Instant::now();
        let mut next = now + LONGEST_WAIT;
        let mut due = Vec::new();
        for (job, plan) in &mut self.plans {
            // As long as the token is not believed, or nobody answers, one question is enough.
            if plan.under_way || self.stalled && *job != Job::Rights {
                continue;
            }
            if plan.due <= now {
                plan.under_way = true;
                due.push(job.clone());
            } else {
                next = next.min(plan.due);
            }
        }
        for job in due {
            let asked = self.ask(&job);
            self.asked.spawn(asked);
        }
        next
    }

    fn ask(&mut self, job: &Job) -> Asked {
        let client = Arc::clone(&self.client);
        let list = |path: &'static str, answer: fn(Result<Value, Trouble>) -> Answer| -> Asked {
            let client = Arc::clone(&client);
            Box::pin(async move { answer(client.list(Queue::Own, path, &[]).await) })
        };
        match job {
            Job::Rights => Box::pin(async move {
                // An object, and an empty one may be a list.
                let whole = client.get(Queue::Own, "access/permissions", &[]).await;
                Answer::Rights(whole.map(|mut whole| whole["data"].take()))
            }),
            Job::Nodes => list("nodes", Answer::Nodes),
            Job::Recent => list("cluster/tasks", Answer::Recent),
            Job::Status => list("cluster/status", Answer::Status),
            Job::Resources => list("cluster/resources", Answer::Resources),
            Job::Access => {
                self.access_asked = self.out.now();
                Box::pin(async move { Answer::Access(access::ask(&client).await) })
            }
            Job::Log => {
                if self.log_whole <= Instant::now() {
                    self.log_whole = Instant::now() + LOG_WHOLLY;
                    self.log.whole();
                }
                let limit = self.log.limit;
                Box::pin(async move { Answer::Log(cluster_log::ask(&client, limit).await) })
            }
            Job::Tasks(name) => {
                let queue = self.queue(name);
                let node = self.nodes.get(name);
                let stale = |n: &Node| n.whole_at.is_none_or(|at| at.elapsed() > WHOLLY);
                let limit = match node {
                    Some(node) if !stale(node) => node.limit,
                    Some(node) => node.most,
                    None => WHOLE,
                };
                let (name, path) = (name.clone(), format!("nodes/{name}/tasks"));
                Box::pin(async move {
                    let rows = limit.to_string();
                    let query = [("source", "all"), ("limit", rows.as_str())];
                    let data = client.list(queue, &path, &query).await;
                    Answer::Tasks(name, limit, data)
                })
            }
            Job::Clock(name) => clock::ask(client, self.queue(name), name.clone()),
            Job::Details(name) => {
                let (queue, name) = (self.queue(name), name.clone());
                let node = self.nodes.get_mut(&name);
                let news: Vec<News> = node
                    .map(|node| {
                        node.pending
                            .drain(..node.pending.len().min(CHUNK))
                            .collect()
                    })
                    .unwrap_or_default();
                let zone = self.source.zone.clone();
                Box::pin(async move {
                    let mut done = Vec::with_capacity(news.len());
                    let mut failed = None;
                    for news in news {
                        if failed.is_some() || !details::wanted(&news) {
                            done.push((news, Detail::default()));
                            continue;
                        }
                        match details::ask(&client, queue, &name, &news, &zone).await {
                            Ok(detail) => done.push((news, detail)),
                            Err(why) => failed = Some((news, why)),
                        }
                    }
                    Answer::Details(name, done, failed)
                })
            }
        }
    }

    fn queue(&self, node: &str) -> Queue {
        match self.troubles.has(&of_node(node)) {
            true => Queue::Away,
            false => Queue::PassedOn,
        }
    }

    /// When the job is due again; `None` after a trouble waits longer each time.
    fn again(&mut self, job: &Job, wait: Option<Duration>, most: Duration) {
        let first = self.source.interval;
        let Some(plan) = self.plans.get_mut(job) else {
            return;
        };
        plan.under_way = false;
        let wait = match wait {
            Some(wait) => {
                plan.failures = 0;
                match std::mem::take(&mut plan.once_more) {
                    true => Duration::ZERO,
                    false => wait,
                }
            }
            None => {
                plan.failures = plan.failures.saturating_add(1);
                let doubled = first.saturating_mul(1 << plan.failures.min(6));
                let bound = doubled.min(most.max(first));
                // Not all at once: a cluster that comes back is not stormed.
                bound.mul_f64(0.5 + 0.5 * fastrand::f64())
            }
        };
        plan.due = Instant::now() + wait;
    }

    fn soon(&mut self, job: Job) {
        let now = Instant::now();
        let plan = self.plans.entry(job).or_insert_with(Plan::now);
        plan.due = plan.due.min(now);
        // The answer that is on its way may be older than what made it due.
        plan.once_more = plan.under_way;
    }

    /// What is wrong with single endpoints while another one answers.
    fn complain(&mut self) {
        for (endpoint, what) in self.client.complaints() {
            match what {
                Some(why) => {
                    let kind = if why.starts_with("no TLS") {
                        "tls"
                    } else {
                        "connect"
                    };
                    let trouble = Trouble::Connection(kind, why);
                    let cost = "the other endpoints are asked instead";
                    self.troubles.met(&endpoint, &trouble, cost, &self.out);
                }
                None => {
                    self.troubles.well(&endpoint, "", &self.out);
                }
            }
        }
    }

    /// A question went wrong.
    fn trouble(&mut self, what: &str, why: &Trouble, cost: &str) {
        if why.is_general() {
            self.troubles.met(API, why, NOTHING, &self.out);
            self.stalled = true;
            self.again_after_trouble(&Job::Rights);
        } else {
            self.troubles.met(what, why, cost, &self.out);
        }
    }

    fn again_after_trouble(&mut self, job: &Job) {
        if self.plans.get(job).is_some_and(|plan| !plan.under_way) {
            self.again(job, None, LONGEST_WAIT);
        }
    }

    async fn take(&mut self, answer: Answer) -> Result<(), Stopped> {
        match answer {
            Answer::Rights(answer) => self.take_rights(answer),
            Answer::Nodes(answer) => self.take_nodes(answer),
            Answer::Recent(answer) => self.take_recent(answer).await?,
            Answer::Status(answer) => self.take_status(answer).await?,
            Answer::Resources(answer) => self.take_resources(answer).await?,
            Answer::Access(answers) => self.take_access(answers).await?,
            Answer::Log(answer) => self.take_log(answer).await?,
            Answer::Tasks(name, asked, answer) => self.take_tasks(name, asked, answer).await?,
            Answer::Clock(name, at, took, answer) => self.take_clock(&name, at, took, answer),
            Answer::Details(name, done, failed) => self.take_details(name, done, failed).await?,
        }
        Ok(())
    }
}

/// What a node is called where its trouble is told.
fn of_node(node: &str) -> String {
    format!("the node {node}")
}
