// SPDX-License-Identifier: MPL-2.0
//! What is to be told, to whom it is due, and how often.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{FrameInfo, Label, Snapshot};
use crate::facts::{DropReason, Ledger, State};

/// Drops told one by one wait for their message up to this many; then counts are joined.
const MAX_WAITING: usize = 4096;

/// Something that the world shall learn.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    /// Frames were dropped.
    Drop(DropNotice),
    /// A consumer changed its state.
    State {
        label: Arc<Label>,
        state: State,
        previous: State,
        flow: i32,
        in_flight_for: u64,
    },
    /// The final accounts of a consumer, for now.
    Summary(Box<Snapshot>),
    /// Too many events waited for a consumer.
    EventsDropped { label: Arc<Label> },
    /// The group of pictures is longer than the cache.
    GopTruncated { capacity: u64 },
}

#[derive(Debug, Clone)]
pub(crate) struct DropNotice {
    pub(crate) label: Arc<Label>,
    pub(crate) reason: DropReason,
    /// Since the last message of this consumer and reason; `None` when none is posted.
    pub(crate) count: Option<u64>,
    /// Of this consumer and reason.
    pub(crate) total: u64,
    pub(crate) ledger: Ledger,
    /// Of the last frame lost.
    pub(crate) lost: Lost,
}

/// When a lost frame should have been shown, ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) pts: Option<u64>,
    pub(crate) running_time: Option<u64>,
}

impl FrameInfo {
    pub(crate) fn lost(&self) -> Lost {
        Lost {
            pts: self.pts,
            running_time: self.start,
        }
    }
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
#[derive(Default)]
pub(super) struct Told {
    totals: [u64; DropReason::ALL.len()],
    /// Of these, those that messages have told.
    messaged: [u64; DropReason::ALL.len()],
    /// When the next notice may come, monotonic ns.
    due: [u64; DropReason::ALL.len()],
    lost: [Lost; DropReason::ALL.len()],
    pub(super) state: State,
    pub(super) events_dropped: bool,
    /// The accounts at the end of the stream are still to be told.
    pub(super) summary_due: bool,
}

impl Told {
    fn untold(&self, index: usize, total: u64, config: ReportConfig) -> bool {
        total > self.totals[index] || config.messages && total > self.messaged[index]
    }

    /// The time since the last notice counts for the new interval.
    pub(super) fn change_interval(&mut self, old: u64, new: u64) {
        for due in self.due.iter_mut().filter(|due| **due != 0) {
            *due = due.saturating_sub(old).saturating_add(new);
        }
    }

    /// Notes a loss; true when whoever reports should look at once.
    #[inline]
    pub(super) fn note(&mut self, reason: DropReason, lost: Lost, now: u64) -> bool {
        self.lost[reason.index()] = lost;
        now >= self.due[reason.index()]
    }
}

/// The notices that wait to be told, in the order of what happened.
pub(super) struct Desk {
    pub(super) config: ReportConfig,
    pub(super) outbox: VecDeque<Notice>,
    /// Who empties the outbox: the order would be lost if two did.
    pub(super) telling: Option<std::thread::ThreadId>,
    /// Whoever reports came while somebody else did.
    pub(super) kept_waiting: bool,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            config: ReportConfig {
                drops: true,
                messages: true,
                interval: 1_000_000_000,
                stall_timeout: 2_000_000_000,
            },
            outbox: VecDeque::new(),
            telling: None,
            kept_waiting: false,
        }
    }

    /// True when each drop is told by itself and there is room for one more.
    #[inline]
    pub(super) fn tells_each(&self) -> bool {
        self.config.interval == 0 && self.config.drops && self.outbox.len() < MAX_WAITING
    }

    /// Tells what was not told yet of `reason`, if it is time or `always`.
    pub(super) fn tell_drops(
        &mut self,
        label: &Arc<Label>,
        told: &mut Told,
        ledger: &Ledger,
        reason: DropReason,
        now: u64,
        always: bool,
    ) {
        let index = reason.index();
        let total = ledger.dropped.get(reason);
        let untold = told.untold(index, total, self.config);
        if !untold || !self.config.drops || !(always || now >= told.due[index]) {
            return;
        }
        told.totals[index] = total;
        let count = (self.config.messages)
            .then(|| total - std::mem::replace(&mut told.messaged[index], total));
        told.due[index] = now + self.config.interval;
        self.outbox.push_back(Notice::Drop(DropNotice {
            label: label.clone(),
            reason,
            count,
            total,
            ledger: *ledger,
            lost: told.lost[index],
        }));
    }

    /// When the next notice of this consumer's drops is due, if any waits.
    pub(super) fn next_due(&self, told: &Told, ledger: &Ledger) -> Option<u64> {
        if !self.config.drops {
            return None;
        }
        DropReason::ALL
            .into_iter()
            .filter(|reason| told.untold(reason.index(), ledger.dropped.get(*reason), self.config))
            .map(|reason| told.due[reason.index()])
            .min()
    }
}
