//! `anomaly` watches for what the rules describe, and makes an alert of it.
//!
//! - in: audit events behind `event_id` and `correlate`; rules see the primary ones
//! - out: the same events, untouched; alerts are events of their own (`PVE-9101` to `9103`) and leave by `alerts`
//! - state: matches of a window by rule and group, open alerts, terms seen; at most `state_budget` for all rules together,
//!   and what is given up early is told as `PVE-9018`
//!
//! Event time decides, never arrival: a rule fires exactly when its definition says, whatever the order in which events come.

mod alert;
#[cfg(test)]
mod bounds;
mod codec;
mod engine;
mod faces;
mod judge;
mod members;
pub mod past;
mod recent;
#[cfg(test)]
mod reference;
mod replay;
mod report;
mod rows;
mod saved;
mod sequence;
mod spec;
mod store;
mod terms;
mod testing;
#[cfg(test)]
mod tests;
mod watch;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::config::Severity;
use pipeline::{
    BuildError, BuildErrors, Bytes, Context, Event, Outputs, Spanned, StateError, Stateful,
    StatefulConfig, Time, Told,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::rules::{self, LoadCx, Options, Profile, RuleSet};
use engine::Engine;
pub use replay::{Alert, Arrival, LeftOut, Replay, replay};
use report::{is_wrong, names};
use saved::Dropped;
use spec::SECOND;
pub use testing::{Tested, run_tests};
use watch::Watch;
use write::{NAMES, Writer};

/// A clock that is so far ahead is wrong [ns].
const FUTURE: i64 = 120 * SECOND;
/// One batch in so many is measured [batches].
const MEASURED: u32 = 16;
/// The output of alerts.
const ALERTS: usize = 0;
/// The list of the cluster's own addresses.
const NODES: &str = "cluster_nodes";

/// Watches for what the rules describe: many failed logins, guests deleted at night, a backup that does not come.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Rule files, folders and patterns like `/etc/pvetrail/rules/*.toml`; `builtin` is the pack that is part of the program.
    /// A changed file counts within 5 s; one that is wrong changes nothing.
    rules: Vec<Spanned<String>>,
    /// `quiet` records what everyday work does and does not send it; `strict` tells every single one.
    profile: Profile,
    /// Lists that count more than those of the rule files: values, or `file:PATH` with one value a line.
    lists: BTreeMap<String, Vec<String>>,
    /// A file with `[override."ID"]` tables that count more than all others. By default `rules-overrides.toml` in `data_dir`,
    /// which `pvetrail rules enable` and `disable` write.
    overrides: Option<PathBuf>,
    /// The cluster's own list of its nodes, for the list `cluster_nodes`. Read where it exists.
    members: PathBuf,
    /// Most memory of all rules together. Beyond it, what was touched longest ago is given up; the metric `rule_degraded` and
    /// `PVE-9018` say of which rule. Open alerts stay.
    state_budget: Bytes,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rules: vec![Spanned::from("builtin".to_owned())],
            profile: Profile::default(),
            lists: BTreeMap::new(),
            overrides: None,
            members: "/etc/pve/.members".into(),
            state_budget: Bytes::mib(64),
        }
    }
}

impl Config {
    /// What its rules are loaded with: by the transform, and by the commands that speak of them.
    pub fn loading(&self, data_dir: &std::path::Path) -> (Options, LoadCx) {
        let options = Options {
            rules: self.rules.clone(),
            profile: self.profile,
            lists: self.lists.clone(),
            overrides: self.overrides.clone(),
        };
        let cx = LoadCx {
            overrides: Some(data_dir.join(rules::OVERRIDES)),
            added: BTreeMap::from([(NODES.to_owned(), members::addresses(&self.members))]),
            ..LoadCx::default()
        };
        (options, cx)
    }

    /// Most memory of all rules together [bytes].
    pub fn budget(&self) -> usize {
        self.state_budget.as_usize()
    }
}

impl StatefulConfig for Config {
    const TYPE: &'static str = "anomaly";
    const EXAMPLE: &'static str = r#"rules = ["builtin"]
profile = "quiet""#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Stateful>, BuildErrors> {
        let mut errors = BuildErrors::new();
        if self.state_budget.as_usize() < 1 << 20 {
            errors.push(
                BuildError::key("state_budget", "is too little to count anything")
                    .help("write at least \"1MiB\", or leave it out"),
            );
        }
        // Events read from a saved state find their fields only if these are known before.
        std::sync::LazyLock::force(&NAMES);
        std::sync::LazyLock::force(&crate::event_id::names::NAMES);
        let loading = Loading {
            config: self.clone(),
            data_dir: cx.data_dir().to_owned(),
            nodes: Vec::new(),
        };
        let mut loading = loading;
        let watch::Read {
            set, wrong, prints, ..
        } = watch::read(&mut loading, Vec::new());
        if let Some(wrong) = wrong.as_ref().map(|wrong| &wrong.text) {
            if set.rules().is_empty() {
                errors.push(BuildError::key("rules", wrong.clone()));
            } else {
                cx.warn(BuildError::key("rules", wrong.clone()).help(
                    "the other rules go on; `pvetrail rules check` shows each mistake at its place",
                ));
            }
        }
        let set = Arc::new(set);
        let watched = set.rules().iter().map(judge::watch).collect();
        let cluster = cx.cluster().unwrap_or("default");
        errors.finish(Box::new(Anomaly {
            engine: Engine::new(watched, cluster, self.state_budget.as_usize()),
            set,
            writer: Writer::new(cx, self.profile.name()),
            loading,
            watch: None,
            prints,
            to_tell: wrong
                .as_ref()
                .map(|wrong| {
                    Told::new("PVE-9004", "some rules could not be loaded").failed(&*wrong.text)
                })
                .into_iter()
                .collect(),
            wrong,
            began: false,
            reported: Time::MIN,
            skewed: HashMap::new(),
            evicted: 0,
            batches: 0,
            orphans: Vec::new(),
        }))
    }

    fn outputs(&self) -> Vec<String> {
        vec!["alerts".to_owned()]
    }
}

/// How the rules are read, now and again.
#[derive(Clone, Debug)]
struct Loading {
    config: Config,
    data_dir: PathBuf,
    /// The cluster's nodes when their list could be read last: a cluster whose file system is away still has them.
    nodes: Vec<String>,
}

impl Loading {
    /// The rules, and what is wrong with those that could not be loaded.
    fn load(&mut self) -> (RuleSet, Option<Wrong>) {
        let (options, mut cx) = self.config.loading(&self.data_dir);
        if let Some(nodes) = cx.added.get_mut(NODES) {
            if nodes.is_empty() {
                nodes.clone_from(&self.nodes);
            }
            self.nodes.clone_from(nodes);
        }
        let (set, found) = RuleSet::load(&options, &cx);
        let errors = found
            .iter()
            .filter(|one| one.severity == Severity::Error)
            .map(|one| one.message.clone());
        let wrong = (found.errors() > 0).then(|| Wrong {
            text: found.to_string().trim_end().to_owned(),
            mistakes: errors.collect(),
        });
        (set, wrong)
    }
}

/// What is wrong with rule files.
#[derive(Clone, Debug)]
struct Wrong {
    /// Each mistake at its place.
    text: String,
    /// The mistakes without their places, which move with every line above them.
    mistakes: BTreeSet<String>,
}

struct Anomaly {
    engine: Engine,
    set: Arc<RuleSet>,
    writer: Writer,
    loading: Loading,
    watch: Option<Watch>,
    /// What the files looked like before the rules were read.
    prints: watch::Prints,
    /// What was wrong with them then: rules that were broken from the start keep nobody from changing others.
    wrong: Option<Wrong>,
    /// What could not be told before there was somebody to tell it to.
    to_tell: Vec<Told>,
    /// Whether it remembers something, or has asked what is past.
    began: bool,
    /// When what is repeated was told last.
    reported: Time,
    /// When a node's clock was told of, by node.
    skewed: HashMap<String, Time>,
    evicted: u64,
    /// Batches so far.
    batches: u32,
    /// Alerts whose rules are not what they were, still to be ended.
    orphans: Vec<Dropped>,
}

impl Anomaly {
    fn see(&mut self, event: &mut Event, out: &mut Outputs) {
        let set = Arc::clone(&self.set);
        let meeting = set.meeting(rules::code(event));
        if meeting.is_empty() || !rules::sees(event) {
            return;
        }
        let (now, mut at) = (out.now(), event.timestamp());
        if is_wrong(at, now) {
            self.skew(event, at, now, out);
            at = now;
        }
        for n in meeting {
            self.engine.see(*n as usize, event, at);
        }
        if !self.engine.told.is_empty() {
            self.tell(out);
        }
    }

    /// Makes events of what the rules have to tell.
    fn tell(&mut self, out: &mut Outputs) {
        for told in self.engine.told.drain(..) {
            let rule = &self.set.rules()[told.rule];
            if told.turn == alert::Turn::Opened {
                out.fired(&rule.id, told.alert.grade.word());
            }
            out.make(ALERTS, self.writer.event(&told, rule, out.now()));
        }
    }

    /// Without a memory of its own: what a search store knows is not new.
    #[cold]
    fn begin(&mut self, now: Time) {
        self.began = true;
        let data_dir = &self.loading.data_dir;
        match past::seed(data_dir, &self.set, &mut self.engine, now) {
            None => {}
            Some(Ok(events)) => {
                tracing::info!(events, "what is new is held against the search store");
            }
            Some(Err(why)) => tracing::warn!(
                why,
                "the search store cannot be read: rules that ask what is new begin with their warm-up"
            ),
        }
    }

    /// Takes rules that have changed.
    fn renew(&mut self, out: &mut Outputs) {
        if !self.began {
            self.begin(out.now());
        }
        for told in self.to_tell.drain(..) {
            out.tell(told);
        }
        if self.engine.started == i64::MIN {
            self.engine.started = out.now().0;
        }
        if !self.orphans.is_empty() {
            self.end_orphans(out);
        }
        let watch = self.watch.get_or_insert_with(|| {
            let (files, prints) = (self.set.files().to_vec(), self.prints.clone());
            Watch::start(self.loading.clone(), files, prints, self.wrong.clone())
        });
        let Some((set, wrong)) = watch.take() else {
            return;
        };
        let Some(set) = set else {
            let why = wrong.map(|wrong| wrong.text).unwrap_or_default();
            tracing::error!("the rules have changed and cannot be used; those before go on\n{why}");
            let told = Told::new(
                "PVE-9004",
                "changed rules cannot be used; those before go on",
            );
            out.tell(told.failed(why));
            return;
        };
        let mut state = Vec::new();
        saved::save(&self.engine, &mut state);
        let watched = set.rules().iter().map(judge::watch).collect();
        let mut engine = Engine::new(watched, &self.engine.cluster, self.engine.budget);
        let dropped = match saved::load(&mut engine, &state) {
            Ok(dropped) => dropped,
            Err(why) => {
                tracing::error!(%why, "the state of the rules could not be taken over");
                Vec::new()
            }
        };
        // It went on looking all the while.
        engine.started = self.engine.started;
        (engine.silent, engine.input) = (self.engine.silent.clone(), self.engine.input);
        for (rule, memory) in self.engine.rules.iter().zip(&mut self.engine.memory) {
            // What was counted and not yet told is told under the same rule.
            let place = set.place(&rule.spec.id);
            if let Some(now) = place.and_then(|n| engine.memory.get_mut(n as usize)) {
                (now.late, now.late_span) = (memory.late, memory.late_span);
                (now.evicted, now.degraded) = (memory.evicted, memory.degraded);
            }
        }
        (self.engine, self.set) = (engine, Arc::new(set));
        let mut told = Told::new("PVE-9004", "");
        if let Some(wrong) = wrong {
            told = told.failed(wrong.text);
        }
        let what = match names(&dropped).is_empty() {
            true => String::new(),
            false => format!("; these begin anew or are gone: {}", names(&dropped)),
        };
        self.orphans = dropped;
        self.end_orphans(out);
        tracing::info!(rules = self.set.rules().len(), "the rules changed{what}");
        told.message = format!("the rules changed{what}");
        out.tell(told);
    }
}

impl Stateful for Anomaly {
    fn apply(&mut self, mut event: Event, out: &mut Outputs) {
        self.renew(out);
        self.see(&mut event, out);
        out.emit(event);
    }

    fn apply_all(&mut self, events: &mut Vec<Event>, out: &mut Outputs) -> bool {
        if !events.is_empty() {
            self.renew(out);
        }
        self.batches = self.batches.wrapping_add(1);
        let begun =
            (self.batches.is_multiple_of(MEASURED) && !events.is_empty()).then(Instant::now);
        for event in events.iter_mut() {
            self.see(event, out);
        }
        if let Some(begun) = begun {
            out.rules_took(begun.elapsed());
        }
        true
    }

    fn advance(&mut self, watermark: Time, out: &mut Outputs) {
        let lag = out.now().0.saturating_sub(watermark.0);
        out.watermark_lag(Duration::from_nanos(lag.max(0).unsigned_abs()));
        self.renew(out);
        self.engine.advance(watermark);
        self.tell(out);
        self.report(out);
    }

    fn by_event_time(&self) -> bool {
        true
    }

    fn silent(&mut self, sources: &[Arc<str>]) {
        let silent: Vec<u64> = sources.iter().map(|name| engine::input(name)).collect();
        for (name, number) in sources.iter().zip(&silent) {
            if !self.engine.silent.contains(number) {
                let what = format!("the input {name} gave no sign of life for 5 min");
                let told = Told::new("PVE-9013", what);
                self.to_tell
                    .push(told.failed("what rules decide meanwhile is marked incomplete"));
            }
        }
        self.engine.silent = silent;
    }

    fn comes_from(&mut self, source: &Arc<str>) {
        self.engine.input = engine::input(source);
    }

    fn forgotten(&mut self, why: &str, out: &mut Outputs) {
        let text = "the saved state of the rules cannot be used; they begin without memory";
        out.tell(Told::new("PVE-9018", text).failed(why));
    }

    fn save(&self, to: &mut Vec<u8>) {
        saved::save(&self.engine, to);
    }

    fn remembered(&self) -> usize {
        self.engine.remembered()
    }

    fn load(&mut self, from: &[u8]) -> Result<(), StateError> {
        self.began = true;
        let dropped = saved::load(&mut self.engine, from)?;
        if dropped.iter().any(|one| one.anew) {
            let text = format!(
                "rules mean something else or are gone, and begin anew: {}",
                names(&dropped)
            );
            self.to_tell.push(Told::new("PVE-9004", text));
        }
        self.orphans = dropped;
        Ok(())
    }
}
