// SPDX-License-Identifier: MPL-2.0
//! What arrives: frames, lists, events and queries.

use std::time::{Duration, Instant};

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::item::Item;
use super::messages::flow_from;
use super::negotiation::latency::is_defined;
use super::pace::Pace;
use super::{CAT, DroneTeePad, imp, now};
use crate::fanout::{Answer, FrameInfo};

/// How long upstream waits for branches that are busy with a frame.
pub(super) const BUSY_PATIENCE: Duration = Duration::from_millis(20);

/// How long the thread that flushes waits for them, when all others have got the end of the flush.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

type Flow = Result<gst::FlowSuccess, gst::FlowError>;

/// What the sink pad knows of the stream.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pub(super) segment: gst::FormattedSegment<gst::ClockTime>,
    pub(super) caps: Option<gst::Caps>,
    pub(super) pace: Pace,
    /// Of the last sticky event that came around the frames: the pad before repeats it with its next
    /// frame.
    around: Option<gst::Seqnum>,
}

fn frame_info(buffer: &gst::BufferRef, incoming: &Incoming) -> FrameInfo {
    let flags = buffer.flags();
    let time = buffer.dts_or_pts();
    let running = |time| {
        incoming
            .segment
            .to_running_time(time)
            .map(gst::ClockTime::nseconds)
    };
    let start = time.and_then(running);
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

impl imp::DroneTee {
    pub(super) fn sink_chain(&self, pad: &gst::Pad, buffer: gst::Buffer) -> Flow {
        gst::trace!(CAT, obj = pad, "{buffer:?}");
        let now = now();
        let (info, due) = {
            let mut incoming = self.incoming();
            let info = frame_info(&buffer, &incoming);
            (info, incoming.pace.note(info.start, now))
        };
        let published = self.stream.publish(buffer, info, now);
        self.look(due);
        if published.request_keyframe {
            self.request_keyframe();
        }
        self.answer(published.answer)
    }

    pub(super) fn sink_chain_list(&self, pad: &gst::Pad, list: gst::BufferList) -> Flow {
        let mut flow = Ok(gst::FlowSuccess::Ok);
        for buffer in list.iter_owned() {
            flow = self.sink_chain(pad, buffer);
        }
        flow
    }

    fn answer(&self, answer: Answer) -> Flow {
        match answer {
            Answer::Ok => Ok(gst::FlowSuccess::Ok),
            Answer::Eos => Err(gst::FlowError::Eos),
            Answer::NoConsumer if self.settings().allow_not_linked => Ok(gst::FlowSuccess::Ok),
            Answer::NoConsumer => Err(gst::FlowError::NotLinked),
            Answer::Failed(flow) => flow_from(flow)
                .into_result()
                .and(Err(gst::FlowError::Error)),
        }
    }

    /// Asks upstream for a keyframe.
    fn request_keyframe(&self) {
        gst::debug!(
            CAT,
            imp = self,
            "A consumer waits for a keyframe, asking for one"
        );
        let event = gst_video::UpstreamForceKeyUnitEvent::builder()
            .all_headers(true)
            .build();
        self.sinkpad.push_event(event);
    }

    pub(super) fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        gst::debug!(CAT, obj = pad, "{event:?}");
        self.note_as_sink(&event);
        match event.view() {
            gst::EventView::FlushStart(_) => {
                self.start_flush(&event);
                return true;
            }
            gst::EventView::FlushStop(_) => {
                self.stop_flush(&event);
                return true;
            }
            gst::EventView::Caps(caps) => {
                self.incoming().caps = Some(caps.caps_owned());
            }
            gst::EventView::Segment(segment) => {
                let segment = segment.segment().downcast_ref().cloned();
                self.incoming().segment = segment.unwrap_or_default();
            }
            gst::EventView::Eos(_) => {
                let due = self.incoming().pace.end();
                self.look(due);
            }
            _ => {}
        }
        if event.is_serialized() {
            self.stream.publish_event(Item::Event(event), now());
        } else {
            if event.is_sticky() {
                let seqnum = event.seqnum();
                if self.incoming().around.replace(seqnum) == Some(seqnum) {
                    return true;
                }
                self.stream.note_sticky(&Item::Event(event.clone()));
            }
            for pad in self.obj().consumers() {
                if let Some(branch) = pad.imp().branch() {
                    branch.send_around(event.clone());
                }
            }
        }
        true
    }

    fn start_flush(&self, event: &gst::Event) {
        self.stream.flush_start(now());
        let deadline = Instant::now() + BUSY_PATIENCE;
        let pads = self.obj().consumers();
        let branches = || pads.iter().filter_map(|pad| pad.imp().branch());
        for branch in branches() {
            branch.start_flush(event.clone());
        }
        for branch in branches() {
            branch.wait_flushed(deadline);
        }
    }

    fn stop_flush(&self, event: &gst::Event) {
        {
            let mut incoming = self.incoming();
            incoming.segment = gst::FormattedSegment::new();
            incoming.pace.flush();
        }
        let deadline = Instant::now() + BUSY_PATIENCE;
        let pads = self.obj().consumers();
        pads.iter().for_each(forget_around);
        let branches = || pads.iter().filter_map(|pad| pad.imp().branch());
        for branch in branches() {
            branch.stop_flush(event.clone(), deadline);
        }
        self.stream.flush_stop(now());
        // A branch refuses the next seek until it knows.
        let deadline = Instant::now() + FLUSH_PATIENCE;
        for branch in branches() {
            branch.wait_flushed(deadline);
        }
    }

    pub(super) fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        let serialized = query.is_serialized();
        match query.view_mut() {
            gst::QueryViewMut::Caps(caps) => {
                let answer = self.query_caps(caps.filter_owned().as_ref());
                caps.set_result(&answer);
                true
            }
            gst::QueryViewMut::AcceptCaps(accept) => {
                let accepted = self.accepts_caps(&accept.caps_owned());
                accept.set_result(accepted);
                true
            }
            gst::QueryViewMut::Allocation(allocation) => self.answer_allocation(allocation),
            gst::QueryViewMut::Drain(drain) => self.answer_drain(drain),
            _ if serialized => self.answer_serialized(query),
            gst::QueryViewMut::Scheduling(_) => {
                gst::Pad::query_default(pad, Some(&*self.obj()), query)
            }
            _ => self.answer_any(query),
        }
    }

    // ---- the other way ---------------------------------------------------------------------

    pub(super) fn src_event(&self, pad: &DroneTeePad, event: gst::Event) -> bool {
        gst::debug!(CAT, obj = pad, "{event:?}");
        match event.view() {
            gst::EventView::Qos(qos) => {
                // One consumer's lateness is not the others': it stops here.
                pad.imp().note_qos(qos);
                return true;
            }
            gst::EventView::Reconfigure(_) => {
                if let Some(branch) = pad.imp().branch() {
                    branch.reconfigure();
                }
                if self.current_caps().is_some() {
                    self.reconsider_caps(pad, event);
                    return true;
                }
            }
            gst::EventView::Latency(latency) if is_defined(latency.structure(), "latency") => {
                if let Some(branch) = pad.imp().branch() {
                    branch.sync(pad).note_latency(latency.latency());
                }
                // A branch is not asked from within its own event: it may hold its locks.
                let (tee, pad) = (self.obj().clone(), pad.clone());
                self.helpers.run(move || tee.imp().check_latency(&pad));
            }
            _ if gst_video::ForceKeyUnitEvent::is(&event) => {
                let (id, at) = (pad.imp().id(), keyframe_time(&event));
                if !id.is_some_and(|id| self.stream.may_request_keyframe(id, at, now())) {
                    return true;
                }
            }
            _ => {}
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    /// RECONFIGURE from a branch goes upstream if it has to, which a helper finds out: the branch is not
    /// asked from within its own event, as it may hold its locks.
    fn reconsider_caps(&self, pad: &DroneTeePad, event: gst::Event) {
        let (tee, pad) = (self.obj().clone(), pad.clone());
        self.helpers.run(move || {
            if tee.imp().must_renegotiate(&pad) {
                tee.imp().sinkpad.push_event(event);
            }
        });
    }

    pub(super) fn src_query(&self, pad: &DroneTeePad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Caps(caps) if pad.imp().is_receiver() => {
                // Whatever looks for a free pad to link goes on to the next.
                caps.set_result(&gst::Caps::new_empty());
                true
            }
            gst::QueryViewMut::Latency(_) => self.answer_latency(pad, query),
            gst::QueryViewMut::Scheduling(scheduling) => {
                scheduling.add_scheduling_modes([gst::PadMode::Push]);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }
}

/// The running time that a keyframe is wanted at, unless at once, ns.
fn keyframe_time(event: &gst::Event) -> Option<u64> {
    // Without one, GStreamer would add the pads' offsets to nothing.
    let time = event
        .structure()?
        .get::<Option<gst::ClockTime>>("running-time");
    time.ok()??;
    let request = gst_video::UpstreamForceKeyUnitEvent::parse(event).ok()?;
    request.running_time.map(gst::ClockTime::nseconds)
}

/// The pad forgets what went around the frames before a flush: GStreamer keeps it for the next link.
fn forget_around(pad: &DroneTeePad) {
    pad.sticky_events_foreach(|event| {
        let action = if event.is_serialized() {
            gst::EventForeachAction::Keep
        } else {
            gst::EventForeachAction::Remove
        };
        std::ops::ControlFlow::Continue(action)
    });
}
