// SPDX-License-Identifier: MPL-2.0
//! The one log that all consumers read: frames by position, and events with the position of the
//! frame that they precede. It keeps what is needed, and drops the rest when it is told so.

mod backlog;
mod late;
mod replay;

use std::collections::VecDeque;
use std::sync::Arc;

pub(super) use backlog::{Backlog, Placed};
use late::ForLateJoiners;
pub(super) use replay::Start;

use super::effects::Effects;
use super::types::{Event, FrameInfo, Lost, Sticky};

/// Something that is kept for late joiners.
pub(crate) enum Kept<F, E> {
    Event(E),
    Frame {
        frame: F,
        sequence: u64,
        number: u64,
        run: u64,
        /// When it was published, monotonic ns.
        arrived: u64,
    },
}

/// A frame in the log.
pub(super) struct Entry<F> {
    frame: F,
    /// What is told of it if it is lost.
    pub(super) lost: Lost,
    /// It needs every frame back to the last one without this.
    pub(super) delta: bool,
    /// A keyframe, but of little use without the frame before it, its headers.
    pub(super) follows_header: bool,
    /// When it was published, monotonic ns.
    pub(super) arrived: u64,
    /// Bytes of all frames before it; levels are differences of these.
    bytes_before: u64,
    /// Running time at which it starts, ns.
    start: u64,
}

pub(super) struct Log<F, E> {
    /// Which life of the stream this is: none before the first reset.
    run: u64,
    /// Number of the frame at position zero: numbers go on over the lives of the stream.
    origin: u64,
    /// Position of the first frame that is kept. Positions count published frames from zero.
    base: u64,
    frames: VecDeque<Entry<F>>,
    bytes: u64,
    end_time: u64,
    /// The newest frame has headers and no reference: its time, if it has one.
    header: Option<Option<u64>>,
    /// Sequence number of the first event that is kept.
    event_base: u64,
    events: VecDeque<Placed<E>>,
    /// What a late joiner must know, each with its sequence number.
    sticky: Sticky<E>,
    late: ForLateJoiners<E>,
}

impl<F, E: Event> Log<F, E> {
    pub(super) fn new() -> Self {
        Self::with_capacity(0)
    }

    /// Empty, with so many frames to be kept for late joiners.
    fn with_capacity(capacity: u64) -> Self {
        Self {
            run: 0,
            origin: 0,
            base: 0,
            frames: VecDeque::new(),
            bytes: 0,
            end_time: 0,
            header: None,
            event_base: 0,
            events: VecDeque::new(),
            sticky: Arc::default(),
            late: ForLateJoiners::new(capacity),
        }
    }

    // ---- frames ----------------------------------------------------------------------------

    /// Position after the newest frame: also the number of frames published.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.base + self.frames.len() as u64
    }

    #[inline]
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// How many frames are kept.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.frames.len() as u64
    }

    pub(super) fn number(&self, position: u64) -> u64 {
        self.origin + position
    }

    /// Which life of the stream this is, from one.
    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// The numbers of the frames from `position` on.
    pub(super) fn numbers_from(&self, position: u64) -> std::ops::Range<u64> {
        self.number(position)..self.number(self.end())
    }

    /// The position of the frame with that number, of this life of the stream.
    pub(super) fn position(&self, number: u64) -> u64 {
        number - self.origin
    }

    /// The shortest time between two of the frames that are kept, ns, if these are enough to tell it
    /// from a pause.
    pub(super) fn shortest_interval(&self) -> Option<u64> {
        if self.len() < 3 {
            return None;
        }
        let arrivals = self.frames.iter().map(|entry| entry.arrived);
        let pairs = arrivals.clone().zip(arrivals.skip(1));
        pairs.map(|(one, next)| next.saturating_sub(one)).min()
    }

    /// The frame at `position`, if it is kept.
    #[inline]
    pub(super) fn entry(&self, position: u64) -> Option<&Entry<F>> {
        self.frames.get(position.checked_sub(self.base)? as usize)
    }

    #[inline]
    pub(super) fn is_delta(&self, position: u64) -> bool {
        self.entry(position).is_some_and(|entry| entry.delta)
    }

    /// Bytes of the frames from `position` on.
    pub(super) fn bytes_from(&self, position: u64) -> u64 {
        self.entry(position)
            .map_or(0, |entry| self.bytes - entry.bytes_before)
    }

    /// Running time between the start of the frame at `position` and the end of the newest, ns.
    pub(super) fn time_from(&self, position: u64) -> u64 {
        self.entry(position)
            .map_or(0, |entry| self.end_time.saturating_sub(entry.start))
    }

    /// Running time at which the newest frame ends, ns.
    pub(super) fn end_time(&self) -> u64 {
        self.end_time
    }

    /// Appends a frame; true when this made the group of pictures too long for the replay.
    #[inline]
    pub(super) fn append(
        &mut self,
        frame: F,
        info: FrameInfo,
        now: u64,
        effects: &mut Effects<F, E>,
    ) -> bool {
        let position = self.end();
        let follows_header = (info.header || self.header.is_some()) && self.note_header(&info);
        let delta = info.delta | follows_header;
        let start = info.start.unwrap_or(self.end_time);
        self.end_time = info.end.unwrap_or(start);
        self.frames.push_back(Entry {
            frame,
            lost: info.lost(),
            delta,
            follows_header,
            arrived: now,
            bytes_before: self.bytes,
            start,
        });
        self.bytes += info.bytes;
        self.late.keeps_any() && self.keep_for_joiners(position, delta, effects)
    }

    /// A frame comes that has headers, or the one before had: true if it is the keyframe of those.
    fn note_header(&mut self, info: &FrameInfo) -> bool {
        let same_time = |header: Option<u64>| header.is_none() || header == info.pts;
        let follows = !info.delta && info.pts.is_some() && self.header.is_some_and(same_time);
        self.header = (info.header && !info.delta).then_some(info.pts);
        follows
    }

    /// The frame at `position` for a consumer: the only reference if all others need `others_need`
    /// or later ones.
    pub(super) fn hand_out(&mut self, position: u64, others_need: u64) -> Option<F>
    where
        F: Clone,
    {
        if position == self.base && others_need.min(self.late.needs_from()) > position {
            let entry = self.frames.pop_front()?;
            self.base += 1;
            return Some(entry.frame);
        }
        self.entry(position).map(|entry| entry.frame.clone())
    }

    /// Frees the frames before `needed`, the first that any consumer needs.
    #[inline(always)]
    pub(super) fn release_before(&mut self, needed: u64, effects: &mut Effects<F, E>) {
        let needed = needed.min(self.late.needs_from());
        while self.base < needed {
            let Some(entry) = self.frames.pop_front() else {
                break;
            };
            self.base += 1;
            effects.free_frame(entry.frame);
        }
    }

    // ---- events ----------------------------------------------------------------------------

    /// Sequence number of the next event.
    pub(super) fn event_end(&self) -> u64 {
        self.event_base + self.events.len() as u64
    }

    pub(super) fn event(&self, sequence: u64) -> Option<&Placed<E>> {
        self.events
            .get(sequence.checked_sub(self.event_base)? as usize)
    }

    pub(super) fn append_event(&mut self, event: E, effects: &mut Effects<F, E>) {
        if event.starts_format() {
            self.late.begin_format(effects);
            self.header = None;
        }
        let sequence = self.event_end();
        if event.is_sticky() {
            keep_sticky(&mut self.sticky, sequence, &event, effects);
        }
        self.events.push_back(Placed {
            at: self.end(),
            sequence,
            event,
        });
        if let Some(replay) = self.late.replay() {
            let first = (replay.next - self.event_base) as usize;
            replay.bound_events(self.events.range(first..), effects);
        }
    }

    /// Keeps a sticky event that takes effect at once, for frames that are kept too.
    pub(super) fn note_sticky(&mut self, event: &E, effects: &mut Effects<F, E>) {
        let sequence = self.event_end();
        keep_sticky(&mut self.sticky, sequence, event, effects);
        if let Some(replay) = self.late.replay() {
            keep_sticky(replay.sticky(), sequence, event, effects);
        }
    }

    /// Forgets what a flush makes void for late joiners.
    pub(super) fn flush(&mut self, effects: &mut Effects<F, E>) {
        let sticky = Arc::make_mut(&mut self.sticky);
        let void = sticky.extract_if(.., |(_, event)| !event.survives_flush());
        effects.extend(void.map(|(_, event)| event));
        self.forget_replay(effects);
    }

    /// Frees the events before `needed`, the first that any consumer needs.
    pub(super) fn release_events_before(&mut self, needed: u64, effects: &mut Effects<F, E>) {
        let needed = needed.min(self.late.needs_events_from());
        while self.event_base < needed {
            let Some(placed) = self.events.pop_front() else {
                break;
            };
            self.event_base += 1;
            effects.free_event(placed.event);
        }
    }

    // ---- for late joiners ------------------------------------------------------------------

    /// Where a consumer starts that gets nothing of what was published before.
    pub(super) fn start_live(&self) -> Start<E> {
        Start::new(self.end(), &self.sticky, self.event_end())
    }

    /// Where a late joiner starts.
    pub(super) fn start_replayed(&self) -> Start<E> {
        self.late.start().unwrap_or_else(|| self.start_live())
    }

    /// The end of the stream is in force: nothing has begun since.
    pub(super) fn has_ended(&self) -> bool {
        self.sticky.iter().any(|(_, event)| event.ends_stream())
    }

    /// What is kept for late joiners, in order: events each before the frame that they precede.
    pub(super) fn replay(&self) -> Vec<Kept<F, E>>
    where
        F: Clone,
    {
        let Some(start) = self.late.start() else {
            return Vec::new();
        };
        let Start {
            position,
            events,
            next,
        } = start;
        let later = (next..self.event_end()).filter_map(|sequence| self.event(sequence));
        let mut events = events.iter().chain(later).peekable();
        let mut kept = Vec::new();
        for position in position..self.end() {
            while let Some(placed) = events.next_if(|placed| placed.at <= position) {
                kept.push(Kept::Event(placed.event.clone()));
            }
            kept.extend(self.entry(position).map(|entry| Kept::Frame {
                frame: entry.frame.clone(),
                sequence: position,
                number: self.number(position),
                run: self.run,
                arrived: entry.arrived,
            }));
        }
        kept
    }

    /// First frame that must be kept although no consumer needs it.
    #[inline]
    pub(super) fn replayed_from(&self) -> u64 {
        self.late.needs_from()
    }

    /// The newest keyframe that is kept, of a coded stream, for a consumer that has had the events since:
    /// none if frames from there on need other ones, or the stream has ended.
    pub(super) fn kept_keyframe(&self) -> Option<u64> {
        self.late
            .keyframe(|next| self.events.range((next - self.event_base) as usize..))
    }

    /// The frame at `position` was appended; true if the group of pictures is too long to be kept.
    fn keep_for_joiners(
        &mut self,
        position: u64,
        delta: bool,
        effects: &mut Effects<F, E>,
    ) -> bool {
        if delta {
            return self.late.note_delta(self.end(), effects);
        }
        let (sticky, next) = (self.sticky.clone(), self.event_end());
        self.late.begin(position, sticky, next, effects);
        false
    }

    /// Frames kept for late joiners from now on; true if those that are kept were too many.
    pub(super) fn set_replay_capacity(
        &mut self,
        capacity: u64,
        effects: &mut Effects<F, E>,
    ) -> bool {
        self.late.set_capacity(capacity, self.end(), effects)
    }

    pub(super) fn replay_capacity(&self) -> u64 {
        self.late.capacity()
    }

    pub(super) fn forget_replay(&mut self, effects: &mut Effects<F, E>) {
        self.late.release(effects);
        self.header = None;
    }

    /// The stream goes on, but a late joiner begins with the next keyframe.
    pub(super) fn release_replay(&mut self, effects: &mut Effects<F, E>) {
        self.late.release(effects);
    }

    /// Back to an empty log at position zero; the settings stay.
    pub(super) fn reset(&mut self) -> Self {
        let empty = Self {
            run: self.run + 1,
            origin: self.number(self.end()),
            ..Self::with_capacity(self.late.capacity())
        };
        std::mem::replace(self, empty)
    }
}

/// Puts a sticky event in its place among the others, instead of those that it makes void.
fn keep_sticky<E: Event>(
    sticky: &mut Sticky<E>,
    sequence: u64,
    event: &E,
    gone: &mut impl Extend<E>,
) {
    let sticky = Arc::make_mut(sticky);
    let replaced = sticky.extract_if(.., |(_, older)| event.replaces(older) || event.voids(older));
    gone.extend(replaced.map(|(_, event)| event));
    let at = sticky.partition_point(|(_, other)| other.order() <= event.order());
    sticky.insert(at, (sequence, event.clone()));
}
