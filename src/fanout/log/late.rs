// SPDX-License-Identifier: MPL-2.0
//! A late joiner begins with the newest keyframe, and with the events that are in force there: these are
//! kept, as long as they are no more frames than the capacity.

use super::Placed;
use super::replay::{Replay, Start};
use crate::fanout::effects::Effects;
use crate::fanout::types::{Event, Sticky};

/// What is kept for late joiners.
pub(super) struct ForLateJoiners<E> {
    replay: Option<Replay<E>>,
    /// Frames; 0: nothing is kept.
    capacity: u64,
    /// Frames of this format depend on others, as far as that was looked at: with a replay.
    has_deltas: bool,
}

impl<E: Event> ForLateJoiners<E> {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            replay: None,
            capacity,
            has_deltas: false,
        }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    #[inline]
    pub(super) fn keeps_any(&self) -> bool {
        self.capacity != 0
    }

    /// Frames kept from now on, `end` being the log's; true if those that are kept were too many.
    pub(super) fn set_capacity<F>(
        &mut self,
        capacity: u64,
        end: u64,
        effects: &mut Effects<F, E>,
    ) -> bool {
        self.capacity = capacity;
        self.shorten(end, effects) && self.keeps_any()
    }

    // ---- what is kept ----------------------------------------------------------------------

    /// First frame that must be kept although no consumer needs it.
    #[inline]
    pub(super) fn needs_from(&self) -> u64 {
        let replay = self.replay.as_ref();
        replay.map_or(u64::MAX, |replay| replay.position)
    }

    /// The same for events, by their sequence numbers.
    pub(super) fn needs_events_from(&self) -> u64 {
        let replay = self.replay.as_ref();
        replay.map_or(u64::MAX, |replay| replay.next)
    }

    pub(super) fn start(&self) -> Option<Start<E>> {
        self.replay.as_ref().map(Replay::start)
    }

    /// Where the keyframe of a coded stream is, for a consumer that has had the events since, of which
    /// `later` are in the log: none if frames from there on need other ones, or the stream has ended.
    pub(super) fn keyframe<'a>(
        &'a self,
        later: impl FnOnce(u64) -> std::collections::vec_deque::Iter<'a, Placed<E>>,
    ) -> Option<u64> {
        let replay = self.replay.as_ref().filter(|_| self.has_deltas)?;
        let mut since = replay.events().chain(later(replay.next));
        (!since.any(Placed::bars)).then_some(replay.position)
    }

    // ---- what comes ------------------------------------------------------------------------

    /// A keyframe was appended at `position`, where the events in force are `sticky` and the next one has
    /// the number `next`.
    pub(super) fn begin<F>(
        &mut self,
        position: u64,
        sticky: Sticky<E>,
        next: u64,
        effects: &mut Effects<F, E>,
    ) {
        let replay = Replay::new(position, sticky, next);
        let old = self.replay.replace(replay);
        dissolve(old, effects);
    }

    /// A delta frame was appended, which made `end` the log's; true if that is too many.
    pub(super) fn note_delta<F>(&mut self, end: u64, effects: &mut Effects<F, E>) -> bool {
        self.has_deltas = true;
        self.shorten(end, effects)
    }

    /// Frames of another format come.
    pub(super) fn begin_format<F>(&mut self, effects: &mut Effects<F, E>) {
        self.release(effects);
        self.has_deltas = false;
    }

    pub(super) fn replay(&mut self) -> Option<&mut Replay<E>> {
        self.replay.as_mut()
    }

    /// Nothing is kept until the next keyframe.
    pub(super) fn release<F>(&mut self, effects: &mut Effects<F, E>) {
        dissolve(self.replay.take(), effects);
    }

    /// Gives the replay up if it has too many frames; true if it did.
    fn shorten<F>(&mut self, end: u64, effects: &mut Effects<F, E>) -> bool {
        let capacity = self.capacity;
        let is_too_long = |replay: &mut Replay<E>| end - replay.position > capacity;
        let old = self.replay.take_if(is_too_long);
        let was_too_long = old.is_some();
        dissolve(old, effects);
        was_too_long
    }
}

fn dissolve<F, E: Event>(old: Option<Replay<E>>, effects: &mut Effects<F, E>) {
    if let Some(old) = old {
        let sticky = old.dissolve(effects);
        effects.free_sticky(sticky);
        effects.frames_moved = true;
        effects.events_moved = true;
    }
}
