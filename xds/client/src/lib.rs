//! The delta ADS client of the workers: keeps one stream to the control plane, hands every change to a handler, answers ACK
//! or NACK by what the handler says, and comes back by itself. While the server is away the last good configuration stays
//! in force: nothing is ever taken back because of a lost connection.
//!
//! ```no_run
//! use tidegate_xds_client::{AdsClient, Config, Handler, Rejection, Update};
//!
//! struct Sets;
//!
//! impl Handler for Sets {
//!     // Answer when the update is known to be valid; load weights afterwards.
//!     async fn apply(&mut self, update: Update) -> Result<(), Vec<Rejection>> {
//!         for resource in &update.changed {
//!             println!("{} {} {} bytes", update.type_url, resource.name, resource.body.len());
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # async fn run() -> Result<(), tidegate_xds_client::Error> {
//! let config = Config::new("http://127.0.0.1:18000", "worker-1", "tgn_token")
//!     .metadata("tidegate.pool", "default/chat")
//!     .subscribe("type.googleapis.com/tidegate.worker.v1.ModelSet", ["default/chat"])
//!     .subscribe("type.googleapis.com/tidegate.worker.v1.LimitSet", ["default/chat"]);
//! let client = AdsClient::spawn(config, Sets)?;
//! let mut connection = client.connection();
//! while connection.changed().await.is_ok() {
//!     println!("{:?}", *connection.borrow());
//! }
//! client.stop().await;
//! # Ok(()) }
//! ```
mod config;
mod connection;
mod convert;

pub use config::{Config, Error, NodeToken};
pub use connection::{AdsClient, ConnectionState, Handler};
pub use tidegate_xds::client::{Backoff, Received, Rejection, Update};
