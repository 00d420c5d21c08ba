//! `syslog` receives messages of other hosts.

pub mod parse;
