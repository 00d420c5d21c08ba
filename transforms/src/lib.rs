//! transforms

pub mod grok;
