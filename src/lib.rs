// SPDX-License-Identifier: MPL-2.0
//! `dronetee`: one video stream, many consumers. Frames are shared and never copied, a consumer
//! that does not keep up loses its own oldest frames while the others get theirs, and every drop is
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
//! One line in `Cargo.toml` is enough: [`gst`], [`gst_video`] and [`bytes`] are re-exported in the
//! versions that this API speaks of, `gstdronetee::gst::prelude` included.
//!
//! # Where to look
//!
//! | to… | see |
//! | --- | --- |
//! | join the stream | [`FramePublisher::subscribe`], with limits [`FramePublisher::consumer`] |
//! | wait for frames in a thread | [`FrameReceiver::recv`], [`recv_timeout`](FrameReceiver::recv_timeout), `for frame in &mut frames` |
//! | … in an async task of any runtime | [`FrameReceiver::next`], or the `Stream` that it is |
//! | read pixels | [`Frame::plane`], whose [`Plane`] knows its stride; [`Frame::video_frame`], [`Frame::pixels`] |
//! | know when it was captured | [`Frame::reference_timestamp`], [`Frame::running_time`], [`Frame::age`] |
//! | know what was lost | [`Frame::lost_before`], [`FrameReceiver::ledger`], [`DropReason`] |
//! | know why it ended | [`FrameReceiver::close_reason`], [`RecvError::Closed`], [`CloseReason`] |
//! | watch all of it | [`FramePublisher::health`], [`FramePublisher::notices`] |
//! | record, or pass on | [`FrameReceiver::drive_to`], [`FrameSink`], [`FramePublisher::replay`] |
//! | end it | [`FramePublisher::close`], or drop the receiver |
//!
//! # Examples
//!
//! Each has a page, and is run by the tests:
//!
//! | program | shows |
//! | --- | --- |
//! | `examples/threads.rs` | three consumers, a thread each, one of them slow |
//! | `examples/tokio_select.rs` | consumers as tasks of tokio, in a `select!` |
//! | `examples/newest_frame.rs` | a slow detector that always gets the newest frame: `depth(1)` |
//! | `examples/recorder.rs` | an H.264 stream into a file, from the last keyframe on: `drive_to` an `appsrc` |
//! | `examples/health_server.rs` | `/health` and `/notices` as JSON, with the feature `serde` |
//! | `examples/autopilot.rs` | a drone's main job on real RTSP, with metrics |
//!
//! # Rules for all of it
//!
//! - Nothing here panics. What can fail returns an [`Error`], and a failed call changes nothing.
//! - Times are [`Duration`](std::time::Duration)s, or [`gst::ClockTime`]s where they are the stream's.
//!   Counts are frames, sizes bytes.
//! - What blocks says so. Waits of a task are cancel-safe: one that is given up has taken nothing.
//! - A stop of the pipeline ends every wait, with [`CloseReason::Stopped`]. Receivers may be kept: they go
//!   on with the next start, and [`Frame::run`] tells the runs apart. Frames, planes and bytes outlive
//!   everything.
//! - Dropping a receiver releases its pad.

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
