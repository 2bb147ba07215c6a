// SPDX-License-Identifier: MPL-2.0
//! Queries around the frames: CAPS, ACCEPT_CAPS and all others that are not serialized.
//!
//! A branch may hang in its answer. So a helper thread of GStreamer's asks, and upstream waits only
//! so long; for a branch that still hangs in an earlier question it does not wait at all.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::{CAT, DroneTeePad, imp, lock};

/// How long upstream waits for the branches. Not as short as for ALLOCATION, since without an
/// answer the stream may get a format that the branch can not take.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Inquiry {
    answers: Mutex<Answers>,
    answered: Condvar,
}

#[derive(Default)]
struct Answers {
    /// By pad; nothing yet, or what the branch said, if it knew anything.
    by_pad: Vec<Option<Option<gst::Query>>>,
    closed: bool,
}

impl Inquiry {
    fn ask(&self, pad: &DroneTeePad, owed: &AtomicU32, index: usize, mut query: gst::Query) {
        let answered = query.get_mut().is_some_and(|query| pad.peer_query(query));
        let mut answers = lock(&self.answers);
        if answers.closed {
            owed.fetch_sub(1, Ordering::AcqRel);
        } else {
            answers.by_pad[index] = Some(answered.then_some(query));
            self.answered.notify_all();
        }
    }

    /// Waits for the answers; who has not given one by then is overdue.
    fn close(&self, owed: &[Arc<AtomicU32>]) -> Vec<Option<gst::Query>> {
        let answers = lock(&self.answers);
        let missing = |answers: &mut Answers| answers.by_pad.iter().any(Option::is_none);
        let (mut answers, _) = self
            .answered
            .wait_timeout_while(answers, PATIENCE, missing)
            .unwrap_or_else(PoisonError::into_inner);
        answers.closed = true;
        for (answer, owed) in answers.by_pad.iter().zip(owed) {
            if answer.is_none() {
                owed.fetch_add(1, Ordering::AcqRel);
            }
        }
        answers.by_pad.drain(..).map(Option::flatten).collect()
    }
}

impl imp::DroneTee {
    /// What the branches behind `pads` answer to `query`, as far as they do in time.
    pub(super) fn inquire(
        &self,
        pads: &[DroneTeePad],
        query: impl Fn() -> gst::Query,
    ) -> Vec<Option<gst::Query>> {
        let inquiry = Arc::new(Inquiry::default());
        // Known before the first is asked: what hangs has its place, and is not waited for.
        let owed: Vec<_> = pads
            .iter()
            .map(|pad| pad.imp().peer().overdue.clone())
            .collect();
        let overdue = |owed: &Arc<AtomicU32>| owed.load(Ordering::Acquire) > 0;
        let hanging: Vec<_> = owed.iter().map(overdue).collect();
        lock(&inquiry.answers).by_pad = hanging.iter().map(|hangs| hangs.then_some(None)).collect();
        for (index, pad) in pads
            .iter()
            .enumerate()
            .filter(|(index, _)| !hanging[*index])
        {
            let (inquiry, pad, query) = (inquiry.clone(), pad.clone(), query());
            let owed = owed[index].clone();
            self.helpers
                .run(move || inquiry.ask(&pad, &owed, index, query));
        }
        let answers = inquiry.close(&owed);
        for (pad, answer) in pads.iter().zip(&answers) {
            gst::debug!(CAT, obj = pad, "Answered {answer:?}");
        }
        answers
    }
}

/// Puts what `answer` says into `query`, of which it is a copy.
pub(super) fn take_over(query: &mut gst::QueryRef, answer: &gst::QueryRef) {
    let own = query.structure_mut();
    for (name, value) in answer
        .structure()
        .into_iter()
        .flat_map(|fields| fields.iter())
    {
        own.set_value(name, value.clone());
    }
}
