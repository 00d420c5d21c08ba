//! Words of Proxmox VE: UPIDs, users, exit texts, task types, and what a call of the API means.
//!
//! Facts are from PVE's sources: `PVE/UPID.pm`, `PVE/AccessControl.pm`, `PVE/APIServer/AnyEvent.pm`, the API schema.

mod answer;
mod endpoint;
mod inventory;
mod path;
mod task;
mod upid;
mod user;

pub use answer::{Answer, Verdict, upid_length};
pub use endpoint::{Call, Endpoint};
pub use inventory::{Guest, Inventory, Known, Node, Snapshot};
pub use path::{Format, decode, normalise};
pub use task::{Act, Exit, TaskType};
pub use upid::{Upid, UpidError};
pub use user::User;

#[cfg(test)]
mod tests;
