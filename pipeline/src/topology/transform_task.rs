//! Runs stateless transforms behind a lane of their own.
//!
//! After a batch failed here, later ones of the same lane and start are failed too: whoever comes behind sees no gap.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::chain::Chain;
use super::node::Node;
use crate::batch::Batch;
use crate::lane::LaneReceiver;
use crate::mark::{LaneId, Mark};

/// Lanes in which a batch failed, and in which start that was.
#[derive(Default)]
pub(crate) struct Broken(HashMap<LaneId, u32>);

impl Broken {
    /// Whether the batch lies behind a failed one.
    pub(crate) fn covers(&self, mark: &Mark) -> bool {
        self.0
            .get(&mark.lane)
            .is_some_and(|start| mark.start <= *start)
    }

    /// A batch with this mark failed.
    pub(crate) fn note(&mut self, mark: &Mark) {
        self.0.insert(mark.lane, mark.start);
    }
}

/// Takes batches until the lane ends or the token says to hand it over; gives the lane back.
pub(crate) async fn run(
    nodes: Vec<Arc<Node>>,
    lane: &mut LaneReceiver,
    workers: usize,
    hand_over: CancellationToken,
) -> Result<(), String> {
    if workers > 1 {
        return run_many(nodes, lane, workers, hand_over).await;
    }
    let mut chain = Chain::of(&nodes)?;
    let mut broken = Broken::default();
    while let Some(batch) = next(lane, &hand_over).await {
        if broken.covers(&batch.mark) {
            continue;
        }
        let mark = batch.mark.clone();
        if !chain.send(batch).await {
            broken.note(&mark);
        }
    }
    Ok(())
}

/// The next batch; `None` when the lane has ended or has to be handed over.
pub(crate) async fn next(lane: &mut LaneReceiver, hand_over: &CancellationToken) -> Option<Batch> {
    tokio::select! {
        biased;
        () = hand_over.cancelled() => None,
        batch = lane.recv() => batch,
    }
}

/// Work in progress at once for each worker [batches].
const AHEAD: usize = 2;

/// Several workers take turns, and what they let through is put in order by taking turns again.
async fn run_many(
    nodes: Vec<Arc<Node>>,
    lane: &mut LaneReceiver,
    workers: usize,
    hand_over: CancellationToken,
) -> Result<(), String> {
    let mut inlets = Vec::new();
    let mut outlets = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let mut chain = Chain::of(&nodes)?;
        let (to, mut from) = mpsc::channel::<Batch>(AHEAD);
        let (done, results) = mpsc::channel::<(Mark, Option<Vec<Batch>>)>(AHEAD);
        tasks.spawn(async move {
            while let Some(batch) = from.recv().await {
                let mark = batch.mark.clone();
                let through = chain.run(batch).await;
                if done.send((mark, through)).await.is_err() {
                    return;
                }
            }
        });
        inlets.push(to);
        outlets.push(results);
    }
    let last = Arc::clone(nodes.last().ok_or("a chain needs a component")?);
    tasks.spawn(async move {
        let mut broken = Broken::default();
        let mut turn = 0;
        while let Some((mark, through)) = outlets[turn].recv().await {
            turn = (turn + 1) % outlets.len();
            if broken.covers(&mark) {
                continue;
            }
            match through {
                Some(batches) => {
                    for batch in batches {
                        last.ports.main.send(batch).await;
                    }
                }
                None => broken.note(&mark),
            }
        }
    });
    let mut turn = 0;
    while let Some(batch) = next(lane, &hand_over).await {
        if inlets[turn].send(batch).await.is_err() {
            return Err("a worker ended before its lane".to_owned());
        }
        turn = (turn + 1) % inlets.len();
    }
    drop(inlets);
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|why| why.to_string())?;
    }
    Ok(())
}
