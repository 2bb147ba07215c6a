// SPDX-License-Identifier: MPL-2.0
//! The supervisor's thread: tells notices, restarts content when that is due, leaves behind content
//! that hangs in its teardown, and finds out that content hangs. It calls no element in the content.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::content::{self, now};
use super::keeper::Keeper;
use super::notices::Fault;
use super::state::State;
use super::upstream;
use super::watch::{self, Hang, Signs, Verdict};

/// How often it is looked for the end of the stream while a frame is stuck.
const LOOK_INTERVAL: u64 = 100_000_000;

/// Starts the thread, which leaves when another one watches, or none should.
pub(super) fn start(keeper: &Arc<Keeper>, watch: u64) -> std::io::Result<()> {
    let weak = Arc::downgrade(keeper);
    content::spawn("branch-supervisor", move || run(&weak, watch)).map(drop)
}

fn run(weak: &Weak<Keeper>, watch: u64) {
    while let Some(keeper) = weak.upgrade() {
        keeper.shared.lock().watch.news = false;
        keeper.shared.tell_all();
        if !keeper.shared.lock().watch.is_by(watch) {
            return;
        }
        let next = step(&keeper);
        let patience = Duration::from_nanos(next.saturating_sub(now()));
        if !keeper.shared.wait(watch, patience) {
            return;
        }
    }
}

/// After the end of the stream there is nothing to restart for, and a file that was written would be
/// written over.
fn may_restart(state: &State) -> bool {
    state.stream.end().is_none()
}

/// Does what is due; when to look again.
fn step(keeper: &Keeper) -> u64 {
    let settings = keeper.shared.settings();
    let state = keeper.shared.lock();
    let now = now();
    let mut next = now.saturating_add(settings.stop_timeout.max(LOOK_INTERVAL));
    if let Some(old) = state.lives.old().cloned() {
        if old.deadline > now {
            return next.min(old.deadline);
        }
        let is_stopping = state.is_stopped();
        drop(state);
        if !is_stopping {
            keeper.abandon(&old.life);
        }
        return next;
    }
    if let Some(due) = state.course.due() {
        if !may_restart(&state) {
            return next;
        }
        next = next.min(due);
        drop(state);
        if due <= now {
            keeper.restart(now);
        }
        return next;
    }
    drop(state);
    next.min(watch_life(keeper, now))
}

/// Fails a life that hangs; when to look again.
fn watch_life(keeper: &Keeper, now: u64) -> u64 {
    let shared = &keeper.shared;
    let settings = shared.settings();
    let (life, routed, end, playing_since, begins) = {
        let mut state = shared.lock();
        let Some(life) = state.lives.newest().cloned() else {
            return u64::MAX;
        };
        let routed = state.lives.route().is_some();
        let begins = state.stream.begins_watch();
        let (end, playing_since) = (state.stream.end(), state.lives.playing_since());
        (life, routed, end, playing_since, begins)
    };
    if begins {
        life.watch_end();
    }
    let signs = Signs {
        rising_since: life.changing_since(),
        playing_since,
        busy_since: life.slot.busy_since().filter(|_| routed),
        flushed_since: life.slot.released_since(),
        waits_since: life.waits_since(),
        end_since: end.filter(|end| !end.is_told).map(|end| end.since),
        active_at: life.active_at(),
    };
    match watch::look(&signs, &settings.patience(life.grace()), now) {
        Verdict::Fine(next) => next,
        Verdict::LookUpstream => {
            if upstream::has_ended(keeper.gate.pad()) {
                shared.lock().stream.note_end();
            }
            now.saturating_add(LOOK_INTERVAL)
        }
        Verdict::Hangs(hang) => {
            fail(keeper, life.id, hang);
            now
        }
    }
}

fn fail(keeper: &Keeper, life: u64, hang: Hang) {
    let fault = Fault::own(content::error(hang.text()));
    keeper.shared.fail(life, fault);
}
