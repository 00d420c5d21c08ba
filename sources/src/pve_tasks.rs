//! `pve_tasks` reads PVE's task lists and the logs of tasks: what ran, who started it, how it ended.

pub(crate) mod task;
