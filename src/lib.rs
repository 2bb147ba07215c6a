// SPDX-License-Identifier: MPL-2.0
//! `dronetee`: one video stream, many consumers. Frames are shared and never copied, a consumer
//! that does not keep up loses its own oldest frames and nobody else notices, and every drop is
//! counted with its reason.
//!
//! The crate is the GStreamer plugin `dronetee` with the element of the same name, see
//! [`DroneTee`]. An application that links the crate registers it by
//! [`plugin_register_static()`].

mod fanout;
mod ledger;
mod plugin;
mod reason;
mod tee;

pub use fanout::State;
pub use ledger::{Drops, Ledger};
pub use plugin::plugin_register_static;
pub use reason::DropReason;
pub use tee::{DroneTee, DroneTeePad};
