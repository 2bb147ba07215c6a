// SPDX-License-Identifier: MPL-2.0
//! Whether a guest is served, and what it has to hear before anything else.

use crate::facts::DropReason;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Mood {
    Asleep,
    Fed,
    Shut(DropReason),
}

#[derive(Debug)]
pub(in super::super) struct Seat {
    pub(in super::super) mood: Mood,
    /// A thread serves the guest.
    pub(in super::super) staffed: bool,
    /// Its gate is.
    pub(in super::super) closed: bool,
    /// An event comes in place of the next frame that is held back.
    pub(super) wants_stand_in: bool,
    pub(in super::super) flow: i32,
}

impl Seat {
    pub(super) fn new(closed: bool) -> Self {
        Self {
            mood: Mood::Asleep,
            staffed: false,
            closed,
            wants_stand_in: false,
            flow: 0,
        }
    }

    pub(super) fn is_fed(&self) -> bool {
        self.mood == Mood::Fed && !self.closed
    }

    pub(super) fn is_shut_for(&self, reason: DropReason) -> bool {
        self.mood == Mood::Shut(reason)
    }

    /// Why one gets nothing that is well and has no thread.
    pub(super) fn stopped_for(&self) -> DropReason {
        match self.closed {
            true => DropReason::Disabled,
            false => DropReason::Flushing,
        }
    }

    /// Why a frame that comes now is dropped, but for what the guest itself can take.
    pub(super) fn turns_away(&self, flushing: bool) -> Option<DropReason> {
        match self.mood {
            Mood::Shut(reason) => Some(reason),
            _ if self.closed => Some(DropReason::Disabled),
            _ => flushing.then_some(DropReason::Flushing),
        }
    }
}

/// What was not said yet.
#[derive(Debug)]
pub(in super::super) struct Unsaid {
    /// It is a receiver: it outlives sessions.
    pub(in super::super) keeps_session: bool,
    /// The receiver was started, which it does not know.
    pub(super) session: bool,
    /// Or was never started.
    knows_of_stop: bool,
    pub(in super::super) expulsion: bool,
    /// A flush was over since it took last.
    pub(in super::super) resumption: bool,
    /// The stream will not start.
    pub(in super::super) cancellation: bool,
}

/// What is said before anything is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Superseded,
    Evicted,
    Resumed,
    Cancelled,
    Closed,
    Wait,
}

impl Unsaid {
    pub(super) fn new(keeps_session: bool) -> Self {
        Self {
            keeps_session,
            session: false,
            knows_of_stop: true,
            expulsion: false,
            resumption: false,
            cancellation: false,
        }
    }

    /// A new life of the stream, for a guest that was `asleep` or not.
    pub(super) fn renewed(&self, asleep: bool) -> Self {
        Self {
            knows_of_stop: asleep && self.knows_of_stop,
            ..Self::new(self.keeps_session)
        }
    }

    pub(super) fn start(&mut self) {
        self.session = self.keeps_session;
        self.cancellation = false;
    }

    pub(super) fn stop(&mut self) {
        self.expulsion = false;
        self.resumption = false;
        self.cancellation = false;
    }

    /// For a guest without a thread. It learns each stop, and then it may wait for the next start.
    pub(super) fn say_unstaffed(&mut self, asleep: bool) -> Word {
        self.session &= asleep && self.knows_of_stop;
        let knows = std::mem::replace(&mut self.knows_of_stop, true);
        match asleep && knows {
            true if std::mem::take(&mut self.cancellation) => Word::Cancelled,
            true => Word::Wait,
            false => Word::Closed,
        }
    }

    pub(super) fn say(&mut self, flushing: bool) -> Option<Word> {
        if std::mem::take(&mut self.session) {
            return Some(Word::Superseded);
        }
        if std::mem::take(&mut self.expulsion) {
            return Some(Word::Evicted);
        }
        if flushing {
            return Some(Word::Wait);
        }
        std::mem::take(&mut self.resumption).then_some(Word::Resumed)
    }
}
