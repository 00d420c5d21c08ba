//! Several workers where what has the same key stays in order.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{self, Answer, Task, World, retry};
use crate::ack::Verdict::{Delivered, Failed};
use crate::component::Key;
use crate::event::Event;

/// The remainder of the id.
struct Modulo(u64);

impl Key for Modulo {
    fn of(&mut self, event: &Event) -> u64 {
        event.id().0[1] % self.0
    }
}

fn keyed(world: &World, workers: usize, keys: u64, max_events: usize) -> Task {
    let mut task = world.limits(max_events, usize::MAX, Duration::from_millis(1));
    task.workers = workers;
    task.key = Some(Box::new(Modulo(keys)));
    task
}

/// The ids of each key, in the order they were accepted.
fn by_key(accepted: &[u64], keys: u64) -> BTreeMap<u64, Vec<u64>> {
    let mut all: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for id in accepted {
        all.entry(id % keys).or_default().push(*id);
    }
    all
}

#[track_caller]
fn in_order_each_once(world: &World, keys: u64, ids: std::ops::Range<u64>) {
    let all: Vec<u64> = ids.collect();
    assert_eq!(by_key(&world.accepted(), keys), by_key(&all, keys));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_the_same_key_stays_in_order_whatever_the_sink_says() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::answering(move |_, ids| match random.u32(..8) {
            0 => retry(),
            1 => Answer::Panic,
            2 if ids.len() > 1 => world::refused(crate::component::ReasonKind::Rejected),
            // A suffix, for a sink that is asked for order writes nothing past what it could not write.
            3 => world::partly(
                &(ids.len() as u32 / 2..ids.len() as u32).collect::<Vec<_>>(),
                &[],
            ),
            _ => Answer::Ok,
        });
        let task = keyed(&world, 1 + seed as usize % 5, 7, 40).start();
        for n in 0..60 {
            // Now and then an empty one, which only carries its mark.
            let len = if n % 7 == 3 { 0 } else { 10 };
            task.send(n, n * 10..n * 10 + len).await;
        }
        task.end().await;
        let sent: Vec<u64> = (0..600).filter(|id| id / 10 % 7 != 3).collect();
        let dead: Vec<u64> = world.dead().into_iter().map(|(id, ..)| id).collect();
        let expected: Vec<u64> = sent
            .iter()
            .copied()
            .filter(|id| !dead.contains(id))
            .collect();
        assert_eq!(
            by_key(&world.accepted(), 7),
            by_key(&expected, 7),
            "seed {seed}"
        );
        assert_eq!(world.verdicts(), vec![Delivered; 60]);
        let (received, delivered, buried) = world.totals();
        assert_eq!(
            (received, delivered + buried),
            (sent.len() as u64, received)
        );
    }
}

#[tokio::test]
async fn a_key_whose_writes_hang_does_not_hold_up_the_others_at_once() {
    let world = World::answering(|_, ids| match ids[0] % 2 {
        0 => Answer::Hang,
        _ => Answer::Ok,
    });
    let task = keyed(&world, 8, 2, 4).start();
    task.send(0, 0..4).await;
    world.until(|| world.accepted() == [1, 3]).await;
    task.send(1, 4..8).await;
    world.until(|| world.accepted() == [1, 3, 5, 7]).await;
    assert!(
        world.verdicts().is_empty(),
        "half of each batch is still under way"
    );
    world.let_go();
    world.until(|| world.calls() == 4).await;
    world.let_go();
    task.end().await;
    in_order_each_once(&world, 2, 0..8);
    assert_eq!(world.verdicts(), [Delivered; 2]);
    assert_eq!(
        (world.built(), world.closed()),
        (2, 2),
        "the others had nothing to build a sink for"
    );
}

#[tokio::test]
async fn a_successor_keeps_the_order_and_writes_nothing_twice() {
    let mut count = 0;
    let world = World::answering(move |_, _| {
        count += 1;
        if count > 5 { retry() } else { Answer::Ok }
    });
    let task = keyed(&world, 3, 5, 10);
    for n in 0..20 {
        task.send(n, n * 5..n * 5 + 5).await;
    }
    let task = task.start();
    world.until(|| world.calls() > 20).await;
    task.hand_over.cancel();
    let (sender, end) = task.stop().await;
    assert!(world.verdicts().iter().all(|verdict| *verdict == Delivered));
    world.answer(|_, _| Answer::Ok);
    // Another number of workers deals what is left out differently.
    keyed(&world, 4, 5, 10)
        .after(end, sender)
        .start()
        .end()
        .await;
    in_order_each_once(&world, 5, 0..100);
    assert_eq!(world.verdicts(), [Delivered; 20]);
    assert_eq!(world.totals(), (100, 100, 0));
}

#[tokio::test]
async fn when_time_is_up_whatever_has_no_end_fails_and_nothing_else() {
    let world = World::answering(|_, ids| match ids[0] % 3 {
        0 => Answer::Ok,
        _ => retry(),
    });
    let task = keyed(&world, 8, 3, 6).start();
    // Only the first has nothing but what goes well.
    task.send(0, 0..1).await;
    world.until(|| world.answered() == [(0, Delivered)]).await;
    for n in 1..20 {
        task.send(n, n * 6..n * 6 + 6).await;
    }
    world.until(|| world.calls() > 10).await;
    task.abort.cancel();
    let end = task.end().await;
    assert!(end.left.is_empty() && end.given_up > 0);
    drop(end);
    let mut expected = vec![Delivered];
    expected.extend([Failed; 19]);
    assert_eq!(world.verdicts(), expected);
}

#[tokio::test]
async fn without_anything_to_tell_keys_by_everything_is_still_written() {
    struct Broken;
    impl Key for Broken {
        fn of(&mut self, _: &Event) -> u64 {
            panic!("told to")
        }
    }
    let world = World::answering(|_, _| Answer::Ok);
    let mut task = world.limits(10, usize::MAX, Duration::from_millis(1));
    task.workers = 3;
    task.key = Some(Box::new(Broken));
    let task = task.start();
    task.send(0, 0..10).await;
    task.send(1, 10..20).await;
    task.end().await;
    assert_eq!(world.accepted(), (0..20).collect::<Vec<_>>());
    assert_eq!(world.verdicts(), [Delivered; 2]);
}
