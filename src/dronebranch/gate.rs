// SPDX-License-Identifier: MPL-2.0
//! The gate: what comes from upstream, in upstream's thread, and what the content sends back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use gst::prelude::*;

use super::content;
use super::course::{LifeId, State};
use super::keeper::{End, Fault, Inner, Keeper};
use super::life::{Answer, Host, Item, Life};
use super::opening::{Frame, Opening};
use super::sticky::Sticky;
use super::{CAT, upstream};

type Flow = Result<gst::FlowSuccess, gst::FlowError>;

/// The sink pad of the cell. Lists come to it buffer by buffer.
pub(super) fn pad(keeper: &Weak<Keeper>) -> gst::Pad {
    let [frames, events, queries] = [keeper.clone(), keeper.clone(), keeper.clone()];
    gst::Pad::builder(gst::PadDirection::Sink)
        .name("sink")
        .chain_function(move |_, _, buffer| match frames.upgrade() {
            Some(keeper) => keeper.frame(buffer),
            None => Err(gst::FlowError::Flushing),
        })
        .event_function(move |_, _, event| {
            if let Some(keeper) = events.upgrade() {
                keeper.event(event);
            }
            // A sticky event that is refused would make the next push fail upstream.
            true
        })
        .query_function(move |pad, parent, query| match queries.upgrade() {
            Some(keeper) => keeper
                .query(query)
                .unwrap_or_else(|| gst::Pad::query_default(pad, parent, query)),
            None => false,
        })
        .build()
}

/// What to do with a frame.
enum Way {
    To(Arc<Life>),
    /// A new life waits for a keyframe: it is asked for.
    Skipped,
    Refused,
    Flushing,
}

impl Inner {
    fn way(&mut self, buffer: &gst::BufferRef) -> Way {
        if self.flushing || self.course.state() == State::Stopped {
            return Way::Flushing;
        }
        let flags = buffer.flags();
        let frame = Frame {
            delta: flags.contains(gst::BufferFlags::DELTA_UNIT),
            header: flags.contains(gst::BufferFlags::HEADER),
            pts: buffer.pts().map(gst::ClockTime::nseconds),
        };
        self.is_coded |= frame.delta;
        match &self.route {
            None => Way::Refused,
            Some(life) if self.opening.admits(&frame) => Way::To(life.clone()),
            Some(_) => Way::Skipped,
        }
    }
}

impl Keeper {
    // ---- from upstream -----------------------------------------------------------------------

    fn frame(&self, buffer: gst::Buffer) -> Flow {
        let way = self.lock().way(&buffer);
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
        let is_flushing = {
            let inner = self.lock();
            inner.flushing || inner.course.state() == State::Stopped
        };
        if is_flushing {
            return Err(gst::FlowError::Flushing);
        }
        self.drop_one();
        self.answer(gst::FlowError::Error)
    }

    /// Only `dronetee` is told why: everything else would end.
    fn answer(&self, flow: gst::FlowError) -> Flow {
        let source = upstream::source_of(&self.gate);
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
        self.fail(life.id, Fault::own(content::error(&text)));
        self.refuse()
    }

    fn request_keyframe(&self) {
        let is_due = {
            let mut inner = self.lock();
            let now = content::now();
            let is_due = inner.keyframe_asked_at.is_none_or(|at| now - at >= SECOND);
            if is_due {
                inner.keyframe_asked_at = Some(now);
            }
            is_due
        };
        if is_due {
            let event = gst_video::UpstreamForceKeyUnitEvent::builder();
            self.gate.push_event(event.all_headers(true).build());
        }
    }

    fn event(&self, event: gst::Event) {
        use gst::EventType::{Eos, FlushStart, FlushStop, Segment, StreamStart};
        let type_ = event.type_();
        let (route, gone) = {
            let mut inner = self.lock();
            match type_ {
                FlushStart => inner.flushing = true,
                FlushStop => {
                    inner.flushing = false;
                    inner.end = None;
                    inner.opening = Opening::default();
                }
                StreamStart | Segment => inner.end = None,
                Eos => {
                    // Content that has ended by itself does not end again.
                    let is_told = inner.end.is_some_and(|end| end.is_told);
                    let end = End::new(Some(event.seqnum()));
                    inner.end = Some(End { is_told, ..end });
                }
                _ => {}
            }
            let gone = inner.sticky.note(&event);
            if type_ == Eos && inner.route.is_none() {
                inner.tell_end();
            }
            let route = inner.route.clone();
            self.report(inner);
            (route, gone)
        };
        drop(gone);
        if let gst::EventView::StreamStart(start) = event.view() {
            self.tell_stream_start(start);
        }
        let Some(life) = route else { return };
        match type_ {
            FlushStart => {
                life.slot.release();
                life.flush_start(event, self.stop_timeout());
            }
            _ if event.is_serialized() => {
                life.slot.pass(Item::Event(event));
            }
            _ => {
                life.feed.push_event(event);
            }
        }
    }

    /// The content's own would be missing if it fails, and the pipeline waits for all.
    fn tell_stream_start(&self, start: &gst::event::StreamStart) {
        let message = gst::message::StreamStart::builder().src(&self.cell);
        let message = match start.group_id() {
            Some(group) => message.group_id(group).build(),
            None => message.build(),
        };
        // Without a bus there is no reader.
        let _ = self.cell.post_message(message);
    }

    /// `None`: to be answered as any pad does.
    fn query(&self, query: &mut gst::QueryRef) -> Option<bool> {
        if let gst::QueryViewMut::AcceptCaps(accept) = query.view_mut() {
            // A refusal would make the push fail upstream. The content says which caps it takes when
            // it is asked for them, and fails alone if it gets others.
            accept.set_result(true);
            return Some(true);
        }
        let (route, entry) = {
            let inner = self.lock();
            (inner.route.clone(), inner.entry.clone())
        };
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
        let limit = content::now().saturating_sub(self.settings().stop_timeout);
        let hangs = |life: Arc<Life>| life.slot.busy_since().is_some_and(|since| since < limit);
        if route.is_some_and(hangs) {
            return None;
        }
        let answered = entry?.query(query);
        if let gst::QueryViewMut::Caps(caps) = query.view_mut()
            && caps.result().is_some_and(gst::CapsRef::is_empty)
        {
            // Content that takes none of them fails alone, too.
            let all = caps.filter_owned().unwrap_or_else(gst::Caps::new_any);
            caps.set_result(&all);
        }
        Some(answered)
    }
}

const SECOND: u64 = 1_000_000_000;

/// The answer as a query of the same kind holds it.
pub(super) fn copy_answer(answer: &gst::QueryRef, query: &mut gst::QueryRef) -> bool {
    if let Some(structure) = answer.structure() {
        let own = query.structure_mut();
        for (field, value) in structure.iter() {
            own.set_value(field, value.clone());
        }
    }
    true
}

// ---- from the content ----------------------------------------------------------------------------

impl Host for Keeper {
    fn content(&self, life: LifeId) -> Option<(gst::Bin, gst::Pad)> {
        let found = self.provide_content();
        found
            .map_err(|error| {
                let is_final = true;
                let fault = Fault::own(error);
                self.fail(life, Fault { is_final, ..fault });
            })
            .ok()
    }

    fn is_up(&self, life: &Arc<Life>) -> Option<Vec<gst::Event>> {
        let mut inner = self.lock();
        let was = inner.course.state();
        if !inner.course.up(life.id, content::now()) {
            return None;
        }
        if was != State::Running {
            inner.route = Some(life.clone());
            inner.opening = Opening::default();
            inner.tell(super::notices::Notice::State);
        }
        // What comes from now on is handed over.
        let first = inner.sticky.events();
        self.report(inner);
        Some(first)
    }

    fn is_fed(&self, life: &Arc<Life>) {
        let (is_restart, is_coded) = {
            let inner = self.lock();
            (inner.course.counts.restarts > 0, inner.is_coded)
        };
        if !is_restart || !self.lock().is_current(life.id) {
            return;
        }
        gst::info!(CAT, obj = self.cell, "The content is up again");
        // A pad of dronetee begins to serve the branch again, others negotiate with the new content.
        self.gate.push_event(gst::event::Reconfigure::new());
        if is_coded {
            self.request_keyframe();
        }
    }

    fn has_failed(&self, life: LifeId, error: glib::Error) {
        self.fail(life, Fault::own(error));
    }

    fn is_over(&self, life: &Arc<Life>) {
        self.clear(life);
    }

    fn upstream_event(&self, life: LifeId, event: gst::Event) -> bool {
        let inner = self.lock();
        if !inner.is_current(life) {
            return false;
        }
        let is_own_latency = match event.view() {
            gst::EventView::Latency(latency) => Some(latency.latency()) != inner.latency,
            _ => false,
        };
        drop(inner);
        // The latency of the pipeline is for the pipeline to say.
        is_own_latency || self.gate.push_event(event)
    }

    fn upstream_query(&self, _life: LifeId, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Scheduling(scheduling) = query.view_mut() {
            // Frames are pushed by the feeding thread.
            scheduling.set(gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0);
            scheduling.add_scheduling_modes([gst::PadMode::Push]);
            return true;
        }
        self.gate.peer_query(query)
    }
}

impl Keeper {
    /// For the next stream.
    pub(super) fn forget_stream(inner: &mut Inner) -> Sticky {
        inner.end = None;
        inner.flushing = false;
        inner.is_coded = false;
        inner.keyframe_asked_at = None;
        std::mem::take(&mut inner.sticky)
    }
}
