//! Quota arithmetic and request matching. Pure: integer arithmetic, time passed in.
pub mod admission;
pub mod bucket;
pub mod matching;
