//! State and position are one: what a transform remembers, and how far its inputs may be forgotten by their sources.
//!
//! [`Wrapper`] stands around one `Stateful`. It has no task and no clock of its own: the task that owns it feeds it
//! batches, runs the blocking [`Step`]s it asks for somewhere else, and passes on what comes out.
//!
//! # What is promised
//! Every input has its effect at the outputs at least once, the state counts every input exactly once, and an event that
//! the transform makes of its own leaves under one id, also over crashes.
//!
//! # How
//! - The answer owed for an input is **held**. The outputs get answers of their own, which the wrapper watches.
//! - Time is cut into **epochs**. Saving ends an epoch: the state as it is now, with the place reached in every lane, is
//!   written aside and synced. It becomes **current** (renamed, folder synced) when every output given away in this epoch
//!   or before is answered. Then, and only then, the inputs of those epochs are answered and the events made in them leave.
//!   Work goes on meanwhile in the next epoch.
//! - So a source's position never passes the current state, and at any moment the pair (current state, stored positions)
//!   is one from which everything can be derived again: what lies at or below the state's place in a lane is known
//!   (its outputs *were* answered before the state became current), what lies above is applied again.
//!
//! # Why nothing is lost and nothing counted twice
//! *A crash.* The current state is loaded. Its inputs were answered after it became current, so each source reads again
//! from at or before the place the state knows. Ordinals at or below that place are dropped (their ends were good); the
//! rest is applied to a state that has not seen it. Lanes without ordinals are compared by id instead: the ids applied
//! since well before the last release travel in the snapshot, because the source may not have stored that release yet.
//!
//! *An output fails.* The state has counted inputs whose effect is lost. The wrapper **rolls back**: it forgets what it
//! has, loads the current state, and fails every answer it holds. Each source concerned starts again from its stored
//! position, which is the case of the crash. What such a source had still on its way is out of date: its answers are owed
//! to a start that has failed ([`Ack::is_spoilt`](crate::Ack::is_spoilt)), so the wrapper refuses it, and it comes again. A source of
//! which nothing is held has nothing to repeat, is not disturbed, and its batches on the way are new to the old state too.
//!
//! *One of two sources starts again by itself.* Its start was failed somewhere, perhaps between it and this wrapper, by a
//! batch that never came here while a later one did. Taking that later one would put the place in the lane past a hole,
//! and the repetition of the hole would be dropped as known. The failing word is therefore heard at once, not only when the
//! last copy of the batch is answered, and inside a lane everything comes in order: nothing behind a hole is ever applied,
//! the place reached is a place without holes, and the repetition is dropped up to there and applied beyond. No roll-back is
//! needed and the other source notices nothing, which matters: what came by UDP cannot be read again. The answers held for the
//! old start say their good word to a start that no longer counts; the repeated batches are held like any others, though all
//! of their events may be known, because their position must not pass the state either.
//!
//! *Stateful behind stateful.* Two snapshots of two wrappers are two moments; the later one is always the one downstream,
//! because the upstream state becomes current only when the downstream one has released its outputs. After a restart the
//! upstream wrapper may derive its outputs in another order (its lanes race), so a place in a lane would mean nothing:
//! outputs carry no ordinal, and downstream compares ids.
//!
//! *The same lane by two ways* (two outputs of a `route` into one transform) is two lanes here: a place is kept for each
//! input of the component.
//!
//! # What an event made by the transform waits for
//! It waits in the outbox until the snapshot that made it is current. Leaving when it is merely on disk would not do: a
//! crash before it is current falls back to the state before, which may make it again from another order of lanes, under
//! another id. The price is that an alert leaves only when what was emitted before it is answered.

mod book;
mod file;
mod kept;
mod lanes;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
mod wrapper;

pub use file::{Done, StateTrouble, Step};
pub use kept::{read_event, write_event};
pub use wrapper::{Counts, INTERVAL, Setup, Wrapper};
