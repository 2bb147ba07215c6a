// SPDX-License-Identifier: MPL-2.0
//! The core: one log of frames and events, and a window on it for each consumer.
//!
//! It knows no GStreamer type. Publishing is one append and one look at each consumer; a drop is a
//! cursor moved on; a frame lives as long as some window (or the replay for late joiners) holds it.
//! One lock makes all accounts part of one snapshot. Times are handed in, monotonic ns.
//!
//! # A consumer's states
//!
//! ```text
//!             activate             the branch answers EOS, an error, NOT_LINKED; `max-lag`
//!   Idle ───────────────► Serving ────────────────────────────────────────────────► Ended
//!    ▲  ╲                 ▲  ▲ ▲ │     readmit; an event that readmits;               │ │
//!    │   ╲ activate,      │  │ │ │     a flush-stop (after EOS or an error)           │ │
//!    │    ╲ not linked    │  │ └─┼────────────────────────────────────────────────────┘ │
//!    │     ╲              │  │   │ deactivate                                           │
//!    │      ╲             │  │   ▼                              deactivate              │
//!    │       ╲   activate │  └─ Stopped ◄───────────────────────────────────────────────┘
//!    │        ╲           │
//!    │         ╰──────────┼──► Ended (not linked)
//!    │                    │
//!    └──── reset: from every state
//!
//!               the gate closes
//!   Serving ───────────────────────► Disabled: every arrow above to or from Serving is one to or from
//!           ◄─────────────────────── Disabled while the gate is closed
//!               the gate opens
//! ```
//!
//! An activation of a consumer that is active deactivates it first. In `Ended` and `Stopped` each
//! frame is dropped, for the reason that ended the consumer; a consumer that is stopped while it is
//! served drops for `flushing`, one whose gate is closed for `disabled`. What ended a consumer counts
//! before its gate. `consumer/service.rs` has the states, `tests/parts/service.rs` the full table of
//! states and inputs.
//!
//! # Locks
//!
//! | lock | held for | over what | under what |
//! | --- | --- | --- | --- |
//! | the core's (`Fanout::core`) | one verb below | settings, the pad's name and its last accounts, which the closures given to `set_limits`, `set_label`, `set_enabled`, `set_report`, `set_gop_capacity`, `set_max_held` and `leave` read or write | the role as a sink (`tee/role.rs`), for a look at one consumer |
//!
//! Nothing is freed, woken or called under it, but for those closures: that is collected in
//! [`effects`] and done after it. A handler that [`Fanout::tell`] calls may call all of this.
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | consumer | takes frames: a branch's thread or a receiver in the application |
//! | position | number of a frame in the stream, from zero |
//! | sequence | number of an event in the stream, from zero |
//! | window | the frames that wait for a consumer: from its cursor to the log's end |
//! | allowance | by so much a late joiner may exceed its limits |
//! | replay | the frames and events from the last keyframe on, kept for late joiners |
//! | backlog | events that wait for a consumer apart from the log |
//! | session | from one activation of a consumer to the next |
//! | stamp | a moment in the life of the core; what is taken carries one |
//! | flight | a frame that was taken and not brought back yet |
//! | orphan | a flight of a session that is over |
//! | gate | lets frames through to a consumer, or does not, as the application says |
//! | stand-in | an event in place of a frame that the gate holds back, so that sinks preroll |
//! | notice | something that the application is to be told |

mod consumer;
mod core;
mod effects;
mod figures;
mod key;
mod keyframes;
mod log;
mod notices;
mod pool;
mod registry;
mod stage;
#[cfg(test)]
mod tests;
mod types;
mod upstream;

use std::sync::{Arc, PoisonError};
use std::task::Waker;

use self::core::Core;
use consumer::{Consumer, Gate};
use effects::Effects;
pub(crate) use figures::{Course, Snapshot, Totals};
pub(crate) use key::{ConsumerId, Stamp};
pub(crate) use log::Kept;
pub(crate) use notices::{DropNotice, Notice, ReportConfig};
pub(crate) use pool::PoolFigures;
pub(crate) use types::{
    Answer, Done, Event, FrameInfo, Limits, Link, Outcome, Published, Taken, TakenFrame, Watch,
};

use crate::sync::atomic::AtomicU64;
use crate::sync::{Mutex, MutexGuard};

/// The fan-out of frames `F` and events `E` to consumers with labels `L`. See the [module](self).
pub(crate) struct Fanout<F, E, L> {
    core: Mutex<Core<F, E, L>>,
}

impl<F: Clone, E: Event, L> Fanout<F, E, L> {
    pub(crate) fn new() -> Self {
        Self {
            core: Mutex::new(Core::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core<F, E, L>> {
        // Nothing that can panic leaves the accounts half done.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` under the lock, and what it left to be done after it.
    fn locked<R>(&self, work: impl FnOnce(&mut Core<F, E, L>, &mut Effects<F, E>) -> R) -> R {
        self.concluded(work, |_, result| result)
    }

    /// [`locked`](Self::locked), and then `read` when the core has drawn its conclusions.
    #[inline]
    fn concluded<R, T>(
        &self,
        work: impl FnOnce(&mut Core<F, E, L>, &mut Effects<F, E>) -> R,
        read: impl FnOnce(&Core<F, E, L>, R) -> T,
    ) -> T {
        let mut effects = Effects::new();
        let result = {
            let mut core = self.lock();
            let result = work(&mut core, &mut effects);
            core.conclude(&mut effects);
            read(&core, result)
        };
        // Field by field, as most steps leave nothing but a frame. The frees come last: one can give a
        // buffer back to a pool, which takes its time.
        if let Some(wakers) = effects.wake {
            effects::wake_all(wakers);
        }
        drop(effects.frame);
        if let Some(gone) = effects.gone {
            effects::free_all(gone);
        }
        result
    }

    // ---- upstream's side -------------------------------------------------------------------

    /// Appends a frame and moves on the consumers that it overtakes.
    pub(crate) fn publish(&self, frame: F, info: FrameInfo, now: u64) -> Published {
        self.concluded(
            |core, effects| core.publish(frame, info, now, effects),
            |core, (request_keyframe, watch)| Published {
                answer: core.answer(),
                request_keyframe,
                watch,
            },
        )
    }

    /// Appends a serialized event.
    pub(crate) fn publish_event(&self, event: E, now: u64) {
        self.locked(|core, effects| core.publish_event(event, now, effects));
    }

    /// Ends the stream by `event` until the next [`reset`](Self::reset): consumers take what waits, then
    /// this event. Later events are void, and later frames are counted and dropped as `eos`.
    pub(crate) fn close(&self, event: E, now: u64) {
        self.locked(|core, effects| core.close(event, now, effects));
    }

    /// Drops all that waits. Until [`flush_stop`](Self::flush_stop), frames that come are dropped,
    /// too, and consumers take neither frames nor events.
    pub(crate) fn flush_start(&self, now: u64) {
        self.locked(|core, effects| core.flush_start(now, effects));
    }

    /// Frames and events flow again. A consumer that had ended by EOS or an error is served again.
    pub(crate) fn flush_stop(&self, now: u64) {
        self.locked(|core, effects| core.flush_stop(now, effects));
    }

    /// The consumer asks for a keyframe, at the running time `at` if not at once; true if that may
    /// go upstream now.
    pub(crate) fn may_request_keyframe(&self, id: ConsumerId, at: Option<u64>, now: u64) -> bool {
        self.lock().request_keyframe(Some(id), at, now)
    }

    /// The application asks for a keyframe at once; true if that may go upstream now.
    pub(crate) fn request_keyframe(&self, now: u64) -> bool {
        self.lock().request_keyframe(None, None, now)
    }

    /// A sticky event that goes around the frames: late joiners get it as the others.
    pub(crate) fn note_sticky(&self, event: &E) {
        self.locked(|core, effects| core.stage().log.note_sticky(event, effects));
    }

    /// Frames kept for late joiners. Read under the lock, as all settings: of two that are made at
    /// once the last one stays.
    pub(crate) fn set_gop_capacity(&self, capacity: impl FnOnce() -> u64) {
        self.locked(|core, effects| core.set_replay_capacity(capacity(), effects));
    }

    /// Forgets the frames kept for late joiners.
    pub(crate) fn forget_gop(&self) {
        self.locked(|core, effects| core.stage().log.forget_replay(effects));
    }

    /// A new life: an empty log, all counters at zero.
    pub(crate) fn reset(&self) {
        let old = self.locked(Core::reset);
        drop(old);
    }

    // ---- the consumers' side ---------------------------------------------------------------

    /// A new consumer, which nothing counts for before it is activated.
    pub(crate) fn join(&self, label: L, limits: Limits) -> ConsumerId {
        self.lock().join(label, limits)
    }

    /// The consumer is served from now on; returns what to [`take`](Self::take) with. One that is
    /// not linked is served when it is [readmitted](Self::readmit).
    pub(crate) fn activate(&self, id: ConsumerId, link: Link, now: u64) -> Stamp {
        self.locked(|core, effects| core.activate(id, link, now, effects))
    }

    /// The consumer may have recovered: it is served again, if it is active.
    ///
    /// With `repeats`, if nothing waits for it, the last sticky event does once more.
    pub(crate) fn readmit(&self, id: ConsumerId, repeats: bool, now: u64) {
        self.locked(|core, effects| core.readmit(id, repeats, now, effects));
    }

    /// The consumer stops; what waits is dropped as flushing.
    pub(crate) fn deactivate(&self, id: ConsumerId, now: u64) {
        self.locked(|core, effects| {
            let stage = core.stage();
            stage.consumer_mut(id, now, effects, Consumer::deactivate)
        });
    }

    /// The consumer leaves for good. Its last drops and its summary are told with `label`; what it
    /// has in flight counts as flushing. `keep` gets its last accounts under the lock, so that a
    /// reader finds them in one place or the other.
    pub(crate) fn leave(&self, id: ConsumerId, label: L, now: u64, keep: impl FnOnce(Snapshot<L>)) {
        self.locked(|core, effects| {
            if let Some(last) = core.leave(id, label, now, effects) {
                keep(last);
            }
        });
    }

    /// Takes effect at once. The limits are read under the lock, as all settings.
    pub(crate) fn set_limits(&self, id: ConsumerId, limits: impl FnOnce() -> Limits, now: u64) {
        self.locked(|core, effects| {
            core.stage()
                .consumer_mut(id, now, effects, |consumer, step| {
                    consumer.set_limits(step, limits());
                });
        });
    }

    /// The consumer gets frames while this is true. Read under the lock, as all settings.
    pub(crate) fn set_enabled(&self, id: ConsumerId, enabled: impl FnOnce() -> bool, now: u64) {
        self.locked(|core, effects| {
            let gate = match enabled() {
                true => Gate::Open,
                false => Gate::Closed,
            };
            core.set_gate(id, gate, now, effects);
        });
    }

    /// The consumer is called otherwise from now on, if the label is another one.
    pub(crate) fn set_label(&self, id: ConsumerId, label: impl FnOnce() -> L, now: u64)
    where
        L: PartialEq,
    {
        self.locked(|core, effects| {
            core.stage()
                .consumer_mut(id, now, effects, |consumer, step| {
                    let label = label();
                    if *consumer.label() != label {
                        consumer.rename(step, label);
                    }
                });
        });
    }

    /// The next thing for the consumer, in the session that it was activated with, or its
    /// [`joined`](ConsumerId::joined) before that. After a `Wait`, the waker, which is taken if it
    /// was not known, is woken when there is something; without one, the waker from before is.
    pub(crate) fn take(
        &self,
        id: ConsumerId,
        session: Stamp,
        now: u64,
        waker: &mut Option<Waker>,
    ) -> Taken<F, E> {
        self.locked(|core, effects| core.take(id, session, now, waker, effects))
    }

    /// The frame in flight came to its end.
    pub(crate) fn finish(&self, id: ConsumerId, done: Done, now: u64) {
        self.locked(|core, effects| core.finish(id, done, now, effects));
    }

    /// [`finish`](Self::finish), then [`take`](Self::take), at once.
    pub(crate) fn finish_and_take(
        &self,
        id: ConsumerId,
        done: Done,
        session: Stamp,
        now: u64,
        waker: &mut Option<Waker>,
    ) -> Taken<F, E> {
        self.locked(|core, effects| {
            core.finish(id, done, now, effects);
            core.take(id, session, now, waker, effects)
        })
    }

    /// The stream will not start: a consumer that waits for that is told once that it is closed.
    pub(crate) fn dismiss(&self) {
        self.locked(Core::cancel);
    }

    /// The consumer has not been active since the last [`reset`](Self::reset).
    pub(crate) fn is_idle(&self, id: ConsumerId) -> bool {
        self.lock().is_idle(id)
    }

    /// [`take`](Self::take) in this session would give something, or tell of another session.
    pub(crate) fn has_news(&self, id: ConsumerId, session: Stamp) -> bool {
        self.lock().has_news(id, session)
    }

    /// What is kept for late joiners, in order. Each frame counts as out from now on, until it is
    /// [returned](Self::unkeep).
    pub(crate) fn replay(&self) -> Vec<Kept<F, E>> {
        let mut core = self.lock();
        let kept = core.replay();
        for one in &kept {
            if let Kept::Frame { number, .. } = one {
                core.pool().0.keep(*number);
            }
        }
        kept
    }

    /// False if the event that was taken with `stamp` is void: the consumer was stopped since, or
    /// begins anew with the frames that are kept for late joiners.
    ///
    /// The branch's thread asks before it pushes an event that comes once: the branch may have been
    /// linked after the thread had taken the event, which then comes again, behind those frames.
    pub(crate) fn is_current(&self, id: ConsumerId, stamp: Stamp) -> bool {
        self.lock().is_current(id, stamp)
    }

    // ---- upstream's pool -------------------------------------------------------------------

    /// No more frames than this are out; 0: as many as upstream can spare. Read under the lock, as
    /// all settings.
    pub(crate) fn set_max_held(&self, frames: impl FnOnce() -> u64, now: u64) {
        self.locked(|core, effects| {
            let (pool, stage) = core.pool();
            pool.set_max_held(stage, frames(), now, effects);
        });
    }

    /// Frames come from a pool of this size from now on; 0: unknown.
    pub(crate) fn set_pool(&self, size: u64, now: u64) {
        self.locked(|core, effects| {
            let (pool, stage) = core.pool();
            pool.set_size(stage, size, now, effects);
        });
    }

    /// Frames are of another format from now on, and last that long, ns; 0: unknown.
    pub(crate) fn new_format(&self, frame_duration: u64) {
        self.lock().pool().0.new_format(frame_duration);
    }

    /// Where a consumer in this process leaves the number of the frame in flight when the
    /// application has freed it.
    pub(crate) fn landed(&self, id: ConsumerId) -> Option<Arc<AtomicU64>> {
        self.lock().landed(id)
    }

    /// The application still has the frame of this number when it lands, until it is
    /// [returned](Self::unkeep) as often.
    pub(crate) fn keep(&self, number: u64) {
        self.lock().pool().0.keep(number);
    }

    pub(crate) fn unkeep(&self, number: u64, now: u64) {
        self.locked(|core, effects| {
            let (pool, stage) = core.pool();
            pool.unkeep(number);
            pool.note_landing(stage, now, effects);
        });
    }

    /// Upstream's silence is a suspicion only while the element plays; sinks wait for a frame anew when it
    /// does not any more.
    pub(crate) fn set_playing(&self, plays: bool, now: u64) {
        self.locked(|core, effects| core.set_playing(plays, now, effects));
    }

    /// For the thread that watches since [`publish`](Self::publish) said so: gives a frame back if
    /// upstream may have starved. The waker is taken, and woken, when there is nothing to watch.
    pub(crate) fn look_at_silence(&self, watch: u64, now: u64, waker: &mut Option<Waker>) -> Watch {
        self.locked(|core, effects| core.look_at_silence(watch, now, waker, effects))
    }

    /// The thread that watches ends.
    pub(crate) fn end_watch(&self) {
        self.locked(|core, effects| core.pool().0.end_watch(effects));
    }

    // ---- what is read ----------------------------------------------------------------------

    /// All accounts at one moment.
    pub(crate) fn snapshot(&self, now: u64) -> (Totals, Vec<Snapshot<L>>) {
        let mut core = self.lock();
        (core.totals(now), core.stage().snapshots(now))
    }

    pub(crate) fn snapshot_of(&self, id: ConsumerId, now: u64) -> Option<Snapshot<L>> {
        self.lock().stage().snapshot_of(id, now)
    }

    pub(crate) fn totals(&self, now: u64) -> Totals {
        self.lock().totals(now)
    }

    /// True when no consumer, nor one that has left, nor the replay, holds a frame.
    pub(crate) fn is_drained(&self) -> bool {
        self.lock().is_drained()
    }

    /// Frames in flight that are of no consumer any more.
    pub(crate) fn strays(&self) -> u32 {
        self.lock().orphans().try_into().unwrap_or(u32::MAX)
    }

    // ---- what is told ----------------------------------------------------------------------

    pub(crate) fn set_report(&self, config: impl FnOnce() -> ReportConfig) {
        self.locked(|core, effects| core.stage().set_report(config(), effects));
    }

    /// The consumer's accounts, after its drops, are the next to be told.
    pub(crate) fn summarize(&self, id: ConsumerId, now: u64) {
        self.locked(|core, effects| core.stage().summarize(id, now, effects));
    }

    /// Calls `post`, with no lock held and in order, with what is due now; does nothing, and
    /// returns false, while another thread does so.
    ///
    /// What comes up meanwhile is left to the thread that reports: a handler that causes news with
    /// each notice must not keep the caller forever.
    pub(crate) fn tell(&self, clock: impl Fn() -> u64, mut post: impl FnMut(Notice<L>)) -> bool {
        let now = clock();
        let due = {
            let mut core = self.lock();
            if !core.stage().notices.begin_telling() {
                return false;
            }
            core.stage().collect(now);
            core.stage().notices.len()
        };
        let telling = Telling(self);
        for _ in 0..due {
            let notice = self.lock().stage().notices.pop();
            if let Some(notice) = notice {
                post(notice);
            }
        }
        drop(telling);
        true
    }

    /// Has all drops so far told, due or not, and then [`Notice::Mark`] with this number: what is told
    /// after it happened after this call.
    pub(crate) fn mark(&self, mark: u64, now: u64) {
        self.locked(|core, effects| core.stage().mark(mark, now, effects));
    }

    /// True when all that was due is told.
    pub(crate) fn is_told(&self) -> bool {
        self.lock().stage().is_told()
    }

    /// True in a handler of what is being told: what else is due has to wait for its return.
    pub(crate) fn on_reporting_thread(&self) -> bool {
        self.lock().stage().notices.tells_on_this_thread()
    }

    /// When to [`tell`](Self::tell) next, ns from now; `waker` is woken if something comes up.
    pub(crate) fn next_report(&self, now: u64, waker: &Waker) -> Option<u64> {
        let waker = waker.clone();
        let mut core = self.lock();
        let old = core.stage().notices.set_reporter(waker);
        let due = core.stage().next_report(now);
        drop(core);
        drop(old);
        due
    }
}

/// Lets the next thread tell, also if telling panicked.
struct Telling<'a, F: Clone, E: Event, L>(&'a Fanout<F, E, L>);

impl<F: Clone, E: Event, L> Drop for Telling<'_, F, E, L> {
    fn drop(&mut self) {
        self.0.locked(|core, effects| {
            effects.report |= core.stage().notices.end_telling();
        });
    }
}
