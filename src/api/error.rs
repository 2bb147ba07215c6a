// SPDX-License-Identifier: MPL-2.0
//! What can go wrong in the Rust API.

use crate::facts::CloseReason;

/// Why a call of the Rust API failed. Nothing is lost by a failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The element is not a `dronetee` of this crate; its factory's name.
    ///
    /// Also when its plugin was loaded from a file, which is another copy of this code: the
    /// application has to call [`plugin_register_static`](crate::plugin_register_static) before it
    /// builds the pipeline.
    NotADroneTee(String),
    /// The element is gone.
    Gone,
    /// Another consumer of the element is called so, or another pad `src_<name>`: names are unique
    /// in an element, whether given to a pad that was requested, to a receiver, or by the pad
    /// property `consumer`. The name that was asked for.
    NameTaken(String),
    /// Not ASCII letters, digits, `_` and `-`, or empty.
    InvalidName(String),
    /// The consumer's pad could not be activated; GStreamer's reason.
    NotActivated(String),
    /// The element did not take the consumer's pad; GStreamer's reason.
    NotAdded(String),
    /// A limit is not possible; which, and why.
    InvalidLimit(&'static str),
    /// The frame has no caps, or none of raw video.
    NotRawVideo,
    /// There is no such plane.
    NoSuchPlane(usize),
    /// The pixels lie in several memories and cannot be had in one piece without a copy: ask for
    /// the planes.
    SeveralMemories,
    /// The offsets and strides of the planes do not fit the memory, or the format has no rows from
    /// the top down: tiles, or a negative stride.
    Layout,
    /// The memory cannot be mapped for reading.
    Map,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotADroneTee(name) => write!(
                f,
                "'{name}' is not a dronetee of this application: is it another element, or was \
                 the plugin loaded from its file before plugin_register_static()?"
            ),
            Self::Gone => f.write_str("the dronetee is gone"),
            Self::NameTaken(name) => write!(f, "there is a consumer or a pad '{name}' already"),
            Self::InvalidName(name) => write!(
                f,
                "'{name}' is no name for a consumer: letters, digits, '_' and '-' only"
            ),
            Self::NotActivated(cause) => write!(f, "the consumer's pad is not activated: {cause}"),
            Self::NotAdded(cause) => write!(f, "the consumer's pad is not added: {cause}"),
            Self::InvalidLimit(what) => f.write_str(what),
            Self::NotRawVideo => f.write_str("the frame is not raw video"),
            Self::NoSuchPlane(plane) => write!(f, "the frame has no plane {plane}"),
            Self::SeveralMemories => f.write_str("the pixels lie in several memories"),
            Self::Layout => f.write_str("the plane is not rows of bytes within its memory"),
            Self::Map => f.write_str("the memory can not be mapped for reading"),
        }
    }
}

impl std::error::Error for Error {}

/// Why there is no frame now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvError {
    /// None came (in time).
    Empty,
    /// The stream is over for this receiver, and why.
    Closed(CloseReason),
}

impl std::fmt::Display for RecvError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("no frame is waiting"),
            Self::Closed(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for RecvError {}
