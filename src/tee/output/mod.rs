// SPDX-License-Identifier: MPL-2.0
//! One src pad: its consumer's thread, the branch behind it, and what goes around the frames.

mod around;
mod branch;
mod buffer;
mod label;
mod pad;
mod peer;
mod session;
mod task;

pub(super) use buffer::flagged;
pub(crate) use label::Label;
pub(super) use pad::{DroneTeePad, Member};
