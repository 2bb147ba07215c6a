// SPDX-License-Identifier: MPL-2.0
//! The supervisor's thread: tells notices, restarts content when that is due, leaves behind content
//! that hangs in its teardown, and finds out that content hangs. It calls no element in the content.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::content::{self, now};
use super::course::State;
use super::keeper::{End, Fault, Inner, Keeper};
use super::upstream;
use super::watch::{self, Hang, Signs, Verdict};

/// How often it is looked for the end of the stream while a frame is stuck.
const LOOK_INTERVAL: u64 = 100_000_000;

/// Starts the thread, which leaves when the keeper says `quit`.
pub(super) fn start(keeper: &Arc<Keeper>) -> std::io::Result<()> {
    let weak = Arc::downgrade(keeper);
    content::spawn("branch-supervisor", move || run(&weak)).map(drop)
}

fn run(weak: &Weak<Keeper>) {
    while let Some(keeper) = weak.upgrade() {
        keeper.lock().news = false;
        keeper.tell_all();
        let next = step(&keeper);
        let inner = keeper.lock();
        if inner.quit {
            return;
        }
        let patience = Duration::from_nanos(next.saturating_sub(now()));
        // Nothing is lost if the wait ends early.
        let waited = keeper
            .happened
            .wait_timeout_while(inner, patience, |inner| !inner.news && !inner.quit)
            .unwrap_or_else(PoisonError::into_inner);
        drop(waited);
    }
}

/// After the end of the stream there is nothing to restart for, and a file that was written would be
/// written over.
fn may_restart(inner: &Inner) -> bool {
    inner.end.is_none()
}

/// Does what is due; when to look again.
fn step(keeper: &Arc<Keeper>) -> u64 {
    let settings = keeper.settings();
    let inner = keeper.lock();
    let now = now();
    let mut next = now.saturating_add(settings.stop_timeout.max(LOOK_INTERVAL));
    if let Some((old, deadline)) = Keeper::old(&inner) {
        if deadline > now {
            return next.min(deadline);
        }
        let is_stopping = inner.course.state() == State::Stopped;
        drop(inner);
        if !is_stopping {
            keeper.abandon(&old);
        }
        return next;
    }
    if let Some(due) = inner.course.due() {
        if !may_restart(&inner) {
            return next;
        }
        next = next.min(due);
        drop(inner);
        if due <= now {
            restart(keeper, now);
        }
        return next;
    }
    drop(inner);
    next.min(watch_life(keeper, now))
}

fn restart(keeper: &Arc<Keeper>, now: u64) {
    let life = keeper.lock().course.restart(now);
    if let Some(life) = life {
        keeper.begin_life(life, false);
    }
}

/// Fails a life that hangs; when to look again.
fn watch_life(keeper: &Arc<Keeper>, now: u64) -> u64 {
    let patience = keeper.settings().patience();
    let (life, routed, end, playing_since) = {
        let mut inner = keeper.lock();
        let Some(life) = inner.life.clone() else {
            return u64::MAX;
        };
        let end = inner.end;
        if let Some(end) = &mut inner.end {
            end.is_watched = true;
        }
        (life, inner.route.is_some(), end, inner.playing_since)
    };
    if end.is_some_and(|end| !end.is_watched) {
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
    match watch::look(&signs, &patience, now) {
        Verdict::Fine(next) => next,
        Verdict::LookUpstream => {
            if upstream::has_ended(&keeper.gate) {
                keeper.lock().end.get_or_insert_with(|| End::new(None));
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
    keeper.fail(life, Fault::own(content::error(hang.text())));
}
