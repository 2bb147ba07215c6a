// SPDX-License-Identifier: MPL-2.0
//! Plain data that all other parts of the crate speak of; it knows none of them.

mod close;
mod health;
mod ledger;
mod metadata;
mod notice;
mod reason;
mod state;

pub use close::CloseReason;
pub use health::{ConsumerHealth, ConsumerLimits, Health, InputLosses, QosReport, Timing};
pub use ledger::{Drops, Ledger};
pub use metadata::{Metadata, StreamState};
pub use notice::{Dropped, GopTruncated, PoolLimit, Transition};
pub use reason::DropReason;
pub use state::State;
