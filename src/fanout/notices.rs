// SPDX-License-Identifier: MPL-2.0
//! What the application is to be told: each drop is in exactly one notice, in order, and no more
//! often than wanted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use super::figures::Snapshot;
use super::pool::PoolFigures;
use super::types::Lost;
use crate::facts::{DropReason, Ledger, State};
use crate::sync::thread::{self, ThreadId};

/// Drops told one by one wait for their message up to this many; then counts are joined.
const MAX_WAITING: usize = 4096;

const REASONS: usize = DropReason::ALL.len();

#[derive(Debug)]
pub(crate) enum Notice<L> {
    /// Frames were dropped.
    Drop(DropNotice<L>),
    /// A consumer changed its state.
    State {
        label: Arc<L>,
        state: State,
        previous: State,
        flow: i32,
        in_flight_for: u64,
    },
    /// The final accounts of a consumer, for now.
    Summary(Box<Snapshot<L>>),
    /// Too many events waited for a consumer.
    EventsDropped { label: Arc<L> },
    /// The group of pictures is longer than the replay.
    GopTruncated { capacity: u64 },
    /// The limit on the frames that are out changed by itself.
    MaxHeld(PoolFigures),
    /// Upstream's pool is too small for what its consumers keep.
    SmallPool(PoolFigures),
    /// All that was due when this number was handed in is told.
    Mark(u64),
}

#[derive(Debug)]
pub(crate) struct DropNotice<L> {
    pub(crate) label: Arc<L>,
    pub(crate) reason: DropReason,
    /// Since the last message of this consumer and reason; `None` when none is posted.
    pub(crate) count: Option<u64>,
    /// Since the last notice of this consumer and reason.
    pub(crate) fresh: u64,
    /// Of this consumer and reason.
    pub(crate) total: u64,
    pub(crate) ledger: Ledger,
    /// Of the last frame lost.
    pub(crate) lost: Lost,
}

/// How drops are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReportConfig {
    pub(crate) drops: bool,
    /// Drops are also told by messages, which keep their own count.
    pub(crate) messages: bool,
    /// At most one notice per consumer and reason in this time, ns; 0 for every drop.
    pub(crate) interval: u64,
    /// A frame in flight for longer makes a consumer stalled, ns; 0 for never.
    pub(crate) stall_timeout: u64,
}

/// What was told of one consumer.
#[derive(Debug, Default)]
pub(super) struct NoticeState {
    totals: [u64; REASONS],
    /// Of these, those that messages have told.
    messaged: [u64; REASONS],
    /// When the next notice may come, monotonic ns.
    due: [u64; REASONS],
    /// The last frame lost.
    lost: [Lost; REASONS],
    state: State,
    events_dropped: bool,
    /// The accounts at the end of the stream are still to be told.
    summary_due: bool,
    /// Sequence number of the last end of the stream that they were due for.
    end_told: Option<u64>,
}

impl NoticeState {
    /// Notes a loss; true when the thread that reports should look at once.
    #[inline]
    pub(super) fn note(&mut self, reason: DropReason, lost: Lost, now: u64) -> bool {
        let index = reason.index();
        self.lost[index] = lost;
        now >= self.due[index]
    }

    /// The consumer gets the end of the stream, or would get it if it were not evicted: its
    /// accounts are due, once for each end. True if they are.
    pub(super) fn note_end(&mut self, sequence: u64) -> bool {
        let is_new = self.end_told.is_none_or(|told| told < sequence);
        if is_new {
            self.end_told = Some(sequence);
            self.summary_due = true;
        }
        is_new
    }

    /// The same end is another one for the consumer, which begins anew.
    pub(super) fn forget_end(&mut self) {
        self.end_told = None;
    }

    /// After a reset of the consumer only that a bad state is over is still to be told.
    pub(super) fn reset(&mut self) {
        *self = Self {
            state: self.state,
            ..Self::default()
        };
    }

    pub(super) fn says_stalled(&self) -> bool {
        self.state == State::Stalled
    }

    pub(super) fn is_summary_due(&self) -> bool {
        self.summary_due
    }

    fn untold(&self, reason: DropReason, total: u64, config: &ReportConfig) -> bool {
        let index = reason.index();
        total > self.totals[index] || config.messages && total > self.messaged[index]
    }

    /// The time since the last notice counts for the new interval.
    pub(super) fn change_interval(&mut self, old: u64, new: u64) {
        for due in self.due.iter_mut().filter(|due| **due != 0) {
            *due = due.saturating_sub(old).saturating_add(new);
        }
    }

    fn has_news<L>(&self, now: &Snapshot<L>) -> bool {
        now.state != self.state
            || now.events_dropped > 0 && !self.events_dropped
            || self.summary_due
    }
}

/// The notices that wait to be told, in the order of what happened.
pub(super) struct NoticeQueue<L> {
    config: ReportConfig,
    waiting: VecDeque<Notice<L>>,
    /// The thread that empties the queue: the order would be lost if two did.
    telling: Option<ThreadId>,
    /// The thread that reports asked while another one was telling.
    retry_wanted: bool,
    reporter: Option<Waker>,
}

impl<L> NoticeQueue<L> {
    pub(super) fn new() -> Self {
        Self {
            config: ReportConfig {
                drops: true,
                messages: true,
                interval: 1_000_000_000,
                stall_timeout: 2_000_000_000,
            },
            waiting: VecDeque::new(),
            telling: None,
            retry_wanted: false,
            reporter: None,
        }
    }

    pub(super) fn config(&self) -> &ReportConfig {
        &self.config
    }

    /// Returns what was in force.
    pub(super) fn set_config(&mut self, config: ReportConfig) -> ReportConfig {
        std::mem::replace(&mut self.config, config)
    }

    pub(super) fn push(&mut self, notice: Notice<L>) {
        self.waiting.push_back(notice);
    }

    pub(super) fn pop(&mut self) -> Option<Notice<L>> {
        self.waiting.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True when each drop is told by itself and there is room for one more.
    #[inline]
    pub(super) fn tells_each(&self) -> bool {
        self.config.interval == 0 && self.config.drops && self.waiting.len() < MAX_WAITING
    }

    // ---- who tells -------------------------------------------------------------------------

    /// False if another thread is telling.
    pub(super) fn begin_telling(&mut self) -> bool {
        if self.telling.is_some() {
            return false;
        }
        self.telling = Some(thread::current().id());
        true
    }

    /// True if something is left for the thread that reports.
    pub(super) fn end_telling(&mut self) -> bool {
        self.telling = None;
        std::mem::take(&mut self.retry_wanted) || !self.waiting.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.telling.is_none()
    }

    pub(super) fn tells_on_this_thread(&self) -> bool {
        self.telling == Some(thread::current().id())
    }

    /// True if another thread is telling; it says when it is done.
    pub(super) fn want_retry(&mut self) -> bool {
        self.retry_wanted |= self.telling.is_some();
        self.telling.is_some()
    }

    /// Returns the one before.
    pub(super) fn set_reporter(&mut self, waker: Waker) -> Option<Waker> {
        self.reporter.replace(waker)
    }

    pub(super) fn take_reporter(&mut self) -> Option<Waker> {
        self.reporter.take()
    }

    // ---- what is due -----------------------------------------------------------------------

    /// Tells what was not told yet of `reason`, if it is time or `always`.
    fn tell_drops(
        &mut self,
        label: &Arc<L>,
        told: &mut NoticeState,
        ledger: &Ledger,
        reason: DropReason,
        time: Option<u64>,
        now: u64,
    ) {
        let index = reason.index();
        let total = ledger.dropped.get(reason);
        let is_time = time.is_none_or(|time| time >= told.due[index]);
        if !self.config.drops || !is_time || !told.untold(reason, total, &self.config) {
            return;
        }
        let fresh = total - std::mem::replace(&mut told.totals[index], total);
        let count = (self.config.messages)
            .then(|| total - std::mem::replace(&mut told.messaged[index], total));
        told.due[index] = now + self.config.interval;
        self.push(Notice::Drop(DropNotice {
            label: label.clone(),
            reason,
            count,
            fresh,
            total,
            ledger: *ledger,
            lost: told.lost[index],
        }));
    }

    /// Tells a drop for `reason` by itself.
    pub(super) fn tell_one(
        &mut self,
        label: &Arc<L>,
        told: &mut NoticeState,
        ledger: &Ledger,
        reason: DropReason,
        now: u64,
    ) {
        self.tell_drops(label, told, ledger, reason, None, now);
    }

    /// Tells all drops that were not told, due or not.
    pub(super) fn tell_all_drops(
        &mut self,
        label: &Arc<L>,
        told: &mut NoticeState,
        ledger: &Ledger,
        now: u64,
    ) {
        for reason in DropReason::ALL {
            self.tell_drops(label, told, ledger, reason, None, now);
        }
    }

    /// Writes down what is due of a consumer.
    pub(super) fn collect(&mut self, told: &mut NoticeState, snapshot: Snapshot<L>, now: u64) {
        for reason in DropReason::ALL {
            let (label, ledger) = (&snapshot.label, &snapshot.ledger);
            self.tell_drops(label, told, ledger, reason, Some(now), now);
        }
        let state = snapshot.state;
        let previous = std::mem::replace(&mut told.state, state);
        if state != previous {
            // How long the frame that this is about is or was in flight.
            let in_flight_for = match state {
                State::Stalled | State::Evicted => snapshot.in_flight_for,
                _ => snapshot.last_flight,
            };
            self.push(Notice::State {
                label: snapshot.label.clone(),
                state,
                previous,
                flow: snapshot.flow,
                in_flight_for,
            });
        }
        if snapshot.events_dropped > 0 && !std::mem::replace(&mut told.events_dropped, true) {
            let label = snapshot.label.clone();
            self.push(Notice::EventsDropped { label });
        }
        if std::mem::take(&mut told.summary_due) {
            self.summarize(told, snapshot, now);
        }
    }

    /// Writes down the consumer's drops that were not told yet, and its accounts.
    pub(super) fn summarize(&mut self, told: &mut NoticeState, snapshot: Snapshot<L>, now: u64) {
        self.tell_all_drops(&snapshot.label, told, &snapshot.ledger, now);
        self.push(Notice::Summary(Box::new(snapshot)));
    }

    /// When to look at a consumer next, monotonic ns; at once if something is due.
    pub(super) fn next_due(
        &self,
        told: &NoticeState,
        snapshot: &Snapshot<L>,
        now: u64,
    ) -> Option<u64> {
        if told.has_news(snapshot) {
            return Some(now);
        }
        let is_untold = |reason: &DropReason| {
            told.untold(*reason, snapshot.ledger.dropped.get(*reason), &self.config)
        };
        let untold = DropReason::ALL.into_iter().filter(is_untold);
        let drops = untold.map(|reason| told.due[reason.index()]).min();
        let drops = drops.filter(|_| self.config.drops);
        let stall_timeout = self.config.stall_timeout;
        let may_stall = stall_timeout != 0
            && snapshot.ledger.in_flight > 0
            && matches!(told.state, State::Ok | State::Disabled);
        let since = now - snapshot.in_flight_for;
        let stall = may_stall.then(|| since.saturating_add(stall_timeout).saturating_add(1));
        drops.into_iter().chain(stall).min()
    }
}
