//! Compares what is told with what is true: who, from where, and whether it is told at all.
//!
//! Not knowing is allowed, in the least shares of [`LEAST`] not too often. Wrong is: an address or a user that it was not,
//! whoever that is told of; a difference of a file that is folded into somebody else's act, or made the evidence of one, so
//! that nobody sees it; and what somebody only claims to have happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pipeline::testing::Json;
use pipeline::{Event, EventId};

use super::world::{Class, Fact};

/// How often each answer was given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    right: usize,
    ambiguous: usize,
    none: usize,
    wrong: usize,
    /// Acts that no primary record tells.
    untold: usize,
    /// Acts that a line and another record tell, each as an act of its own.
    twice: usize,
}

/// The least share of right answers, of those classes in which it can be known.
const LEAST: [(Class, f64); 20] = [
    (Class::Call, 0.95),
    (Class::Relayed, 0.85),
    (Class::Shared, 0.7),
    (Class::Token, 0.85),
    (Class::Console, 0.9),
    (Class::Bulk, 0.9),
    (Class::Shell, 0.8),
    (Class::Ha, 0.9),
    (Class::TaskFile, 0.2),
    (Class::Change, 0.5),
    (Class::Access, 0.3),
    (Class::Setting, 0.6),
    (Class::SharedChange, 0.5),
    (Class::Edit, 0.8),
    (Class::CrowdEdit, 0.2),
    (Class::Crowd, 0.1),
    (Class::Idle, 0.8),
    (Class::Login, 0.9),
    (Class::BadLogin, 0.95),
    (Class::Forged, 1.0),
];

/// What a record says of who and from where.
struct Claim {
    user: Option<String>,
    address: Option<String>,
    ground: String,
}

/// A difference that was made the evidence of others.
struct Hidden {
    fact: usize,
    links: Vec<String>,
    text: String,
}

pub struct Judge {
    pub facts: Vec<Fact>,
    /// The fact of each record, by its number.
    pub numbers: Vec<usize>,
    scores: BTreeMap<Class, Score>,
    /// The facts that each record tells of.
    ids: HashMap<String, BTreeSet<usize>>,
    hidden: Vec<Hidden>,
    /// Facts that a primary record tells, and of which origin that was.
    told: BTreeMap<usize, BTreeSet<String>>,
    /// Wrong answers as they are shown, at most a few of each class.
    pub wrongs: Vec<String>,
}

fn text<'a>(json: &'a Json, path: &str) -> Option<&'a str> {
    json.pointer(path)?.as_str()
}

/// The facts that the changed keys of a record hold.
fn marks(json: &Json) -> BTreeSet<usize> {
    let rows = json.pointer("/pve/changes").and_then(Json::as_array);
    let rows = rows.map(Vec::as_slice).unwrap_or_default();
    let facts = rows.iter().filter_map(|row| row.get("fact")?.as_u64());
    facts
        .filter_map(|fact| usize::try_from(fact).ok())
        .collect()
}

fn links(json: &Json) -> Vec<String> {
    let list = json.pointer("/pve/links").and_then(Json::as_array);
    let list = list.map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect()
}

impl Judge {
    pub fn new(facts: Vec<Fact>) -> Judge {
        Judge {
            facts,
            numbers: Vec::new(),
            scores: BTreeMap::new(),
            ids: HashMap::new(),
            hidden: Vec::new(),
            told: BTreeMap::new(),
            wrongs: Vec::new(),
        }
    }

    /// A record is fed: its number, under which it comes out again.
    pub fn number(&mut self, fact: usize) -> EventId {
        let id = EventId([1, self.numbers.len() as u64]);
        self.ids.insert(id.to_string(), BTreeSet::from([fact]));
        self.numbers.push(fact);
        id
    }

    pub fn judge(&mut self, event: &Event) {
        let json = event.to_json();
        let own = self.numbers[event.id().0[1] as usize];
        let marks = marks(&json);
        let user = text(&json, "/user/id").map(|user| match text(&json, "/pve/token/id") {
            Some(token) => format!("{user}!{token}"),
            None => user.to_owned(),
        });
        let claim = Claim {
            user,
            address: text(&json, "/source/ip").map(str::to_owned),
            ground: text(&json, "/pve/source/attribution")
                .unwrap_or("none")
                .to_owned(),
        };
        let origin = text(&json, "/pve/origin").unwrap_or_default();
        let difference = matches!(origin, "config" | "api");
        let primary = text(&json, "/pve/record") == Some("primary");
        if primary {
            let told = self.ids.entry(event.id().to_string()).or_default();
            told.extend(&marks);
        }
        let mut judged = marks.clone();
        if !difference {
            judged.insert(own);
        }
        for fact in judged {
            self.one(fact, &claim, primary, origin, &json);
        }
        if difference && !primary {
            for fact in marks {
                self.hidden.push(Hidden {
                    fact,
                    links: links(&json),
                    text: json.to_string(),
                });
            }
        }
    }

    fn one(&mut self, no: usize, claim: &Claim, primary: bool, origin: &str, json: &Json) {
        let fact = &self.facts[no];
        let from = fact.from.map(|ip| ip.to_string());
        let ground = claim.ground.as_str();
        let wrong = match (&claim.address, &from) {
            (Some(told), Some(true_one)) => told != true_one,
            (Some(_), None) => true,
            (None, Some(_)) => ground == "local",
            (None, None) => false,
        };
        let wrong = wrong || claim.user.is_some() && claim.user != fact.user;
        // An address without a ground, or a ground without an address, is as bad as a wrong one.
        let grounded =
            matches!(ground, "direct" | "matched" | "session") == claim.address.is_some();
        let believed = fact.forged && text(json, "/event/code") != Some("PVE-0000");
        if wrong || !grounded || believed {
            let why = format!("{fact:?}: {json}");
            return self.wrong(no, why);
        }
        if !primary {
            return;
        }
        self.told.entry(no).or_default().insert(origin.to_owned());
        let score = self.scores.entry(fact.class).or_default();
        let named = fact.user.is_none() || claim.user.is_some();
        match (ground, &from) {
            ("ambiguous", _) => score.ambiguous += 1,
            ("none", Some(_)) => score.none += 1,
            _ if !named => score.none += 1,
            // Nobody over the network: nothing is claimed.
            _ => score.right += 1,
        }
    }

    fn wrong(&mut self, fact: usize, why: String) {
        let class = self.facts[fact].class;
        let score = self.scores.entry(class).or_default();
        score.wrong += 1;
        if score.wrong <= 6 {
            self.wrongs.push(format!("WRONG {class:?} {why}"));
        }
    }

    /// What can be said only at the end: what was hidden, told twice or not at all.
    pub fn finish(&mut self) {
        let mut told_as_part = BTreeSet::new();
        for hidden in std::mem::take(&mut self.hidden) {
            let fact = &self.facts[hidden.fact];
            let linked = (hidden.links.iter())
                .filter_map(|id| self.ids.get(id))
                .flatten()
                .map(|other| &self.facts[*other]);
            let linked: Vec<&Fact> = linked.collect();
            let same =
                (linked.iter()).any(|other| other.user == fact.user && other.from == fact.from);
            match same {
                true => {
                    told_as_part.insert(hidden.fact);
                }
                false => {
                    let why = format!("hidden {fact:?} behind {linked:?}: {}", hidden.text);
                    self.wrong(hidden.fact, why);
                }
            }
        }
        let fed: BTreeSet<usize> = self.numbers.iter().copied().collect();
        for fact in fed {
            let class = self.facts[fact].class;
            let score = self.scores.entry(class).or_default();
            match self.told.get(&fact) {
                None if told_as_part.contains(&fact) || self.facts[fact].forged => score.right += 1,
                None => score.untold += 1,
                Some(origins) if origins.contains("access") && origins.len() > 1 => {
                    score.twice += 1;
                }
                Some(_) => {}
            }
        }
        for (class, score) in &self.scores {
            println!("{:14} {score:?}", format!("{class:?}"));
        }
        let sum = |of: fn(&Score) -> usize| -> usize { self.scores.values().map(of).sum() };
        let open = sum(|score| score.ambiguous + score.none);
        let (right, wrong) = (sum(|score| score.right), sum(|score| score.wrong));
        println!("right {right}, open {open}, wrong {wrong}");
    }

    /// Fails where something is wrong, or too much is left open: less than this part of the least shares is right.
    pub fn check(&self, part: f64) {
        let wrong: usize = self.scores.values().map(|score| score.wrong).sum();
        assert_eq!(
            wrong, 0,
            "what is wrong accuses a person: {:#?}",
            self.wrongs
        );
        for (class, least) in LEAST {
            let least = if class == Class::Forged {
                least
            } else {
                least * part
            };
            let score = self.scores.get(&class).copied().unwrap_or_default();
            let all = score.right + score.ambiguous + score.none;
            let share = score.right as f64 / all.max(1) as f64;
            assert!(all < 20 || share >= least, "{class:?}: {share} < {least}");
        }
    }
}
