// SPDX-License-Identifier: MPL-2.0
//! A lossy fan-out for video frames.
mod fanout;
mod ledger;
mod reason;
pub use ledger::{Drops, Ledger};
pub use reason::DropReason;
