//! What becomes of events, by what the server says.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;

/// A Loki that keeps what it takes and refuses lines as the real one does: the good lines of a refused push are stored.
#[derive(Default)]
struct Keeper(Mutex<BTreeSet<(i64, String)>>);

impl Keeper {
    async fn start(
        self: &Arc<Self>,
        judge: impl Fn(&Line) -> Option<String> + Send + Sync + 'static,
    ) -> Receiver {
        let keeper = Arc::clone(self);
        receiver()
            .answers(move |request| {
                let mut refused = None;
                for line in pushed(request).entries {
                    match judge(&line) {
                        Some(why) => refused = Some(why),
                        None => drop(keeper.0.lock().unwrap().insert((line.nanos(), line.text))),
                    }
                }
                Some(refused.map_or(Answer::new(204, ""), |why| Answer::new(400, why)))
            })
            .start()
            .await
    }

    fn kept(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

async fn written_after(answer: Answer) -> Result<Written, WriteError> {
    let server = receiver()
        .answers(move |_| Some(answer.clone()))
        .start()
        .await;
    sink(&server, json!({})).write(events(4)).await
}

fn retry(result: Result<Written, WriteError>) -> (ReasonKind, String, Option<Duration>) {
    match result {
        Err(WriteError::Retry { reason, after }) => (reason.kind, reason.text, after),
        other => panic!("{other:?} is no retry of all"),
    }
}

fn refused(result: Result<Written, WriteError>) -> Vec<(u32, Reason)> {
    let Err(WriteError::Partly(fates, _)) = result else {
        panic!("{result:?}")
    };
    let reason = |(n, fate)| match fate {
        Fate::Refused(reason) => (n, reason),
        Fate::Retry(reason) => panic!("{n} is to be sent again: {reason}"),
    };
    fates.into_iter().map(reason).collect()
}

#[tokio::test]
async fn of_a_thousand_lines_only_the_poison_goes_with_the_words_of_loki() {
    let keeper = Arc::new(Keeper::default());
    let words = "stream '{a=\"b\"}' has too many structured metadata labels: '129', limit: '128'";
    let server = keeper
        .start(move |line| (line.n() == 617).then(|| words.to_owned()))
        .await;
    let dead = refused(sink(&server, json!({})).write(events(1000)).await);
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].0, 617);
    assert!(dead[0].1.text.contains(words), "{}", dead[0].1);
    assert_eq!(keeper.kept(), 999);
    assert!(
        server.requests().len() <= 2 * 11,
        "{} pushes",
        server.requests().len()
    );
}

#[tokio::test]
async fn lines_told_apart_by_their_time_or_length_need_no_halving() {
    let keeper = Arc::new(Keeper::default());
    let oldest =
        Time(Clock::system().now().0 / 1_000_000_000 * 1_000_000_000 - 1800 * 1_000_000_000);
    let judge = move |line: &Line| {
        if line.nanos() < oldest.0 {
            let time = Time(line.nanos());
            return Some(format!(
                "entry for stream '{{}}' has timestamp too old: {time}, oldest acceptable timestamp is: {oldest}"
            ));
        }
        (line.text.len() > 200).then(|| format!("max entry size '200' bytes exceeded for stream '{{}}' while adding an entry with length '{}' bytes", line.text.len()))
    };
    let server = keeper.start(judge).await;
    let batch: Vec<Event> = (0..1000)
        .map(|n| match n % 3 {
            0 => event(n, json!({ "@timestamp": ago(3000 + n as i64 / 100) })),
            1 if n % 100 == 1 => event(n, json!({ "pad": "x".repeat(200) })),
            _ => event(n, json!({})),
        })
        .collect();
    let dead = refused(sink(&server, json!({})).write(Events::of(batch)).await);
    assert!(
        dead.iter()
            .all(|(_, reason)| reason.kind == ReasonKind::TooLarge
                && reason.text.contains("max entry size"))
    );
    assert_eq!(dead.len() + keeper.kept(), 1000);
    assert_eq!(
        dead.len(),
        (0..1000).filter(|n| n % 3 == 1 && n % 100 == 1).count()
    );
    assert!(
        server.requests().len() <= 4,
        "refused for each reason, and taken: {}",
        server.requests().len()
    );
    let restamped = keeper
        .0
        .lock()
        .unwrap()
        .iter()
        .filter(|(nanos, text)| !text.contains(&Time(*nanos).to_string()[..19]))
        .count();
    assert_eq!(restamped, 334);
}

#[tokio::test]
async fn what_is_refused_for_its_time_after_it_was_replaced_goes_to_the_dead_letters() {
    let keeper = Arc::new(Keeper::default());
    let judge = |line: &Line| {
        (line.n() == 3).then(|| "entry out of order for stream: {a=\"b\"}".to_owned())
    };
    let server = keeper.start(judge).await;
    let dead = refused(sink(&server, json!({})).write(events(10)).await);
    assert_eq!(dead.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [3]);
    assert!(dead[0].1.text.contains("out of order"));
    assert_eq!(keeper.kept(), 9);
}

#[tokio::test]
async fn a_stream_whose_labels_are_refused_holds_up_no_other() {
    let server = receiver()
        .answers(|request| {
            let bad = pushed(request).labels.contains("bad");
            Some(if bad {
                Answer::new(400, "couldn't parse labels: 1:3: parse error")
            } else {
                Answer::new(204, "")
            })
        })
        .start()
        .await;
    let batch = (0..6).map(|n| {
        event(
            n,
            json!({ "host": { "name": if n % 2 == 0 { "bad" } else { "good" } } }),
        )
    });
    let dead = refused(
        sink(&server, json!({}))
            .write(Events::of(batch.collect()))
            .await,
    );
    assert_eq!(dead.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!(
        server.requests().len(),
        2,
        "no line of it can be better than the others"
    );
}

#[tokio::test]
async fn nothing_is_given_up_for_what_heals() {
    let server_says = [
        (
            Answer::new(429, "ingestion rate limit exceeded for user fake")
                .header("Retry-After", "7"),
            ReasonKind::Busy,
            Some(Duration::from_secs(7)),
        ),
        (Answer::new(500, "empty ring"), ReasonKind::Server, None),
        (Answer::new(503, ""), ReasonKind::Server, None),
        (
            Answer::new(401, "no org id"),
            ReasonKind::Forbidden,
            Some(crate::SLOW),
        ),
        (
            Answer::new(403, ""),
            ReasonKind::Forbidden,
            Some(crate::SLOW),
        ),
        (
            Answer::new(260, "ingestion blocked for user fake"),
            ReasonKind::Blocked,
            Some(crate::SLOW),
        ),
        (Answer::new(404, ""), ReasonKind::Missing, Some(crate::SLOW)),
        (
            Answer::new(400, "<html>"),
            ReasonKind::Nonsense,
            Some(crate::SLOW),
        ),
        (Answer::silent(), ReasonKind::Connection, None),
        (
            Answer::raw("HTTP/9 nothing\r\n\r\n"),
            ReasonKind::Nonsense,
            None,
        ),
    ];
    for (answer, kind, after) in server_says {
        let said = retry(written_after(answer.clone()).await);
        assert_eq!((said.0, said.2), (kind, after), "{answer:?}: {}", said.1);
    }
}

#[tokio::test]
async fn a_stream_over_its_own_rate_waits_alone() {
    let server = receiver()
        .answers(|request| {
            let busy = pushed(request).labels.contains("busy");
            Some(if busy {
                Answer::new(429, "Per stream rate limit exceeded (limit: 3MB/sec)")
            } else {
                Answer::new(204, "")
            })
        })
        .start()
        .await;
    let batch = (0..6).map(|n| {
        event(
            n,
            json!({ "host": { "name": if n < 3 { "busy" } else { "good" } } }),
        )
    });
    let said = sink(&server, json!({}))
        .write(Events::of(batch.collect()))
        .await;
    let Err(WriteError::Partly(fates, _)) = said else {
        panic!("{said:?}")
    };
    assert_eq!(fates.len(), 3);
    assert!(
        fates
            .iter()
            .all(|(n, fate)| *n < 3 && matches!(fate, Fate::Retry(_)))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_too_much_at_once_is_sent_in_smaller_pushes() {
    let large = "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5000601 vs. 4194304)";
    for (status, words) in [
        (500, large),
        (413, ""),
        (429, "ingestion rate limit exceeded for user fake"),
    ] {
        let server = receiver()
            .answers(move |request| {
                Some(match pushed(request).encoded_len() > 3000 {
                    true => Answer::new(status, words),
                    false => Answer::new(204, ""),
                })
            })
            .start()
            .await;
        let options = format!(
            "endpoint = '{}'\nrequest = {{ retry_initial_backoff = '1ms', retry_max_backoff = '2ms' }}",
            server.uri()
        );
        let all: Vec<Event> = (0..100).map(|n| event(n, json!({ "n": n }))).collect();
        let outcome = testing::sink::<Config>(&options).deliver(all).await;
        assert_eq!(outcome.delivered(), (0..100).collect::<Vec<_>>());
        let taken: Vec<u64> = pushes(&server)
            .iter()
            .filter(|push| push.encoded_len() <= 3000)
            .flat_map(|push| push.entries.iter().map(Line::n))
            .collect();
        assert_eq!(taken, (0..100).collect::<Vec<_>>(), "in order, each once");
    }
    // One line that is too large by itself.
    let server = receiver()
        .answers(|request| {
            Some(
                match pushed(request).entries.iter().any(|line| line.n() == 2) {
                    true => Answer::new(413, "too large"),
                    false => Answer::new(204, ""),
                },
            )
        })
        .start()
        .await;
    let dead = refused(sink(&server, json!({})).write(events(4)).await);
    assert_eq!(dead.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_server_without_structured_metadata_is_said_and_nothing_is_lost_to_it() {
    let words = "stream '{}' includes structured metadata, but this feature is disallowed. Please see `limits_config.allow_structured_metadata`";
    let (kind, text, _) = retry(written_after(Answer::new(400, words)).await);
    assert_eq!(kind, ReasonKind::Blocked);
    assert!(text.contains("max_metadata_entries = 0"), "{text}");
    let server = taking().await;
    sink(&server, json!({ "limits": { "max_metadata_entries": 0 } }))
        .write(events(1))
        .await
        .unwrap();
    assert!(pushes(&server)[0].entries[0].metadata.is_empty());
}

#[tokio::test]
async fn the_check_says_who_is_not_there() {
    for (status, kind) in [
        (200, None),
        (404, None),
        (503, Some(ReasonKind::Server)),
        (401, Some(ReasonKind::Forbidden)),
    ] {
        let server = receiver()
            .answers(move |_| Some(Answer::new(status, "Ingester not ready")))
            .start()
            .await;
        let said = sink(&server, json!({})).healthcheck().await;
        assert_eq!(said.err().map(|reason| reason.kind), kind, "{status}");
        assert_eq!(server.requests()[0].path, "/ready");
    }
}
