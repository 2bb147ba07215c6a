// SPDX-License-Identifier: MPL-2.0
//! Each part of a consumer alone, against the plainest thing that does the same.

mod account;
mod decoding;
mod events;
mod service;
mod window;

use super::{Ev, Kind};
use crate::fanout::effects::Effects;
use crate::fanout::log::Log;
use crate::fanout::types::FrameInfo;

/// A log of numbered frames, which keeps all of them.
pub(super) struct Tape {
    pub(super) log: Log<u64, Ev>,
    effects: Effects<u64, Ev>,
}

impl Tape {
    pub(super) fn new() -> Self {
        Self {
            log: Log::new(),
            effects: Effects::new(),
        }
    }

    pub(super) fn frame(&mut self, info: FrameInfo, now: u64) {
        let sequence = self.log.end();
        self.log.append(sequence, info, now, &mut self.effects);
    }

    pub(super) fn event(&mut self, kind: Kind, id: u64) {
        self.log.append_event(Ev::new(kind, id), &mut self.effects);
    }

    pub(super) fn flush(&mut self) {
        self.log.flush(&mut self.effects);
    }
}
