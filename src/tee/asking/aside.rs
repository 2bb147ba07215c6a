// SPDX-License-Identifier: MPL-2.0
//! Queries around the frames: CAPS, ACCEPT_CAPS and all others that are not serialized.
//!
//! A branch may hang in its answer. So a helper thread asks, and upstream waits only so long; for a
//! branch that still hangs in an earlier query it does not wait at all.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::tee::helpers::Helpers;
use crate::tee::{CAT, DroneTeePad, lock};

/// How long upstream waits for the branches. Not as short as for ALLOCATION, since without an
/// answer the stream may get a format that the branch can not take.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Default)]
struct AsideQuery {
    answers: Mutex<Answers>,
    answered: Condvar,
}

#[derive(Default)]
struct Answers {
    /// By pad; nothing yet, or what the branch said, if it knew anything.
    by_pad: Vec<Option<Option<gst::Query>>>,
    closed: bool,
}

impl AsideQuery {
    /// Called by a helper.
    fn put_to(&self, pad: &DroneTeePad, overdue: &AtomicU32, index: usize, mut query: gst::Query) {
        let answered = query.get_mut().is_some_and(|query| pad.peer_query(query));
        let mut answers = lock(&self.answers);
        if answers.closed {
            overdue.fetch_sub(1, Ordering::AcqRel);
        } else {
            answers.by_pad[index] = Some(answered.then_some(query));
            self.answered.notify_all();
        }
    }

    /// Waits for the answers; a branch that has not given one by then is overdue.
    fn close(&self, overdue: &[Arc<AtomicU32>]) -> Vec<Option<gst::Query>> {
        let answers = lock(&self.answers);
        let missing = |answers: &mut Answers| answers.by_pad.iter().any(Option::is_none);
        let (mut answers, _) = self
            .answered
            .wait_timeout_while(answers, PATIENCE, missing)
            .unwrap_or_else(PoisonError::into_inner);
        answers.closed = true;
        for (answer, overdue) in answers.by_pad.iter().zip(overdue) {
            if answer.is_none() {
                overdue.fetch_add(1, Ordering::AcqRel);
            }
        }
        answers.by_pad.drain(..).map(Option::flatten).collect()
    }
}

/// What the branches behind `pads` answer to `query`, as far as they do in time.
pub(in crate::tee) fn ask(
    helpers: &Helpers,
    pads: &[DroneTeePad],
    query: impl Fn() -> gst::Query,
) -> Vec<Option<gst::Query>> {
    let asked = Arc::new(AsideQuery::default());
    // Known before the first is asked: a branch that hangs has its place, and is not waited for.
    let overdue: Vec<_> = pads
        .iter()
        .map(|pad| pad.imp().peer().overdue.clone())
        .collect();
    let hangs = |overdue: &Arc<AtomicU32>| overdue.load(Ordering::Acquire) > 0;
    let hanging: Vec<_> = overdue.iter().map(hangs).collect();
    lock(&asked.answers).by_pad = hanging.iter().map(|hangs| hangs.then_some(None)).collect();
    let to_ask = pads
        .iter()
        .enumerate()
        .filter(|(index, _)| !hanging[*index]);
    for (index, pad) in to_ask {
        let (asked, pad, query) = (asked.clone(), pad.clone(), query());
        let overdue = overdue[index].clone();
        helpers.run(move || asked.put_to(&pad, &overdue, index, query));
    }
    let answers = asked.close(&overdue);
    for (pad, answer) in pads.iter().zip(&answers) {
        gst::debug!(CAT, obj = pad, "Answered {answer:?}");
    }
    answers
}

/// Puts what `answer` says into `query`, of which it is a copy.
pub(in crate::tee) fn copy_answer(query: &mut gst::QueryRef, answer: &gst::QueryRef) {
    if query.structure().is_none() {
        // A query from C need not have fields, which the bindings do not expect.
        return;
    }
    let own = query.structure_mut();
    for (name, value) in answer
        .structure()
        .into_iter()
        .flat_map(|fields| fields.iter())
    {
        own.set_value(name, value.clone());
    }
}
