// SPDX-License-Identifier: MPL-2.0
//! What upstream and the branches are answered: the branches are asked, and `negotiation` works out
//! what follows from their answers.

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;

use super::asking::in_stream::StreamQuery;
use super::asking::{self, Part};
use super::inquiry::take_over;
use super::negotiation::allocation::{self, Offer, Out};
use super::negotiation::caps::{self, CapsAnswer};
use super::negotiation::latency::{self, is_defined};
use super::{CAT, DroneTeePad, imp, now};

impl imp::DroneTee {
    /// The consumers that take part.
    fn parts(&self) -> Vec<Part> {
        Part::all(self.obj().consumers())
    }

    // ---- CAPS ------------------------------------------------------------------------------

    /// What upstream may send, also when others join.
    pub(super) fn query_caps(&self, filter: Option<&gst::Caps>) -> gst::Caps {
        let parts = self.parts();
        let is_kept = parts.iter().any(|part| part.is_running);
        let pads = asking::pads(&parts, Part::is_asked_around);
        let asked = parts.into_iter().filter(Part::is_asked_around);
        let answers = self.inquire(&pads, || gst::query::Caps::new(filter).into());
        let answer = |(part, answer): (Part, Option<gst::Query>)| {
            let caps = match answer.as_ref().map(|answer| answer.view()) {
                Some(gst::QueryView::Caps(caps)) => caps.result_owned(),
                _ => None,
            };
            CapsAnswer {
                caps: caps.unwrap_or_else(gst::Caps::new_any),
                is_running: part.is_running,
                has_failed: part.has_failed,
                of: part.pad,
            }
        };
        let answers = asked.zip(answers).map(answer).collect();
        let current = self.current_caps();
        let (agreed, left_out) = caps::agree(answers, filter, current.as_ref(), is_kept);
        for answer in left_out {
            let (pad, takes) = (answer.of, answer.caps);
            gst::info!(CAT, obj = pad, "Left out, it takes only {takes:?}");
        }
        agreed
    }

    /// Caps are accepted when at least one consumer takes them, or no branch is there. Consumers in
    /// this process take any.
    pub(super) fn accepts_caps(&self, caps: &gst::Caps) -> bool {
        if !caps.is_subset(caps::template()) {
            return false;
        }
        let parts = self.parts();
        let asked = asking::pads(&parts, Part::is_asked_around);
        let accepted = asked.is_empty()
            || parts.iter().any(|part| part.is_receiver)
            || self.accepted_by(&asked, caps).contains(&true);
        if !accepted {
            gst::warning!(CAT, imp = self, "No consumer accepts {caps:?}");
        }
        accepted
    }

    /// A branch that does not answer takes any caps.
    fn accepted_by(&self, pads: &[DroneTeePad], caps: &gst::Caps) -> Vec<bool> {
        let answers = self.inquire(pads, || gst::query::AcceptCaps::new(caps).into());
        let accepted = |answer: &Option<gst::Query>| match answer.as_ref().map(|one| one.view()) {
            Some(gst::QueryView::AcceptCaps(answer)) => answer.result(),
            _ => true,
        };
        answers.iter().map(accepted).collect()
    }

    /// True when upstream has to hear that the branch wants to negotiate again.
    ///
    /// A consumer that joins is no reason to change what the others have.
    pub(super) fn must_renegotiate(&self, pad: &DroneTeePad) -> bool {
        let Some(current) = self.current_caps() else {
            return true;
        };
        let asked = std::slice::from_ref(pad);
        if pad.is_linked() && self.accepted_by(asked, &current).contains(&true) {
            return self.needs_allocation();
        }
        let parts = self.parts();
        let is_running = |part: &Part| part.pad == *pad && part.is_running;
        let is_other = |part: &Part| part.pad != *pad && part.is_served;
        parts.iter().any(is_running) || !parts.iter().any(is_other)
    }

    // ---- what is serialized ----------------------------------------------------------------

    /// Answers ALLOCATION with what all branches can do and what can be out at once.
    pub(super) fn answer_allocation(&self, query: &mut gst::query::Allocation) -> bool {
        let (caps, need_pool) = query.get_owned();
        let parts = self.parts();
        let pads = asking::pads(&parts, Part::is_asked_in_stream);
        let question = gst::query::Allocation::new(caps.as_ref(), need_pool);
        let asked = StreamQuery::put(&self.stream, question.into(), &pads);
        let branch = |pad: &DroneTeePad| {
            let offer = pad.imp().peer().last_offer();
            let offer = offer.filter(|offer| offer.is_for(caps.as_ref()));
            if asked.answer_of(pad).is_none() {
                gst::debug!(CAT, obj = pad, "Busy, using {offer:?}");
            }
            offer.unwrap_or_default()
        };
        let receivers = parts
            .iter()
            .filter(|part| part.is_receiver && part.is_served);
        let offers: Vec<_> = pads
            .iter()
            .map(branch)
            .chain(receivers.map(|_| Offer::of_receiver(caps.as_ref())))
            .collect();
        let buffers = self.frames_out_at_once(caps.as_ref());
        let agreement = allocation::agree(caps.as_ref(), &offers);
        self.note_promised(agreement.write(query, buffers));
        gst::debug!(CAT, imp = self, "Answering {query:?}");
        true
    }

    fn frames_out_at_once(&self, caps: Option<&gst::Caps>) -> u32 {
        let pads = self.obj().consumers();
        let keeps = |pad: &DroneTeePad| {
            let offer = pad.imp().peer().last_offer();
            let offer = offer.filter(|offer| offer.is_for(caps));
            offer.unwrap_or_default().keeps()
        };
        let out = Out {
            depths: pads.iter().map(|pad| self.depth_of(pad)),
            cached: self.settings().gop_cache,
            kept: pads.iter().map(keeps),
            orphans: self.stream.strays(),
        };
        out.buffers()
    }

    /// True when upstream was answered before, but not for a branch that is here now, or for fewer
    /// frames than can be out now.
    fn needs_allocation(&self) -> bool {
        let is_new =
            |part: &Part| part.is_asked_in_stream() && part.pad.imp().peer().last_offer().is_none();
        self.promised().was_asked() && (self.is_outgrown() || self.parts().iter().any(is_new))
    }

    fn is_outgrown(&self) -> bool {
        let promised = self.promised();
        promised.was_asked()
            && promised.is_too_small(self.frames_out_at_once(self.current_caps().as_ref()))
    }

    /// Has upstream ask again if its pool may be too small now.
    pub(super) fn renew_if_outgrown(&self) {
        if self.is_outgrown() {
            gst::debug!(CAT, imp = self, "Upstream has to ask for ALLOCATION again");
            self.sinkpad.push_event(gst::event::Reconfigure::new());
        }
    }

    /// DRAIN: true when no branch holds a frame any more.
    pub(super) fn answer_drain(&self, query: &gst::QueryRef) -> bool {
        self.stream.forget_gop();
        let pads = asking::pads(&self.parts(), Part::is_asked_to_drain);
        let asked = StreamQuery::put(&self.stream, query.copy(), &pads);
        let all = pads.iter().all(|pad| asked.answer_of(pad) == Some(true));
        all && self.stream.is_drained()
    }

    /// Any other serialized query: the first branch that can answer does.
    pub(super) fn answer_serialized(&self, query: &mut gst::QueryRef) -> bool {
        let pads = asking::pads(&self.parts(), Part::is_asked_in_stream);
        let asked = StreamQuery::put(&self.stream, query.copy(), &pads);
        asked.first_answer().is_some_and(|answer| {
            take_over(query, &answer);
            true
        })
    }

    /// Any query that is not serialized: the first branch that can answer does.
    pub(super) fn answer_any(&self, query: &mut gst::QueryRef) -> bool {
        let pads = asking::pads(&self.parts(), Part::is_asked_around);
        let answers = self.inquire(&pads, || query.copy());
        let answer = answers.into_iter().flatten().next();
        answer.is_some_and(|answer| {
            take_over(query, &answer);
            true
        })
    }

    // ---- LATENCY ---------------------------------------------------------------------------

    /// Upstream's latency; the queue can hold `depth` frames more.
    pub(super) fn answer_latency(&self, pad: &DroneTeePad, query: &mut gst::QueryRef) -> bool {
        if !self.sinkpad.peer_query(query) {
            return false;
        }
        let gst::QueryViewMut::Latency(answer) = query.view_mut() else {
            return false;
        };
        if !is_defined(answer.structure(), "min-latency") {
            return true;
        }
        let (live, min, max) = answer.result();
        if let (Some(max), Some(frame)) = (max, self.frame_duration()) {
            answer.set(live, min, latency::bridged(max, frame, self.depth_of(pad)));
        }
        true
    }

    fn frame_duration(&self) -> Option<gst::ClockTime> {
        latency::frame_duration(self.current_caps()?.as_ref())
    }

    fn measured_duration(&self) -> Option<gst::ClockTime> {
        let now = now();
        let is_known = self.incoming().pace.is_rate_known(now);
        is_known.then(|| latency::measured_duration(self.stream.totals(now).frame_rate))?
    }

    /// Looks at the latencies that were set while no frame rate was known.
    pub(super) fn check_latencies(&self) {
        for pad in self.obj().consumers() {
            self.check_latency(&pad);
        }
    }

    /// Warns once if the branch syncs and its queue is too short for the latency that was set.
    ///
    /// It asks the branch, and so must not be called from the branch's own event.
    pub(super) fn check_latency(&self, pad: &DroneTeePad) {
        let Some(frame) = self.frame_duration().or_else(|| self.measured_duration()) else {
            return;
        };
        let Some(latency) = pad.imp().peer().take_latency() else {
            return;
        };
        let Some(reached) = pad.peer().and_then(|peer| synced_latency(&peer, 0)) else {
            return;
        };
        let depth = self.depth_of(pad);
        let Some(needed) = latency::needed_depth(latency, reached, frame, depth) else {
            return;
        };
        if pad.imp().warned_of_latency() {
            return;
        }
        let (consumer, name) = (pad.imp().consumer(), pad.name());
        gst::element_warning!(
            self.obj(),
            gst::StreamError::Failed,
            ("The queue of consumer '{consumer}' is too short for the pipeline's latency: \
                 it will drop frames. Set depth={needed} (now {depth}) on pad {name}"),
            ["latency {latency}, reached the sink after {reached}, frame duration {frame}"]
        );
        gst::warning!(
            CAT,
            obj = pad,
            "Depth {depth} can not hold a latency of {latency}"
        );
    }
}

/// The branch's own least latency up to its syncing sinks, if there are any: upstream's included.
fn synced_latency(sinkpad: &gst::Pad, hops: u32) -> Option<gst::ClockTime> {
    // No branch is that long; links can not go round either, but nothing here relies on it.
    if hops > 64 {
        return None;
    }
    let mut links = Vec::new();
    // Not by the iterator: a pad need not have one, which the bindings do not expect.
    sinkpad.forward(|link| {
        links.push(link.clone());
        false
    });
    if links.is_empty() {
        let sink = sinkpad
            .parent_element()?
            .downcast::<gst_base::BaseSink>()
            .ok()?;
        let mut query = gst::query::Latency::new();
        let answered = sink.is_sync() && sink.query(&mut query);
        let defined = answered && is_defined(query.structure(), "min-latency");
        return defined.then(|| query.result().1);
    }
    let peers = links.iter().filter_map(|pad| pad.peer());
    peers
        .filter_map(|peer| synced_latency(&peer, hops + 1))
        .min()
}
