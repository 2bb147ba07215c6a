// SPDX-License-Identifier: MPL-2.0
//! One activation of a src pad and its thread: how far the thread is, how it ends, who joins it.
//!
//! A push that never returns must not hold up a stop, so a session may outlive its activation. One
//! thread at a time pushes from a pad all the same: the next session's waits for the [`Baton`].

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use glib::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::OnceCell;

use crate::tee::{DroneTeePad, lock};

/// Held by the session whose thread may push.
#[derive(Clone, Default)]
pub(in crate::tee) struct Baton(Arc<Held>);

#[derive(Default)]
struct Held {
    held: Mutex<bool>,
    changed: Condvar,
}

/// Gives the baton back.
struct Turn(Baton);

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&self.0.0.held) = false;
        self.0.0.changed.notify_all();
    }
}

impl Baton {
    /// Waits for the baton; `None` if `is_over` before it is free.
    fn take(&self, is_over: impl Fn() -> bool) -> Option<Turn> {
        let waits = |held: &mut bool| *held && !is_over();
        let held = self.0.changed.wait_while(lock(&self.0.held), waits);
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        if *held {
            return None;
        }
        *held = true;
        drop(held);
        Some(Turn(self.clone()))
    }

    fn wake(&self) {
        // Under the lock, so that a thread that has just looked does not miss it.
        let _held = lock(&self.0.held);
        self.0.changed.notify_all();
    }
}

/// What the thread of a session is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::tee) enum Phase {
    /// It has not begun, or waits for the baton: the thread of a session before may be in a push.
    #[default]
    Starting,
    /// It waits, or has ended: it has nothing to push.
    Idle,
    /// It asks the core what is next, and may have got it.
    Taking,
    /// It pushes.
    Pushing,
}

#[derive(Default)]
struct Progress {
    phase: Phase,
    stopped: bool,
    left: bool,
}

/// What the thread of a session and those who wait for it share.
#[derive(Default)]
pub(in crate::tee) struct Course {
    progress: Mutex<Progress>,
    changed: Condvar,
    thread: OnceCell<ThreadId>,
}

impl Course {
    pub(in crate::tee) fn enter(&self, phase: Phase) {
        lock(&self.progress).phase = phase;
        self.changed.notify_all();
    }

    /// To be called right before a push; false if the session is over, then nothing may be pushed.
    pub(in crate::tee) fn may_push(&self) -> bool {
        let mut progress = lock(&self.progress);
        progress.phase = Phase::Pushing;
        let may = !progress.stopped;
        drop(progress);
        self.changed.notify_all();
        may
    }

    /// True in the session's thread: an element of the branch, or what frees a frame, calls from there.
    fn is_own_thread(&self) -> bool {
        self.thread.get() == Some(&std::thread::current().id())
    }

    pub(in crate::tee) fn is_stopped(&self) -> bool {
        lock(&self.progress).stopped
    }

    /// Waits until `is_it` holds, at most until `deadline`; false if it does not.
    fn wait(&self, deadline: Instant, is_it: impl Fn(&Progress) -> bool) -> bool {
        let patience = deadline.saturating_duration_since(Instant::now());
        let waits = |progress: &mut Progress| !is_it(progress);
        let waited = self
            .changed
            .wait_timeout_while(lock(&self.progress), patience, waits);
        let (progress, _): (MutexGuard<'_, Progress>, _) =
            waited.unwrap_or_else(PoisonError::into_inner);
        is_it(&progress)
    }

    /// Waits until the thread has nothing to push; false if it had until `deadline`.
    pub(in crate::tee) fn wait_idle(&self, deadline: Instant) -> bool {
        self.is_own_thread() || self.wait(deadline, |progress| progress.phase == Phase::Idle)
    }

    /// Waits until the thread has nothing to push, for as long as it takes.
    pub(in crate::tee) fn wait_pushed(&self) {
        if self.is_own_thread() {
            return;
        }
        let waits = |progress: &mut Progress| progress.phase != Phase::Idle;
        drop(self.changed.wait_while(lock(&self.progress), waits));
    }

    /// Waits until what the thread has taken, if it has, is on its way; what frees a frame may hold it up.
    pub(in crate::tee) fn wait_taken(&self) {
        let deadline = Instant::now() + REFUSAL_PATIENCE;
        let _ = self.is_own_thread() || self.wait(deadline, |one| one.phase != Phase::Taking);
    }

    /// For the thread that has stopped the session and made the pad refuse all: waits until a push that
    /// has just begun is refused, or is in the branch for so long that it was not.
    pub(in crate::tee) fn wait_refused(&self) {
        self.wait_idle(Instant::now() + REFUSAL_PATIENCE);
    }
}

/// One activation of a src pad.
pub(in crate::tee) struct Session {
    task: gst::Task,
    pub(in crate::tee) course: Arc<Course>,
    baton: Baton,
}

impl Session {
    /// Starts a thread that calls `serve` when no other of the pad's pushes any more.
    ///
    /// It is a task of its own rather than the pad's: the pad's could not be stopped without
    /// waiting for a push that may never return.
    pub(in crate::tee) fn start(
        pad: &DroneTeePad,
        name: &str,
        baton: &Baton,
        serve: impl Fn(&DroneTeePad, &Course) + Send + 'static,
    ) -> Result<Self, glib::BoolError> {
        let course = Arc::new(Course::default());
        let [weak, entering, leaving] = [pad.downgrade(), pad.downgrade(), pad.downgrade()];
        let (own, ended, turn) = (course.clone(), course.clone(), baton.clone());
        let task_lock = gst::TaskLock::new();
        let task = gst::Task::builder(move |task| {
            // Each call has the same thread.
            let _ = own.thread.set(std::thread::current().id());
            if let Some(_turn) = turn.take(|| own.is_stopped())
                && let Some(pad) = weak.upgrade()
            {
                serve(&pad, &own);
            }
            // Failing to stop would mean that it is stopped.
            let _ = task.stop();
        })
        .lock(&task_lock)
        .enter_callback(move |task| post_status(&entering, task, gst::StreamStatusType::Enter))
        .leave_callback(move |task| {
            post_status(&leaving, task, gst::StreamStatusType::Leave);
            let mut progress = lock(&ended.progress);
            (progress.phase, progress.left) = (Phase::Idle, true);
            drop(progress);
            ended.changed.notify_all();
        })
        .build();
        task.set_property("name", name);
        post_status(&pad.downgrade(), &task, gst::StreamStatusType::Create);
        task.start()?;
        Ok(Self {
            task,
            course,
            baton: baton.clone(),
        })
    }

    /// Ends the thread as soon as its push returns; does not wait for that.
    pub(in crate::tee) fn stop(&self) {
        // Failing to stop would mean that it is stopped.
        let _ = self.task.stop();
        lock(&self.course.progress).stopped = true;
        self.course.changed.notify_all();
        self.baton.wake();
    }

    /// Waits until the thread has ended, at most until `deadline`; false if it has not.
    pub(in crate::tee) fn wait_left(&self, deadline: Instant) -> bool {
        // From its own thread a stop would wait for itself.
        !self.course.is_own_thread() && self.course.wait(deadline, |progress| progress.left)
    }
}

impl Drop for Session {
    /// The thread is joined, so that its pool knows that it is free: at once if it is about to end, else
    /// by a thread that has nothing else to do.
    fn drop(&mut self) {
        self.stop();
        if self.wait_left(Instant::now() + JOIN_PATIENCE) {
            join(&self.task);
            return;
        }
        let task = self.task.clone();
        let joining = std::thread::Builder::new()
            .name("dronetee:join".into())
            .spawn(move || join(&task));
        if let Err(error) = joining {
            gst::warning!(crate::tee::CAT, "A task is not joined: {error}");
        }
    }
}

/// A push into a pad that refuses all returns in less than this.
const REFUSAL_PATIENCE: Duration = Duration::from_millis(10);

/// A thread that is not in a push ends in less than this.
const JOIN_PATIENCE: Duration = Duration::from_millis(1);

fn join(task: &gst::Task) {
    if let Err(error) = task.join() {
        gst::warning!(crate::tee::CAT, obj = task, "Not joined: {error}");
    }
}

fn post_status(pad: &glib::WeakRef<DroneTeePad>, task: &gst::Task, type_: gst::StreamStatusType) {
    let Some(pad) = pad.upgrade() else { return };
    // A pad that is just requested has no parent yet.
    let element = pad
        .imp()
        .member()
        .and_then(|member| member.element.upgrade());
    let Some(element) = element else { return };
    let message = gst::message::StreamStatus::builder(type_, &element)
        .status_object(task)
        .src(&pad)
        .build();
    // Without a bus the message is for no application.
    let _ = element.post_message(message);
}
