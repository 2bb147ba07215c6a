// SPDX-License-Identifier: MPL-2.0
//! The branch's state under its one lock, and what waits for a change of it.

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::DroneBranch;
use super::course::{LifeId, Rules};
use super::notices::{self, Fault};
use super::settings::Settings;
use super::state::State;

thread_local! {
    /// The branches, by their addresses, whose content is posting a message in this thread.
    static POSTING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Shared {
    branch: glib::WeakRef<DroneBranch>,
    /// The bin's child, whose EOS counts.
    cell: gst::Bin,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// For the supervisor: something has happened.
    happened: Condvar,
}

impl Shared {
    pub(super) fn new(branch: glib::WeakRef<DroneBranch>, cell: gst::Bin) -> Self {
        Self {
            branch,
            cell,
            settings: Mutex::default(),
            state: Mutex::default(),
            happened: Condvar::new(),
        }
    }

    // ---- settings ----------------------------------------------------------------------------

    pub(super) fn settings(&self) -> Settings {
        let settings = self.settings.lock();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Settings)) {
        let settings = self.settings.lock();
        change(&mut settings.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn stop_timeout(&self) -> u64 {
        self.settings().stop_timeout
    }

    // ---- the state ---------------------------------------------------------------------------

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a change of the state and wakes the supervisor, which sees to the rest.
    pub(super) fn report(&self, mut state: MutexGuard<'_, State>) {
        state.watch.news = true;
        drop(state);
        self.happened.notify_all();
    }

    /// Waits until something happens, at most for `patience`; false if supervisor `watch` should leave.
    pub(super) fn wait(&self, watch: u64, patience: Duration) -> bool {
        let waits = |state: &mut State| state.watch.is_by(watch) && !state.watch.news;
        let waited = self
            .happened
            .wait_timeout_while(self.lock(), patience, waits);
        // Nothing is lost if the wait ends early.
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.watch.is_by(watch)
    }

    /// The content of `life` failed.
    pub(super) fn fail(&self, life: LifeId, fault: Fault) {
        let settings = self.settings();
        let rules = Rules {
            restart: settings.restart && !fault.is_final,
            ..settings.rules()
        };
        let mut state = self.lock();
        state.fail(life, &rules, settings.stop_timeout, fault);
        self.report(state);
    }

    // ---- messages ----------------------------------------------------------------------------

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// A message of the content goes to the application, whose handler may change the branch's state.
    pub(super) fn while_content_posts(&self, post: impl FnOnce()) {
        POSTING.with_borrow_mut(|posting| posting.push(self.address()));
        post();
        POSTING.with_borrow_mut(Vec::pop);
    }

    /// The caller is a handler of a message of the content: the content can not be waited for in it.
    pub(super) fn is_content_posting(&self) -> bool {
        POSTING.with_borrow(|posting| posting.contains(&self.address()))
    }

    // ---- notices -----------------------------------------------------------------------------

    /// Tells what is due. While another thread is at it, that one tells this, too.
    pub(super) fn tell_all(&self) {
        let mut is_first = true;
        loop {
            let notice = self.lock().notices.next(is_first);
            let Some(notice) = notice else { return };
            is_first = false;
            if let Some(branch) = self.branch.upgrade() {
                notices::tell(&notice, &branch, &self.cell);
            }
        }
    }
}
