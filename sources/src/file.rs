//! `file` follows log files, their rotations and their compressed siblings.

mod discover;
mod family;
mod files;
mod follow;
mod identity;
mod lines;
mod multiline;
mod notes;
mod page;
mod position;
mod reader;
#[cfg(test)]
mod reading_tests;
mod recognise;
mod rotate;
#[cfg(test)]
mod rotation_tests;
#[cfg(test)]
mod testing;
