// SPDX-License-Identifier: MPL-2.0
//! What goes on the bus.

use glib::prelude::*;
use glib::translate::IntoGlib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::{CAT, Label, Snapshot, imp};
use crate::facts::State;
use crate::fanout::{DropNotice, Notice};

impl imp::DroneTee {
    pub(super) fn post(&self, notice: Notice<Label>) {
        match notice {
            Notice::Drop(notice) => self.post_drop(&notice),
            Notice::State {
                label,
                state,
                previous,
                flow,
                in_flight_for,
            } => {
                gst::info!(
                    CAT,
                    imp = self,
                    "{}: {} → {}",
                    label.consumer,
                    previous.name(),
                    state.name()
                );
                let message = gst::Structure::builder("dronetee-consumer")
                    .field("consumer", &label.consumer)
                    .field("pad", &label.pad)
                    .field("state", state.name())
                    .field("previous", previous.name())
                    .field("flow", flow_name(flow))
                    .field("in-flight-for", in_flight_for)
                    .build();
                self.post_structure(message);
                self.notify_state(&label, state, previous);
            }
            Notice::Summary(snapshot) => self.post_summary(&snapshot),
            Notice::EventsDropped { label } => gst::warning!(
                CAT,
                imp = self,
                "Too many events wait for {}: the oldest are dropped",
                label.consumer
            ),
            Notice::GopTruncated { capacity } => {
                let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
                self.post_structure(
                    gst::Structure::builder("dronetee-gop-truncated")
                        .field("capacity", capacity)
                        .build(),
                );
            }
        }
    }

    fn post_drop(&self, notice: &DropNotice<Label>) {
        let settings = self.settings();
        let DropNotice {
            label,
            ledger,
            lost,
            ..
        } = notice;
        if let Some(count) = notice.count {
            let none = u64::MAX;
            let message = gst::Structure::builder("dronetee-drop")
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
                .build();
            self.post_structure(message);
        }
        let Some(pad) = label.pad() else {
            return;
        };
        if settings.qos_messages {
            let time = |ns: Option<u64>| ns.map(gst::ClockTime::from_nseconds);
            let message = gst::message::Qos::builder(true)
                .src(&pad)
                .running_time_if_some(time(lost.running_time()))
                .timestamp_if_some(time(lost.pts()))
                .stats(
                    gst::format::Buffers::from_u64(ledger.frames_out),
                    gst::format::Buffers::from_u64(ledger.dropped.total()),
                )
                .build();
            self.post_message(message);
        }
        if !pad.imp().is_silent() {
            pad.notify("dropped");
        }
    }

    fn post_summary(&self, snapshot: &Snapshot) {
        let mut message = self.summary_of(snapshot);
        message.set_name("dronetee-summary");
        self.post_structure(message);
    }

    fn notify_state(&self, label: &Label, state: State, previous: State) {
        if let Some(pad) = label.pad() {
            pad.notify("state");
            if state.is_healthy() != previous.is_healthy() {
                pad.notify("is-healthy");
            }
        }
    }

    fn post_structure(&self, structure: gst::Structure) {
        let message = gst::message::Element::builder(structure)
            .src(&*self.obj())
            .build();
        self.post_message(message);
    }

    fn post_message(&self, message: gst::Message) {
        // Nobody listens without a bus.
        let _ = self.obj().post_message(message);
    }
}

/// The name of a flow return given by its number.
pub(super) fn flow_name(flow: i32) -> &'static str {
    known_flow(flow).1
}

pub(super) fn flow_from(flow: i32) -> gst::FlowReturn {
    known_flow(flow).0
}

/// Numbers without a name of their own are custom errors or successes.
fn known_flow(flow: i32) -> (gst::FlowReturn, &'static str) {
    let unnamed = match flow {
        1.. => (gst::FlowReturn::CustomSuccess, "custom-success"),
        _ => (gst::FlowReturn::CustomError, "custom-error"),
    };
    let named = |known: &(gst::FlowReturn, &str)| known.0.into_glib() == flow;
    FLOWS.into_iter().find(named).unwrap_or(unnamed)
}

const FLOWS: [(gst::FlowReturn, &str); 7] = [
    (gst::FlowReturn::Ok, "ok"),
    (gst::FlowReturn::NotLinked, "not-linked"),
    (gst::FlowReturn::Flushing, "flushing"),
    (gst::FlowReturn::Eos, "eos"),
    (gst::FlowReturn::NotNegotiated, "not-negotiated"),
    (gst::FlowReturn::Error, "error"),
    (gst::FlowReturn::NotSupported, "not-supported"),
];
