// SPDX-License-Identifier: MPL-2.0
//! What the application's thread asks and tells the content: a helper thread does it, and the
//! application waits only so long, as the content may hang in its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gst::prelude::*;

use super::CAT;
use super::content::spawn;

/// How long the application waits.
const PATIENCE: Duration = Duration::from_millis(500);
/// While so many helpers hang in the content, it is not asked.
const MAX_HELPERS: u32 = 4;

#[derive(Default)]
pub(super) struct Aside {
    helpers: Arc<AtomicU32>,
}

impl Aside {
    pub(super) fn query(&self, content: &gst::Bin, query: &mut gst::QueryRef) -> bool {
        let mut own = query.to_owned();
        let answer = self.run(content, move |content| {
            let answered = own.get_mut().is_some_and(|query| content.query(query));
            answered.then_some(own)
        });
        match answer.flatten() {
            Some(answer) => copy_answer(&answer, query),
            None => false,
        }
    }

    pub(super) fn send_event(&self, content: &gst::Bin, event: gst::Event) {
        self.run(content, move |content| content.send_event(event));
    }

    fn run<T: Send + 'static>(
        &self,
        content: &gst::Bin,
        ask: impl FnOnce(&gst::Bin) -> T + Send + 'static,
    ) -> Option<T> {
        let helpers = self.helpers.clone();
        if helpers.fetch_add(1, Ordering::AcqRel) >= MAX_HELPERS {
            helpers.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let (answers, answer) = std::sync::mpsc::channel();
        let (asked, own) = (content.clone(), helpers.clone());
        let started = spawn("branch-aside", move || {
            // The asker may have left.
            let _ = answers.send(ask(&asked));
            own.fetch_sub(1, Ordering::AcqRel);
        });
        if started.is_err() {
            helpers.fetch_sub(1, Ordering::AcqRel);
        }
        let answer = answer.recv_timeout(PATIENCE);
        if answer.is_err() {
            gst::warning!(CAT, obj = content, "The content does not answer");
        }
        answer.ok()
    }
}

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
