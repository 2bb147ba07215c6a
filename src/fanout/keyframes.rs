// SPDX-License-Identifier: MPL-2.0
//! Which requests for a keyframe go upstream.

use std::collections::VecDeque;

/// Requests for a keyframe at once go upstream at most this often, ns.
const INTERVAL: u64 = 1_000_000_000;

/// So many requests for a time to come are known again when they are repeated.
const MAX_TIMES: usize = 64;

/// The keyframes that upstream was asked for.
#[derive(Debug, Default)]
pub(super) struct KeyframeRequests {
    count: u64,
    /// When one at once was asked for, monotonic ns.
    last: Option<u64>,
    /// The running times that one was asked for, ns, the newest request last.
    times: VecDeque<u64>,
    /// Position of the first frame after the last flush.
    flushed_at: u64,
}

impl KeyframeRequests {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// True if the request goes upstream: one for the running time `at` once, if the stream, which
    /// has got to `reached`, is not there yet; one for a keyframe at once, or for a time that has
    /// passed, if the last such request is long ago.
    pub(super) fn may(&mut self, at: Option<u64>, reached: u64, now: u64) -> bool {
        let passes = match at {
            Some(at) if self.times.contains(&at) => false,
            Some(at) if at >= reached => {
                if self.times.len() == MAX_TIMES {
                    self.times.pop_front();
                }
                self.times.push_back(at);
                true
            }
            _ => {
                let is_due = |last| now.saturating_sub(last) >= INTERVAL;
                let due = self.last.is_none_or(is_due);
                if due {
                    self.last = Some(now);
                }
                due
            }
        };
        self.count += u64::from(passes);
        passes
    }

    /// Running times may begin anew, with the frame at `position`, and encoders forget what they were
    /// asked for.
    pub(super) fn flush(&mut self, position: u64) {
        self.times.clear();
        self.flushed_at = position;
    }

    /// Position of the first frame after the last flush.
    pub(super) fn flushed_at(&self) -> u64 {
        self.flushed_at
    }
}
