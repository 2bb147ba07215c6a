// SPDX-License-Identifier: MPL-2.0
//! The one log that all consumers read: frames and events by position, and who still needs them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Event, FrameInfo, events::Backlog, later::Later};

/// A frame in the log.
pub(super) struct Entry<F> {
    pub(super) frame: F,
    pub(super) info: FrameInfo,
    /// A keyframe, but of little use without the frame before it, its headers.
    pub(super) follows_header: bool,
    /// When it was published, monotonic ns.
    pub(super) arrived: u64,
    /// Bytes of all frames before it; levels are differences of these.
    bytes_before: u64,
    /// Running time at which it starts, ns.
    start: u64,
}

/// Where the frames kept for late joiners begin.
pub(super) struct GopStart<E> {
    position: u64,
    /// The sticky events in force at `position`.
    sticky: Arc<Vec<E>>,
    /// Those after it that were too many to stay in the log.
    events: Backlog<E>,
    /// Sequence number of the first event after these.
    event: u64,
}

/// Where a consumer starts to read.
pub(super) struct Start<E> {
    pub(super) position: u64,
    /// Events that come first, with the position of the frame that they precede.
    pub(super) events: Vec<(u64, E)>,
    /// Sequence number of the first event after these.
    pub(super) event: u64,
}

impl<E: Event> Start<E> {
    fn new(position: u64, sticky: &[E], event: u64) -> Self {
        let events = sticky.iter().map(|event| (position, event.clone()));
        Self {
            position,
            events: events.collect(),
            event,
        }
    }
}

pub(super) struct Log<F, E> {
    /// Position of the first frame that is kept. Positions count published frames from zero.
    base: u64,
    frames: VecDeque<Entry<F>>,
    bytes: u64,
    end_time: u64,
    /// The newest frame has headers and no reference: its time, if it has one.
    header: Option<Option<u64>>,
    /// Sequence number of the first event that is kept.
    event_base: u64,
    /// Events with the position of the frame that they precede.
    events: VecDeque<(u64, E)>,
    /// What a late joiner must know.
    sticky: Arc<Vec<E>>,
    gop: Option<GopStart<E>>,
    gop_capacity: u64,
}

impl<F, E: Event> Log<F, E> {
    pub(super) fn new() -> Self {
        Self {
            base: 0,
            frames: VecDeque::new(),
            bytes: 0,
            end_time: 0,
            header: None,
            event_base: 0,
            events: VecDeque::new(),
            sticky: Arc::default(),
            gop: None,
            gop_capacity: 0,
        }
    }

    /// Position after the newest frame: also the number of frames published.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.base + self.frames.len() as u64
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn event_end(&self) -> u64 {
        self.event_base + self.events.len() as u64
    }

    /// The frame at `position`, which some window must still hold.
    #[inline]
    pub(super) fn entry(&self, position: u64) -> Option<&Entry<F>> {
        self.frames.get(position.checked_sub(self.base)? as usize)
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

    /// Appends a frame; true when this made the group of pictures too long for the cache.
    #[inline]
    pub(super) fn append(
        &mut self,
        frame: F,
        mut info: FrameInfo,
        now: u64,
        later: &mut Later<F, E>,
    ) -> bool {
        let position = self.end();
        let follows_header = self.follows_header(&info);
        self.header = (info.header && !info.delta).then_some(info.pts);
        info.delta |= follows_header;
        let start = info.start.unwrap_or(self.end_time);
        self.end_time = info.end.unwrap_or(start);
        self.frames.push_back(Entry {
            frame,
            info,
            follows_header,
            arrived: now,
            bytes_before: self.bytes,
            start,
        });
        self.bytes += info.bytes;
        self.gop_capacity != 0 && self.keep_gop(position, info.delta, later)
    }

    #[inline]
    fn follows_header(&self, info: &FrameInfo) -> bool {
        let same_time = |header: Option<u64>| header.is_none() || header == info.pts;
        !info.delta && info.pts.is_some() && self.header.is_some_and(same_time)
    }

    fn keep_gop(&mut self, position: u64, delta: bool, later: &mut Later<F, E>) -> bool {
        if !delta {
            let start = GopStart {
                position,
                sticky: self.sticky.clone(),
                events: Backlog::new(),
                event: self.event_end(),
            };
            later.free_gops.extend(self.gop.replace(start));
            return false;
        }
        self.shorten_gop(later)
    }

    /// Gives the cache up if it holds too many frames; true if it did.
    fn shorten_gop(&mut self, later: &mut Later<F, E>) -> bool {
        let (end, capacity) = (self.end(), self.gop_capacity);
        let gop = self.gop.take_if(|gop| end - gop.position > capacity);
        let is_too_long = gop.is_some();
        later.free_gops.extend(gop);
        is_too_long
    }

    /// Frames kept for late joiners from now on; true if those that are kept were too many.
    pub(super) fn set_gop_capacity(&mut self, capacity: u64, later: &mut Later<F, E>) -> bool {
        self.gop_capacity = capacity;
        self.shorten_gop(later) && capacity != 0
    }

    pub(super) fn gop_capacity(&self) -> u64 {
        self.gop_capacity
    }

    pub(super) fn forget_gop(&mut self, later: &mut Later<F, E>) {
        later.free_gops.extend(self.gop.take());
        self.header = None;
    }

    pub(super) fn append_event(&mut self, event: E, later: &mut Later<F, E>) {
        if event.starts_format() {
            self.forget_gop(later);
        }
        if event.is_sticky() {
            let sticky = Arc::make_mut(&mut self.sticky);
            let replaced =
                sticky.extract_if(.., |older| event.replaces(older) || event.voids(older));
            later.free_events.extend(replaced);
            let at = sticky.partition_point(|other| other.order() <= event.order());
            sticky.insert(at, event.clone());
        }
        self.events.push_back((self.end(), event));
        let end = self.event_end();
        if let Some(gop) = &mut self.gop
            && gop.events.is_full((end - gop.event) as usize)
        {
            let first = (gop.event - self.event_base) as usize;
            for (position, event) in self.events.iter().skip(first) {
                gop.events.push(*position, event.clone());
            }
            gop.event = end;
            gop.events.thin_out(gop.position, &mut later.free_events);
        }
    }

    /// Forgets what a flush makes void for late joiners.
    pub(super) fn flush_sticky(&mut self, later: &mut Later<F, E>) {
        let sticky = Arc::make_mut(&mut self.sticky);
        let void = sticky.extract_if(.., |event| !event.survives_flush());
        later.free_events.extend(void);
        self.forget_gop(later);
    }

    /// Back to an empty log at position zero; the settings stay.
    pub(super) fn reset(&mut self) -> Self {
        let mut empty = Self::new();
        empty.gop_capacity = self.gop_capacity;
        std::mem::replace(self, empty)
    }

    /// Sequence number, position and text of the event `sequence`, if it is kept.
    pub(super) fn event(&self, sequence: u64) -> Option<&(u64, E)> {
        self.events
            .get(sequence.checked_sub(self.event_base)? as usize)
    }

    /// Where a consumer that joins now starts.
    pub(super) fn start_live(&self) -> Start<E> {
        Start::new(self.end(), &self.sticky, self.event_end())
    }

    /// Where a consumer that joins now starts if it may have the cached frames first.
    pub(super) fn start_cached(&self) -> Start<E> {
        match &self.gop {
            Some(gop) => {
                let mut start = Start::new(gop.position, &gop.sticky, gop.event);
                start.events.extend(gop.events.iter().cloned());
                start
            }
            None => self.start_live(),
        }
    }

    /// First frame that must be kept although no consumer needs it.
    #[inline]
    fn cache_start(&self) -> u64 {
        self.gop.as_ref().map_or(u64::MAX, |gop| gop.position)
    }

    /// Frees the frames before `needed`, the first that any consumer needs.
    #[inline]
    pub(super) fn release_before(&mut self, needed: u64, later: &mut Later<F, E>) {
        let needed = needed.min(self.cache_start());
        while self.base < needed {
            let Some(entry) = self.frames.pop_front() else {
                break;
            };
            self.base += 1;
            later.free.push(entry.frame);
        }
    }

    /// The oldest frame itself if nobody but its taker needs it: `needed` is what the others need.
    pub(super) fn take_oldest(&mut self, needed: u64) -> Option<F> {
        if needed.min(self.cache_start()) <= self.base {
            return None;
        }
        let entry = self.frames.pop_front()?;
        self.base += 1;
        Some(entry.frame)
    }

    /// Forgets the events before `needed`, the first that any consumer needs.
    pub(super) fn release_events_before(&mut self, needed: u64, later: &mut Later<F, E>) {
        let needed = needed.min(self.gop.as_ref().map_or(u64::MAX, |gop| gop.event));
        while self.event_base < needed {
            let Some((_, event)) = self.events.pop_front() else {
                break;
            };
            self.event_base += 1;
            later.free_events.push(event);
        }
    }
}
