//! The rules one by one, on events with exactly the fields that `event_id` gives.

mod authors;
mod bounds;
mod changes;
mod clocks;
mod handed;
mod logins;
mod made;
mod old;
mod polls;
mod relays;
mod state;
mod tasks;
