//! What tests of components need and no program does.

pub use crate::net::receiver::{Answer, Received, Receiver, receiver};
