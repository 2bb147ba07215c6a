// SPDX-License-Identifier: MPL-2.0
//! The pad of a consumer in this process: like any other, but no branch's thread takes from it.

use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::as_sink::LastCall;
use super::consumers::Refusal;
use super::output::flagged;
use super::{CAT, DroneTee, DroneTeePad, Item, now};
use crate::facts::{ConsumerHealth, Health};
use crate::fanout::{ConsumerId, Done, Outcome, Stamp, Taken, Totals};

/// Takes from the queue of a pad that has no branch.
#[derive(Debug)]
pub(crate) struct ReceiverPad {
    tee: DroneTee,
    pad: DroneTeePad,
    last_call: LastCall,
}

fn delivered(stamp: Stamp) -> Done {
    Done {
        stamp,
        outcome: Outcome::Delivered,
        flow: 0,
    }
}

impl ReceiverPad {
    /// What to take with before the first session.
    pub(crate) fn joined(&self) -> Stamp {
        self.pad
            .imp()
            .id()
            .map(ConsumerId::joined)
            .unwrap_or_default()
    }

    /// The next thing; the frame before, if `finished`, is done with.
    pub(crate) fn take(
        &self,
        finished: Option<Stamp>,
        session: Stamp,
        at: u64,
        waker: &mut Option<Waker>,
    ) -> Taken<gst::Buffer, Item> {
        let Some(id) = self.pad.imp().id() else {
            return Taken::Closed(session);
        };
        self.last_call.store(at, Ordering::Relaxed);
        let stream = &self.tee.imp().stream;
        let taken = match finished {
            Some(stamp) => stream.finish_and_take(id, delivered(stamp), session, at, waker),
            None => stream.take(id, session, at, waker),
        };
        let as_sink = &self.tee.imp().as_sink;
        match taken {
            Taken::Frame(mut taken) => {
                taken.frame = flagged(taken.frame, taken.discont);
                return Taken::Frame(taken);
            }
            Taken::Event(Item::Event(ref event), _) if event.type_() == gst::EventType::Eos => {
                as_sink.handed(id, event);
            }
            Taken::Evicted => as_sink.look_again(),
            _ => {}
        }
        taken
    }

    /// The frame in flight is done with.
    pub(crate) fn finish(&self, stamp: Stamp) {
        if let Some(id) = self.pad.imp().id() {
            self.tee.imp().stream.finish(id, delivered(stamp), now());
        }
    }

    pub(crate) fn record(&self, stamp: Stamp, waited: u64, service: u64) {
        self.pad.imp().record(stamp, waited, service);
    }

    pub(crate) fn consumer(&self) -> String {
        self.pad.imp().consumer()
    }

    pub(crate) fn release(&self) {
        self.tee.imp().remove_consumer(&self.pad);
        // The application may have released it before it had joined.
        if let Some(id) = self.pad.imp().id() {
            self.tee.imp().receiver_leaves(id);
        }
    }
}

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

/// Limits of a receiver's own, as the pad's properties of these names.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReceiverLimits {
    /// Frames, [`MAX_DEPTH`](super::MAX_DEPTH) at most; zero: the element's.
    pub(crate) depth: u32,
    /// ns.
    pub(crate) max_age: u64,
    /// Frames.
    pub(crate) max_lag: u64,
}

impl DroneTee {
    /// A pad `src_<name>` whose consumer is called `name`, for the application itself.
    pub(crate) fn add_receiver(
        &self,
        name: &str,
        limits: ReceiverLimits,
    ) -> Result<ReceiverPad, Refusal> {
        let no_template = || Refusal::NotAdded(glib::bool_error!("There is no template for it"));
        let templ = self.pad_template("src_%s").ok_or_else(no_template)?;
        let settings = super::props::PadSettings {
            // Also where a pad's number would not be called so.
            consumer: Some(name.to_owned()),
            depth: limits.depth,
            max_age: limits.max_age,
            max_lag: limits.max_lag,
            ..Default::default()
        };
        let pad_name = format!("src_{name}");
        let pad = self
            .imp()
            .add_consumer(&templ, Some(&pad_name), Some(settings))?;
        let last_call = LastCall::default();
        if let Some(id) = pad.imp().id() {
            self.imp().receiver_joins(id, last_call.clone());
        }
        Ok(ReceiverPad {
            tee: self.clone(),
            pad,
            last_call,
        })
    }

    pub(crate) fn totals(&self) -> Totals {
        self.imp().stream.totals(now())
    }

    pub(crate) fn health(&self) -> Health {
        let pads = self.consumers();
        let (totals, snapshots) = self.imp().stream.snapshot(now());
        let consumers = snapshots.into_iter().map(|snapshot| {
            let mut p99 = [0; 2];
            if let Some(pad) = pads.iter().find(|pad| pad.imp().id() == Some(snapshot.id)) {
                pad.imp().with_timings(|timings| p99 = timings.p99());
            }
            ConsumerHealth {
                consumer: snapshot.label.consumer.clone(),
                state: snapshot.state,
                ledger: snapshot.ledger,
                wait_p99: Duration::from_nanos(p99[0]),
                service_p99: Duration::from_nanos(p99[1]),
                in_flight_for: Duration::from_nanos(snapshot.in_flight_for),
            }
        });
        Health {
            published: totals.published,
            bytes: totals.bytes,
            dropped: totals.dropped,
            frame_rate: totals.frame_rate,
            bitrate: totals.bitrate,
            last_frame_age: totals.last_frame_age.map(Duration::from_nanos),
            consumers: consumers.collect(),
        }
    }
}
