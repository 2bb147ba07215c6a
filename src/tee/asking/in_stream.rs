// SPDX-License-Identifier: MPL-2.0
//! Serialized queries: ALLOCATION, DRAIN and custom ones.
//!
//! A branch's own thread puts the query to the branch, when it gets to its place in the stream:
//! asking from upstream's thread would wait for the branch's stream lock. Upstream waits for all
//! branches together no longer than [`BUSY_PATIENCE`].

use std::sync::{Arc, Condvar, Mutex};

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::BUSY_PATIENCE;
use crate::fanout::ConsumerId;
use crate::tee::negotiation::allocation::Offer;
use crate::tee::output::Peer;
use crate::tee::{CAT, DroneTeePad, lock};

/// A query on its way to the branches, with what they answered.
pub(crate) struct StreamQuery {
    query: gst::Query,
    /// A consumer that joins later gets the query with the cached frames, and is not asked.
    asked: Vec<Option<ConsumerId>>,
    answers: Mutex<Answers>,
    answered: Condvar,
}

#[derive(Default)]
struct Answers {
    given: Vec<Answer>,
    /// The last copy has left the stream, as in a flush: no branch answers any more.
    gone: bool,
}

/// A query in its place among the frames.
#[derive(Debug)]
pub(crate) struct Travelling(Arc<StreamQuery>);

impl Travelling {
    /// Puts the query to the branch, which is `peer`; called by the branch's thread.
    pub(in crate::tee) fn put_to(&self, pad: &DroneTeePad, peer: &Peer) {
        self.0.put_to(pad, peer);
    }
}

impl Drop for Travelling {
    fn drop(&mut self) {
        lock(&self.0.answers).gone = true;
        self.0.answered.notify_all();
    }
}

/// It holds no pad and no pool: the query stays in the stream until the slowest consumer has passed it.
struct Answer {
    id: Option<ConsumerId>,
    answered: bool,
    query: Option<gst::Query>,
}

impl std::fmt::Debug for StreamQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StreamQuery").field(&self.query).finish()
    }
}

impl StreamQuery {
    /// Asks the branches behind `pads` in the place where `publish` puts the query, and waits a little for
    /// their answers.
    pub(in crate::tee) fn put(
        publish: impl FnOnce(Arc<Travelling>),
        query: gst::Query,
        pads: &[DroneTeePad],
    ) -> Arc<Self> {
        let asked = Arc::new(Self {
            query,
            asked: pads.iter().map(|pad| pad.imp().id()).collect(),
            answers: Mutex::default(),
            answered: Condvar::new(),
        });
        if !pads.is_empty() {
            publish(Arc::new(Travelling(asked.clone())));
            asked.wait();
        }
        asked
    }

    fn wait(&self) {
        let answers = lock(&self.answers);
        let missing = |answers: &mut Answers| {
            let has_answered =
                |id: &Option<ConsumerId>| answers.given.iter().any(|answer| answer.id == *id);
            !answers.gone && !self.asked.iter().all(has_answered)
        };
        drop(
            self.answered
                .wait_timeout_while(answers, BUSY_PATIENCE, missing),
        );
    }

    /// Each branch gets a query of its own: copies of one share the arrays that answers go into.
    fn fresh(&self) -> gst::Query {
        match self.query.view() {
            gst::QueryView::Allocation(allocation) => {
                let (caps, need_pool) = allocation.get_owned();
                gst::query::Allocation::new(caps.as_ref(), need_pool).into()
            }
            _ => self.query.copy(),
        }
    }

    fn put_to(&self, pad: &DroneTeePad, peer: &Peer) {
        let id = pad.imp().id();
        if !self.asked.contains(&id) {
            return;
        }
        let mut query = self.fresh();
        let own = query.get_mut();
        let answered = own.is_some_and(|own| pad.peer_query(own));
        gst::debug!(CAT, obj = pad, "Answered {answered} to {query:?}");
        let query = if let gst::QueryView::Allocation(allocation) = query.view() {
            let offer = Offer::new(allocation, answered);
            peer.remember_offer(offer);
            None
        } else {
            Some(query)
        };
        lock(&self.answers).given.push(Answer {
            id,
            answered,
            query,
        });
        self.answered.notify_all();
    }

    /// What the branch answered, if it did in time.
    pub(in crate::tee) fn answer_of(&self, pad: &DroneTeePad) -> Option<bool> {
        let answers = lock(&self.answers);
        let answer = answers
            .given
            .iter()
            .find(|answer| answer.id == pad.imp().id())?;
        Some(answer.answered)
    }

    /// The query as the first branch that could answer has left it.
    pub(in crate::tee) fn first_answer(&self) -> Option<gst::Query> {
        let answers = lock(&self.answers);
        let mut answered = answers.given.iter().filter(|answer| answer.answered);
        answered.find_map(|answer| answer.query.clone())
    }
}
