// SPDX-License-Identifier: MPL-2.0
//! What goes in and comes out.

use std::sync::Arc;

use super::key::Stamp;
use crate::facts::DropReason;

/// What the core must know of a serialized event.
pub(crate) trait Event: Clone {
    /// Late joiners have to get it, and it survives in place of an older one of its kind.
    fn is_sticky(&self) -> bool;
    /// Makes `older` void: the same sticky kind, or an EOS before a new segment.
    fn replaces(&self, older: &Self) -> bool;
    /// Sticky events are given to a late joiner in ascending order of this.
    fn order(&self) -> u32;
    /// One of the kinds that all later kinds (by `order`) have to follow.
    fn must_precede_later_kinds(&self) -> bool;
    fn ends_stream(&self) -> bool;
    /// A late joiner does not get `older` any more, which is of the stream before.
    fn voids(&self, older: &Self) -> bool;
    /// May go when too many events wait.
    fn is_expendable(&self) -> bool;
    fn survives_flush(&self) -> bool;
    /// A consumer that ended for `reason` is served again after it.
    fn readmits(&self, reason: DropReason) -> bool;
    /// Frames from before it are of no use after it.
    fn starts_format(&self) -> bool;
    /// What a sink that waits for its first frame takes for one, in place of the frame of that time, ns;
    /// a duration of zero is not known.
    fn in_place_of(pts: u64, duration: u64) -> Self;
}

/// The sticky events in force at some position, each with its sequence number.
pub(super) type Sticky<E> = Arc<Vec<(u64, E)>>;

/// What the core must know of a frame; times are running times in ns.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FrameInfo {
    pub(crate) bytes: u64,
    /// It needs every frame back to the last one without this.
    pub(crate) delta: bool,
    /// It has what a decoder must know, and perhaps nothing else.
    pub(crate) header: bool,
    pub(crate) pts: Option<u64>,
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
}

impl FrameInfo {
    pub(super) fn lost(&self) -> Lost {
        Lost {
            pts: self.pts.unwrap_or(Lost::UNKNOWN),
            running_time: self.start.unwrap_or(Lost::UNKNOWN),
        }
    }
}

/// When a lost frame should have been shown, ns. It is kept for each consumer with each drop, so it
/// is kept small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pts: u64,
    running_time: u64,
}

impl Lost {
    const UNKNOWN: u64 = u64::MAX;

    pub(crate) fn pts(self) -> Option<u64> {
        (self.pts != Self::UNKNOWN).then_some(self.pts)
    }

    pub(crate) fn running_time(self) -> Option<u64> {
        (self.running_time != Self::UNKNOWN).then_some(self.running_time)
    }
}

impl Default for Lost {
    fn default() -> Self {
        Self {
            pts: Self::UNKNOWN,
            running_time: Self::UNKNOWN,
        }
    }
}

/// How much may wait for a consumer; zero means no limit, but for `depth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Frames.
    pub(crate) depth: u64,
    pub(crate) bytes: u64,
    /// Running time, ns.
    pub(crate) time: u64,
    /// ns since the frame was published.
    pub(crate) max_age: u64,
    /// Frames dropped as slow before the consumer is evicted.
    pub(crate) max_lag: u64,
}

/// Whether a consumer's branch is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Made,
    /// It is, and a late joiner begins with the next frame, whatever is kept for such.
    Live,
    /// With the flow that the branch would answer until it is linked.
    Missing(i32),
}

/// What a consumer gets.
#[derive(Debug)]
pub(crate) enum Taken<F, E> {
    /// See [`is_current`](super::Fanout::is_current) for the stamp.
    Event(E, Stamp),
    Frame(TakenFrame<F>),
    /// Evicted: tell it that the stream is over for it. Comes again after each flush.
    Evicted,
    /// A flush is over: if the stream had ended for the consumer, it goes on.
    Resumed,
    /// Nothing now; the waker will be woken.
    Wait,
    /// The session of the stamp was stopped. The stamp to wait for the next session with; until there
    /// is one, the answer stays this, but after a reset.
    Closed(Stamp),
    /// The stream does not start. It is said once to a consumer that waits for the start.
    Cancelled,
    /// The consumer was released.
    Released,
    /// The session of the stamp was stopped, and this one serves the consumer now.
    Superseded(Stamp),
}

#[derive(Debug)]
pub(crate) struct TakenFrame<F> {
    pub(crate) frame: F,
    /// Which frame of the stream it is, from zero.
    pub(crate) sequence: u64,
    /// Which frame it is over all lives of the stream.
    pub(crate) number: u64,
    /// Which life of the stream it is of, from one.
    pub(crate) run: u64,
    /// Something was lost since the last frame, or the stream began anew.
    pub(crate) discont: bool,
    pub(crate) lost_before: u64,
    /// When it was published, monotonic ns.
    pub(crate) arrived: u64,
    /// How long it waited for this consumer, ns.
    pub(crate) waited: u64,
    /// When it was taken, monotonic ns.
    pub(crate) at: u64,
    pub(crate) stamp: Stamp,
}

impl TakenFrame<()> {
    pub(super) fn with<F>(self, frame: F) -> TakenFrame<F> {
        TakenFrame {
            frame,
            sequence: self.sequence,
            number: self.number,
            run: self.run,
            discont: self.discont,
            lost_before: self.lost_before,
            arrived: self.arrived,
            waited: self.waited,
            at: self.at,
            stamp: self.stamp,
        }
    }
}

/// What became of a frame in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// Dropped, but the consumer goes on.
    Lost(DropReason),
    /// Dropped, and so are the next ones until something readmits the consumer.
    Ended(DropReason),
}

/// How the frame in flight came to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// As it was taken with the frame.
    pub(crate) stamp: Stamp,
    pub(crate) outcome: Outcome,
    /// The consumer's own word for it, opaque here.
    pub(crate) flow: i32,
    /// Of the frames lost before it, those that the consumer was to hear of and has not.
    pub(crate) untold: u64,
}

/// What the thread that watches upstream's silence does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Looks again after this time, ns.
    For(u64),
    /// Looks again when its waker is woken.
    UntilWoken,
    /// Ends.
    Over,
}

/// What to answer upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    /// No consumer is there to take frames.
    NoConsumer,
    /// All consumers have ended.
    Eos,
    /// None lives, and at least one failed with this flow.
    Failed(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Published {
    pub(crate) answer: Answer,
    /// A consumer waits for a keyframe, and it is time to ask for one.
    pub(crate) request_keyframe: bool,
    /// A thread has to watch upstream's silence from now on, by this number.
    pub(crate) watch: Option<u64>,
}
