// SPDX-License-Identifier: MPL-2.0
//! The keeper of the content: owns the branch's state and acts on what happens.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::content::{self, now};
use super::course::{Course, Failure, LifeId, Rules, State};
use super::life::{Life, Order};
use super::notices::{self, Notice, Report};
use super::opening::Opening;
use super::settings::Settings;
use super::sticky::Sticky;
use super::{CAT, DroneBranch, gate};

pub(super) struct Keeper {
    me: Weak<Self>,
    pub(super) branch: glib::WeakRef<DroneBranch>,
    /// The bin's only child; holds the content. Its own state never changes.
    pub(super) cell: gst::Bin,
    /// The cell's sink pad, behind the bin's ghost pad.
    pub(super) gate: gst::Pad,
    pub(super) settings: Mutex<Settings>,
    inner: Mutex<Inner>,
    /// For the supervisor: something has happened.
    pub(super) happened: Condvar,
    /// Frames that came and that the content did not take.
    pub(super) dropped: AtomicU64,
    /// A thread tells notices.
    telling: AtomicBool,
}

/// All state of the branch. Its lock is held for a look or a change only, never over a call out.
#[derive(Default)]
pub(super) struct Inner {
    pub(super) course: Course,
    /// The content, for which there may be no life: in NULL then.
    pub(super) content: Option<gst::Bin>,
    /// The pad of the content where frames go in, once it is known.
    pub(super) entry: Option<gst::Pad>,
    /// The life that runs or comes up.
    pub(super) life: Option<Arc<Life>>,
    /// The life that is being torn down, and when it will be left behind.
    old: Option<(Arc<Life>, u64)>,
    /// The life that takes frames: set when it may, cleared when it fails.
    pub(super) route: Option<Arc<Life>>,
    pub(super) sticky: Sticky,
    pub(super) opening: Opening,
    /// A delta frame came: keyframes have to be asked for.
    pub(super) is_coded: bool,
    /// Between flush-start and flush-stop.
    pub(super) flushing: bool,
    pub(super) end: Option<End>,
    pub(super) order: Option<Order>,
    pub(super) playing_since: Option<u64>,
    pub(super) last_error: Option<String>,
    /// When upstream was last asked for a keyframe.
    pub(super) keyframe_asked_at: Option<u64>,
    /// The pipeline's latency, as far as it was told.
    pub(super) latency: Option<gst::ClockTime>,
    notices: VecDeque<Notice>,
    /// Something has happened since the supervisor looked, which clears it.
    pub(super) news: bool,
    /// The supervisor should leave.
    pub(super) quit: bool,
}

/// The end of the stream, from when it is known until a new stream, segment or flush.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) since: u64,
    pub(super) seqnum: Option<gst::Seqnum>,
    /// The bin has posted its EOS.
    pub(super) is_told: bool,
    /// The sinks are being watched; written by the supervisor.
    pub(super) is_watched: bool,
}

impl End {
    pub(super) fn new(seqnum: Option<gst::Seqnum>) -> Self {
        Self {
            since: now(),
            seqnum,
            is_told: false,
            is_watched: false,
        }
    }
}

/// What content failed of.
pub(super) struct Fault {
    /// The path of the element that said so; `None`: the branch itself.
    pub(super) source: Option<String>,
    pub(super) error: glib::Error,
    pub(super) debug: String,
    /// No restart could mend it.
    pub(super) is_final: bool,
}

impl Fault {
    pub(super) fn own(error: glib::Error) -> Self {
        Self {
            source: None,
            error,
            debug: String::new(),
            is_final: false,
        }
    }
}

impl Inner {
    pub(super) fn tell(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    /// The bin has ended, unless it has said so already.
    pub(super) fn tell_end(&mut self) {
        if let Some(end) = &mut self.end
            && !std::mem::replace(&mut end.is_told, true)
        {
            let seqnum = end.seqnum;
            self.tell(Notice::End(seqnum));
        }
    }

    /// The life that takes frames ends: upstream is released, the content is torn down.
    fn end_life(&mut self, deadline: u64) {
        self.route = None;
        if let Some(life) = self.life.take() {
            life.end();
            self.old = Some((life, deadline));
        }
    }

    pub(super) fn is_current(&self, life: LifeId) -> bool {
        self.route.as_ref().is_some_and(|route| route.id == life)
    }
}

impl Keeper {
    pub(super) fn new(branch: &DroneBranch, cell: gst::Bin) -> Arc<Self> {
        Arc::new_cyclic(|weak: &Weak<Self>| Self {
            me: weak.clone(),
            branch: branch.downgrade(),
            cell,
            gate: gate::pad(weak),
            settings: Mutex::default(),
            inner: Mutex::default(),
            happened: Condvar::new(),
            dropped: AtomicU64::new(0),
            telling: AtomicBool::new(false),
        })
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.me.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a change of the state and wakes the supervisor, which sees to the rest.
    pub(super) fn report(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.news = true;
        drop(inner);
        self.happened.notify_all();
    }

    pub(super) fn settings(&self) -> Settings {
        let settings = self.settings.lock();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn stop_timeout(&self) -> Duration {
        Duration::from_nanos(self.settings().stop_timeout)
    }

    // ---- the bin's state, from its change_state ----------------------------------------------

    /// NULL→READY.
    pub(super) fn reset(&self) {
        let mut inner = self.lock();
        inner.course = Course::default();
        inner.last_error = None;
        self.dropped.store(0, Ordering::Relaxed);
    }

    /// READY→PAUSED: frames wait for the content from now on.
    pub(super) fn start(self: &Arc<Self>) -> std::io::Result<()> {
        {
            let mut inner = self.lock();
            inner.quit = false;
            Self::forget_stream(&mut inner);
        }
        super::supervisor::start(self)?;
        let id = {
            let mut inner = self.lock();
            let id = inner.course.start();
            inner.tell(Notice::State);
            id
        };
        self.begin_life(id, true);
        Ok(())
    }

    /// Has the content follow the bin; `order` is where to.
    pub(super) fn follow(&self, order: Order) {
        let mut inner = self.lock();
        let is_playing = order.state == gst::State::Playing;
        inner.order = Some(order);
        inner.playing_since = is_playing.then(|| inner.playing_since.unwrap_or_else(now));
        if let Some(life) = &inner.life {
            life.order(order);
        }
        if is_playing && inner.route.is_none() && inner.end.is_some_and(|end| end.is_told) {
            // GstBin forgets an EOS when it goes to PAUSED, and sinks repeat it in PLAYING.
            let seqnum = inner.end.and_then(|end| end.seqnum);
            inner.tell(Notice::End(seqnum));
        }
        self.report(inner);
    }

    /// Begins to stop: upstream is released and the content is being torn down.
    pub(super) fn begin_stop(&self) {
        let mut inner = self.lock();
        if inner.course.state() == State::Stopped {
            return;
        }
        inner.course.stop();
        inner.order = None;
        inner.playing_since = None;
        let deadline = now().saturating_add(self.settings().stop_timeout);
        inner.end_life(deadline);
        inner.tell(Notice::State);
    }

    /// Waits for the teardown, at most for `stop-timeout`; what hangs is left behind.
    pub(super) fn finish_stop(&self) {
        let old = self.lock().old.clone();
        if let Some((life, deadline)) = old {
            let patience = Duration::from_nanos(deadline.saturating_sub(now()));
            if !life.wait_over(Instant::now() + patience) {
                self.abandon(&life);
            }
        }
        let gone = {
            let mut inner = self.lock();
            inner.quit = true;
            (inner.old.take(), Self::forget_stream(&mut inner))
        };
        self.happened.notify_all();
        drop(gone);
        self.tell_all();
    }

    // ---- lives -------------------------------------------------------------------------------

    /// Starts the threads of a life; it takes frames at once if `waits`, else when it is up.
    pub(super) fn begin_life(&self, id: LifeId, waits: bool) {
        let life = match Life::start(id, &self.me) {
            Ok(life) => life,
            Err(error) => {
                let error = content::error(&format!("No thread: {error}"));
                return self.fail(id, Fault::own(error));
            }
        };
        let mut inner = self.lock();
        if inner.course.current() != Some(id) {
            drop(inner);
            return life.end();
        }
        if waits {
            inner.route = Some(life.clone());
            inner.opening = Opening::default();
        }
        if let Some(order) = inner.order {
            life.order(order);
        }
        inner.life = Some(life);
        self.report(inner);
    }

    /// The content of `life` failed.
    pub(super) fn fail(&self, life: LifeId, fault: Fault) {
        let settings = self.settings();
        let rules = Rules {
            restart: settings.restart && !fault.is_final,
            ..settings.rules()
        };
        let mut inner = self.lock();
        let now = now();
        let Some(failure) = inner.course.fail(life, &rules, now) else {
            return;
        };
        inner.end_life(now.saturating_add(settings.stop_timeout));
        if inner.old.is_none() {
            // It had no thread.
            inner.course.cleared();
        }
        self.tell_failure(&mut inner, failure, fault);
        inner.tell_end();
        self.report(inner);
    }

    fn tell_failure(&self, inner: &mut Inner, failure: Failure, fault: Fault) {
        let own_path = || {
            let branch = self.cell.parent();
            branch.map_or_else(|| self.cell.path_string(), |branch| branch.path_string())
        };
        let report = Report {
            failure,
            source: fault.source.unwrap_or_else(|| own_path().into()),
            error: fault.error,
            debug: fault.debug,
            has_ended: inner.end.is_some(),
        };
        inner.last_error = Some(report.text());
        inner.tell(Notice::Failed(Box::new(report)));
        inner.tell(Notice::State);
    }

    /// The threads of `life` have left the content.
    pub(super) fn clear(&self, life: &Arc<Life>) {
        let mut inner = self.lock();
        let is_old = inner.old.as_ref().is_some_and(|(old, _)| old.id == life.id);
        let gone = is_old.then(|| inner.old.take());
        if is_old {
            inner.course.cleared();
        }
        self.report(inner);
        drop(gone);
    }

    /// Leaves content behind that hangs in its teardown. Its threads keep it.
    pub(super) fn abandon(&self, life: &Arc<Life>) {
        let has_description = self.settings().description.is_some();
        let (content, lost) = {
            let mut inner = self.lock();
            let is_old = inner.old.as_ref().is_some_and(|(old, _)| old.id == life.id);
            if !is_old || life.is_over() {
                return;
            }
            inner.old = None;
            inner.entry = None;
            inner.course.counts.abandoned += 1;
            inner.course.cleared();
            let lost = (!has_description).then(|| inner.course.lose()).flatten();
            (inner.content.take(), lost)
        };
        gst::warning!(CAT, obj = self.cell, "The content hangs, leaving it behind");
        if let Some(content) = content {
            // Its threads hang in it, and it is in the middle of a state change: without the
            // cell's bus and out of its children it can do no harm.
            if let Err(error) = self.cell.remove(&content) {
                gst::error!(CAT, obj = self.cell, "{error}");
            }
        }
        let mut inner = self.lock();
        let why = "The content hangs in its teardown and was left behind";
        match lost {
            None => inner.tell(Notice::Abandoned(why)),
            Some(failure) => {
                self.tell_failure(&mut inner, failure, Fault::own(content::error(why)));
            }
        }
        self.report(inner);
    }

    /// The life that is being torn down, and when it has to be left behind.
    pub(super) fn old(inner: &Inner) -> Option<(Arc<Life>, u64)> {
        inner.old.clone()
    }

    /// The content has posted EOS.
    pub(super) fn content_ended(&self, message: &gst::MessageRef) {
        let mut inner = self.lock();
        if inner.route.is_none() {
            return;
        }
        let seqnum = Some(message.seqnum());
        let end = inner.end.get_or_insert_with(|| End::new(seqnum));
        end.is_told = true;
        inner.tell(Notice::End(seqnum));
        self.report(inner);
    }

    /// The content, if it is up.
    pub(super) fn running_content(&self) -> Option<gst::Bin> {
        self.lock().route.as_ref()?.content()
    }

    // ---- notices -----------------------------------------------------------------------------

    /// Tells what is due. While another thread is at it, that one tells this, too.
    pub(super) fn tell_all(&self) {
        while !self.telling.swap(true, Ordering::AcqRel) {
            while let Some(notice) = self.next_notice() {
                if let Some(branch) = self.branch.upgrade() {
                    notices::tell(&notice, &branch, self.cell.upcast_ref());
                }
            }
            self.telling.store(false, Ordering::Release);
            // One may have come in between, whose thread has left it to this one.
            if self.lock().notices.is_empty() {
                return;
            }
        }
    }

    fn next_notice(&self) -> Option<Notice> {
        self.lock().notices.pop_front()
    }
}
