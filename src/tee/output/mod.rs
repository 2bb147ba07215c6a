// SPDX-License-Identifier: MPL-2.0
//! One src pad: its consumer's thread, the branch behind it, and what goes around the frames.

mod around;
mod branch;
mod buffer;
pub(super) mod flush;
mod label;
mod member;
mod names;
mod pad;
pub(super) mod pads;
mod peer;
mod session;
mod task;

pub(super) use buffer::flagged;
pub(crate) use label::Label;
pub(super) use member::Member;
pub(crate) use names::Refusal;
pub(super) use pad::DroneTeePad;
pub(super) use peer::Peer;
