// SPDX-License-Identifier: MPL-2.0
//! `dronetee`: one video stream, many consumers. Frames are shared and never copied, a consumer
//! that does not keep up loses its own oldest frames and nobody else notices, and every drop is
//! counted with its reason.
//!
//! The crate is the GStreamer plugin `dronetee` with the element of the same name, see
//! [`DroneTee`]. An application that links the crate registers it by
//! [`plugin_register_static()`].

mod error;
mod fanout;
mod frame;
mod ledger;
mod plugin;
mod publisher;
mod reason;
mod receiver;
mod tee;

pub use error::{Error, RecvError};
pub use fanout::State;
pub use frame::Frame;
pub use ledger::{Drops, Ledger};
pub use plugin::plugin_register_static;
pub use publisher::{ConsumerBuilder, ConsumerHealth, FramePublisher, Health, consumers};
pub use reason::DropReason;
pub use receiver::FrameReceiver;
pub use tee::{DroneTee, DroneTeePad};
