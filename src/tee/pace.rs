// SPDX-License-Identifier: MPL-2.0
//! Whether anything clocks the stream. `dronetee` blocks no source, so that one that is not live has
//! to be clocked before it, or it rushes through and consumers lose most of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;

use super::{Stream, now};
use crate::facts::DropReason;

/// A clocked frame does not come before its time; one that comes that much before is not clocked, ns.
const AHEAD: u64 = 1_000_000_000;
/// From then on the measured frame rate is one, ns since the first frame.
const RATE_KNOWN: u64 = 1_000_000_000;

/// Upstream is being asked whether it is live, or its answer left nothing to ask. Another one for each
/// life of the element: a late answer is not for the next.
pub(super) type Asked = Arc<AtomicBool>;

/// How the frames come, as the sink pad sees it.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the first frame came, monotonic ns.
    first: Option<u64>,
    /// When to compare latencies with the measured frame rate, monotonic ns: past until the first frame
    /// has come, never once it was done.
    rate_due: u64,
    /// Running time of the newest frame, ns.
    newest: Option<u64>,
    /// Running time of the frame at which to look next, ns.
    next: u64,
    asked: Asked,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: None,
            rate_due: 0,
            newest: None,
            next: AHEAD,
            asked: Arc::default(),
        }
    }
}

/// What there is to look at after a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Whether the frame of this running time is ahead of the clock.
    ahead: Option<u64>,
    /// Whether the depths fit to the frame rate, which is known from now on.
    pub(super) rate: bool,
}

impl Due {
    #[inline]
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl Pace {
    #[inline]
    pub(super) fn note(&mut self, start: Option<u64>, now: u64) -> Due {
        if start.is_some() {
            self.newest = start;
        }
        let ahead = start.filter(|start| *start >= self.next);
        match ahead.is_some() || now >= self.rate_due {
            true => self.look(ahead, now),
            false => Due::default(),
        }
    }

    #[inline(never)]
    fn look(&mut self, ahead: Option<u64>, now: u64) -> Due {
        if let Some(start) = ahead {
            self.next = start.saturating_add(AHEAD);
        }
        let first = *self.first.get_or_insert(now);
        self.rate_due = self.rate_due.max(first + RATE_KNOWN);
        let rate = now >= self.rate_due;
        if rate {
            self.rate_due = u64::MAX;
        }
        Due { ahead, rate }
    }

    /// The stream is over: the last frames have not been looked at.
    pub(super) fn end(&self) -> Due {
        Due {
            ahead: self.newest,
            rate: false,
        }
    }

    /// Running times may begin anew.
    pub(super) fn flush(&mut self) {
        self.newest = None;
        self.next = AHEAD;
    }

    pub(super) fn asked(&self) -> Asked {
        self.asked.clone()
    }

    pub(super) fn is_rate_known(&self, now: u64) -> bool {
        self.first
            .is_some_and(|first| now.saturating_sub(first) >= RATE_KNOWN)
    }
}

/// True for a frame that a clock before the element would not have let pass yet.
fn is_ahead(element: &gst::Element, start: u64) -> bool {
    let time = match element.current_state() {
        gst::State::Playing => element
            .clock()
            .map(|clock| clock.time())
            .zip(element.base_time())
            .map(|(now, base)| now.saturating_sub(base)),
        // The running time when it was paused.
        _ => element.start_time(),
    };
    time.is_some_and(|time| start >= time.nseconds().saturating_add(AHEAD))
}

/// True if frames came faster than consumers took them.
fn has_lost(stream: &Stream) -> bool {
    let (_, consumers) = stream.snapshot(now());
    let too_fast = [DropReason::Slow, DropReason::WaitingKeyframe];
    let mut drops = consumers.iter().map(|consumer| consumer.ledger.dropped);
    drops.any(|drops| too_fast.iter().any(|reason| drops.get(*reason) > 0))
}

/// Whether upstream is to be asked if it is live, which is for a helper; true once at a time.
pub(super) fn asks_if_live(
    asked: &Asked,
    element: &gst::Element,
    stream: &Stream,
    due: Due,
) -> bool {
    let Some(start) = due.ahead else { return false };
    let is_due = !asked.load(Ordering::Acquire) && is_ahead(element, start) && has_lost(stream);
    is_due && !asked.swap(true, Ordering::AcqRel)
}

/// Asks upstream, which may take its time; true if it is not live and `is_current`, so that there is
/// something to warn of.
pub(super) fn is_unclocked(
    asked: &Asked,
    sinkpad: &gst::Pad,
    is_current: impl FnOnce() -> bool,
) -> bool {
    let mut query = gst::query::Latency::new();
    let answered = sinkpad.peer_query(&mut query);
    let live = query
        .structure()
        .filter(|_| answered)
        .and_then(|fields| fields.get::<bool>("live").ok());
    match live {
        Some(is_live) => !is_live && is_current(),
        None => {
            asked.store(false, Ordering::Release);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn looks_once_in_a_second_of_the_stream() {
        let mut pace = Pace::default();
        let mut looks = Vec::new();
        for n in 0..=100 {
            looks.extend(pace.note(Some(n * SECOND / 30), 1).ahead);
        }
        assert_eq!(looks, [SECOND, 2 * SECOND, 3 * SECOND]);
        assert_eq!(pace.end().ahead, Some(100 * SECOND / 30));
        pace.flush();
        assert_eq!(pace.end().ahead, None);
        assert_eq!(pace.note(Some(SECOND / 2), 1).ahead, None);
        assert_eq!(pace.note(None, 1).ahead, None);
        assert_eq!(pace.note(Some(SECOND), 1).ahead, Some(SECOND));
    }

    #[test]
    fn the_rate_is_known_after_a_second() {
        let mut pace = Pace::default();
        assert!(!pace.is_rate_known(SECOND));
        assert!(!pace.note(None, 5).rate);
        assert!(!pace.note(None, SECOND).rate);
        assert!(pace.note(None, SECOND + 5).rate);
        assert!(pace.is_rate_known(SECOND + 5));
        assert!(!pace.note(None, 2 * SECOND).rate);
    }
}
