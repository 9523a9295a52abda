//! Status equals traffic. Faults are injected, and status and gateway are asked side by side: a condition or `proxy-status`
//! names the cause, and `Ready` is never True while requests for that object fail beyond the stated grace.
//!
//! `standing` faults are in the documents or in the files of a model: each has a namespace of its own, and many are tried at a
//! time. `running` faults are done to parts of a system that works: one after the other, with traffic.
mod files;
mod judge;
mod look;
mod policies;
mod running;
mod standing;
mod weights;
