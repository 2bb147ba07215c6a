// SPDX-License-Identifier: MPL-2.0
//! What goes on the bus.

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::flows::flow_name;
use super::pool;
use super::stats::summary;
use super::{CAT, DroneTee, DroneTeePad, Label};
use crate::facts::State;
use crate::fanout::{DropNotice, Notice};

/// Sends the messages, and notifies the properties, that a notice is about.
pub(super) fn post(element: &DroneTee, notice: Notice<Label>, qos_messages: impl FnOnce() -> bool) {
    match notice {
        Notice::Drop(notice) => post_drop(element, &notice, qos_messages()),
        Notice::State {
            label,
            state,
            previous,
            flow,
            in_flight_for,
        } => {
            let (was, is) = (previous.name(), state.name());
            gst::info!(CAT, obj = element, "{}: {was} → {is}", label.consumer);
            let message = gst::Structure::builder("dronetee-consumer")
                .field("consumer", &label.consumer)
                .field("pad", &label.pad)
                .field("state", is)
                .field("previous", was)
                .field("flow", flow_name(flow))
                .field("in-flight-for", in_flight_for)
                .build();
            post_structure(element, message);
            notify_state(&label, state, previous);
        }
        Notice::Summary(snapshot) => {
            let mut message = summary(&snapshot);
            message.set_name("dronetee-summary");
            post_structure(element, message);
        }
        Notice::EventsDropped { label } => gst::warning!(
            CAT,
            obj = element,
            "Too many events wait for {}: the oldest are dropped",
            label.consumer
        ),
        Notice::GopTruncated { capacity } => {
            let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
            let message = gst::Structure::builder("dronetee-gop-truncated")
                .field("capacity", capacity)
                .build();
            post_structure(element, message);
        }
        // Nothing to tell by messages.
        Notice::Mark(_) => {}
        Notice::MaxHeld(figures) => post_structure(element, pool::message(figures)),
        Notice::SmallPool(figures) => pool::warn(element, figures),
    }
}

fn post_drop(element: &DroneTee, notice: &DropNotice<Label>, qos_messages: bool) {
    if let Some(count) = notice.count {
        post_structure(element, drop_structure(notice, count));
    }
    let Some(pad) = notice.label.pad() else {
        return;
    };
    gst::info!(
        CAT,
        obj = pad,
        "{} lost frames ({}), {} so far",
        notice.label.consumer,
        notice.reason,
        notice.total
    );
    if qos_messages {
        post_message(element, qos_message(&pad, notice));
    }
    if !pad.imp().is_silent() {
        pad.notify("dropped");
    }
}

fn drop_structure(notice: &DropNotice<Label>, count: u64) -> gst::Structure {
    let (label, ledger, lost) = (&notice.label, &notice.ledger, &notice.lost);
    let none = u64::MAX;
    gst::Structure::builder("dronetee-drop")
        .field("consumer", &label.consumer)
        .field("pad", &label.pad)
        .field("reason", notice.reason.name())
        .field("tag", notice.reason.tag(&label.consumer))
        .field("count", count)
        .field("total", notice.total)
        .field("in", ledger.frames_in)
        .field("out", ledger.frames_out)
        .field("dropped", ledger.dropped.total())
        .field("timestamp", lost.pts().unwrap_or(none))
        .field("running-time", lost.running_time().unwrap_or(none))
        .build()
}

fn qos_message(pad: &DroneTeePad, notice: &DropNotice<Label>) -> gst::Message {
    let (ledger, lost) = (&notice.ledger, &notice.lost);
    let time = |ns: Option<u64>| ns.map(gst::ClockTime::from_nseconds);
    gst::message::Qos::builder(true)
        .src(pad)
        .running_time_if_some(time(lost.running_time()))
        .timestamp_if_some(time(lost.pts()))
        .stats(
            gst::format::Buffers::from_u64(ledger.frames_out),
            gst::format::Buffers::from_u64(ledger.dropped.total()),
        )
        .build()
}

fn notify_state(label: &Label, state: State, previous: State) {
    if let Some(pad) = label.pad() {
        pad.notify("state");
        if state.is_healthy() != previous.is_healthy() {
            pad.notify("is-healthy");
        }
    }
}

fn post_structure(element: &DroneTee, structure: gst::Structure) {
    let message = gst::message::Element::builder(structure)
        .src(element)
        .build();
    post_message(element, message);
}

fn post_message(element: &DroneTee, message: gst::Message) {
    // Without a bus the message is for no application.
    let _ = element.post_message(message);
}
