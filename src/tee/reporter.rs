// SPDX-License-Identifier: MPL-2.0
//! The thread that sends what is due to be told, so that neither upstream nor a branch waits for an
//! application's handler.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Label, Stream, lock, now};
use crate::fanout::Notice;
use crate::park::thread_waker;
use crate::sync::thread::{self, Thread};
use crate::sync::{Condvar, Mutex};

/// How long the end of a stream waits for the summary to be told before it.
const SUMMARY_PATIENCE: Duration = Duration::from_millis(200);

/// Sends the notices of one element: by its thread between start and stop, else by the caller's.
pub(super) struct Reporter {
    stream: Arc<Stream>,
    post: Box<dyn Fn(Notice<Label>) + Send + Sync>,
    running: Mutex<Option<Arc<Running>>>,
}

/// The thread of one run.
struct Running {
    thread: Mutex<Option<Thread>>,
    progress: Mutex<Progress>,
    left: Condvar,
}

#[derive(Default)]
struct Progress {
    stopped: bool,
    left: bool,
}

impl Running {
    fn is_stopped(&self) -> bool {
        lock(&self.progress).stopped
    }

    fn unpark(&self) {
        if let Some(thread) = lock(&self.thread).as_ref() {
            thread.unpark();
        }
    }
}

/// Says that the thread has left, also if it panicked.
struct Leaving(Arc<Running>);

impl Drop for Leaving {
    fn drop(&mut self) {
        lock(&self.0.progress).left = true;
        self.0.left.notify_all();
    }
}

impl Reporter {
    /// `post` is called with no lock held, in the order of what happened.
    pub(super) fn new(
        stream: Arc<Stream>,
        post: impl Fn(Notice<Label>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            stream,
            post: Box::new(post),
            running: Mutex::default(),
        }
    }

    pub(super) fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let running = Arc::new(Running {
            thread: Mutex::default(),
            progress: Mutex::default(),
            left: Condvar::new(),
        });
        let (reporter, own) = (Arc::downgrade(self), running.clone());
        let handle = thread::Builder::new()
            .name("dronetee:report".into())
            .spawn(move || {
                let (leaving, waker) = (Leaving(own), thread_waker());
                while let Some(reporter) = reporter.upgrade()
                    && reporter.report(&leaving.0, &waker)
                {}
            })?;
        *lock(&running.thread) = Some(handle.thread().clone());
        *lock(&self.running) = Some(running);
        Ok(())
    }

    /// Sends what is due and waits for more; false if the run is over.
    fn report(&self, running: &Running, waker: &Waker) -> bool {
        // What a stop left because a handler held it up is sent after that.
        let is_last = running.is_stopped();
        self.send();
        if is_last {
            // The core may wake this thread in place of the one that was started since.
            self.nudge();
            return false;
        }
        match self.stream.next_report(now(), waker) {
            Some(0) => {}
            Some(due) => thread::park_timeout(Duration::from_nanos(due)),
            None => thread::park(),
        }
        true
    }

    /// Ends the thread and waits for it, at most until `deadline`: the application's handler may
    /// hang in it, or may be what calls this.
    pub(super) fn stop(&self, deadline: Instant) {
        let Some(running) = lock(&self.running).take() else {
            return;
        };
        lock(&running.progress).stopped = true;
        running.unpark();
        if self.stream.on_reporting_thread() {
            return;
        }
        let patience = deadline.saturating_duration_since(Instant::now());
        let runs = |progress: &mut Progress| !progress.left;
        let progress = lock(&running.progress);
        drop(running.left.wait_timeout_while(progress, patience, runs));
    }

    fn has_thread(&self) -> bool {
        lock(&self.running).is_some()
    }

    fn nudge(&self) {
        let running = lock(&self.running).clone();
        if let Some(running) = running {
            running.unpark();
        }
    }

    /// Sends all that is due.
    fn send(&self) {
        // Without a thread of its own no other caller sends what came up meanwhile.
        while self.stream.tell(now, |notice| (self.post)(notice))
            && !self.has_thread()
            && !self.stream.is_told()
        {}
    }

    /// Sends what is due if there is no thread that does.
    pub(super) fn send_if_alone(&self) {
        if !self.has_thread() {
            self.send();
        }
    }

    /// Returns when all that is due is sent; a handler that hangs is waited for until `deadline`.
    pub(super) fn wait_sent(&self, deadline: Instant) {
        loop {
            self.send_if_alone();
            if self.stream.is_told()
                || self.stream.on_reporting_thread()
                || Instant::now() >= deadline
            {
                break;
            }
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// For the branch's thread: the application hears of the summary before the end of the stream.
    pub(super) fn send_before_end(&self) {
        self.wait_sent(Instant::now() + SUMMARY_PATIENCE);
    }
}
