// SPDX-License-Identifier: MPL-2.0
//! A bound on what may be on its way: so many bytes as the link has carried lately in `limit`.
//!
//! TCP takes megabytes before it holds anything up, and so do modems. So each message is followed by a small
//! one that comes back, and the link's rate is what came back in which time (as in BBR). Time comes in as an
//! argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What may be on its way before anything has come back.
const FIRST_BYTES: u64 = 64 * 1024;
/// How much the newest measurement changes the rate.
const WEIGHT: f64 = 0.25;

#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u64,
    bytes: u64,
    at: Instant,
    /// Bytes that had come through when it was sent, and at which time.
    before: (u64, Instant),
}

/// What is on its way, and how fast the link is.
#[derive(Debug)]
pub(crate) struct Window {
    limit: Duration,
    on_way: VecDeque<Sent>,
    next: u64,
    bytes: u64,
    /// Bytes that came through, and when the last of them did.
    arrived: u64,
    last_arrival: Option<Instant>,
    /// Bytes a second.
    rate: Option<f64>,
    /// How long the last message that came through took.
    way: Duration,
}

impl Window {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            on_way: VecDeque::new(),
            next: 0,
            bytes: 0,
            arrived: 0,
            last_arrival: None,
            rate: None,
            way: Duration::ZERO,
        }
    }

    /// Whether another message may be sent.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        let Some(oldest) = self.on_way.front() else {
            return true;
        };
        let late = now.saturating_duration_since(oldest.at) > self.limit;
        let full = match self.rate {
            Some(rate) => self.bytes as f64 > rate * self.limit.as_secs_f64(),
            None => self.bytes > FIRST_BYTES,
        };
        !late && !full
    }

    /// A message goes; its number, which is to come back.
    pub(crate) fn sent(&mut self, bytes: u64, now: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        let since = match self.on_way.is_empty() {
            true => now,
            false => self.last_arrival.unwrap_or(now),
        };
        self.on_way.push_back(Sent {
            number,
            bytes,
            at: now,
            before: (self.arrived, since),
        });
        self.bytes += bytes;
        number
    }

    /// The message of this number has come through, and with it all before.
    pub(crate) fn came_back(&mut self, number: u64, now: Instant) {
        let mut last = None;
        while let Some(sent) = self.on_way.front().copied()
            && sent.number <= number
        {
            self.on_way.pop_front();
            self.bytes -= sent.bytes;
            self.arrived += sent.bytes;
            last = Some(sent);
        }
        let Some(sent) = last else {
            return;
        };
        self.last_arrival = Some(now);
        self.way = now.saturating_duration_since(sent.at);
        let (arrived, since) = sent.before;
        // Below a millisecond it says more of the clock than of the link.
        let took = now
            .saturating_duration_since(since)
            .as_secs_f64()
            .max(0.001);
        let measured = (self.arrived - arrived) as f64 / took;
        self.rate = Some(match self.rate {
            None => measured,
            // A stream that the link carries with ease does not show how much more it could.
            Some(rate) if measured < rate && self.way < self.limit / 4 => rate,
            Some(rate) => rate + (measured - rate) * WEIGHT,
        });
    }

    /// The link is gone, and what was on its way with it.
    pub(crate) fn forget(&mut self) {
        let next = self.next;
        *self = Self {
            next,
            ..Self::new(self.limit)
        };
    }

    /// The number of the newest message that has not come back.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.on_way.back().map(|sent| sent.number)
    }

    pub(crate) fn messages(&self) -> usize {
        self.on_way.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes a second, as far as it was seen.
    pub(crate) fn rate(&self) -> Option<u64> {
        self.rate.map(|rate| rate as u64)
    }

    pub(crate) fn way(&self) -> Duration {
        self.way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(400);
    const FRAME: u64 = 30_000;

    /// A link that carries so many bytes a second, one after the other, and keeps any number.
    struct Link {
        free: Instant,
        waiting: VecDeque<(u64, u64)>,
    }

    struct Outcome {
        sent: u64,
        held: u64,
        longest: Duration,
    }

    /// A stream of 900 kB/s for some seconds over a link of `rate(second)` bytes a second; of what was sent
    /// after `settled` seconds the longest way is told.
    fn fly(seconds: u64, settled: u64, rate: impl Fn(u64) -> u64) -> Outcome {
        let start = Instant::now();
        let mut window = Window::new(LIMIT);
        let mut link = Link {
            free: start,
            waiting: VecDeque::new(),
        };
        let mut outcome = Outcome {
            sent: 0,
            held: 0,
            longest: Duration::ZERO,
        };
        let mut sent_at = Vec::new();
        for millisecond in 0..seconds * 1000 {
            let now = start + Duration::from_millis(millisecond);
            while let Some((number, bytes)) = link.waiting.front().copied() {
                let takes = bytes as f64 / rate(millisecond / 1000) as f64;
                let done = link.free.max(sent_at[number as usize]) + Duration::from_secs_f64(takes);
                if done > now {
                    break;
                }
                link.waiting.pop_front();
                link.free = done;
                window.came_back(number, now);
                let at: Instant = sent_at[number as usize];
                if at > start + Duration::from_secs(settled) {
                    outcome.longest = outcome.longest.max(now - at);
                }
            }
            if millisecond % 33 == 0 {
                if window.is_open(now) {
                    let number = window.sent(FRAME, now);
                    sent_at.push(now);
                    link.waiting.push_back((number, FRAME));
                    outcome.sent += 1;
                } else {
                    outcome.held += 1;
                }
            }
        }
        outcome
    }

    #[test]
    fn a_fast_link_holds_nothing_back() {
        let outcome = fly(20, 0, |_| 5_000_000);
        assert_eq!(outcome.held, 0);
    }

    #[test]
    fn a_link_that_is_just_fast_enough_holds_nothing_back() {
        let outcome = fly(20, 0, |_| 1_000_000);
        assert_eq!(outcome.held, 0);
    }

    #[test]
    fn on_a_slow_link_no_way_is_much_longer_than_the_limit() {
        for rate in [600_000, 300_000, 100_000] {
            let outcome = fly(30, 2, |_| rate);
            let frame = Duration::from_secs_f64(FRAME as f64 / rate as f64);
            assert!(
                outcome.longest < LIMIT * 3 / 2 + frame,
                "{rate}: {:?}",
                outcome.longest
            );
            // And the link is used: what it can carry goes.
            let carried = outcome.sent * FRAME;
            assert!(carried > rate * 30 * 8 / 10, "{rate}: {carried}");
        }
    }

    #[test]
    fn a_link_that_slows_down_is_noticed() {
        let rate = |second| if second < 5 { 5_000_000 } else { 300_000 };
        let outcome = fly(30, 8, rate);
        assert!(outcome.longest < LIMIT * 2, "{:?}", outcome.longest);
    }

    #[test]
    fn a_link_that_recovers_is_used_again() {
        let rate = |second| if second < 10 { 200_000 } else { 5_000_000 };
        let before = fly(10, 0, rate);
        let all = fly(30, 0, rate);
        // The last 20 seconds are 600 frames.
        assert!(all.sent - before.sent > 550, "{}", all.sent - before.sent);
    }

    #[test]
    fn what_never_comes_back_closes_it_until_it_is_forgotten() {
        let start = Instant::now();
        let mut window = Window::new(LIMIT);
        let first = window.sent(FRAME, start);
        assert!(window.is_open(start + LIMIT));
        assert!(!window.is_open(start + LIMIT * 2));
        assert_eq!(window.newest(), Some(first));
        window.forget();
        assert!(window.is_open(start + LIMIT * 2));
        assert_eq!((window.messages(), window.bytes()), (0, 0));
        // An old number that comes after all says nothing.
        let second = window.sent(FRAME, start + LIMIT * 2);
        window.came_back(first, start + LIMIT * 2);
        assert_eq!(window.newest(), Some(second));
    }
}
