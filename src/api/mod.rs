// SPDX-License-Identifier: MPL-2.0
//! What a Rust program calls: a publisher of an element, receivers of its frames.

mod drive;
mod error;
mod frame;
mod limits;
mod notices;
mod plane;
mod publisher;
mod receiver;
mod reference;
mod subscription;
mod waiting;

pub use drive::{DriveError, Driven, FrameSink, Stop};
pub use error::{Error, RecvError};
pub use frame::Frame;
pub use notices::{NextNotice, NoticeError, Notices};
pub use plane::{Plane, Rows};
pub use publisher::{FramePublisher, consumers};
pub use receiver::FrameReceiver;
pub use reference::ReferenceTimestamp;
pub use subscription::ConsumerBuilder;
pub use waiting::{IntoIter, Iter, Next, TryIter};
