// SPDX-License-Identifier: MPL-2.0
//! What waits for a consumer, and what becomes of it: each frame is taken or lost here, and booked
//! once.

use std::sync::Arc;

use super::account::{Account, Flight};
use super::decoding::{Decoding, Verdict as Use};
use super::step::Step;
use super::window::{Room, Window};
use crate::facts::{DropReason, Ledger};
use crate::fanout::key::Stamp;
use crate::fanout::notices::NoticeState;
use crate::fanout::types::{Event, Limits, Lost, TakenFrame};

pub(super) struct Queue<L> {
    pub(super) window: Window,
    pub(super) decoding: Decoding,
    pub(super) account: Account,
    pub(super) told: NoticeState,
    pub(super) label: Arc<L>,
}

impl<L> Queue<L> {
    /// Begins at the end of the log.
    pub(super) fn new(label: L, limits: Limits, end: u64) -> Self {
        Self {
            window: Window::new(limits, end),
            decoding: Decoding::new(),
            account: Account::new(end),
            told: NoticeState::default(),
            label: Arc::new(label),
        }
    }

    /// Empty, with all counters at zero, at the beginning of an empty log.
    pub(super) fn reset(&mut self) {
        self.window = Window::new(*self.window.limits(), 0);
        self.decoding = Decoding::new();
        self.account.reset();
        self.told.reset();
    }

    /// Reads from `position` on.
    pub(super) fn begin<F, E: Event>(&mut self, step: &mut Step<'_, F, E, L>, position: u64) {
        self.window.forget_taken();
        self.told.forget_end();
        self.go_on(step, position);
    }

    /// Goes on at `position`, in the same stream.
    fn go_on<F, E: Event>(&mut self, step: &mut Step<'_, F, E, L>, position: u64) {
        self.window.begin(step.log, position, step.now);
        self.decoding.begin(position < step.end);
        step.effects.frames_moved = true;
    }

    /// Frames get through again: where the keyframe at `kept` is to be had, those behind it wait now that
    /// the consumer has not had. True if there are any.
    pub(super) fn resume<F, E: Event>(
        &mut self,
        step: &mut Step<'_, F, E, L>,
        kept: Option<u64>,
    ) -> bool {
        let end = step.end;
        let position = kept.map_or(end, |kept| self.window.resumes_at(kept));
        if position < end {
            self.go_on(step, position);
            self.account.offer_again(end - position);
            self.account.begin_anew();
        }
        position < end
    }

    pub(super) fn ledger(&self, end: u64) -> Ledger {
        self.account.ledger(end, self.window.level(end))
    }

    /// What it lost before is told by its old name.
    pub(super) fn rename<F, E: Event>(&mut self, step: &mut Step<'_, F, E, L>, label: L) {
        let old = self.relabel(label);
        let ledger = self.ledger(step.end);
        let told = &mut self.told;
        step.notices.tell_all_drops(&old, told, &ledger, step.now);
        step.effects.report = true;
    }

    /// Returns the label before.
    pub(super) fn relabel(&mut self, label: L) -> Arc<L> {
        std::mem::replace(&mut self.label, Arc::new(label))
    }

    // ---- what is lost ----------------------------------------------------------------------

    /// Gives up the `count` oldest waiting frames: here, and nowhere else, frames that wait are
    /// lost.
    #[inline]
    pub(super) fn drop_oldest<F, E: Event>(
        &mut self,
        step: &mut Step<'_, F, E, L>,
        count: u64,
        reason: DropReason,
    ) {
        if count == 0 {
            return;
        }
        step.effects.frames_moved = true;
        let mut left = count;
        while left > 0 {
            // Told one by one, each has its own accounts.
            let part = if step.notices.tells_each() { 1 } else { left };
            let lost = step.lost(self.window.cursor() + part - 1);
            self.window.advance(part, step.log);
            self.book(step, part, reason, lost);
            left -= part;
        }
    }

    /// Gives up all that waits.
    pub(super) fn drop_all<F, E: Event>(
        &mut self,
        step: &mut Step<'_, F, E, L>,
        reason: DropReason,
    ) {
        let count = self.window.level(step.end);
        self.drop_oldest(step, count, reason);
        if count > 0 {
            self.decoding.miss();
        }
    }

    /// [`drop_oldest`](Self::drop_oldest), and all that are useless without those.
    pub(super) fn drop_with_dependents<F, E: Event>(
        &mut self,
        step: &mut Step<'_, F, E, L>,
        count: u64,
        reason: DropReason,
    ) {
        self.drop_oldest(step, count, reason);
        let log = step.log;
        let waiting = (self.window.cursor()..log.end()).map(|position| log.is_delta(position));
        let aftermath = self.decoding.after_loss(waiting);
        self.drop_oldest(step, aftermath.useless, DropReason::WaitingKeyframe);
        step.effects.want_keyframe |= aftermath.want_keyframe;
    }

    /// Gives up the frames before `position`, and all that are useless without those; true if there
    /// were any.
    pub(super) fn drop_until<F, E: Event>(
        &mut self,
        step: &mut Step<'_, F, E, L>,
        position: u64,
        reason: DropReason,
    ) -> bool {
        let count = position.saturating_sub(self.window.cursor());
        if count > 0 {
            self.drop_with_dependents(step, count, reason);
        }
        count > 0
    }

    /// [`drop_oldest`](Self::drop_oldest) of one frame that no other depends on, which happens with
    /// each frame to each slow consumer of raw video: so it is made cheap.
    #[inline(always)]
    fn drop_alone<F, E: Event>(&mut self, step: &mut Step<'_, F, E, L>, lost: Lost) {
        self.window.pop_one();
        self.account.drop(DropReason::Slow, 1);
        if self.told.note(DropReason::Slow, lost, step.now) {
            step.effects.report |= step.notices.config().drops;
        }
    }

    /// Counts what was lost, last of all the frame of `lost`.
    #[inline]
    pub(super) fn book<F, E: Event>(
        &mut self,
        step: &mut Step<'_, F, E, L>,
        count: u64,
        reason: DropReason,
        lost: Lost,
    ) {
        self.account.drop(reason, count);
        let is_due = self.told.note(reason, lost, step.now);
        step.effects.report |= is_due && step.notices.config().drops;
        if step.notices.tells_each() {
            let ledger = self.ledger(step.end);
            let (label, told) = (&self.label, &mut self.told);
            step.notices
                .tell_one(label, told, &ledger, reason, step.now);
            step.effects.report = true;
        }
    }

    /// The frame in flight is lost: whatever its thread says of it later does not count.
    pub(super) fn abandon_flight<F, E: Event>(&mut self, step: &mut Step<'_, F, E, L>) {
        if let Some(flight) = self.account.abandon() {
            self.book(step, 1, DropReason::Flushing, flight.lost);
        }
    }

    // ---- the limits ------------------------------------------------------------------------

    /// A frame was appended: the oldest go until all limits hold. True if all of them had to be looked
    /// at: it may have lost too many.
    #[inline(always)]
    pub(super) fn make_room<F, E: Event>(&mut self, step: &mut Step<'_, F, E, L>) -> bool {
        match self.window.look(step.end) {
            Room::Enough => return false,
            Room::OneTooMany => {
                if let Some(lost) = step.cached_loss(self.window.cursor()) {
                    self.drop_alone(step, lost);
                    return false;
                }
            }
            Room::Unknown => {}
        }
        self.enforce_limits(step);
        true
    }

    /// Drops the oldest frames until all limits hold.
    pub(super) fn enforce_limits<F, E: Event>(&mut self, step: &mut Step<'_, F, E, L>) {
        while let Some((count, reason)) = self.window.over_limit(step.log, step.now) {
            self.drop_with_dependents(step, count, reason);
            if reason == DropReason::Slow {
                self.window.pay_allowance();
            }
        }
    }

    /// It lost more frames than its limits allow a consumer that is served.
    pub(super) fn lags(&self) -> bool {
        let max_lag = self.window.limits().max_lag;
        max_lag != 0 && self.account.lag() > max_lag
    }

    // ---- what is taken ---------------------------------------------------------------------

    /// Drops leading pictures that the consumer can not decode.
    pub(super) fn drop_leading<F, E: Event>(&mut self, step: &mut Step<'_, F, E, L>) {
        while let Some(next) = step.log.entry(self.window.cursor()) {
            match self.decoding.judge(next.delta, next.lost.pts()) {
                Use::Take => return,
                Use::Leading => self.drop_oldest(step, 1, DropReason::WaitingKeyframe),
                Use::Lost => self.drop_with_dependents(step, 1, DropReason::WaitingKeyframe),
            }
        }
    }

    /// The oldest frame, which is then in flight, as `stamp` says.
    pub(super) fn take<F, E: Event>(
        &mut self,
        step: &mut Step<'_, F, E, L>,
        stamp: Stamp,
    ) -> Option<TakenFrame<()>> {
        let position = self.window.cursor();
        let entry = step.log.entry(position)?;
        let after_loss = self.account.is_discont() || !self.account.has_delivered();
        self.decoding.take(
            entry.delta,
            entry.lost.pts(),
            entry.follows_header,
            after_loss,
        );
        self.window.take(step.log);
        step.effects.frames_moved |= position == step.log.base();
        let number = step.log.number(position);
        let (discont, lost_before) = self.account.take(Flight {
            stamp,
            number,
            since: step.now,
            lost: entry.lost,
        });
        Some(TakenFrame {
            frame: (),
            sequence: position,
            number,
            run: step.log.run(),
            discont,
            lost_before,
            arrived: entry.arrived,
            waited: self.window.waited(entry.arrived, step.now),
            at: step.now,
            stamp,
        })
    }
}
