// SPDX-License-Identifier: MPL-2.0
//! What upstream and the branches are answered: the branches are asked, and `negotiation` works out
//! what follows from their answers.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::asking::aside::{self, copy_answer};
use super::asking::in_stream::StreamQuery;
use super::asking::{self, Part};
use super::helpers::Helpers;
use super::negotiation::allocation::{self, Offer, Out, Promised};
use super::negotiation::caps::{self, CapsAnswer};
use super::{CAT, DroneTeePad, Item, Stream, lock, now};

/// What there is to ask about at one moment.
pub(super) struct Scene {
    /// All src pads.
    pub(super) pads: Vec<DroneTeePad>,
    /// The caps of the frames that come now.
    pub(super) caps: Option<gst::Caps>,
    /// The element's.
    pub(super) depth: u32,
    /// Frames that are kept for late joiners at most.
    pub(super) gop_cache: u32,
    /// Frames that may be out at once; 0: found out.
    pub(super) max_held: u32,
}

impl Scene {
    /// The consumers that take part.
    fn parts(&self) -> Vec<Part> {
        Part::all(&self.pads)
    }

    fn frames_out_at_once(&self, caps: Option<&gst::Caps>, orphans: u32) -> u32 {
        let keeps = |pad: &DroneTeePad| {
            let offer = pad.imp().peer().last_offer();
            let offer = offer.filter(|offer| offer.is_for(caps));
            offer.unwrap_or_default().keeps()
        };
        let out = Out {
            depths: self.pads.iter().map(|pad| pad.imp().depth(self.depth)),
            cached: self.gop_cache,
            kept: self.pads.iter().map(keeps),
            orphans,
        };
        out.buffers(self.max_held)
    }
}

/// Asks the branches, and remembers what upstream was promised.
pub(super) struct Answers {
    stream: Arc<Stream>,
    helpers: Helpers,
    /// By the last answer to ALLOCATION.
    promised: Mutex<Promised>,
}

impl Answers {
    pub(super) fn new(stream: Arc<Stream>, helpers: Helpers) -> Self {
        Self {
            stream,
            helpers,
            promised: Mutex::default(),
        }
    }

    /// The element starts anew.
    pub(super) fn reset(&self) {
        *lock(&self.promised) = Promised::NotAsked;
    }

    // ---- CAPS ------------------------------------------------------------------------------

    /// What upstream may send, also when others join.
    pub(super) fn caps(&self, scene: &Scene, filter: Option<&gst::Caps>) -> gst::Caps {
        let parts = scene.parts();
        let is_kept = parts.iter().any(|part| part.is_running);
        let pads = asking::pads(&parts, Part::is_asked_around);
        let asked = parts.into_iter().filter(Part::is_asked_around);
        let answers = aside::ask(&self.helpers, &pads, || {
            gst::query::Caps::new(filter).into()
        });
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
        let (agreed, left_out) = caps::agree(answers, filter, scene.caps.as_ref(), is_kept);
        for answer in left_out {
            let (pad, takes) = (answer.of, answer.caps);
            gst::info!(CAT, obj = pad, "Left out, it takes only {takes:?}");
        }
        agreed
    }

    /// Caps are accepted when at least one consumer takes them, or no branch is there. Consumers in
    /// this process take any.
    pub(super) fn accepts_caps(&self, scene: &Scene, caps: &gst::Caps) -> bool {
        if !caps.is_subset(caps::template()) {
            return false;
        }
        let parts = scene.parts();
        let asked = asking::pads(&parts, Part::is_asked_around);
        asked.is_empty()
            || parts.iter().any(|part| part.is_receiver)
            || self.accepted_by(&asked, caps).contains(&true)
    }

    /// A branch that does not answer takes any caps.
    fn accepted_by(&self, pads: &[DroneTeePad], caps: &gst::Caps) -> Vec<bool> {
        let answers = aside::ask(&self.helpers, pads, || {
            gst::query::AcceptCaps::new(caps).into()
        });
        let accepted = |answer: &Option<gst::Query>| match answer.as_ref().map(|one| one.view()) {
            Some(gst::QueryView::AcceptCaps(answer)) => answer.result(),
            _ => true,
        };
        answers.iter().map(accepted).collect()
    }

    /// True when upstream has to hear that the branch wants to negotiate again.
    ///
    /// A consumer that joins is no reason to change what the others have.
    pub(super) fn must_renegotiate(&self, scene: &Scene, pad: &DroneTeePad) -> bool {
        let Some(current) = &scene.caps else {
            return true;
        };
        let asked = std::slice::from_ref(pad);
        if pad.is_linked() && self.accepted_by(asked, current).contains(&true) {
            return self.needs_allocation(scene);
        }
        let parts = scene.parts();
        let is_running = |part: &Part| part.pad == *pad && part.is_running;
        let is_other = |part: &Part| part.pad != *pad && part.is_served;
        parts.iter().any(is_running) || !parts.iter().any(is_other)
    }

    // ---- what is serialized ----------------------------------------------------------------

    fn put(&self, query: gst::Query, pads: &[DroneTeePad]) -> Arc<StreamQuery> {
        let publish = |query| self.stream.publish_event(Item::Query(query), now());
        StreamQuery::put(publish, query, pads)
    }

    /// Answers ALLOCATION with what all branches can do and what can be out at once.
    pub(super) fn allocation(&self, scene: &Scene, query: &mut gst::query::Allocation) {
        let (caps, need_pool) = query.get_owned();
        let parts = scene.parts();
        let pads = asking::pads(&parts, Part::is_asked_in_stream);
        let question = gst::query::Allocation::new(caps.as_ref(), need_pool);
        let asked = self.put(question.into(), &pads);
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
        let buffers = scene.frames_out_at_once(caps.as_ref(), self.stream.strays());
        let agreement = allocation::agree(caps.as_ref(), &offers);
        *lock(&self.promised) = agreement.write(query, buffers);
    }

    fn promised(&self) -> Promised {
        *lock(&self.promised)
    }

    /// True when upstream was answered before, but not for a branch that is here now, or for fewer
    /// frames than can be out now.
    fn needs_allocation(&self, scene: &Scene) -> bool {
        let is_new =
            |part: &Part| part.is_asked_in_stream() && part.pad.imp().peer().last_offer().is_none();
        let was_asked = self.promised().was_asked();
        was_asked && (self.is_pool_too_small(scene) || scene.parts().iter().any(is_new))
    }

    /// True if more frames can be out than upstream was told when it asked.
    pub(super) fn is_pool_too_small(&self, scene: &Scene) -> bool {
        let promised = self.promised();
        let buffers = || scene.frames_out_at_once(scene.caps.as_ref(), self.stream.strays());
        promised.was_asked() && promised.is_too_small(buffers())
    }

    /// DRAIN: true when no branch holds a frame any more.
    pub(super) fn drain(&self, scene: &Scene, query: &gst::QueryRef) -> bool {
        self.stream.forget_gop();
        let pads = asking::pads(&scene.parts(), Part::is_asked_to_drain);
        let asked = self.put(query.copy(), &pads);
        let all = pads.iter().all(|pad| asked.answer_of(pad) == Some(true));
        all && self.stream.is_drained()
    }

    /// Any other query: the first branch that can answer does.
    pub(super) fn any(&self, scene: &Scene, query: &mut gst::QueryRef) -> bool {
        let parts = scene.parts();
        let answer = if query.is_serialized() {
            let pads = asking::pads(&parts, Part::is_asked_in_stream);
            self.put(query.copy(), &pads).first_answer()
        } else {
            let pads = asking::pads(&parts, Part::is_asked_around);
            let answers = aside::ask(&self.helpers, &pads, || query.copy());
            answers.into_iter().flatten().next()
        };
        answer.is_some_and(|answer| {
            copy_answer(query, &answer);
            true
        })
    }
}
