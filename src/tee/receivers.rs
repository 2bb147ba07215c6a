// SPDX-License-Identifier: MPL-2.0
//! Consumers in this process, as the element sees them: pads that no branch's thread takes from.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::as_sink::BinSide;
use super::output::{Member, flagged};
use super::props::PadSettings;
use super::role::LastCall;
use super::stats::consumer_health;
use super::{CAT, DroneTee, DroneTeePad, Item, Stream, now};
use crate::facts::{CloseReason, ConsumerHealth};
use crate::fanout::{ConsumerId, Done, Kept, Stamp, Taken};

/// The application takes from this pad itself: no element can be linked to it.
///
/// Helpers of GStreamer's that look for a free pad pass it over before they come here, because its
/// caps are EMPTY.
pub(super) fn refuse_link(
    pad: &DroneTeePad,
    _parent: Option<&gst::Object>,
    peer: &gst::Pad,
) -> Result<gst::PadLinkSuccess, gst::PadLinkError> {
    gst::warning!(
        CAT,
        obj = pad,
        "No link to '{}': a receiver has this pad",
        peer.name()
    );
    Err(gst::PadLinkError::Refused)
}

/// Settings of a receiver's own, as the pad's properties of these names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiverLimits {
    /// Frames, [`MAX_DEPTH`](super::MAX_DEPTH) at most; zero: the element's.
    pub(crate) depth: u32,
    pub(crate) max_size_bytes: u32,
    /// ns.
    pub(crate) max_size_time: u64,
    /// ns.
    pub(crate) max_age: u64,
    /// Frames.
    pub(crate) max_lag: u64,
    /// It joins with the frames that are kept for late joiners.
    pub(crate) replays: bool,
}

impl ReceiverLimits {
    /// Those of a receiver that is called `name`, also where a pad's number would not be called so.
    pub(super) fn settings(self, name: &str) -> PadSettings {
        PadSettings {
            consumer: Some(name.to_owned()),
            depth: self.depth,
            max_size_bytes: self.max_size_bytes,
            max_size_time: self.max_size_time,
            max_age: self.max_age,
            max_lag: self.max_lag,
            replays: self.replays,
            ..Default::default()
        }
    }
}

/// The field of an EOS event that says why the application has ended the stream.
const CLOSED_FOR: &str = "dronetee-close-reason";

/// The end of a stream that the application closes.
pub(super) fn closing_event(reason: CloseReason) -> gst::Event {
    gst::event::Eos::builder()
        .other_field(CLOSED_FOR, reason.name())
        .build()
}

/// Why the stream ends by this EOS event.
pub(crate) fn reason_of(end: &gst::EventRef) -> CloseReason {
    let said = end
        .structure()
        .and_then(|said| said.get::<&str>(CLOSED_FOR).ok());
    said.and_then(CloseReason::from_name)
        .unwrap_or(CloseReason::Eos)
}

/// The place of one receiver in the stream; it keeps the element alive.
pub(crate) struct Place {
    pad: DroneTeePad,
    member: Arc<Member>,
    bin_side: Arc<BinSide>,
    last_call: LastCall,
    landed: Arc<AtomicU64>,
    leave: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Place").field(&self.pad).finish()
    }
}

impl Place {
    /// Of the receiver that the pad is for; `None` for the pad of a branch. `leave` keeps the element
    /// alive, and releases the pad.
    pub(super) fn new(
        tee: &DroneTee,
        pad: DroneTeePad,
        bin_side: &Arc<BinSide>,
        leave: impl Fn() + Send + Sync + 'static,
    ) -> Option<Self> {
        let member = pad.imp().member()?.clone();
        let last_call = LastCall::default();
        bin_side.join(tee, member.id, last_call.clone());
        Some(Self {
            landed: member.stream.landed(member.id).unwrap_or_default(),
            pad,
            member,
            bin_side: bin_side.clone(),
            last_call,
            leave: Box::new(leave),
        })
    }

    fn id(&self) -> ConsumerId {
        self.member.id
    }

    /// What to take with before the first session.
    pub(crate) fn joined(&self) -> Stamp {
        self.id().joined()
    }

    pub(crate) fn consumer(&self) -> String {
        self.pad.imp().consumer()
    }

    /// The next thing; the frame before, if there is one, is `finished`.
    pub(crate) fn take(
        &self,
        finished: Option<Done>,
        session: Stamp,
        at: u64,
        waker: &mut Option<Waker>,
    ) -> Taken<gst::Buffer, Item> {
        self.last_call.store(at, Ordering::Relaxed);
        let (stream, id) = (&self.member.stream, self.id());
        let taken = match finished {
            Some(done) => stream.finish_and_take(id, done, session, at, waker),
            None => stream.take(id, session, at, waker),
        };
        match taken {
            Taken::Frame(mut taken) => {
                taken.frame = flagged(taken.frame, taken.discont);
                return Taken::Frame(taken);
            }
            Taken::Event(Item::Event(ref event), _) if event.type_() == gst::EventType::Eos => {
                self.bin_side.handed(id, event);
            }
            Taken::Evicted => self.bin_side.look_again(),
            _ => {}
        }
        taken
    }

    /// The frame in flight is done with, and nothing more is taken.
    pub(crate) fn finish(&self, done: Done) {
        self.member.stream.finish(self.id(), done, now());
    }

    /// What shows, as long as it lives, that the frame of this number is out.
    pub(crate) fn handle(&self, number: u64) -> Arc<Handle> {
        Arc::new(Handle {
            stream: Arc::downgrade(&self.member.stream),
            number,
            landed: self.landed.clone(),
            kept: AtomicBool::new(false),
        })
    }

    /// How long a frame waited, and was in flight; ns.
    pub(crate) fn record(&self, session: Stamp, waited: u64, service: u64) {
        self.pad.imp().record(session, waited, service);
    }

    /// What became of its frames, and how it does, at one moment.
    pub(crate) fn health(&self) -> ConsumerHealth {
        let health = |snapshot| consumer_health(&snapshot, Some(&self.pad));
        self.pad.imp().snapshot().map(health).unwrap_or_default()
    }

    /// Why a session that is over is so: a release stops it first.
    pub(crate) fn why_closed(&self) -> CloseReason {
        match self.pad.imp().is_released() {
            true => CloseReason::Released,
            false => CloseReason::Stopped,
        }
    }

    /// A call to take in `session` would give something.
    pub(crate) fn has_news(&self, session: Stamp) -> bool {
        self.member.stream.has_news(self.id(), session)
    }

    /// Sets a property of the pad, which is there and of this type.
    pub(crate) fn set(&self, property: &str, value: impl Into<glib::Value>) {
        self.pad.set_property(property, value);
    }

    /// Releases the pad, if the application has not done so.
    pub(crate) fn leave(&self) {
        (self.leave)();
    }
}

/// What is kept for late joiners, each frame with what shows that it is out.
pub(crate) type Replayed = Vec<(Kept<gst::Buffer, Item>, Option<Arc<Handle>>)>;

/// A frame in the application's hands: all that the application made of it shares this.
#[derive(Debug)]
pub(crate) struct Handle {
    stream: Weak<Stream>,
    number: u64,
    landed: Arc<AtomicU64>,
    /// The receiver is done with the frame, the application is not.
    kept: AtomicBool,
}

impl Handle {
    /// Of a frame that is out, without a receiver.
    pub(super) fn of_kept(stream: &Arc<Stream>, number: u64) -> Arc<Self> {
        Arc::new(Self {
            stream: Arc::downgrade(stream),
            number,
            landed: Arc::default(),
            kept: AtomicBool::new(true),
        })
    }

    /// The receiver is done with the frame: if the application is not, that is noted until it is.
    pub(crate) fn finish(handle: &Weak<Self>) {
        // Holds it meanwhile: were the application's the last reference, it would tell too early.
        if let Some(handle) = handle.upgrade()
            && let Some(stream) = handle.stream.upgrade()
            && !handle.kept.swap(true, Ordering::AcqRel)
        {
            stream.keep(handle.number);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !*self.kept.get_mut() {
            self.landed.store(self.number, Ordering::Release);
        } else if let Some(stream) = self.stream.upgrade() {
            stream.unkeep(self.number, now());
        }
    }
}
