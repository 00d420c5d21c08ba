//! Where events come from: one file per kind of source.

mod demo;
mod file;
