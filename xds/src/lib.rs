//! The xDS protocol machines, server and client side, state-of-the-world and delta; the change log.
//! Pure: no socket, no clock, no runtime. Time comes in as milliseconds, actions go out as plain data.
//!
//! ```text
//!  ResourceSet --publish--> Hub -> GroupState (immutable, shared) --on_update--> Stream --Vec<Action>--> a socket
//!                                                  requests ------on_request----^
//! ```
//! The rules of the protocol stand beside the code that holds them: `delta` and `sotw` for what a request means,
//! `phases` for the order of types, `delivery` for the cursor, `answer` for ACK and silence, `refusal` for NACK and quarantine.
mod answer;
pub mod client;
mod delivery;
mod delta;
pub mod entry;
pub mod log;
mod phases;
mod refusal;
pub mod resources;
mod selection;
mod sotw;
pub mod status;
pub mod stream;
mod subscription;
pub mod types;
mod view;
mod warming;
pub mod wire;

pub use delta::DeltaRequest;
pub use entry::Entry;
pub use log::{GroupState, Hub};
pub use resources::{Resource, ResourceSet, TypeUrl};
pub use sotw::SotwRequest;
pub use status::{Refused, SyncState, TypeStatus};
pub use stream::{Action, Bounds, CloseCode, Event, Nack, Stream, Variant};
pub use wire::Response;
