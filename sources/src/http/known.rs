//! Requests that have a name (`Idempotency-Key`): the same again while the first is under way waits for its answer, and
//! the same again afterwards is answered at once. A sender that lost patience, or our answer, makes no event twice.
//!
//! - state: one entry per named request without an answer, and the last 4096 that had one; in memory only, so after a
//!   restart it is the ids that tell

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use pipeline::Verdict;

/// Digest of a request's name and body.
pub(super) type Name = [u8; 16];

/// What a request comes to: its answer, `None` where there is none because the program stops.
pub(super) type Outcome = Shared<BoxFuture<'static, Option<Verdict>>>;

/// Most answered requests that are remembered.
const REMEMBERED: usize = 4096;

#[derive(Default)]
pub(super) struct Known(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    under_way: HashMap<Name, (usize, Outcome)>,
    done: HashMap<Name, usize>,
    order: VecDeque<Name>,
}

/// What is known of a request.
pub(super) enum Before {
    /// Nothing.
    Never,
    /// It is under way, with so many events.
    UnderWay(usize, Outcome),
    /// So many events were delivered.
    Done(usize),
}

impl Known {
    pub(super) fn before(&self, name: &Name) -> Before {
        let inner = self.0.lock();
        match (inner.under_way.get(name), inner.done.get(name)) {
            (Some((count, outcome)), _) => Before::UnderWay(*count, outcome.clone()),
            (None, Some(count)) => Before::Done(*count),
            (None, None) => Before::Never,
        }
    }

    /// A request sets out. `outcome` is run by a task of its own, whoever waits for it. Where the same has set out
    /// meanwhile, that one is waited for instead.
    pub(super) fn set_out(
        self: &Arc<Self>,
        name: Name,
        count: usize,
        outcome: impl Future<Output = Option<Verdict>> + Send + 'static,
    ) -> Outcome {
        let mut inner = self.0.lock();
        if let Some((_, outcome)) = inner.under_way.get(&name) {
            return outcome.clone();
        }
        let known = Arc::clone(self);
        let task = tokio::spawn(async move {
            let verdict = outcome.await;
            known.ends(&name, verdict == Some(Verdict::Delivered));
            verdict
        });
        let outcome = async move { task.await.unwrap_or(None) }.boxed().shared();
        inner.under_way.insert(name, (count, outcome.clone()));
        outcome
    }

    fn ends(&self, name: &Name, well: bool) {
        let mut inner = self.0.lock();
        let Some((count, _)) = inner.under_way.remove(name) else {
            return;
        };
        if !well {
            return;
        }
        if inner.done.insert(*name, count).is_none() {
            inner.order.push_back(*name);
        }
        if inner.order.len() > REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.done.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_request_waits_for_the_first_and_is_answered_from_memory() {
        let known = Arc::new(Known::default());
        let (tell, told) = tokio::sync::oneshot::channel();
        let first = known.set_out([1; 16], 7, async move { told.await.ok() });
        let Before::UnderWay(7, second) = known.before(&[1; 16]) else {
            panic!("it is under way");
        };
        let third = known.set_out([1; 16], 7, async { panic!("it goes out once") });
        tell.send(Verdict::Delivered).unwrap();
        for each in [first, second, third] {
            assert_eq!(each.await, Some(Verdict::Delivered));
        }
        assert!(matches!(known.before(&[1; 16]), Before::Done(7)));
        // What failed may come again.
        let failed = known.set_out([2; 16], 1, async { Some(Verdict::Failed) });
        assert_eq!(failed.await, Some(Verdict::Failed));
        assert!(matches!(known.before(&[2; 16]), Before::Never));
        for n in 0..2 * REMEMBERED {
            let mut name = [3; 16];
            name[..8].copy_from_slice(&n.to_le_bytes());
            known
                .set_out(name, 1, async { Some(Verdict::Delivered) })
                .await;
        }
        let inner = known.0.lock();
        assert_eq!(
            (inner.done.len(), inner.order.len()),
            (REMEMBERED, REMEMBERED)
        );
    }
}
