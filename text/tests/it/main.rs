//! Text as people write it: scalars beside kubectl's reading, malformed input in plain words, and back again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
mod scalars;
mod words;
mod written;
