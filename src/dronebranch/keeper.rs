// SPDX-License-Identifier: MPL-2.0
//! The keeper of the content: has the parts act on what happens to the branch.

use std::sync::{Arc, Weak};
use std::time::Duration;

use gst::prelude::*;

use super::content::{self, now};
use super::contents::{Contents, Stock};
use super::course::{Course, LifeId};
use super::feed::Upstream;
use super::gate::Gate;
use super::life::{Host, Life, Order};
use super::notices::Fault;
use super::shared::Shared;
use super::{CAT, DroneBranch};

pub(super) struct Keeper {
    me: Weak<Self>,
    pub(super) shared: Arc<Shared>,
    pub(super) contents: Arc<Contents>,
    pub(super) gate: Arc<Gate>,
}

impl Keeper {
    pub(super) fn new(branch: &DroneBranch, cell: gst::Bin) -> Arc<Self> {
        let shared = Arc::new(Shared::new(branch.downgrade(), cell.clone()));
        let contents = Arc::new(Contents::new(cell));
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            gate: Gate::new(shared.clone(), contents.clone()),
            shared,
            contents,
        })
    }

    // ---- the bin's state, from its change_state ----------------------------------------------

    /// NULL→READY.
    pub(super) fn reset(&self) {
        let mut state = self.shared.lock();
        state.course = Course::default();
        state.last_error = None;
        drop(state);
        self.gate.reset();
    }

    /// READY→PAUSED: the number of the supervisor that has to watch before the branch starts.
    pub(super) fn prepare(&self) -> u64 {
        let (watch, gone) = {
            let mut state = self.shared.lock();
            (state.watch.change(), state.stream.reset())
        };
        drop(gone);
        watch
    }

    /// Frames wait for the content from now on.
    pub(super) fn start(&self) {
        let id = self.shared.lock().start();
        self.begin_life(id, true);
    }

    /// Has the content follow the bin; `order` is where to.
    pub(super) fn follow(&self, order: Order) {
        let mut state = self.shared.lock();
        state.follow(order);
        self.shared.report(state);
    }

    /// Begins to stop: upstream is released and the content is being torn down.
    pub(super) fn begin_stop(&self) {
        let patience = self.shared.stop_timeout();
        self.shared.lock().stop(patience);
    }

    /// Waits for the teardown, at most for `stop-timeout`; what hangs is left behind.
    pub(super) fn finish_stop(&self) {
        self.wait_for_old();
        let mut state = self.shared.lock();
        state.watch.change();
        let gone = state.stream.reset();
        self.shared.report(state);
        drop(gone);
        self.shared.tell_all();
    }

    // ---- lives -------------------------------------------------------------------------------

    /// Waits until the old content is out of the way, but not in a thread that it is in the middle of: the
    /// next life waits then.
    fn wait_for_old(&self) {
        let old = self.shared.lock().lives.old().cloned();
        let is_within = |life: &Life| life.is_own_thread() || self.shared.is_content_posting();
        let Some(old) = old.filter(|old| !is_within(&old.life)) else {
            return;
        };
        let patience = Duration::from_nanos(old.deadline.saturating_sub(now()));
        if !old.life.wait_over(patience) {
            self.abandon(&old.life);
        }
        let gone = self.shared.lock().clear(old.life.id);
        drop(gone);
    }

    /// Starts the threads of a life; it takes frames at once if `waits`, else when it is up.
    fn begin_life(&self, id: LifeId, waits: bool) {
        let life = match Life::start(id, &self.me) {
            Ok(life) => life,
            Err(error) => {
                let error = content::error(&format!("No thread: {error}"));
                return self.shared.fail(id, Fault::own(error));
            }
        };
        let mut state = self.shared.lock();
        if !state.begin(&life, waits) {
            drop(state);
            return life.end();
        }
        self.shared.report(state);
    }

    /// Restarts the content if that is due.
    pub(super) fn restart(&self, now: u64) {
        let life = self.shared.lock().course.restart(now);
        if let Some(life) = life {
            self.begin_life(life, false);
        }
    }

    /// Leaves content behind that hangs in its teardown. Its threads keep it.
    pub(super) fn abandon(&self, life: &Life) {
        if !self.shared.lock().abandon(life) {
            return;
        }
        let cell = self.contents.cell();
        gst::warning!(CAT, obj = cell, "The content hangs, leaving it behind");
        self.contents.leave_behind();
        let is_last = self.shared.settings().description.is_none();
        let why = "The content hangs in its teardown and was left behind";
        let mut state = self.shared.lock();
        state.note_abandoned(why, is_last);
        self.shared.report(state);
    }

    /// The content, if it is up.
    pub(super) fn running_content(&self) -> Option<gst::Bin> {
        let route = self.shared.lock().lives.route().cloned();
        route?.content()
    }
}

impl Host for Keeper {
    fn content(&self, life: LifeId) -> Option<Stock> {
        self.wait_for_old();
        let description = self.shared.settings().description;
        let stock = self.contents.provide(description.as_deref());
        stock
            .map_err(|error| {
                let is_final = true;
                let fault = Fault::own(error);
                self.shared.fail(life, Fault { is_final, ..fault });
            })
            .ok()
    }

    fn is_up(&self, life: &Arc<Life>) -> Option<Vec<gst::Event>> {
        let mut state = self.shared.lock();
        let first = state.up(life)?;
        self.shared.report(state);
        Some(first)
    }

    fn is_fed(&self, life: &Arc<Life>) {
        let is_restart = {
            let state = self.shared.lock();
            state.course.counts.restarts > 0 && state.lives.takes_frames(life.id)
        };
        if is_restart {
            gst::info!(CAT, obj = self.contents.cell(), "The content is up again");
            self.gate.tell_restart();
        }
    }

    fn has_failed(&self, life: LifeId, error: glib::Error) {
        self.shared.fail(life, Fault::own(error));
    }

    fn has_ended(&self, life: LifeId, seqnum: gst::Seqnum) {
        let mut state = self.shared.lock();
        if state.lives.takes_frames(life) {
            state.content_ended(seqnum);
        }
        self.shared.report(state);
    }

    fn is_over(&self, life: &Arc<Life>) {
        let mut state = self.shared.lock();
        let gone = state.clear(life.id);
        self.shared.report(state);
        drop(gone);
    }
}

impl Upstream for Keeper {
    fn upstream_event(&self, life: LifeId, event: gst::Event) -> bool {
        self.gate.event_of_content(life, event)
    }

    fn upstream_query(&self, _life: LifeId, query: &mut gst::QueryRef) -> bool {
        self.gate.query_of_content(query)
    }

    fn source(&self) -> gst::Pad {
        self.gate.pad().clone()
    }
}
