// SPDX-License-Identifier: MPL-2.0
//! What the sink pad knows of the stream, and what of it the core has to know of a frame.

use std::sync::Mutex;
use std::time::SystemTime;

use super::flows::flow_from;
use super::input_losses::{LossJudge, Rule, Seen};
use super::lock;
use super::negotiation::caps::comes_in_order;
use super::negotiation::latency::{buffer_duration, frame_duration};
use super::pace::{Due, Pace};
use super::pool::SeenPool;
use crate::facts::{InputLosses, Metadata, StreamState};
use crate::fanout::{Answer, Course, FrameInfo, Totals};

pub(super) type Flow = Result<gst::FlowSuccess, gst::FlowError>;

#[derive(Debug, Default)]
pub(super) struct Input(Mutex<Incoming>);

#[derive(Debug, Default)]
struct Incoming {
    segment: Segment,
    caps: Option<gst::Caps>,
    pace: Pace,
    pool: SeenPool,
    losses: LossJudge,
    /// When the element went from READY to PAUSED last.
    started_at: Option<SystemTime>,
    /// Of the last sticky event that came around the frames: the pad before repeats it with its next
    /// frame.
    around: Option<gst::Seqnum>,
}

/// What there is to do about a frame, or to look at, beside publishing it.
pub(super) struct NotedFrame {
    pub(super) info: FrameInfo,
    pub(super) due: Due,
    pub(super) is_of_another_pool: bool,
}

/// What there is to do about an event.
#[derive(Debug, Default)]
pub(super) struct NotedEvent {
    /// There is something to look at, as the stream ends.
    pub(super) due: Due,
    /// Frames of these caps come, other ones than before: what was found out of the pool may not hold for
    /// them.
    pub(super) new_format: Option<gst::Caps>,
}

/// `TRICKMODE_FORWARD_PREDICTED`, which the bindings have with a feature only, from GStreamer 1.18 on.
const FORWARD_PREDICTED: gst::SegmentFlags = gst::SegmentFlags::from_bits_retain(1 << 9);

/// The segment in force, with what the running time of almost all frames follows from.
#[derive(Debug, Default)]
struct Segment {
    own: gst::FormattedSegment<gst::ClockTime>,
    /// At the normal rate: times from here up to there have this running time at the first of them, ns.
    plain: Option<(std::ops::Range<u64>, u64)>,
}

impl Segment {
    fn new(own: gst::FormattedSegment<gst::ClockTime>) -> Self {
        let ns = |time: Option<gst::ClockTime>| time.map(gst::ClockTime::nseconds);
        // GStreamer's own answer at the start, so that there is nothing to work out again here.
        let start = own.start().filter(|_| own.rate() == 1.0);
        let first = start.and_then(|start| own.to_running_time(start));
        let end = ns(own.stop()).unwrap_or(u64::MAX);
        let plain = ns(start).zip(ns(first));
        Self {
            plain: plain.map(|(start, first)| (start..end, first)),
            own,
        }
    }

    /// False if frames may be left out on purpose, or come from the last to the first.
    fn has_all_frames(&self) -> bool {
        let trick = gst::SegmentFlags::TRICKMODE
            | gst::SegmentFlags::TRICKMODE_KEY_UNITS
            | FORWARD_PREDICTED;
        self.own.rate() > 0.0 && !self.own.flags().intersects(trick)
    }

    /// ns.
    #[inline]
    fn running_time(&self, time: gst::ClockTime) -> Option<u64> {
        match &self.plain {
            Some((times, first)) if times.contains(&time.nseconds()) => {
                // A base may be any.
                first.checked_add(time.nseconds() - times.start)
            }
            _ => self.own.to_running_time(time).map(gst::ClockTime::nseconds),
        }
    }
}

impl Incoming {
    fn frame_info(&self, buffer: &gst::BufferRef) -> FrameInfo {
        let flags = buffer.flags();
        let running = |time| self.segment.running_time(time);
        let start = buffer.dts_or_pts().and_then(running);
        let duration = buffer.duration().map_or(0, gst::ClockTime::nseconds);
        FrameInfo {
            bytes: buffer.size() as u64,
            delta: flags.contains(gst::BufferFlags::DELTA_UNIT),
            header: flags.contains(gst::BufferFlags::HEADER),
            pts: buffer.pts().map(gst::ClockTime::nseconds),
            start,
            end: start.map(|start| start.saturating_add(duration)),
        }
    }

    #[inline]
    fn note_losses(&mut self, buffer: &gst::BufferRef, info: &FrameInfo) {
        let flags = buffer.flags();
        let time = info
            .pts
            .or_else(|| buffer.dts().map(gst::ClockTime::nseconds));
        self.losses.note(Seen {
            time,
            duration: buffer.duration().map_or(0, gst::ClockTime::nseconds),
            discont: flags.contains(gst::BufferFlags::DISCONT),
            corrupted: flags.contains(gst::BufferFlags::CORRUPTED),
            header: info.header,
        });
    }

    /// Frames of other caps or of another segment come.
    fn begin_losses(&mut self) {
        let caps = self.caps.as_ref().filter(|_| self.segment.has_all_frames());
        let frame = caps.and_then(|caps| buffer_duration(caps));
        self.losses.begin(Rule {
            frame: frame.map_or(0, gst::ClockTime::nseconds),
            reordered: !self.caps.as_deref().is_none_or(comes_in_order),
        });
    }

    /// Returns the caps if they are not those of before.
    fn note_caps(&mut self, caps: gst::Caps) -> Option<gst::Caps> {
        self.pool.forget();
        let old = self.caps.replace(caps.clone());
        let new = Some(caps).filter(|caps| old.as_ref() != Some(caps));
        if new.is_some() {
            self.begin_losses();
        }
        new
    }

    fn note_segment(&mut self, segment: &gst::Segment) {
        let segment: gst::FormattedSegment<gst::ClockTime> =
            segment.downcast_ref().cloned().unwrap_or_default();
        // A repeated one is no new beginning.
        let is_new = self.segment.own != segment;
        self.segment = Segment::new(segment);
        if is_new {
            self.begin_losses();
        }
    }
}

impl Input {
    /// The element starts anew.
    pub(super) fn reset(&self) {
        let new = Incoming {
            started_at: Some(SystemTime::now()),
            ..Incoming::default()
        };
        let old = std::mem::replace(&mut *lock(&self.0), new);
        drop(old);
    }

    /// The caps of the frames that come now.
    pub(super) fn caps(&self) -> Option<gst::Caps> {
        lock(&self.0).caps.clone()
    }

    /// What was lost before the frames came here.
    pub(super) fn losses(&self) -> InputLosses {
        lock(&self.0).losses.losses()
    }

    /// What the stream is, and how far, if it `runs`.
    pub(super) fn metadata(&self, totals: &Totals, runs: bool) -> Metadata {
        let (caps, started_at) = {
            let incoming = lock(&self.0);
            (incoming.caps.clone(), incoming.started_at)
        };
        let state = match totals.course {
            _ if !runs => StreamState::Stopped,
            Course::Closed => StreamState::Closed,
            Course::Ended => StreamState::Ended,
            Course::Running if totals.published == 0 => StreamState::Waiting,
            Course::Running => StreamState::Flowing,
        };
        let described = caps.as_deref().map(describe).unwrap_or_default();
        Metadata {
            state,
            run: totals.run,
            started_at,
            ..described
        }
    }

    pub(super) fn note_frame(&self, buffer: &gst::BufferRef, now: u64) -> NotedFrame {
        let mut incoming = lock(&self.0);
        let info = incoming.frame_info(buffer);
        incoming.note_losses(buffer, &info);
        NotedFrame {
            due: incoming.pace.note(info.start, now),
            is_of_another_pool: incoming.pool.changes(buffer),
            info,
        }
    }

    /// The pool is looked at again with the next frame.
    pub(super) fn forget_pool(&self) {
        lock(&self.0).pool.forget();
    }

    pub(super) fn note_event(&self, event: &gst::Event) -> NotedEvent {
        let mut noted = NotedEvent::default();
        let mut incoming = lock(&self.0);
        match event.view() {
            gst::EventView::StreamStart(_) => incoming.begin_losses(),
            gst::EventView::Caps(caps) => noted.new_format = incoming.note_caps(caps.caps_owned()),
            gst::EventView::Segment(segment) => incoming.note_segment(segment.segment()),
            gst::EventView::FlushStop(_) => {
                incoming.segment = Segment::default();
                incoming.pace.flush();
                incoming.begin_losses();
            }
            gst::EventView::Eos(_) => {
                incoming.losses.end();
                noted.due = incoming.pace.end();
            }
            _ => {}
        }
        noted
    }

    /// True for a sticky event around the frames that has come before.
    pub(super) fn is_repeated(&self, event: &gst::Event) -> bool {
        let seqnum = event.seqnum();
        lock(&self.0).around.replace(seqnum) == Some(seqnum)
    }

    /// How long a frame lasts, where the caps tell.
    pub(super) fn frame_duration(&self) -> Option<gst::ClockTime> {
        frame_duration(self.caps()?.as_ref())
    }

    /// True once frames have come for so long that their measured rate is one.
    pub(super) fn is_rate_known(&self, now: u64) -> bool {
        lock(&self.0).pace.is_rate_known(now)
    }

    pub(super) fn asked_if_live(&self) -> super::pace::Asked {
        lock(&self.0).pace.asked()
    }
}

/// What caps say of the frames.
fn describe(caps: &gst::CapsRef) -> Metadata {
    let Some(first) = caps.structure(0) else {
        return Metadata::default();
    };
    let size = |field: &str| {
        let size = first.get::<i32>(field).ok()?;
        u32::try_from(size).ok()
    };
    let rate = first.get::<gst::Fraction>("framerate").ok();
    let rate = rate.filter(|rate| rate.numer() > 0 && rate.denom() > 0);
    Metadata {
        caps: Some(caps.to_string()),
        media_type: Some(first.name().to_string()),
        format: first.get("format").ok(),
        width: size("width"),
        height: size("height"),
        frame_rate: rate.map(|rate| f64::from(rate.numer()) / f64::from(rate.denom())),
        ..Metadata::default()
    }
}

/// What the core answers to a frame, as a flow.
pub(super) fn flow(answer: Answer, allow_not_linked: impl FnOnce() -> bool) -> Flow {
    match answer {
        Answer::Ok => Ok(gst::FlowSuccess::Ok),
        Answer::Eos => Err(gst::FlowError::Eos),
        Answer::NoConsumer if allow_not_linked() => Ok(gst::FlowSuccess::Ok),
        Answer::NoConsumer => Err(gst::FlowError::NotLinked),
        Answer::Failed(flow) => flow_from(flow)
            .into_result()
            .and(Err(gst::FlowError::Error)),
    }
}

/// Asks upstream for a keyframe at once.
pub(super) fn keyframe_request() -> gst::Event {
    gst_video::UpstreamForceKeyUnitEvent::builder()
        .all_headers(true)
        .build()
}

/// The running time that a keyframe is wanted at, unless at once, ns.
pub(super) fn keyframe_time(event: &gst::Event) -> Option<u64> {
    // Without one, GStreamer would add the pads' offsets to nothing.
    let time = event
        .structure()?
        .get::<Option<gst::ClockTime>>("running-time");
    time.ok()??;
    let request = gst_video::UpstreamForceKeyUnitEvent::parse(event).ok()?;
    request.running_time.map(gst::ClockTime::nseconds)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_none_can_tell_is_none() {
        gst::init().unwrap();
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let base = gst::ClockTime::MAX - gst::ClockTime::SECOND;
        segment.set_base(base);
        let own = Segment::new(segment);
        let times = [0, 1, 2].map(gst::ClockTime::from_seconds);
        let last = gst::ClockTime::MAX.nseconds();
        let expected = [Some(base.nseconds()), Some(last), None];
        assert_eq!(times.map(|time| own.running_time(time)), expected);
    }

    #[test]
    fn running_times_are_those_of_gstreamer() {
        gst::init().unwrap();
        let times = [0, 1, 5, 9, 10, 11, 19, 20, 21, 1_000].map(gst::ClockTime::from_seconds);
        let ends = [None, Some(gst::ClockTime::from_seconds(20))];
        for (rate, end, base, offset) in [1.0, 2.0, 0.5, -1.0].into_iter().flat_map(|rate| {
            let bases = [0, 3].map(gst::ClockTime::from_seconds);
            let each =
                move |end| bases.map(move |base| [(rate, end, base, 0), (rate, end, base, 2)]);
            ends.into_iter().flat_map(each).flatten()
        }) {
            let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
            segment.set_rate(rate);
            segment.set_start(gst::ClockTime::from_seconds(10));
            segment.set_stop(end);
            segment.set_base(base);
            segment.set_offset(gst::ClockTime::from_seconds(offset));
            let own = Segment::new(segment.clone());
            for time in times {
                let expected = segment.to_running_time(time).map(gst::ClockTime::nseconds);
                assert_eq!(own.running_time(time), expected, "{time} in {segment:?}");
            }
        }
    }
}
