// SPDX-License-Identifier: MPL-2.0
//! No more frames are out than upstream's pool can spare.
//!
//! A frame is out while its buffer can not go back to upstream's pool: it waits for a consumer, is
//! kept for late joiners, is in flight, or is in the application's hands. What the limit is, who says
//! so, and which frame is given back is decided here; the consumers obey.
//!
//! Frames have a number here, which goes on over the lives of the stream: a frame of a life before
//! may still be out.

mod hands;
mod limit;
mod silence;

use std::task::Waker;

use hands::{InHands, Kept};
use limit::Limit;
pub(crate) use limit::PoolFigures;
use silence::{Before, Says, Silence};

use super::consumer::Consumer;
use super::effects::Effects;
use super::notices::Notice;
use super::stage::Stage;
use super::types::{Event, Watch};

/// What is known of upstream's pool, and which of its frames are out.
pub(super) struct Pool {
    limit: Limit,
    silence: Silence,
    kept: Kept,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            limit: Limit::new(),
            silence: Silence::default(),
            kept: Kept::default(),
        }
    }

    /// A new life of the stream. What the application has in its hands stays there.
    pub(super) fn reset<F, E>(&mut self, effects: &mut Effects<F, E>) {
        self.limit.reset();
        effects.note_waker(self.silence.reset());
    }

    // ---- what is out -----------------------------------------------------------------------

    /// The frames that can not be taken back.
    fn in_hands<F, E: Event, L>(&self, stage: &Stage<F, E, L>) -> InHands {
        InHands::new(stage.registry.in_hands().chain(self.kept.numbers()))
    }

    fn held<F, E: Event, L>(&self, stage: &Stage<F, E, L>) -> u64 {
        held(&self.in_hands(stage), stage)
    }

    pub(super) fn figures<F, E: Event, L>(&self, stage: &Stage<F, E, L>) -> PoolFigures {
        self.limit.figures(self.held(stage))
    }

    /// The application still has the frame when it lands.
    pub(super) fn keep(&mut self, number: u64) {
        self.kept.add(number);
    }

    pub(super) fn unkeep(&mut self, number: u64) {
        self.kept.remove(number);
    }

    /// The application keeps no frame that has landed.
    pub(super) fn keeps_none(&self) -> bool {
        self.kept.is_empty()
    }

    // ---- the limit -------------------------------------------------------------------------

    #[inline]
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_set()
    }

    /// By the application; 0: it has to be found out.
    pub(super) fn set_max_held<F, E: Event, L>(
        &mut self,
        stage: &mut Stage<F, E, L>,
        frames: u64,
        now: u64,
        effects: &mut Effects<F, E>,
    ) {
        if !self.limit.configure(frames) {
            return;
        }
        self.silence.forget();
        self.look_again(effects);
        self.enforce(stage, 0, now, effects);
    }

    /// Frames come from a pool of this size from now on; 0: unknown.
    pub(super) fn set_size<F, E: Event, L>(
        &mut self,
        stage: &mut Stage<F, E, L>,
        size: u64,
        now: u64,
        effects: &mut Effects<F, E>,
    ) {
        self.silence.forget();
        self.look_again(effects);
        if self.limit.set_pool(size) {
            self.tell_limit(stage, effects);
            self.enforce(stage, 0, now, effects);
        }
    }

    /// Frames are of another format from now on, and last that long, ns; 0: unknown.
    pub(super) fn new_format(&mut self, frame_duration: u64) {
        self.silence.new_format(frame_duration);
        self.limit.forget();
    }

    fn tell_limit<F, E: Event, L>(
        &mut self,
        stage: &mut Stage<F, E, L>,
        effects: &mut Effects<F, E>,
    ) {
        let figures = self.figures(stage);
        if self.limit.is_set() {
            stage.tell(Notice::MaxHeld(figures), effects);
        }
        if figures.learned {
            self.warn(stage, effects);
        }
    }

    /// Warns once for each limit that was found out.
    fn warn<F, E: Event, L>(&mut self, stage: &mut Stage<F, E, L>, effects: &mut Effects<F, E>) {
        if self.limit.may_warn() {
            let figures = self.figures(stage);
            stage.tell(Notice::SmallPool(figures), effects);
        }
    }

    /// A frame was appended, and the consumers are offered it as far as the limit allows.
    #[inline(never)]
    pub(super) fn offer<F, E: Event, L>(
        &mut self,
        stage: &mut Stage<F, E, L>,
        now: u64,
        effects: &mut Effects<F, E>,
    ) {
        if self.in_hands(stage).count() < self.limit.in_force() {
            stage.for_each(now, effects, Consumer::offer_limited);
            return self.enforce(stage, 0, now, effects);
        }
        stage.for_each(now, effects, Consumer::offer_at_once);
        if stage.log.replayed_from() < stage.needed() {
            stage.log.release_replay(effects);
        }
        if effects.gave_back {
            self.warn(stage, effects);
        }
    }

    /// A frame is in fewer hands. If it waits for others besides, it can be taken back only now.
    #[inline]
    pub(super) fn note_landing<F, E: Event, L>(
        &mut self,
        stage: &mut Stage<F, E, L>,
        now: u64,
        effects: &mut Effects<F, E>,
    ) {
        if self.is_limited() {
            // One more may wait for a consumer that is about to take it.
            let takes = |consumer: &Consumer<E, L>| consumer.is_about_to_take(&stage.log);
            let more = stage.registry.consumers().any(takes).into();
            self.enforce(stage, more, now, effects);
        }
    }

    /// Gives frames back until the limit holds, or no more than `more` are out besides those that can not be taken back, as far
    /// as that can be had.
    fn enforce<F, E: Event, L>(
        &mut self,
        stage: &mut Stage<F, E, L>,
        more: u64,
        now: u64,
        effects: &mut Effects<F, E>,
    ) {
        stage.release_unneeded(effects);
        let in_hands = self.in_hands(stage);
        let most = self.limit.in_force().max(in_hands.count() + more);
        while held(&in_hands, stage) > most && give_one_back(stage, &in_hands, now, effects) {}
        if effects.gave_back {
            self.warn(stage, effects);
        }
    }

    // ---- upstream's silence ----------------------------------------------------------------

    /// The element plays, or does not.
    pub(super) fn set_playing<F, E>(&mut self, plays: bool, now: u64, effects: &mut Effects<F, E>) {
        self.silence.set_playing(plays.then_some(now));
        self.look_again(effects);
    }

    pub(super) fn note_event(&mut self, now: u64, ends_stream: bool) {
        self.silence.note_event(now, ends_stream);
    }

    /// A flush begins: what was suspected of the silence before it counts no longer.
    pub(super) fn flush(&mut self) {
        self.silence.break_off();
    }

    /// A frame was appended, and is not offered yet. The watch that has to begin.
    #[inline]
    pub(super) fn note_frame<F, E: Event, L>(
        &mut self,
        stage: &mut Stage<F, E, L>,
        now: u64,
        effects: &mut Effects<F, E>,
    ) -> Option<u64> {
        let position = stage.log.end() - 1;
        match self.silence.note_frame(position, stage.log.len()) {
            true => self.end_silence(stage, now, effects),
            false => None,
        }
    }

    /// What the frame that was appended says of the silence before it.
    #[cold]
    fn end_silence<F, E: Event, L>(
        &mut self,
        stage: &mut Stage<F, E, L>,
        now: u64,
        effects: &mut Effects<F, E>,
    ) -> Option<u64> {
        if !self.limit.has_to_be_learned() {
            return None;
        }
        let number = stage.log.number(stage.log.end() - 1);
        self.silence.note_held(self.held(stage), stage.log.len());
        if let Some(held) = self.silence.end(number, now)
            && self.limit.learn(held)
        {
            self.tell_limit(stage, effects);
        }
        let replays = stage.log.replayed_from() != u64::MAX;
        if replays || stage.registry.consumers().any(Consumer::is_away) {
            self.look_again(effects);
        }
        self.silence.begin_watch()
    }

    /// Wakes the watcher if it waits for something to watch.
    pub(super) fn look_again<F, E>(&mut self, effects: &mut Effects<F, E>) {
        effects.note_waker(self.silence.take_watcher());
    }

    pub(super) fn end_watch<F, E>(&mut self, effects: &mut Effects<F, E>) {
        effects.note_waker(self.silence.end_watch());
    }

    /// Gives a frame back if upstream, whose last frame came at `last`, may have starved. `watcher` is
    /// taken if there is nothing to watch for now.
    pub(super) fn look_at_silence<F, E: Event, L>(
        &mut self,
        stage: &mut Stage<F, E, L>,
        watch: u64,
        last: Option<u64>,
        now: u64,
        watcher: &mut Option<Waker>,
        effects: &mut Effects<F, E>,
    ) -> Watch {
        if !self.silence.is_watch(watch) {
            return Watch::Over;
        }
        let interval = stage.log.shortest_interval();
        loop {
            let says = match last.filter(|_| self.is_suspect(stage)) {
                Some(last) => self.silence.look(last, self.held(stage), interval, now),
                None => Says::Nothing,
            };
            match says {
                Says::WaitUntil(time) => return Watch::For(time - now),
                Says::GiveBack if self.give_back_in_silence(stage, interval, now, effects) => {}
                Says::GiveBack | Says::Nothing => {
                    if let Some(watcher) = watcher.take()
                        && let Some(old) = self.silence.idle(watcher)
                    {
                        effects.free_waker(old);
                    }
                    return Watch::UntilWoken;
                }
            }
        }
    }

    /// Upstream may have starved if it is silent.
    fn is_suspect<F, E: Event, L>(&self, stage: &Stage<F, E, L>) -> bool {
        if stage.is_flushing() || !self.limit.has_to_be_learned() {
            return false;
        }
        let keeps = |consumer: &Consumer<E, L>| consumer.keeps_waiting(&stage.log);
        stage.registry.consumers().any(keeps) || self.replay_may_starve(stage)
    }

    /// What is kept for late joiners alone may be all that upstream has.
    fn replay_may_starve<F, E: Event, L>(&self, stage: &Stage<F, E, L>) -> bool {
        let is_kept_alone = stage.log.replayed_from() < stage.needed();
        is_kept_alone && !self.silence.had_more_than(self.held(stage))
    }

    fn give_back_in_silence<F, E: Event, L>(
        &mut self,
        stage: &mut Stage<F, E, L>,
        interval: Option<u64>,
        now: u64,
        effects: &mut Effects<F, E>,
    ) -> bool {
        let in_hands = self.in_hands(stage);
        let before = Before {
            held: held(&in_hands, stage),
            newest: stage.log.number(stage.log.end()),
        };
        let gave = give_one_back(stage, &in_hands, now, effects);
        if gave {
            self.silence.gave_back(before, interval, now);
        }
        gave
    }
}

/// How many frames are out, of which `in_hands` can not be taken back.
fn held<F, E: Event, L>(in_hands: &InHands, stage: &Stage<F, E, L>) -> u64 {
    in_hands.held(&stage.log.numbers_from(stage.log.base()))
}

/// Gives up what is kept for late joiners, if consumers do not need it anyway, else the oldest frame
/// that only waits, for all that wait for it. False if there is none.
fn give_one_back<F, E: Event, L>(
    stage: &mut Stage<F, E, L>,
    in_hands: &InHands,
    now: u64,
    effects: &mut Effects<F, E>,
) -> bool {
    let needed = stage.needed();
    if stage.log.replayed_from() < needed {
        stage.log.release_replay(effects);
    } else {
        let Some(number) = in_hands.first_to_give(stage.log.numbers_from(needed)) else {
            return false;
        };
        let next = stage.log.position(number) + 1;
        stage.for_each(now, effects, |consumer, step| {
            consumer.give_back(step, next);
        });
    }
    stage.release_unneeded(effects);
    true
}
