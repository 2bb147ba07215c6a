// SPDX-License-Identifier: MPL-2.0
//! What waits for a guest, and how much may.

use super::tray::{Dish, Item, Tray};
use crate::facts::DropReason;
use crate::fanout::Limits;

/// How many dishes, and their bytes and time.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    count: u64,
    bytes: u64,
    time: u64,
}

#[derive(Debug)]
pub(super) struct Portion {
    pub(super) tray: Tray,
    pub(super) limits: Limits,
    /// So much may wait beyond the limits, as the guest has not caught up yet.
    grace: Size,
    /// When the newest frame of the stream ends.
    pub(super) end_time: u64,
    /// The guest has had all that is of use of the frames before this one.
    pub(super) had: u64,
}

impl Portion {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            tray: Tray::new(),
            limits,
            grace: Size::default(),
            end_time: 0,
            had: 0,
        }
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = &Dish> {
        self.tray.iter().filter_map(Item::frame)
    }

    pub(super) fn level(&self) -> u64 {
        self.frames().count() as u64
    }

    pub(super) fn oldest(&self) -> Option<Dish> {
        self.frames().next().copied()
    }

    fn size(&self) -> Size {
        let start = self.oldest().map(|oldest| oldest.info.start.unwrap_or(0));
        Size {
            count: self.level(),
            bytes: self.frames().map(|frame| frame.info.bytes).sum(),
            time: start.map_or(0, |start| self.end_time.saturating_sub(start)),
        }
    }

    /// Takes the oldest dishes away; how many there were.
    pub(super) fn clear_oldest(&mut self, count: u64) -> u64 {
        let mut left = count;
        self.tray.retain(|item| {
            let goes = left > 0 && item.frame().is_some();
            left -= u64::from(goes);
            !goes
        });
        self.note_eaten();
        count - left
    }

    /// Something was taken away: no more is over than waits.
    pub(super) fn note_eaten(&mut self) {
        let Size { count, bytes, time } = self.size();
        self.grace.count = self.grace.count.min(count);
        self.grace.bytes = self.grace.bytes.min(bytes);
        self.grace.time = self.grace.time.min(time);
    }

    /// All that waits now may.
    pub(super) fn allow_all(&mut self) {
        self.grace = self.size();
    }

    /// How many of the oldest have to go at least, and why.
    pub(super) fn surplus(&self, now: u64) -> Option<(u64, DropReason)> {
        let oldest = self.oldest()?;
        let Size { count, bytes, time } = self.size();
        let Limits { depth, max_age, .. } = self.limits;
        let over = |size, limit, grace| limit != 0 && size > limit + grace;
        if max_age != 0 && now - oldest.arrived > max_age {
            return Some((1, DropReason::Stale));
        }
        if count > depth + self.grace.count {
            return Some((count - depth - self.grace.count, DropReason::Slow));
        }
        let is_too_big = over(bytes, self.limits.bytes, self.grace.bytes)
            || over(time, self.limits.time, self.grace.time);
        (count > self.grace.count + 1 && is_too_big).then_some((1, DropReason::Slow))
    }

    /// Frames went for `reason`: of those that a slow guest loses, each takes its part of the grace with it.
    pub(super) fn pay(&mut self, reason: DropReason) {
        let Size { count, bytes, time } = self.grace;
        if reason == DropReason::Slow && count > 0 {
            self.grace = Size {
                count: count - 1,
                bytes: bytes - bytes / count,
                time: time - time / count,
            };
        }
        if self.grace.count == 0 {
            self.grace = Size::default();
        }
    }
}
