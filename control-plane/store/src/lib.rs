//! The policy store on Postgres, behind the traits of `tidegate_policy::ports`: objects, their append-only history, leases
//! of fleet facts, tokens and keys. The only SQL of the product. A write that is answered `Ok` is on disk; a write that
//! failed leaves nothing. It must never validate or compile a policy: what it is given is valid already.
mod answered;
mod changes;
mod connect;
mod credentials;
mod error;
mod history;
mod leases;
mod objects;
mod options;
mod paging;
mod queue;
mod quiet;
mod reads;
mod retention;
mod retry;
mod rows;
mod session;
mod status;
mod store;
mod tokens;
mod transaction;

pub use error::ConnectError;
pub use leases::KEEPER_GAP_MS;
pub use options::Options;
pub use retention::{HISTORY_DAYS, HISTORY_LINES};
pub use store::PgStore;
