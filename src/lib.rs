// SPDX-License-Identifier: MPL-2.0
//! `dronetee`: one video stream, many consumers. Frames are shared and never copied, a consumer
//! that does not keep up loses its own oldest frames and nobody else notices, and every drop is
//! counted with its reason.
//!
//! The crate is the GStreamer plugin `dronetee` with the element of the same name, see
//! [`DroneTee`]. An application that links the crate registers it by
//! [`plugin_register_static()`].
//!
//! [`FramePublisher`] gives the frames of such an element to consumers in the same process:
//!
//! ```
//! use gst::prelude::*;
//! use gstdronetee::{FramePublisher, consumers};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! gst::init()?;
//! gstdronetee::plugin_register_static()?;
//! let line = "videotestsrc num-buffers=30 ! video/x-raw,format=I420 ! dronetee name=t depth=30";
//! let pipeline = gst::parse::launch(line)?.downcast::<gst::Pipeline>().map_err(|_| "no pipeline")?;
//! let publisher = FramePublisher::new(&pipeline.by_name("t").ok_or("no dronetee")?)?;
//! let mut frames = publisher.subscribe(consumers::DETECTION_CLIENT)?;
//!
//! pipeline.set_state(gst::State::Playing)?;
//! let mut seen = 0;
//! while let Some(frame) = frames.recv() {
//!     let luma = frame.plane(0)?;
//!     assert_eq!((luma.width(), luma.height()), (320, 240));
//!     assert_eq!(frame.seq(), seen);
//!     seen += 1 + frame.lost_before();
//! }
//! assert_eq!(publisher.published(), 30);
//! pipeline.set_state(gst::State::Null)?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here panics; what can fail returns an [`Error`]. Times are [`std::time::Duration`]s,
//! counts are frames.

mod api;
mod dronebranch;
mod facts;
mod fanout;
#[cfg(feature = "metrics")]
pub mod metrics;
mod park;
mod plugin;
mod sync;
mod tee;
#[cfg(feature = "metrics")]
mod tracer;

pub use api::{
    ConsumerBuilder, DriveError, Driven, Error, Frame, FramePublisher, FrameReceiver, FrameSink,
    IntoIter, Iter, Next, NextNotice, NoticeError, Notices, Plane, RecvError, ReferenceTimestamp,
    Rows, Stop, TryIter, consumers,
};
pub use dronebranch::DroneBranch;
pub use facts::{
    CloseReason, ConsumerHealth, ConsumerLimits, DropReason, Dropped, Drops, GopTruncated, Health,
    InputLosses, Ledger, Metadata, PoolLimit, QosReport, State, StreamState, Timing, Transition,
};
/// Registers the element `dronetee` for this process, for an application that links the crate.
///
/// To be called after `gst::init()` and before a pipeline with a `dronetee` is built; more than
/// once does no harm. It does not block.
///
/// # Errors
///
/// GStreamer is not initialized, or the plugin was loaded from its file before: its `dronetee` is
/// another copy of this code, which goes on to work, but for which [`FramePublisher::new`] says
/// [`Error::NotADroneTee`]. In turn the file is refused by GStreamer once this has succeeded.
pub use plugin::plugin_register_static;
pub use tee::{DroneTee, DroneTeePad, Notice};

/// The crates whose types are part of this API, in the versions that it uses: an application needs no
/// dependency of its own on them.
pub use {bytes, gst, gst_video};
