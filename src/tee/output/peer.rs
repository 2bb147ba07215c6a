// SPDX-License-Identifier: MPL-2.0
//! The branch that is linked now, and all that is known of it: another link, another [`Peer`].
//!
//! | link | `sync` (any thread) finds | `linked` | RECONFIGURE | `unlinked` |
//! | --- | --- | --- | --- | --- |
//! | none | a peer: unannounced | expecting | none | none |
//! | unannounced | another peer: unannounced | expecting | linked | none |
//! | expecting | another peer: unannounced | expecting, a new peer | linked | none |
//! | linked | another peer: unannounced | expecting, a new peer | linked, news | none |
//!
//! A link is visible before GStreamer tells of it (`linked`): the thread that is first to see it, the
//! branch's own or the one that links, makes the [`Peer`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::around::Lane;
use crate::tee::lock;
use crate::tee::negotiation::allocation::Offer;

/// What hangs behind the pad, from its link to its unlink.
#[derive(Default)]
pub(in crate::tee) struct Peer {
    /// None while there is no link. Weak: a link does not keep its peer alive.
    pad: Option<glib::WeakRef<gst::Pad>>,
    /// FLUSH_START, and each FLUSH_STOP that the thread which brought it could not deliver.
    pub(in crate::tee) flush: Lane,
    /// FLUSH_STOPs that were sent to it.
    flushes: AtomicU32,
    pub(in crate::tee) out_of_band: Lane,
    /// Queries that the branch was asked and is waited for no longer.
    pub(in crate::tee) overdue: Arc<AtomicU32>,
    /// A frame was pushed to it; set by the branch's thread, which clears it if the first frame's format
    /// was refused.
    reached: AtomicBool,
    /// What it last answered to ALLOCATION.
    offer: Mutex<Option<Offer>>,
    /// The pipeline's latency that its sinks were told, until it is compared with the queue's depth.
    latency: Mutex<Option<gst::ClockTime>>,
}

impl Peer {
    fn of(pad: &gst::Pad) -> Self {
        Self {
            pad: Some(pad.downgrade()),
            ..Self::default()
        }
    }

    fn is(&self, pad: Option<&gst::Pad>) -> bool {
        match (&self.pad, pad) {
            (None, None) => true,
            (Some(_), Some(pad)) => self.pad().as_ref() == Some(pad),
            _ => false,
        }
    }

    fn pad(&self) -> Option<gst::Pad> {
        self.pad.as_ref()?.upgrade()
    }

    pub(in crate::tee) fn is_linked(&self) -> bool {
        self.pad.is_some()
    }

    /// A frame is pushed to it; true if it is the first one.
    pub(in crate::tee) fn note_frame(&self) -> bool {
        !self.reached.swap(true, Ordering::Relaxed)
    }

    /// It refused the format of the first frame, and so has none.
    pub(in crate::tee) fn note_refusal(&self) {
        self.reached.store(false, Ordering::Relaxed);
    }

    /// Whether a frame was pushed to it, which it may still hold.
    pub(in crate::tee) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    pub(in crate::tee) fn note_flush(&self) {
        self.flushes.fetch_add(1, Ordering::AcqRel);
    }

    pub(in crate::tee) fn flushes(&self) -> u32 {
        self.flushes.load(Ordering::Acquire)
    }

    pub(in crate::tee) fn remember_offer(&self, offer: Offer) {
        *lock(&self.offer) = Some(offer);
    }

    pub(in crate::tee) fn last_offer(&self) -> Option<Offer> {
        lock(&self.offer).clone()
    }

    pub(in crate::tee) fn note_latency(&self, latency: gst::ClockTime) {
        *lock(&self.latency) = Some(latency);
    }

    pub(in crate::tee) fn take_latency(&self) -> Option<gst::ClockTime> {
        lock(&self.latency).take()
    }

    /// Nothing more goes to it; returns what was on its way.
    fn abandon(&self) -> [VecDeque<gst::Event>; 2] {
        [self.flush.abandon(), self.out_of_band.abandon()]
    }
}

/// How far GStreamer has told of the link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Link {
    #[default]
    None,
    /// It was seen, `linked` has not come.
    Unannounced,
    /// `linked` has come, the RECONFIGURE of the link has not.
    ExpectingReconfigure,
    Linked,
}

/// The link of one src pad.
#[derive(Default)]
pub(in crate::tee) struct PeerSlot(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    link: Link,
    peer: Arc<Peer>,
}

impl Slot {
    /// GStreamer tells of the link to `pad`; true if that was seen before.
    fn announce(&mut self, pad: Option<&gst::Pad>) -> bool {
        let was_seen = self.link == Link::Unannounced && self.peer.is(pad);
        if was_seen {
            self.link = Link::ExpectingReconfigure;
        }
        was_seen
    }
}

impl PeerSlot {
    pub(in crate::tee) fn current(&self) -> Arc<Peer> {
        lock(&self.0).peer.clone()
    }

    /// The peer that `pad` is linked to now. For a new one `readmit` is called first, so that what the
    /// branch's thread took before is void when it finds the link.
    pub(in crate::tee) fn sync(
        &self,
        pad: &impl IsA<gst::Pad>,
        readmit: impl FnOnce(),
        start: impl FnOnce(&Lane),
    ) -> Arc<Peer> {
        let actual = pad.as_ref().peer();
        let current = self.current();
        if current.is(actual.as_ref()) {
            return current;
        }
        match &actual {
            Some(actual) => {
                readmit();
                self.replace(&current, Link::Unannounced, Peer::of(actual), start)
            }
            None => self.replace(&current, Link::None, Peer::default(), start),
        }
    }

    /// Puts `peer` in the place of the old one. The end of a flush that was on its way there is the pad's,
    /// which refuses frames until then: `start` has it delivered.
    /// Nothing if another thread has done so since the old one was `seen`; what is told of the link is
    /// then told of that thread's peer.
    fn replace(
        &self,
        seen: &Arc<Peer>,
        link: Link,
        mut peer: Peer,
        start: impl FnOnce(&Lane),
    ) -> Arc<Peer> {
        let mut slot = lock(&self.0);
        if !Arc::ptr_eq(&slot.peer, seen) {
            if link == Link::ExpectingReconfigure {
                slot.announce(peer.pad().as_ref());
            }
            return slot.peer.clone();
        }
        let mut left = slot.peer.abandon();
        let last = left[0].pop_back();
        let stop = last.filter(|event| event.type_() == gst::EventType::FlushStop);
        let has_stop = stop.is_some();
        if let Some(stop) = stop {
            peer.flush = Lane::holding(stop);
        }
        let peer = Arc::new(peer);
        *slot = Slot {
            link,
            peer: peer.clone(),
        };
        drop(slot);
        drop(left);
        if has_stop {
            start(&peer.flush);
        }
        peer
    }

    /// GStreamer tells of a link to `peer`; `readmit` as in [`sync`](Self::sync).
    pub(in crate::tee) fn linked(
        &self,
        peer: &gst::Pad,
        readmit: impl FnOnce(),
        start: impl FnOnce(&Lane),
    ) {
        let seen = {
            let mut slot = lock(&self.0);
            if slot.announce(Some(peer)) {
                return;
            }
            slot.peer.clone()
        };
        readmit();
        self.replace(&seen, Link::ExpectingReconfigure, Peer::of(peer), start);
    }

    /// GStreamer tells that `peer` is not linked any more; it may be, by a link made since.
    pub(in crate::tee) fn unlinked(
        &self,
        pad: &impl IsA<gst::Pad>,
        peer: &gst::Pad,
        start: impl FnOnce(&Lane),
    ) {
        let current = self.current();
        if current.is(Some(peer)) && pad.as_ref().peer().as_ref() != Some(peer) {
            self.replace(&current, Link::None, Peer::default(), start);
        }
    }

    /// RECONFIGURE came from the branch; false if it is only that of the link.
    pub(in crate::tee) fn reconfigure(&self) -> bool {
        let mut slot = lock(&self.0);
        let is_news = slot.link == Link::Linked;
        if slot.link != Link::None {
            slot.link = Link::Linked;
        }
        is_news
    }

    /// The element starts anew: nothing is known of the branch but its link.
    pub(in crate::tee) fn forget(&self) {
        let mut slot = lock(&self.0);
        let fresh = Arc::new(Peer {
            pad: slot.peer.pad.clone(),
            ..Peer::default()
        });
        let old = std::mem::replace(&mut slot.peer, fresh);
        drop(slot);
        drop(old.abandon());
    }
}
