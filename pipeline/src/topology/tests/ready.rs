//! A graph that runs says so.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_component_is_ready_wherever_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    // `mid` shares the source's task, `wide` and `seen` have their own.
    let road = ROAD
        .replace("count = 100", "count = 100\nendless = true")
        .replace("inputs = ['mid']", "inputs = ['seen']");
    let road = format!(
        "{road}[transforms.wide]
type = 'fragile'
inputs = ['mid']
test = 'TEST'
workers = 2
[transforms.seen]
type = 'seen'
inputs = ['wide']
"
    );
    let options = options();
    let graph = graph(folder.path(), &road.replace("TEST", "ready"));
    let topology = Topology::start(graph, options.clone()).await.unwrap();
    let ready = async {
        while !options.telemetry.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ready)
        .await
        .unwrap_or_else(|_| panic!("{:?}", options.telemetry.health()));
    assert!(topology.stop().await);
}
