//! The engine on the real ONNX Runtime, the tiny models beside this file, and the reference models of examples/models.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod chat;
mod embedding;
mod fake;
mod files;
mod harness;
mod reference;
mod runtime;
mod text;
mod trial;
