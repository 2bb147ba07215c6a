// SPDX-License-Identifier: MPL-2.0
//! Which frames of a coded stream are of use to a guest.

use super::tray::Dish;

#[derive(Debug)]
pub(super) struct Taste {
    /// No delta frame is of use before the next keyframe.
    pub(super) wants_intra: bool,
    /// Nothing was taken since the start, or a flush.
    pub(super) untouched: bool,
    /// What is shown before this is of no use.
    skips_before: Option<u64>,
}

impl Taste {
    pub(super) fn new() -> Self {
        Self {
            wants_intra: true,
            untouched: true,
            skips_before: None,
        }
    }

    /// The dish is taken, the first one after a gap or not.
    pub(super) fn note_taken(&mut self, frame: &Dish, after_gap: bool) {
        let untouched = std::mem::take(&mut self.untouched);
        let starts = (untouched || after_gap) && !frame.info.delta;
        let started = self.skips_before.is_some() && frame.behind_header;
        self.skips_before = (starts || started).then_some(frame.info.pts.unwrap_or(0));
    }

    pub(super) fn skips(&self, frame: &Dish) -> bool {
        let earlier = |until| frame.info.pts.is_some_and(|pts| pts < until);
        frame.info.delta && self.skips_before.is_some_and(earlier)
    }
}
