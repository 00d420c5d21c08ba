//! How many connections there may be, in all and for one peer, and what is counted about them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::ComponentMetrics;

/// Shared by a listener and its connections.
pub(super) struct Gate {
    most: usize,
    most_per_peer: usize,
    free: Arc<Semaphore>,
    peers: Mutex<HashMap<IpAddr, usize>>,
    /// Whole connections; one that still shakes hands has a place but is not open.
    open: AtomicUsize,
    metrics: Option<Arc<ComponentMetrics>>,
}

/// One of the places of a [`Gate`], given back when dropped.
pub(super) struct Place {
    gate: Arc<Gate>,
    peer: Option<IpAddr>,
    open: bool,
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    pub(super) fn new(
        most: usize,
        most_per_peer: usize,
        metrics: Option<Arc<ComponentMetrics>>,
    ) -> Arc<Self> {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            most,
            most_per_peer: most_per_peer.max(1),
            free: Arc::new(Semaphore::new(most)),
            peers: Mutex::new(HashMap::new()),
            open: AtomicUsize::new(0),
            metrics,
        })
    }

    /// Waits until there is room for one more. Those who wait meanwhile wait in the kernel, and what they have sent
    /// waits with them: closing their connections would lose it.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        let free = Arc::clone(&self.free);
        match Arc::clone(&free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                if let Some(metrics) = &self.metrics {
                    metrics.error("connection_limit", crate::telemetry::Stage::Receiving, 1);
                }
                crate::log_limited!(
                    warn,
                    connection_limit = self.most,
                    "as many connections are open as are allowed; the next ones wait until one ends"
                );
                free.acquire_owned()
                    .await
                    .expect("the semaphore is never closed")
            }
        }
    }

    /// A place for a connection from `peer`; `None` where that peer has as many as it may.
    pub(super) fn enter(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        peer: Option<IpAddr>,
    ) -> Option<Place> {
        let peer = peer.map(site);
        if let Some(peer) = peer {
            let mut peers = self.peers.lock();
            let open = peers.entry(peer).or_insert(0);
            if *open >= self.most_per_peer {
                return None;
            }
            *open += 1;
        }
        Some(Place {
            gate: Arc::clone(self),
            peer,
            open: false,
            _permit: permit,
        })
    }

    /// A connection was turned away; `reason` is a word of a fixed list.
    pub(super) fn refused(&self, reason: &'static str) {
        if let Some(metrics) = &self.metrics {
            metrics.connections_refused.add([reason], 1);
        }
    }

    fn show(&self, open: usize) {
        if let Some(metrics) = &self.metrics {
            metrics.open_connections.set(open as f64);
        }
    }
}

impl Place {
    /// The connection is whole: it counts as established now.
    pub(super) fn opened(&mut self) {
        self.open = true;
        if let Some(metrics) = &self.gate.metrics {
            metrics.connections_established.add(1);
        }
        self.gate
            .show(self.gate.open.fetch_add(1, Ordering::Relaxed) + 1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(peer) = self.peer {
            let mut peers = self.gate.peers.lock();
            if let Some(open) = peers.get_mut(&peer) {
                *open -= 1;
                if *open == 0 {
                    peers.remove(&peer);
                }
            }
        }
        if self.open {
            self.gate
                .show(self.gate.open.fetch_sub(1, Ordering::Relaxed) - 1);
            if let Some(metrics) = &self.gate.metrics {
                metrics.connections_shutdown.add(1);
            }
        }
    }
}

/// What counts as one peer: an IPv4 address, or the /64 that a machine with IPv6 usually has for itself.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            IpAddr::from([
                segments[0],
                segments[1],
                segments[2],
                segments[3],
                0,
                0,
                0,
                0,
            ])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_counted_and_given_back() {
        let gate = Gate::new(3, 2, None);
        let peer = |text: &str| Some(text.parse().unwrap());
        let mut held = Vec::new();
        for (address, fits) in [
            ("::ffff:192.0.2.1", true),
            ("192.0.2.1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", true),
        ] {
            let place = gate.enter(gate.room().await, peer(address));
            assert_eq!(place.is_some(), fits, "{address}");
            held.extend(place);
        }
        assert!(futures::FutureExt::now_or_never(gate.room()).is_none());
        held.remove(0);
        assert!(gate.enter(gate.room().await, peer("192.0.2.1")).is_some());
        held.clear();
        assert!(gate.peers.lock().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let site = |text: &str| super::site(text.parse().unwrap());
        assert_eq!(site("2001:db8:1:2:3::4"), site("2001:db8:1:2::9"));
        assert_ne!(site("2001:db8:1:2::"), site("2001:db8:1:3::"));
    }
}
