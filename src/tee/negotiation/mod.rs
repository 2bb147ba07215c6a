// SPDX-License-Identifier: MPL-2.0
//! What upstream is answered, worked out of the branches' answers. Nothing here asks.

pub(super) mod allocation;
pub(super) mod caps;
pub(super) mod latency;
