// SPDX-License-Identifier: MPL-2.0
//! The structures behind `stats`, and the same as plain data.

use std::time::Duration;

use glib::prelude::*;
use gst::subclass::prelude::*;

use super::flows::flow_name;
use super::input::Input;
use super::props::dropped_name;
use super::{DroneTeePad, Snapshot, Stream, now, saturated};
use crate::facts::{ConsumerHealth, DropReason, Health};

/// The ledger's part of a pad's `stats`.
fn ledger_stats(snapshot: &Snapshot) -> gst::Structure {
    let ledger = &snapshot.ledger;
    let mut stats = gst::Structure::builder("application/x-dronetee-pad-stats")
        .field("consumer", &snapshot.label.consumer)
        .field("pad", &snapshot.label.pad)
        .field("state", snapshot.state.name())
        .field("is-healthy", snapshot.state.is_healthy())
        .field("last-flow", flow_name(snapshot.flow))
        .field("in", ledger.frames_in)
        .field("out", ledger.frames_out)
        .field("in-flight", ledger.in_flight)
        .field("dropped", ledger.dropped.total())
        .field("current-level-buffers", saturated(ledger.waiting))
        .field("current-level-bytes", saturated(snapshot.bytes))
        .field("current-level-time", snapshot.time)
        .field("in-flight-for", snapshot.in_flight_for)
        .field("events-dropped", snapshot.events_dropped)
        .field("requested-keyframes", snapshot.requested_keyframes)
        .build();
    for reason in DropReason::ALL {
        stats.set(dropped_name(reason), ledger.dropped.get(reason));
    }
    stats
}

/// The `stats` of a pad.
pub(super) fn pad_stats(pad: &DroneTeePad, snapshot: &Snapshot) -> gst::Structure {
    let mut stats = ledger_stats(snapshot);
    pad.imp().with_timings(|timings| timings.put(&mut stats));
    let qos = pad.imp().qos();
    stats.set("qos-events", qos.events);
    stats.set("qos-proportion", qos.proportion);
    stats.set("qos-jitter", qos.jitter);
    stats
}

/// The `stats` of a pad that may have left by now.
pub(super) fn summary(snapshot: &Snapshot) -> gst::Structure {
    match snapshot.label.pad() {
        Some(pad) => pad_stats(&pad, snapshot),
        None => ledger_stats(snapshot),
    }
}

/// The `stats` of the element, all at one moment.
pub(super) fn element_stats(
    stream: &Stream,
    pads: &[DroneTeePad],
    input: &Input,
) -> gst::Structure {
    let losses = input.losses();
    let (totals, snapshots) = stream.snapshot(now());
    let consumers = snapshots.iter().filter_map(|snapshot| {
        let pad = pads
            .iter()
            .find(|pad| pad.imp().id() == Some(snapshot.id))?;
        Some(pad_stats(pad, snapshot).to_send_value())
    });
    let age = totals.last_frame_age.unwrap_or(u64::MAX);
    let mut stats = gst::Structure::builder("application/x-dronetee-stats")
        .field("published", totals.published)
        .field("bytes", totals.bytes)
        .field("dropped", totals.dropped)
        .field(
            "num-src-pads",
            i32::try_from(pads.len()).unwrap_or(i32::MAX),
        )
        .field("frame-rate", totals.frame_rate)
        .field("bitrate", totals.bitrate)
        .field("last-frame-age", age)
        .field("held", saturated(totals.pool.held))
        .field("max-held", saturated(totals.pool.max_held))
        .field("pool-size", saturated(totals.pool.pool_size))
        .field("requested-keyframes", totals.keyframe_requests)
        .field("input-gaps", losses.gaps)
        .field("input-missing", losses.missing)
        .field("input-disconts", losses.disconts)
        .field("input-corrupted", losses.corrupted)
        .field("consumers", gst::Array::from_values(consumers))
        .build();
    if let Some(caps) = input.caps() {
        stats.set("caps", caps);
    }
    stats
}

/// The same as plain data.
pub(super) fn health(stream: &Stream, pads: &[DroneTeePad], input: &Input) -> Health {
    let (totals, snapshots) = stream.snapshot(now());
    let consumers = snapshots.into_iter().map(|snapshot| {
        let mut p99 = [0; 2];
        if let Some(pad) = pads.iter().find(|pad| pad.imp().id() == Some(snapshot.id)) {
            pad.imp().with_timings(|timings| p99 = timings.p99());
        }
        let [wait_p99, service_p99] = p99.map(Duration::from_nanos);
        ConsumerHealth {
            consumer: snapshot.label.consumer.clone(),
            state: snapshot.state,
            ledger: snapshot.ledger,
            wait_p99,
            service_p99,
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
        held: totals.pool.held,
        max_held: totals.pool.max_held,
        input: input.losses(),
        consumers: consumers.collect(),
    }
}
