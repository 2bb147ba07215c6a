// SPDX-License-Identifier: MPL-2.0
//! The answers to serialized queries: ALLOCATION, DRAIN and custom ones.
//!
//! A branch's own thread puts the query to the branch, when it gets to its place in the stream:
//! asking from upstream's thread would wait for the branch's stream lock. Upstream waits for all
//! branches together no longer than [`PATIENCE`].

use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use glib::translate::IntoGlib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::inquiry::take_over;
use super::item::Item;
use super::sink::BUSY_PATIENCE as PATIENCE;
use super::{CAT, DroneTeePad, imp, lock, now};
use crate::facts::State;
use crate::fanout::ConsumerId;

/// Noted instead of a number of buffers where the answer had no pool.
const NO_POOL: u32 = u32::MAX;

/// A query on its way to the branches, with what they answered; without one it only has to pass.
pub(crate) struct Ask {
    query: Option<gst::Query>,
    /// Who comes later, and gets it with the cached frames, is not asked.
    asked: Vec<Option<ConsumerId>>,
    answers: Mutex<Vec<Answer>>,
    answered: Condvar,
}

/// Of no pad nor pool: whoever does not take keeps the question in the stream for long.
struct Answer {
    id: Option<ConsumerId>,
    answered: bool,
    query: Option<gst::Query>,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ask").field(&self.query).finish()
    }
}

impl Ask {
    /// Each branch gets a query of its own: copies of one share the arrays that answers go into.
    fn fresh(query: &gst::Query) -> gst::Query {
        match query.view() {
            gst::QueryView::Allocation(allocation) => {
                let (caps, need_pool) = allocation.get_owned();
                gst::query::Allocation::new(caps.as_ref(), need_pool).into()
            }
            _ => query.copy(),
        }
    }

    /// Puts the query to the branch; called by the branch's thread.
    pub(super) fn put_to(&self, pad: &DroneTeePad) {
        if !self.asked.contains(&pad.imp().id()) {
            return;
        }
        let mut query = self.query.as_ref().map(Self::fresh);
        let own = query.as_mut().and_then(gst::Query::get_mut);
        let answered = own.is_none_or(|own| pad.peer_query(own));
        gst::debug!(CAT, obj = pad, "Answered {answered} to {query:?}");
        if let Some(gst::QueryView::Allocation(allocation)) =
            query.as_ref().map(|query| query.view())
        {
            pad.imp()
                .peer()
                .remember_offer(Offer::new(allocation, answered));
        }
        let mut answers = lock(&self.answers);
        answers.push(Answer {
            id: pad.imp().id(),
            answered,
            query: query.filter(|query| query.type_() != gst::QueryType::Allocation),
        });
        self.answered.notify_all();
    }

    /// Asks the branches of `pads` in the place where the stream is now.
    fn put(tee: &imp::DroneTee, query: Option<gst::Query>, pads: &[DroneTeePad]) -> Arc<Self> {
        let ask = Arc::new(Self {
            query,
            asked: pads.iter().map(|pad| pad.imp().id()).collect(),
            answers: Mutex::default(),
            answered: Condvar::new(),
        });
        if pads.is_empty() {
            return ask;
        }
        tee.stream.publish_event(Item::Query(ask.clone()), now());
        let deadline = Instant::now() + PATIENCE;
        let answers = lock(&ask.answers);
        let all = |answers: &Vec<Answer>| {
            pads.iter()
                .all(|pad| answers.iter().any(|answer| answer.id == pad.imp().id()))
        };
        let patience = deadline.saturating_duration_since(Instant::now());
        drop(
            ask.answered
                .wait_timeout_while(answers, patience, |answers| !all(answers)),
        );
        ask
    }

    /// What the branch answered, if it did in time.
    fn answer_of(&self, pad: &DroneTeePad) -> Option<bool> {
        let answers = lock(&self.answers);
        let answer = answers.iter().find(|answer| answer.id == pad.imp().id())?;
        Some(answer.answered)
    }
}

/// What a branch offers for frames of these caps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    caps: Option<gst::Caps>,
    metas: Vec<(glib::Type, Option<gst::Structure>)>,
    params: Option<gst::AllocationParams>,
    size: u32,
    min_buffers: u32,
}

impl Offer {
    fn new(allocation: &gst::query::Allocation, answer: bool) -> Self {
        let mut offer = Self {
            caps: allocation.get_owned().0,
            ..Self::default()
        };
        if !answer {
            return offer;
        }
        offer.metas = allocation
            .allocation_metas()
            .map(|(api, params)| (api, params.map(|params| params.to_owned())))
            .collect();
        offer.params = allocation
            .allocation_params()
            .map(|(_, params)| params)
            .reduce(merge_params);
        for (_, size, min, _) in allocation.allocation_pools() {
            offer.size = offer.size.max(size);
            offer.min_buffers = offer.min_buffers.max(min);
        }
        offer
    }

    /// What a consumer in this process offers: it reads planes and strides from the metadata.
    fn of_receiver(caps: Option<&gst::Caps>) -> Self {
        Self {
            caps: caps.cloned(),
            metas: vec![(gst_video::VideoMeta::meta_api(), None)],
            ..Self::default()
        }
    }
}

/// Alignment, prefix and padding that satisfy both.
fn merge_params(a: gst::AllocationParams, b: gst::AllocationParams) -> gst::AllocationParams {
    gst::AllocationParams::new(
        a.flags() | b.flags(),
        // Alignments are masks of low bits: the larger holds the smaller.
        a.align().max(b.align()),
        a.prefix().max(b.prefix()),
        a.padding().max(b.padding()),
    )
}

impl imp::DroneTee {
    /// Answers ALLOCATION with what all branches can do and what can be out at once.
    pub(super) fn answer_allocation(&self, query: &mut gst::query::Allocation) -> bool {
        let (caps, need_pool) = query.get_owned();
        let branches = self.branches();
        let receivers = self
            .obj()
            .consumers()
            .into_iter()
            .filter(|pad| pad.imp().is_receiver() && self.takes_part(pad));
        let asked = gst::query::Allocation::new(caps.as_ref(), need_pool);
        let ask = Ask::put(self, Some(asked.into()), &branches);
        let mut offers: Vec<_> = branches
            .iter()
            .map(|pad| {
                let offer = pad
                    .imp()
                    .peer()
                    .last_offer()
                    .filter(|offer| offer.caps == caps);
                if ask.answer_of(pad).is_none() {
                    gst::debug!(CAT, obj = pad, "Busy, using {offer:?}");
                }
                offer.unwrap_or_default()
            })
            .collect();
        offers.extend(receivers.map(|_| Offer::of_receiver(caps.as_ref())));
        let min = self.frames_out_at_once(caps.as_ref());
        let size = frame_size(caps.as_ref(), &offers);
        // Upstream can not run out of a pool that it was not told to have.
        self.note_allocation(size.map_or(NO_POOL, |_| min));
        fill(query, &offers);
        if let Some(size) = size {
            query.add_allocation_pool(None::<&gst::BufferPool>, size, min, 0);
        }
        gst::debug!(CAT, imp = self, "Answering {query:?}");
        true
    }

    /// The deepest queue, behind the frames it may have got from the cache, plus what each branch
    /// keeps, plus the one upstream works on. All queues hold the same frames, so that depths do
    /// not add up.
    ///
    /// Branches that are not served count too: they may hang with a frame, or recover.
    fn frames_out_at_once(&self, caps: Option<&gst::Caps>) -> u32 {
        let pads = self.obj().consumers();
        let deepest = pads.iter().map(|pad| self.depth_of(pad)).max();
        let keeps = |pad: &DroneTeePad| {
            let offer = pad.imp().peer().last_offer();
            let offer = offer.filter(|offer| offer.caps.as_ref() == caps);
            offer.map_or(1, |offer| offer.min_buffers.max(1))
        };
        let in_flight = pads.iter().map(keeps).fold(0, u32::saturating_add);
        let cached = self.settings().gop_cache;
        [cached, in_flight, self.stream.strays(), 1]
            .into_iter()
            .fold(deepest.unwrap_or(0), u32::saturating_add)
    }

    /// True when upstream was answered before, but not for a branch that is here now, or for fewer
    /// frames than can be out now.
    pub(super) fn needs_allocation(&self) -> bool {
        let unasked = |pad: &DroneTeePad| pad.imp().peer().last_offer().is_none();
        self.asked_for() != 0 && (self.is_outgrown() || self.branches().iter().any(unasked))
    }

    fn is_outgrown(&self) -> bool {
        let asked_for = self.asked_for();
        !matches!(asked_for, 0 | NO_POOL)
            && self.frames_out_at_once(self.current_caps().as_ref()) > asked_for
    }

    /// Has upstream ask again if its pool may be too small now.
    pub(super) fn renew_if_outgrown(&self) {
        if self.is_outgrown() {
            gst::debug!(CAT, imp = self, "Upstream has to ask for ALLOCATION again");
            self.sinkpad.push_event(gst::event::Reconfigure::new());
        }
    }

    /// True when the branch is served, or would be.
    fn takes_part(&self, pad: &DroneTeePad) -> bool {
        let state = pad.imp().state();
        let gone = matches!(
            state,
            State::Eos | State::Failed | State::Evicted | State::NotLinked
        );
        !gone && (pad.imp().is_receiver() || pad.is_linked()) && pad.is_active()
    }

    /// The branches that can be asked.
    fn branches(&self) -> Vec<DroneTeePad> {
        let mut pads = self.obj().consumers();
        pads.retain(|pad| self.takes_part(pad) && !pad.imp().is_receiver());
        pads
    }

    /// DRAIN: true when no branch holds a frame any more.
    pub(super) fn answer_drain(&self, query: &gst::QueryRef) -> bool {
        self.stream.forget_gop();
        // Who is served no longer may have frames all the same; who can not be asked has.
        let mut pads = self.obj().consumers();
        pads.retain(|pad| {
            let is_branch = !pad.imp().is_receiver() && pad.is_active();
            is_branch && (self.takes_part(pad) || pad.imp().may_hold_frames())
        });
        let ask = Ask::put(self, Some(query.copy()), &pads);
        let all = pads.iter().all(|pad| ask.answer_of(pad) == Some(true));
        all && self.stream.is_drained()
    }

    /// Any other serialized query: the first branch that can answer does.
    pub(super) fn answer_serialized(&self, query: &mut gst::QueryRef) -> bool {
        let pads = self.branches();
        let ask = Ask::put(self, Some(query.copy()), &pads);
        let answers = lock(&ask.answers);
        let mut answered = answers.iter().filter(|answer| answer.answered);
        let answer = answered.find_map(|answer| answer.query.as_ref());
        answer.is_some_and(|answer| {
            take_over(query, answer);
            true
        })
    }
}

/// How large the buffers of a pool have to be; nothing where that is not known: upstream would make
/// buffers without memory.
fn frame_size(caps: Option<&gst::Caps>, offers: &[Offer]) -> Option<u32> {
    let offered = offers.iter().map(|offer| offer.size).max().unwrap_or(0);
    let raw = caps
        .filter(|caps| caps.is_fixed())
        .and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok())
        .map_or(0, |info| u32::try_from(info.size()).unwrap_or(0));
    Some(offered.max(raw)).filter(|size| *size > 0)
}

fn fill(query: &mut gst::query::Allocation, offers: &[Offer]) {
    if let Some((first, others)) = offers.split_first() {
        for (api, params) in &first.metas {
            let agreed = |offer: &Offer| {
                let same = |meta: &&(glib::Type, Option<gst::Structure>)| meta.0 == *api;
                offer
                    .metas
                    .iter()
                    .find(same)
                    .is_some_and(|meta| meta.1 == *params)
            };
            if others.iter().all(agreed) {
                add_meta(query, *api, params.as_deref());
            }
        }
    }
    if let Some(params) = offers
        .iter()
        .filter_map(|offer| offer.params)
        .reduce(merge_params)
    {
        query.add_allocation_param(None::<&gst::Allocator>, params);
    }
}

/// The bindings add only meta types known when compiling; a branch may offer any.
#[allow(unsafe_code)]
fn add_meta(
    query: &mut gst::query::Allocation,
    api: glib::Type,
    params: Option<&gst::StructureRef>,
) {
    let params = params.map_or(std::ptr::null(), gst::StructureRef::as_ptr);
    // SAFETY: the query is an ALLOCATION query that is borrowed mutably, so it is writable; the
    // type came from such a query; the structure is null or borrowed for the call and copied.
    unsafe {
        gst::ffi::gst_query_add_allocation_meta(query.as_mut_ptr(), api.into_glib(), params);
    }
}
