//! The functions that programs can call: those of VRL, with some of our own in their place or beside them.

mod bounded;
mod grok;
mod hash;
mod host;
mod long;

use std::sync::Arc;

pub(super) use bounded::PRODUCT;
use parking_lot::Mutex;
use vrl::compiler::Function;
use vrl::diagnostic::Span;

use super::guard::Guard;
use super::merge::Merge;

/// The name of this host, for `hostname()`.
pub(super) struct Host(pub(super) String);
/// The text of the program, for places inside of its strings.
pub(super) struct Text(pub(super) String);

/// Mistakes inside of a call's arguments: the call, and the exact place, for VRL's own only point at the call.
#[derive(Clone, Default)]
pub(super) struct Places(pub(super) Arc<Mutex<Vec<(Span, Span)>>>);

/// All functions. None of them reads the environment or opens a connection.
pub(super) fn all() -> Vec<Box<dyn Function>> {
    let mut ours: Vec<Box<dyn Function>> = vec![
        Box::new(grok::ParseGrok),
        Box::new(hash::Sha256),
        Box::new(hash::HmacSha256),
        Box::new(host::Hostname),
        Box::new(host::GetHostname),
        Box::new(host::Now),
        Box::new(Guard),
        Box::new(Merge),
        Box::new(bounded::Set),
        Box::new(bounded::Product),
    ];
    ours.extend(bounded::Unpack::ALL.map(|function| Box::new(function) as Box<dyn Function>));
    let name = |function: &dyn Function| function.identifier();
    let mut all = vrl::stdlib::all();
    all.retain(|theirs| !bounded::NOT_OFFERED.contains(&name(&**theirs)));
    all.retain(|theirs| !ours.iter().any(|own| name(&**own) == name(&**theirs)));
    let mut all: Vec<_> = all.into_iter().map(long::bounded).collect();
    all.extend(ours);
    all
}
