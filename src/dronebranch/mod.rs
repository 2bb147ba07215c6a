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
//! | that of a FLUSH_START, or of another event that is not serialized | waits for a helper that delivers it | the content | `stop-timeout` |
//! | a life's state thread (`life.rs`) | brings the content up and down, RECONFIGURE upstream | the content | without bound: it is left behind |
//! | a life's feeding thread (`life.rs`) | pushes to the content | the content | without bound: it is left behind |
//! | the supervisor (`supervisor.rs`), one from READY→PAUSED to PAUSED→READY | restarts, finds out that content hangs, posts messages, notifies | the application's handlers | without bound |
//! | the application's, a state change to READY or below | ends the life, leaves behind what hangs | the content's teardown | `stop-timeout`, for all branches of a pipeline that stops |
//! | the application's, a query or LATENCY to the bin | waits for a helper that asks (`aside.rs`) | the content | 500 ms |
//! | an element's in the content | posts to the cell: reports a failure, the end | nothing | |
//!
//! # State
//!
//! ```text
//!             READY→PAUSED              the content fails
//!   stopped ───────────────► running ──────────────────────► waiting: the old content goes down
//!      ▲                        ▲                               │ it is down, or left behind
//!      │ PAUSED→READY,          │ up                            ▼
//!      │ from any state         └───────── the next one ◄──── waiting for the restart's time
//!                                          comes up    due
//!   failed ◄──── max-restarts in a row, restart=false, content that can not be built,
//!                content that was left behind and has no description
//! ```
//!
//! Each part owns what it decides with, and is written by its own methods only:
//!
//! | part | owns | promise |
//! | --- | --- | --- |
//! | [`course`] | the state, the row of failures, the counters | restarts, pauses and giving up are by the rules |
//! | [`lives`] | the life that comes up, the one that takes frames, the old one, the order | one takes frames at a time; the next comes up when the old one is out of the way |
//! | [`stream`] | sticky events, flushing, the end | a new life hears what the stream is; the end is told once |
//! | [`notices`] | what is to be told | in order, by one thread, with no lock held |
//! | [`contents`] | the content, its pad, its links, the latency | the cell holds at most one content, with one pad for frames |
//! | [`relinks`] | links to pads that come and go | a life links what the one before had linked |
//! | [`gate`] | the pad that upstream pushes into, `dropped` | upstream gets an answer whatever becomes of the content |
//! | [`life`] | two threads and the pad that feeds the content | a thread that hangs holds up nothing but itself |
//!
//! [`state`] composes the first four under one lock, in [`shared`]; the [`keeper`] has all parts act. Plain
//! logic, which knows no GStreamer object, is in [`course`], [`watch`] (what counts as hung),
//! [`opening`] (the first frames of a life) and [`slot`].
//!
//! # Locks
//!
//! | lock | what it guards | held over |
//! | --- | --- | --- |
//! | the state's (`shared.rs`) | course, lives, stream, notices | a life's |
//! | settings | what properties set | nothing |
//! | contents', relinks' | what is in the cell; links of lives before | nothing |
//! | a slot's, a life's orders | what goes to and fro between two threads | nothing |
//! | the bin's own pad | whether there is one | nothing |
//!
//! None is held across a push, an event, a query, a state change, a message, a notify or a callback.
//!
//! A handler of a message that the content posts may stop the branch: it runs in a thread of the content's,
//! which is not waited for then. The next life waits for the old content in its place.
//!
//! # The end of the stream
//!
//! The cell posts EOS for the content, once: when the content does, or in its place when it is not
//! running, when it fails after the end, and when nothing has moved in it for `stop-timeout`. An EOS that waits
//! behind a frame in which the content hangs can not arrive: when a frame has been stuck for
//! `stop-timeout`, the supervisor looks upstream for a pad that EOS has come to. It reads sticky events of
//! pads only. That works behind `dronetee`, `queue` and others without their help.
//!
//! Sources in the content, whose frames are mixed with the stream, end with it. Content without a sink can
//! not post EOS: it has ended when its push of EOS has returned.
//!
//! # A branch in a branch
//!
//! Content that holds branches waits for theirs: it gets their longest `stop-timeout` and half a second
//! longer than other content (`grace`), so that the inner branch finds out what hangs in it.

mod aside;
mod cell;
mod consumer;
mod content;
mod contents;
mod course;
mod feed;
#[cfg(feature = "metrics")]
mod figures;
mod gate;
mod imp;
mod keeper;
mod life;
mod lives;
mod notices;
mod opening;
mod relinks;
mod settings;
mod shared;
mod slot;
mod state;
mod sticky;
mod stream;
mod supervisor;
mod upstream;
mod watch;

use glib::prelude::*;
use once_cell::sync::Lazy;

pub(crate) use consumer::consumer_of;
#[cfg(feature = "metrics")]
pub(crate) use figures::{Figures, STATES, figures, is_one};
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
