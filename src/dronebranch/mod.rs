// SPDX-License-Identifier: MPL-2.0
//! The element `dronebranch`: a bin whose content may fail, hang and be restarted while nothing
//! around it notices.
//!
//! # What is inside what
//!
//! ```text
//! DroneBranch   a bin that changes its state with the pipeline, at once
//! └ Cell        holds the content; its own state never changes
//!   │ gate      the cell's sink pad, behind the bin's ghost pad
//!   └ content   a bin that follows on a thread of its own
//! ```
//!
//! `GstBin` takes the state lock of each child when it changes state, and looks at the child's last
//! state change. So its only child is the cell, whose lock is always free: a content that hangs in a
//! state change, is in the middle of one or failed in one does not reach the pipeline. Elements that are
//! added to the bin land in the content. What they post comes by the cell.
//!
//! There is no link from the gate to the content either. Each life of the content has a pad of its
//! own that feeds it, and a thread that pushes from there. Upstream's thread hands over what it
//! brings and waits for the answer in the [`slot`](slot::Slot), where it can be released at any time.
//!
//! # Threads
//!
//! | thread | runs | may be held up by | for how long |
//! | --- | --- | --- | --- |
//! | upstream's | the gate's functions; waits in the slot | the content, as behind any element | until the content returns or fails, a flush, or the stop |
//! | upstream's, with a query that is not serialized | the query function of the content's sink pad | the content | without bound; content that has been busy for `stop-timeout` is not asked |
//! | that of a FLUSH_START | waits for a helper that delivers it | the content | `stop-timeout` |
//! | a life's state thread (`life.rs`) | brings the content up and down, RECONFIGURE upstream | the content | without bound: it is left behind |
//! | a life's feeding thread (`life.rs`) | pushes to the content | the content | without bound: it is left behind |
//! | the supervisor (`supervisor.rs`), from READY→PAUSED to PAUSED→READY | restarts, finds out that content hangs, posts messages, notifies | the application's handlers | without bound |
//! | the application's, a state change to READY or below | ends the life, leaves behind what hangs | the content's teardown | `stop-timeout`, for all branches of a pipeline that stops |
//! | the application's, a query or LATENCY to the bin | waits for a helper that asks (`aside.rs`) | the content | 500 ms |
//! | an element's in the content | posts to the cell: reports a failure, the end | nothing | |
//!
//! # State
//!
//! The [`keeper`](keeper::Keeper) owns all of it, under one lock: the [`course`](course::Course) with its
//! table of transitions, which life takes frames (`route`), which one is being torn down (`old`), the newest
//! sticky events, and whether the stream has ended. Plain parts decide and know no GStreamer object:
//! `course` (restarts), `watch` (what counts as hung), `opening` (the first frames of a life).
//!
//! # Locks
//!
//! | lock | what it guards | held over |
//! | --- | --- | --- |
//! | the keeper's | the state | the locks below, but for the pad's |
//! | settings | what properties set | nothing |
//! | a slot, a life's orders | what goes to and fro between two threads | nothing |
//! | the bin's own pad | whether there is one | nothing |
//!
//! None is held across a push, an event, a query, a state change, a message, a notify or a callback.
//!
//! # The end of the stream
//!
//! The cell posts EOS for the content, once: when the content does, or in its place when it is not
//! running, when it fails after the end, and when nothing has moved in it for `stop-timeout`. An EOS that waits
//! behind a frame in which the content hangs can not arrive: when a frame has been stuck for
//! `stop-timeout`, the supervisor looks upstream for a pad that EOS has come to. It reads sticky events of
//! pads only. That works behind `dronetee`, `queue` and others without their help.

mod aside;
mod cell;
mod consumer;
mod content;
mod course;
mod gate;
mod imp;
mod inside;
mod keeper;
mod life;
mod notices;
mod opening;
mod settings;
mod slot;
mod sticky;
mod supervisor;
mod upstream;
mod watch;

use glib::prelude::*;
use once_cell::sync::Lazy;

pub(crate) use consumer::consumer_of;
pub(crate) use upstream::is_behind;

static CAT: Lazy<gst::DebugCategory> = Lazy::new(|| {
    gst::DebugCategory::new(
        "dronebranch",
        gst::DebugColorFlags::empty(),
        Some("Branch that keeps its failures"),
    )
});

glib::wrapper! {
    /// The element `dronebranch`: keeps the failures of what hangs behind a pad.
    ///
    /// An ERROR message of one consumer's element ends every `gst-launch-1.0`, and most
    /// applications: here the recording ends with the detection, after 0.3 s:
    ///
    /// ```text
    /// … ! dronetee name=t  t.src_record ! … ! filesink location=flight.mkv
    ///                      t.src_detection_client ! videoconvert ! inference ! fakesink
    /// ```
    ///
    /// In a `dronebranch` the detection fails alone and is restarted:
    ///
    /// ```text
    /// t.src_detection_client ! dronebranch.( name=detection videoconvert ! inference ! fakesink )
    /// ```
    pub struct DroneBranch(ObjectSubclass<imp::DroneBranch>)
        @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

pub(crate) fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    gst::Element::register(
        plugin,
        "dronebranch",
        gst::Rank::NONE,
        DroneBranch::static_type(),
    )
}
