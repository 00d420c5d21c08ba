//! Several addresses of one cluster: turn by turn over those that answer.
//!
//! An address that fails is benched for a while, longer each time, and asked `GET /` before it gets events again. When
//! none is left the one benched first is tried, so that there is always one. Who the server is (distribution, version)
//! is found out beside the work, and nobody waits for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use pipeline::net::{Http, HttpError, Url};
use serde::Deserialize;
use tokio::time::Instant;

/// The first time on the bench, and the longest.
const BENCH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long an address may take to say that it is there.
const PROBE: Duration = Duration::from_secs(10);

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// Whether it is OpenSearch, not Elasticsearch.
    pub(super) opensearch: bool,
    /// Like `8.19.4`.
    pub(super) version: String,
}

impl Server {
    /// Reads the answer to `GET /`.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Root {
            version: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            number: String,
            #[serde(default)]
            distribution: Option<String>,
        }
        let root: Root = serde_json::from_slice(body).ok()?;
        let opensearch = root.version.distribution.as_deref() == Some("opensearch");
        Some(Self {
            opensearch,
            version: pipeline::printable(&root.version.number).to_string(),
        })
    }

    /// The first number of the version.
    pub(super) fn major(&self) -> Option<u32> {
        self.version.split('.').next()?.parse().ok()
    }
}

/// The addresses and how they are.
pub(super) struct Pool {
    http: Http,
    roots: Vec<Url>,
    bulks: Vec<Url>,
    state: Mutex<State>,
}

struct State {
    next: usize,
    each: Vec<Standing>,
    introduced: bool,
}

#[derive(Clone, Debug, Default)]
struct Standing {
    /// Failures in a row.
    failures: u32,
    /// Until when nothing is sent to it.
    benched: Option<Instant>,
    probing: bool,
}

impl Pool {
    /// Of the addresses' roots; `bulk` makes the address that bulks go to.
    pub(super) fn new(http: Http, roots: Vec<Url>, bulk: impl Fn(&Url) -> Url) -> Arc<Self> {
        let bulks = roots.iter().map(bulk).collect();
        let each = vec![Standing::default(); roots.len()];
        Arc::new(Self {
            http,
            roots,
            bulks,
            state: Mutex::new(State {
                next: 0,
                each,
                introduced: false,
            }),
        })
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    pub(super) fn len(&self) -> usize {
        self.roots.len()
    }

    pub(super) fn bulk(&self, place: usize) -> &Url {
        &self.bulks[place]
    }

    pub(super) fn root(&self, place: usize) -> &Url {
        &self.roots[place]
    }

    /// As if the server had said who it is, for tests that script its answers.
    #[cfg(test)]
    pub(super) fn introduced(&self) {
        self.state.lock().introduced = true;
    }

    /// Whose turn it is; starts whatever probes are due.
    pub(super) fn pick(self: &Arc<Self>) -> usize {
        let mut state = self.state.lock();
        if !state.introduced {
            state.introduced = true;
            tokio::spawn(introduce(Arc::downgrade(self)));
        }
        let now = Instant::now();
        for (place, standing) in state.each.iter_mut().enumerate() {
            if standing.benched.is_some_and(|until| until <= now) && !standing.probing {
                standing.probing = true;
                tokio::spawn(probe(Arc::downgrade(self), place));
            }
        }
        let count = state.each.len();
        let healthy = (0..count)
            .map(|n| (state.next + n) % count)
            .find(|place| state.each[*place].benched.is_none());
        let place = healthy.unwrap_or_else(|| {
            let first = (0..count).min_by_key(|place| state.each[*place].benched);
            first.unwrap_or_default()
        });
        state.next = (place + 1) % count;
        place
    }

    /// Whether another address than those tried is fit.
    pub(super) fn others(&self, tried: usize) -> bool {
        let state = self.state.lock();
        tried < state.each.len() && state.each.iter().any(|s| s.benched.is_none())
    }

    /// It answered, whatever it said.
    pub(super) fn works(&self, place: usize) {
        let mut state = self.state.lock();
        let standing = &mut state.each[place];
        if standing.failures > 0 {
            tracing::info!("{} answers again", self.roots[place].origin());
        }
        (standing.failures, standing.benched) = (0, None);
    }

    /// It did not answer, or said that it cannot.
    pub(super) fn failed(&self, place: usize, why: &str) {
        let mut state = self.state.lock();
        let alone = state.each.len() == 1;
        let standing = &mut state.each[place];
        standing.failures = standing.failures.saturating_add(1);
        if !alone {
            if standing.failures == 1 {
                tracing::warn!("{} is left out for now: {why}", self.roots[place].origin());
            }
            let factor = 1_u32 << (standing.failures - 1).min(10);
            standing.benched = Some(Instant::now() + BENCH.0.saturating_mul(factor).min(BENCH.1));
        }
    }

    /// Asks an address who it is.
    pub(super) async fn ask(&self, place: usize) -> Result<(u16, Option<Server>), HttpError> {
        let answer = self
            .http
            .get(&self.roots[place])
            .timeout(PROBE)
            .send()
            .await?;
        let status = answer.status();
        let server = Server::parse(&answer.bytes(64 << 10).await?);
        Ok((status, server))
    }
}

/// Asks a benched address whether it is back.
async fn probe(pool: Weak<Pool>, place: usize) {
    let Some(pool) = pool.upgrade() else { return };
    let asked = pool.ask(place).await;
    pool.state.lock().each[place].probing = false;
    match asked {
        // Whoever refuses a question is there all the same.
        Ok((status, _)) if status < 500 => pool.works(place),
        Ok((status, _)) => pool.failed(place, &format!("status {status}")),
        Err(why) => pool.failed(place, &why.to_string()),
    }
}

/// Finds out who the server is, for the log; tries until it knows or the sink is gone.
async fn introduce(pool: Weak<Pool>) {
    let mut wait = BENCH.0;
    for turn in 0.. {
        let Some(pool) = pool.upgrade() else { return };
        match pool.ask(turn % pool.len()).await {
            Ok((_, Some(server))) => {
                let name = if server.opensearch {
                    "OpenSearch"
                } else {
                    "Elasticsearch"
                };
                tracing::info!(
                    "{} is {name} {}",
                    pool.roots[turn % pool.len()].origin(),
                    server.version
                );
                if !server.opensearch && server.major().is_some_and(|major| major < 7) {
                    tracing::warn!(
                        "Elasticsearch before 7.0 wants a type for each document and will refuse ours"
                    );
                }
                return;
            }
            // It will not tell us, and that is no trouble.
            Ok((401 | 403 | 404, _)) => return,
            _ => {}
        }
        drop(pool);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BENCH.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::net::HttpOptions;
    use pipeline::net::receiver::{Answer, receiver};

    fn pool(roots: &[String]) -> Arc<Pool> {
        let http = Http::new(&HttpOptions::default()).unwrap();
        let roots = roots.iter().map(|r| Url::parse(r).unwrap()).collect();
        Pool::new(http, roots, |root| root.join("_bulk"))
    }

    #[test]
    fn a_server_says_who_it_is() {
        let elastic = Server::parse(
            br#"{"name":"n","version":{"number":"8.19.4","build_flavor":"default"}}"#,
        )
        .unwrap();
        assert_eq!((elastic.opensearch, elastic.major()), (false, Some(8)));
        assert!(
            Server::parse(br#"{"version":{"distribution":"opensearch","number":"2.19.4"}}"#)
                .unwrap()
                .opensearch
        );
        assert_eq!(Server::parse(b"<html>"), None);
    }

    #[tokio::test]
    async fn healthy_addresses_take_turns_and_a_failed_one_waits_and_comes_back() {
        let (a, b) = (receiver().start().await, receiver().start().await);
        let pool = pool(&[a.uri(), b.uri()]);
        assert_eq!([pool.pick(), pool.pick(), pool.pick()], [0, 1, 0]);
        pool.failed(1, "test");
        assert_eq!([pool.pick(), pool.pick()], [0, 0]);
        assert!(pool.others(1) && !pool.others(2));
        pool.failed(0, "test");
        assert!(!pool.others(1));
        // None is left: the one whose time is over first.
        assert_eq!(pool.pick(), 1);
        // When its time is over it is asked, and takes part again.
        loop {
            let place = pool.pick();
            if pool.state.lock().each.iter().all(|s| s.benched.is_none()) {
                assert!(place < 2);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(a.requests().iter().all(|r| r.path == "/"));
    }

    #[tokio::test]
    async fn a_probe_that_fails_makes_the_wait_longer() {
        let sick = receiver()
            .answers(|_| Some(Answer::new(503, "")))
            .start()
            .await;
        let well = receiver().start().await;
        let pool = pool(&[sick.uri(), well.uri()]);
        pool.failed(0, "test");
        pool.state.lock().each[0].benched = Some(Instant::now());
        while pool.state.lock().each[0].failures < 2 {
            assert_eq!(pool.pick(), 1);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(pool.state.lock().each[0].benched > Some(Instant::now() + BENCH.0));
    }

    #[tokio::test]
    async fn a_single_address_is_never_benched() {
        let pool = pool(&["http://127.0.0.1:1".to_owned()]);
        pool.failed(0, "test");
        assert_eq!(pool.pick(), 0);
        assert!(pool.others(0));
    }
}
