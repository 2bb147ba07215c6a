// SPDX-License-Identifier: MPL-2.0
//! Consumers in this process, as the element sees them: pads that no branch's thread takes from.

use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::as_sink::LastCall;
use super::consumers::Refusal;
use super::output::flagged;
use super::props::PadSettings;
use super::{CAT, DroneTee, DroneTeePad, Item, now};
use crate::facts::{ConsumerHealth, Health};
use crate::fanout::{ConsumerId, Done, Stamp, Taken, Totals};

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

/// The place of one receiver in the stream.
#[derive(Debug)]
pub(crate) struct Place {
    tee: DroneTee,
    pad: DroneTeePad,
    id: ConsumerId,
    last_call: LastCall,
}

impl Place {
    /// What to take with before the first session.
    pub(crate) fn joined(&self) -> Stamp {
        self.id.joined()
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
        let tee = self.tee.imp();
        let taken = match finished {
            Some(done) => tee
                .stream
                .finish_and_take(self.id, done, session, at, waker),
            None => tee.stream.take(self.id, session, at, waker),
        };
        match taken {
            Taken::Frame(mut taken) => {
                taken.frame = flagged(taken.frame, taken.discont);
                return Taken::Frame(taken);
            }
            Taken::Event(Item::Event(ref event), _) if event.type_() == gst::EventType::Eos => {
                tee.as_sink.handed(self.id, event);
            }
            Taken::Evicted => tee.as_sink.look_again(),
            _ => {}
        }
        taken
    }

    /// The frame in flight is done with, and nothing more is taken.
    pub(crate) fn finish(&self, done: Done) {
        self.tee.imp().stream.finish(self.id, done, now());
    }

    /// How long a frame waited, and was in flight; ns.
    pub(crate) fn record(&self, session: Stamp, waited: u64, service: u64) {
        self.pad.imp().record(session, waited, service);
    }

    /// Releases the pad, if the application has not done so.
    pub(crate) fn leave(&self) {
        self.tee.imp().remove_consumer(&self.pad);
        // A handler of the application's may have released it before it had joined.
        self.tee.imp().receiver_leaves(self.id);
    }
}

impl DroneTee {
    /// A pad `src_<name>` whose consumer is called `name`, for the application itself.
    pub(crate) fn add_receiver(
        &self,
        name: &str,
        limits: ReceiverLimits,
    ) -> Result<Place, Refusal> {
        let not_added = |why: &'static str| move || Refusal::NotAdded(glib::bool_error!("{why}"));
        let templ = self.pad_template("src_%s");
        let templ = templ.ok_or_else(not_added("There is no template for it"))?;
        let settings = PadSettings {
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
        let id = pad.imp().id();
        let id = id.ok_or_else(not_added("It has no consumer"))?;
        let last_call = LastCall::default();
        self.imp().receiver_joins(id, last_call.clone());
        Ok(Place {
            tee: self.clone(),
            pad,
            id,
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
