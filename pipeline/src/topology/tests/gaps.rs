//! Nothing goes past an event that has no end yet.

use super::*;

/// The poison is in the last batch, so that no later one fails and tells the source. Two sources, so that the transform has
/// a task of its own and gets empty batches between the others, and one behind it that remembers.
const ROAD: &str = "
[sources.in]
type = 'numbers'
count = 56
endless = true
[sources.other]
type = 'numbers'
count = 0
endless = true
[transforms.mid]
type = 'fragile'
inputs = ['in', 'other']
test = 'gap'
poison = 50
[transforms.seen]
type = 'seen'
inputs = ['mid']
[sinks.out]
type = 'memory'
inputs = ['seen']
test = 'gap'
";

#[tokio::test(flavor = "multi_thread")]
async fn while_the_dead_letters_cannot_be_written_no_event_of_the_batch_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("dlq");
    std::fs::write(&in_the_way, "").unwrap();
    let options = options();
    let topology = Topology::start(graph(folder.path(), ROAD), options.clone())
        .await
        .unwrap();
    let until = async |what: &str, done: &dyn Fn() -> bool| {
        let wait = async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait)
            .await
            .unwrap_or_else(|_| panic!("{what}"));
    };
    let panics = || metric(&options, "pvetrail_component_panics_total", "mid");
    until("it panics again and again", &|| panics() > 3).await;
    assert!(written("gap").last() < Some(&50), "{:?}", written("gap"));
    std::fs::remove_file(&in_the_way).unwrap();
    until("everything but the one arrives", &|| {
        written("gap").len() >= 55
    })
    .await;
    assert!(topology.stop().await);
    assert_eq!(
        written("gap"),
        (1..=56).filter(|n| *n != 50).collect::<Vec<_>>()
    );
    assert_eq!(
        metric(&options, "pvetrail_events_dead_lettered_total", "mid"),
        1
    );
}
