//! Firmware profiles: one TOML file per device protocol version says what its bytes mean.
//!
//! Pure: frames in, drafts out. State across frames (multi-packet records, a CGM's session start) lives in [`Decoder`].
//! Must never: guess between two profiles that match, or emit a draft from a rejected record.

mod binary;
mod built_in;
mod catalogue;
mod compile;
mod decoder;
mod error;
pub mod example;
mod examples;
mod firmware;
mod memory;
pub mod page;
mod plan;
pub mod reject;
pub mod schema;
mod session;
mod table;
mod time;
mod topic;
mod tree;
mod wire;

pub use built_in::FILES;
pub use catalogue::Catalogue;
pub use compile::Profile;
pub use decoder::{Decoded, Decoder};
pub use error::ProfileError;
pub use examples::{check as check_examples, frames};
pub use firmware::told;
pub use plan::Plan;
pub use session::octets;
pub use time::iso8601;

#[cfg(test)]
mod tests;
