// SPDX-License-Identifier: MPL-2.0
//! What a branch knows and decides, composed of parts that keep one promise each. It calls no element.

use std::sync::Arc;

use super::content::now;
use super::course::{self, Course, Failure, LifeId, Rules};
use super::life::{Life, Order};
use super::lives::{Lives, Old};
use super::notices::{Fault, Notice, Notices, Report};
use super::opening::Frame;
use super::stream::Stream;

/// Its lock is held for a look or a change only, never over a call out.
#[derive(Default)]
pub(super) struct State {
    pub(super) course: Course,
    pub(super) lives: Lives,
    pub(super) stream: Stream,
    pub(super) notices: Notices,
    /// What the content failed of last, and which element said so.
    pub(super) last_error: Option<(Option<String>, String)>,
    pub(super) watch: Watch,
}

/// Which supervisor watches, and whether there is something to look at.
#[derive(Default)]
pub(super) struct Watch {
    /// Something has happened since the supervisor looked, which clears it.
    pub(super) news: bool,
    /// The number of the supervisor that watches; others leave. Written by each start and stop.
    current: u64,
}

impl Watch {
    /// The supervisor that watched leaves. Returns the number of the next one.
    pub(super) fn change(&mut self) -> u64 {
        self.current += 1;
        self.current
    }

    pub(super) fn is_by(&self, number: u64) -> bool {
        self.current == number
    }
}

/// What to do with a frame.
pub(super) enum Way {
    To(Arc<Life>),
    /// A new life waits for a keyframe: it is asked for.
    Skipped,
    Refused,
    Flushing,
}

impl State {
    pub(super) fn is_stopped(&self) -> bool {
        self.course.state() == course::State::Stopped
    }

    /// No frame is expected.
    pub(super) fn is_flushing(&self) -> bool {
        self.stream.is_flushing() || self.is_stopped()
    }

    pub(super) fn way(&mut self, frame: &Frame) -> Way {
        if self.is_flushing() {
            return Way::Flushing;
        }
        self.stream.note_frame(frame.delta);
        match self.lives.route().cloned() {
            None => Way::Refused,
            Some(life) if self.lives.admits(frame) => Way::To(life),
            Some(_) => Way::Skipped,
        }
    }

    /// An event has come. Which life it is for, and what it made void.
    pub(super) fn note_event(
        &mut self,
        event: &gst::Event,
    ) -> (Option<Arc<Life>>, Vec<gst::Event>) {
        let gone = self.stream.note_event(event);
        let route = self.lives.route().cloned();
        match event.type_() {
            gst::EventType::FlushStop => self.lives.reopen(),
            gst::EventType::Eos if route.is_none() => self.tell_end(),
            _ => {}
        }
        (route, gone)
    }

    /// The bin has ended, unless it has said so already.
    pub(super) fn tell_end(&mut self) {
        if let Some(seqnum) = self.stream.tell_end() {
            self.notices.add(Notice::End(seqnum));
        }
    }

    /// The content has posted EOS.
    pub(super) fn content_ended(&mut self, seqnum: gst::Seqnum) {
        if self.lives.route().is_some() {
            self.stream.content_ended(seqnum);
            self.notices.add(Notice::End(Some(seqnum)));
        }
    }

    pub(super) fn follow(&mut self, order: Order) {
        self.lives.follow(order);
        if order.state == gst::State::Playing
            && self.lives.route().is_none()
            && let Some(end) = self.stream.end().filter(|end| end.is_told)
        {
            // GstBin forgets an EOS when it goes to PAUSED, and sinks repeat it in PLAYING.
            self.notices.add(Notice::End(end.seqnum));
        }
    }

    // ---- lives -------------------------------------------------------------------------------

    /// The branch starts: the number of its first life.
    pub(super) fn start(&mut self) -> LifeId {
        let id = self.course.start();
        self.notices.add(Notice::State);
        id
    }

    /// False if there is nothing to stop.
    pub(super) fn stop(&mut self, patience: u64) -> bool {
        if self.is_stopped() {
            return false;
        }
        self.course.stop();
        self.lives.halt();
        self.lives.end(patience);
        self.notices.add(Notice::State);
        true
    }

    /// `life` comes up; it takes frames at once if `waits`, else when it is up. False if it is not
    /// wanted any more.
    pub(super) fn begin(&mut self, life: &Arc<Life>, waits: bool) -> bool {
        if self.course.current() != Some(life.id) {
            return false;
        }
        if waits {
            self.lives.open(life);
        }
        self.lives.begin(life.clone());
        true
    }

    /// The content of `life` is up; what it gets first, or `None` if it is not wanted.
    pub(super) fn up(&mut self, life: &Arc<Life>) -> Option<Vec<gst::Event>> {
        let was = self.course.state();
        if !self.course.up(life.id, now()) {
            return None;
        }
        if was != course::State::Running {
            self.lives.open(life);
            self.notices.add(Notice::State);
        }
        // What comes from now on is handed over.
        Some(self.stream.sticky_events())
    }

    /// The content of `life` failed; nothing if that is no news.
    pub(super) fn fail(&mut self, life: LifeId, rules: &Rules, patience: u64, fault: Fault) {
        let Some(failure) = self.course.fail(life, rules, now()) else {
            return;
        };
        if !self.lives.end(patience) {
            // It had no thread.
            self.course.cleared();
        }
        self.tell_failure(failure, fault);
        self.tell_end();
    }

    /// The threads of `life` have left the content.
    pub(super) fn clear(&mut self, life: LifeId) -> Option<Old> {
        let old = self.lives.take_old(life)?;
        self.course.cleared();
        Some(old)
    }

    /// The content of `life`, which was being torn down, is left behind; false if that is not so.
    pub(super) fn abandon(&mut self, life: &Life) -> bool {
        if life.is_over() || self.lives.take_old(life.id).is_none() {
            return false;
        }
        self.course.counts.abandoned += 1;
        self.course.cleared();
        true
    }

    /// Content was left behind; `is_last`: there is no other.
    pub(super) fn note_abandoned(&mut self, why: &'static str, is_last: bool) {
        match is_last.then(|| self.course.lose()).flatten() {
            None => self.notices.add(Notice::Abandoned(why)),
            Some(failure) => self.tell_failure(failure, Fault::own(super::content::error(why))),
        }
    }

    fn tell_failure(&mut self, failure: Failure, fault: Fault) {
        let message = fault.error.message().to_owned();
        self.last_error = Some((fault.source.clone(), message));
        let has_ended = self.stream.end().is_some();
        self.notices.add(Notice::Failed(Box::new(Report {
            failure,
            fault,
            has_ended,
        })));
        self.notices.add(Notice::State);
    }
}
