// SPDX-License-Identifier: MPL-2.0
//! What the sink pad knows of the stream, and what of it the core has to know of a frame.

use std::sync::Mutex;

use super::flows::flow_from;
use super::lock;
use super::negotiation::latency::frame_duration;
use super::pace::{Due, Pace};
use crate::fanout::{Answer, FrameInfo};

pub(super) type Flow = Result<gst::FlowSuccess, gst::FlowError>;

#[derive(Debug, Default)]
pub(super) struct Input(Mutex<Incoming>);

#[derive(Debug, Default)]
struct Incoming {
    segment: gst::FormattedSegment<gst::ClockTime>,
    caps: Option<gst::Caps>,
    pace: Pace,
    /// Of the last sticky event that came around the frames: the pad before repeats it with its next
    /// frame.
    around: Option<gst::Seqnum>,
}

impl Incoming {
    fn frame_info(&self, buffer: &gst::BufferRef) -> FrameInfo {
        let flags = buffer.flags();
        let running = |time| self.segment.to_running_time(time);
        let start = buffer.dts_or_pts().and_then(running);
        let start = start.map(gst::ClockTime::nseconds);
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
}

impl Input {
    /// The element starts anew.
    pub(super) fn reset(&self) {
        let old = std::mem::take(&mut *lock(&self.0));
        drop(old);
    }

    /// The caps of the frames that come now.
    pub(super) fn caps(&self) -> Option<gst::Caps> {
        lock(&self.0).caps.clone()
    }

    pub(super) fn note_frame(&self, buffer: &gst::BufferRef, now: u64) -> (FrameInfo, Due) {
        let mut incoming = lock(&self.0);
        let info = incoming.frame_info(buffer);
        (info, incoming.pace.note(info.start, now))
    }

    /// Returns what there is to look at, if the stream ends.
    pub(super) fn note_event(&self, event: &gst::Event) -> Due {
        let mut incoming = lock(&self.0);
        match event.view() {
            gst::EventView::Caps(caps) => incoming.caps = Some(caps.caps_owned()),
            gst::EventView::Segment(segment) => {
                let segment = segment.segment().downcast_ref().cloned();
                incoming.segment = segment.unwrap_or_default();
            }
            gst::EventView::FlushStop(_) => {
                incoming.segment = gst::FormattedSegment::new();
                incoming.pace.flush();
            }
            gst::EventView::Eos(_) => return incoming.pace.end(),
            _ => {}
        }
        Due::default()
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
