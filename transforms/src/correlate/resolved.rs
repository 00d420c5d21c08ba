//! Where a line came from, as far as the lines around it tell.

use std::net::IpAddr;

use pipeline::EventId;

use super::basis::Basis;

/// What a line says of where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// From this address.
    One {
        ip: IpAddr,
        via: Option<Box<str>>,
        /// Twins on the relaying node.
        twins: Vec<EventId>,
    },
    /// From one of these, or nobody knows.
    Open {
        candidates: Vec<IpAddr>,
        twins: Vec<EventId>,
    },
}

impl Resolved {
    /// What the line itself is told to rest on; `None` where what it says of itself is right.
    pub(super) fn basis(&self) -> Option<Basis> {
        match self {
            Resolved::One { via: None, .. } => None,
            Resolved::One { ip, via, twins } => {
                (!twins.is_empty()).then(|| Basis::matched(*ip, twins.clone(), via.clone()))
            }
            Resolved::Open { candidates, twins } => {
                Some(Basis::ambiguous(candidates.clone(), twins.clone()))
            }
        }
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        match self {
            Resolved::One { ip, .. } => std::slice::from_ref(ip),
            Resolved::Open { candidates, .. } => candidates,
        }
    }
}
