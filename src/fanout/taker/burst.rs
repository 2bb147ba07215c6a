// SPDX-License-Identifier: MPL-2.0
//! What a late joiner gets all at once, which is no sign of slowness.

use crate::fanout::Event;
use crate::fanout::log::Log;

/// So much may wait beyond the limits: what came from the cache, less what the consumer has caught
/// up with, which is the least that waited since.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Burst {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    /// ns
    pub(super) time: u64,
}

impl Burst {
    /// All from `position` on.
    pub(super) fn of<F, E: Event>(log: &Log<F, E>, position: u64) -> Self {
        Self {
            frames: log.end() - position,
            bytes: log.bytes_from(position),
            time: log.time_from(position),
        }
    }

    /// The frames from `cursor` on wait now.
    #[inline]
    pub(super) fn note<F, E: Event>(&mut self, log: &Log<F, E>, cursor: u64) {
        if self.frames > 0 {
            let waiting = Self::of(log, cursor);
            self.frames = self.frames.min(waiting.frames);
            self.bytes = self.bytes.min(waiting.bytes);
            self.time = self.time.min(waiting.time);
        }
    }

    /// Too many waited even so: a consumer that never catches up has the usual limits in the end.
    pub(super) fn exceeded(&mut self) {
        if self.frames <= 1 {
            *self = Self::default();
            return;
        }
        self.bytes -= self.bytes / self.frames;
        self.time -= self.time / self.frames;
        self.frames -= 1;
    }
}
