// SPDX-License-Identifier: MPL-2.0
//! The gate: what comes from upstream, in upstream's thread, and what goes there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use gst::prelude::*;

use super::aside::copy_answer;
use super::content;
use super::contents::Contents;
use super::course::LifeId;
use super::life::{Answer, Item, Life};
use super::notices::Fault;
use super::opening::Frame;
use super::shared::Shared;
use super::state::Way;
use super::upstream;

type Flow = Result<gst::FlowSuccess, gst::FlowError>;

pub(super) struct Gate {
    /// The cell's sink pad, behind the bin's ghost pad. Lists come to it buffer by buffer.
    pad: gst::Pad,
    shared: Arc<Shared>,
    contents: Arc<Contents>,
    /// Frames that came and that the content did not take.
    dropped: AtomicU64,
}

impl Gate {
    pub(super) fn new(shared: Arc<Shared>, contents: Arc<Contents>) -> Arc<Self> {
        Arc::new_cyclic(|weak| Self {
            pad: new_pad(weak),
            shared,
            contents,
            dropped: AtomicU64::new(0),
        })
    }

    pub(super) fn pad(&self) -> &gst::Pad {
        &self.pad
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn reset(&self) {
        self.dropped.store(0, Ordering::Relaxed);
    }

    // ---- frames ------------------------------------------------------------------------------

    fn frame(&self, buffer: gst::Buffer) -> Flow {
        let flags = buffer.flags();
        let frame = Frame {
            delta: flags.contains(gst::BufferFlags::DELTA_UNIT),
            header: flags.contains(gst::BufferFlags::HEADER),
            pts: buffer.pts().map(gst::ClockTime::nseconds),
        };
        let way = self.shared.lock().way(&frame);
        match way {
            Way::To(life) => match life.slot.pass(Item::Frame(buffer)) {
                Some(Answer::Flow(Ok(success))) => Ok(success),
                Some(Answer::Flow(Err(flow))) => self.content_refused(&life, flow),
                _ => self.refuse(),
            },
            Way::Skipped => {
                self.drop_one();
                self.request_keyframe();
                Ok(gst::FlowSuccess::Ok)
            }
            Way::Refused => self.refuse(),
            Way::Flushing => Err(gst::FlowError::Flushing),
        }
    }

    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// A frame that the content does not take.
    fn refuse(&self) -> Flow {
        if self.shared.lock().is_flushing() {
            return Err(gst::FlowError::Flushing);
        }
        self.drop_one();
        self.answer(gst::FlowError::Error)
    }

    /// Only `dronetee` is told why: everything else would end.
    fn answer(&self, flow: gst::FlowError) -> Flow {
        let source = upstream::source_of(&self.pad);
        match source.is_some_and(|source| upstream::is_tee_pad(&source)) {
            true => Err(flow),
            false => Ok(gst::FlowSuccess::Ok),
        }
    }

    /// The content has answered a frame with something else than OK.
    fn content_refused(&self, life: &Life, flow: gst::FlowError) -> Flow {
        use gst::FlowError::{Eos, Flushing, NotLinked};
        if matches!(flow, Eos | Flushing | NotLinked) {
            self.drop_one();
            return self.answer(flow);
        }
        let text = format!("The content answered a frame with {flow:?}");
        self.shared.fail(life.id, Fault::own(content::error(&text)));
        self.refuse()
    }

    // ---- events and queries --------------------------------------------------------------------

    fn event(&self, event: gst::Event) {
        let (route, gone) = {
            let mut state = self.shared.lock();
            let noted = state.note_event(&event);
            self.shared.report(state);
            noted
        };
        drop(gone);
        if let gst::EventView::StreamStart(start) = event.view() {
            self.tell_stream_start(start);
        }
        let Some(life) = route else { return };
        if !event.is_serialized() {
            if event.type_() == gst::EventType::FlushStart {
                life.slot.release();
            }
            let patience = Duration::from_nanos(self.shared.stop_timeout());
            return life.pass_around(event, patience);
        }
        life.pass_event(event);
    }

    /// The content's own would be missing if it fails, and the pipeline waits for all.
    fn tell_stream_start(&self, start: &gst::event::StreamStart) {
        let cell = self.contents.cell();
        let message = gst::message::StreamStart::builder().src(cell);
        let message = match start.group_id() {
            Some(group) => message.group_id(group).build(),
            None => message.build(),
        };
        // Without a bus there is no reader.
        let _ = cell.post_message(message);
    }

    /// `None`: to be answered as any pad does.
    fn query(&self, query: &mut gst::QueryRef) -> Option<bool> {
        if let gst::QueryViewMut::AcceptCaps(accept) = query.view_mut() {
            // A refusal would make the push fail upstream. The content says which caps it takes when
            // it is asked for them, and fails alone if it gets others.
            accept.set_result(true);
            return Some(true);
        }
        let route = self.shared.lock().lives.route().cloned();
        if query.is_serialized() {
            let Some(life) = route else {
                // It holds no frame.
                return Some(query.type_() == gst::QueryType::Drain);
            };
            let answer = life.slot.pass(Item::Query(query.to_owned()));
            return Some(match answer {
                Some(Answer::Query(Some(answer))) => copy_answer(&answer, query),
                _ => false,
            });
        }
        let limit = content::now().saturating_sub(self.shared.stop_timeout());
        let hangs = |life: Arc<Life>| life.slot.busy_since().is_some_and(|since| since < limit);
        if route.is_some_and(hangs) {
            return None;
        }
        let answered = self.contents.entry()?.query(query);
        if let gst::QueryViewMut::Caps(caps) = query.view_mut()
            && caps.result().is_some_and(gst::CapsRef::is_empty)
        {
            // Content that takes none of them fails alone, too.
            let all = caps.filter_owned().unwrap_or_else(gst::Caps::new_any);
            caps.set_result(&all);
        }
        Some(answered)
    }

    // ---- upstream ------------------------------------------------------------------------------

    fn request_keyframe(&self) {
        if self.shared.lock().stream.takes_request(content::now()) {
            let event = gst_video::UpstreamForceKeyUnitEvent::builder();
            self.pad.push_event(event.all_headers(true).build());
        }
    }

    /// The content is up again.
    pub(super) fn tell_restart(&self) {
        // A pad of dronetee begins to serve the branch again, others negotiate with the new content.
        self.pad.push_event(gst::event::Reconfigure::new());
        if self.shared.lock().stream.is_coded() {
            self.request_keyframe();
        }
    }

    pub(super) fn event_of_content(&self, life: LifeId, event: gst::Event) -> bool {
        if !self.shared.lock().lives.takes_frames(life) {
            return false;
        }
        let is_own_latency = match event.view() {
            gst::EventView::Latency(latency) => Some(latency.latency()) != self.contents.latency(),
            _ => false,
        };
        // The latency of the pipeline is for the pipeline to say.
        is_own_latency || self.pad.push_event(event)
    }

    pub(super) fn query_of_content(&self, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Scheduling(scheduling) = query.view_mut() {
            // Frames are pushed by the feeding thread.
            scheduling.set(gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0);
            scheduling.add_scheduling_modes([gst::PadMode::Push]);
            return true;
        }
        self.pad.peer_query(query)
    }
}

fn new_pad(gate: &Weak<Gate>) -> gst::Pad {
    let [frames, events, queries] = [gate.clone(), gate.clone(), gate.clone()];
    gst::Pad::builder(gst::PadDirection::Sink)
        .name("sink")
        .chain_function(move |_, _, buffer| match frames.upgrade() {
            Some(gate) => gate.frame(buffer),
            None => Err(gst::FlowError::Flushing),
        })
        .event_function(move |_, _, event| {
            if let Some(gate) = events.upgrade() {
                gate.event(event);
            }
            // A sticky event that is refused would make the next push fail upstream.
            true
        })
        .query_function(move |pad, parent, query| match queries.upgrade() {
            Some(gate) => gate
                .query(query)
                .unwrap_or_else(|| gst::Pad::query_default(pad, parent, query)),
            None => false,
        })
        .build()
}
