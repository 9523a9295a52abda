//! Text as people write it: scalars beside kubectl's reading, malformed input in plain words, and back again.
#![allow(clippy::unwrap_used, reason = "a test")]
mod scalars;
mod words;
mod written;
