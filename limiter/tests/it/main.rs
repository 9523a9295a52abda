//! What the limiter promises, against brute force.
mod admission;
mod bucket;
