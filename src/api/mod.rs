// SPDX-License-Identifier: MPL-2.0
//! What a Rust program calls: a publisher of an element, receivers of its frames.

mod error;
mod frame;
mod publisher;
mod receiver;
mod subscription;

pub use error::{Error, RecvError};
pub use frame::Frame;
pub use publisher::{FramePublisher, consumers};
pub use receiver::FrameReceiver;
pub use subscription::ConsumerBuilder;
