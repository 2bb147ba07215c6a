// SPDX-License-Identifier: MPL-2.0
//! Which life of the content comes up, which one takes frames, and which one is torn down: at most one
//! of each, and the next one comes up only when the old one is out of the way.

use std::sync::Arc;

use super::content::now;
use super::course::LifeId;
use super::life::{Life, Order};
use super::opening::{Frame, Opening};

/// A life that is being torn down.
#[derive(Clone)]
pub(super) struct Old {
    pub(super) life: Arc<Life>,
    /// When it will be left behind.
    pub(super) deadline: u64,
}

#[derive(Default)]
pub(super) struct Lives {
    /// The life that runs or comes up.
    newest: Option<Arc<Life>>,
    /// The life that takes frames: set when it may, cleared when it fails.
    route: Option<Arc<Life>>,
    /// Which frames the life that takes frames begins with.
    opening: Opening,
    old: Option<Old>,
    /// Where the content should be; `None` while the bin is not in PAUSED or PLAYING.
    order: Option<Order>,
    playing_since: Option<u64>,
}

impl Lives {
    pub(super) fn newest(&self) -> Option<&Arc<Life>> {
        self.newest.as_ref()
    }

    pub(super) fn route(&self) -> Option<&Arc<Life>> {
        self.route.as_ref()
    }

    pub(super) fn takes_frames(&self, life: LifeId) -> bool {
        self.route.as_ref().is_some_and(|route| route.id == life)
    }

    pub(super) fn playing_since(&self) -> Option<u64> {
        self.playing_since
    }

    /// The content has to follow.
    pub(super) fn follow(&mut self, order: Order) {
        let is_playing = order.state == gst::State::Playing;
        self.order = Some(order);
        self.playing_since = is_playing.then(|| self.playing_since.unwrap_or_else(now));
        if let Some(life) = &self.newest {
            life.order(order);
        }
    }

    /// There are no orders until the next start.
    pub(super) fn halt(&mut self) {
        self.order = None;
        self.playing_since = None;
    }

    pub(super) fn begin(&mut self, life: Arc<Life>) {
        if let Some(order) = self.order {
            life.order(order);
        }
        self.newest = Some(life);
    }

    /// From now on `life` takes frames.
    pub(super) fn open(&mut self, life: &Arc<Life>) {
        self.route = Some(life.clone());
        self.reopen();
    }

    /// The next frame is the first of its kind again.
    pub(super) fn reopen(&mut self) {
        self.opening = Opening::default();
    }

    pub(super) fn admits(&mut self, frame: &Frame) -> bool {
        self.opening.admits(frame)
    }

    /// The life that runs or comes up ends: upstream is released, the content is torn down. It may
    /// take `patience`. False if there is none.
    pub(super) fn end(&mut self, patience: u64) -> bool {
        self.route = None;
        let Some(life) = self.newest.take() else {
            return false;
        };
        life.end();
        let deadline = now().saturating_add(patience).saturating_add(life.grace());
        self.old = Some(Old { life, deadline });
        true
    }

    pub(super) fn old(&self) -> Option<&Old> {
        self.old.as_ref()
    }

    /// The old life, if it is this one, is out of the way. Returned to be freed after unlocking.
    pub(super) fn take_old(&mut self, id: LifeId) -> Option<Old> {
        self.old.take_if(|old| old.life.id == id)
    }
}
