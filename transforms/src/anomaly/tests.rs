//! Every vector of `detection.md` 4, in order and shuffled, and what rules do over a crash.
