// SPDX-License-Identifier: MPL-2.0
//! The structures behind `stats`, and the same as plain data.

use std::time::Duration;

use glib::prelude::*;
use gst::subclass::prelude::*;

use super::flows::flow_name;
use super::input::Input;
use super::props::dropped_name;
use super::timings::{TIMED, TIMED_PARTS};
use super::{DroneTeePad, Snapshot, Stream, now, saturated};
use crate::facts::{
    ConsumerHealth, ConsumerLimits, DropReason, Drops, Health, Ledger, QosReport, State, Timing,
};

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
        .field("run", snapshot.run)
        .build();
    for reason in DropReason::ALL {
        stats.set(dropped_name(reason), ledger.dropped.get(reason));
    }
    stats
}

/// What may wait, as the pad's properties are called, `depth` in force.
fn put_limits(stats: &mut gst::StructureRef, limits: &ConsumerLimits) {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    stats.set("depth", saturated(limits.depth));
    stats.set("max-size-bytes", saturated(limits.max_size_bytes));
    stats.set("max-size-time", nanos(limits.max_size_time));
    stats.set("max-age", nanos(limits.max_age));
    stats.set("max-lag", limits.max_lag);
}

/// The `stats` of a pad.
pub(super) fn pad_stats(pad: &DroneTeePad, snapshot: &Snapshot) -> gst::Structure {
    let mut stats = ledger_stats(snapshot);
    pad.imp().with_timings(|timings| timings.put(&mut stats));
    let qos = pad.imp().qos();
    put_limits(&mut stats, &pad.imp().limits());
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
pub(super) fn health(stream: &Stream, pads: &[DroneTeePad], input: &Input, runs: bool) -> Health {
    let (totals, snapshots) = stream.snapshot(now());
    let consumers = snapshots.iter().map(|snapshot| {
        let own = |pad: &&DroneTeePad| pad.imp().id() == Some(snapshot.id);
        consumer_health(snapshot, pads.iter().find(own))
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
        keyframe_requests: totals.keyframe_requests,
        input: input.losses(),
        metadata: input.metadata(&totals, runs),
        consumers: consumers.collect(),
    }
}

/// A consumer's `stats` as plain data; what its pad knows is missing if that is gone.
pub(super) fn consumer_health(snapshot: &Snapshot, pad: Option<&DroneTeePad>) -> ConsumerHealth {
    let mut health = ConsumerHealth {
        consumer: snapshot.label.consumer.clone(),
        pad: snapshot.label.pad.clone(),
        run: snapshot.run,
        state: snapshot.state,
        last_flow: flow_name(snapshot.flow).to_owned(),
        ledger: snapshot.ledger,
        in_flight_for: Duration::from_nanos(snapshot.in_flight_for),
        requested_keyframes: snapshot.requested_keyframes,
        ..ConsumerHealth::default()
    };
    if let Some(pad) = pad.map(DroneTeePad::imp) {
        pad.with_timings(|timings| {
            [health.wait, health.service] = timings.figures().map(Timing::of_nanos);
        });
        health.limits = pad.limits();
        health.qos = pad.qos();
    }
    health
}

/// The same, read from a pad's `stats`.
pub(super) fn consumer_health_of(stats: &gst::StructureRef) -> Option<ConsumerHealth> {
    let number = |field: &str| stats.get::<u64>(field).ok();
    let level = |field: &str| stats.get::<u32>(field).ok().map(u64::from);
    let time = |field: &str| number(field).map(Duration::from_nanos);
    let mut dropped = Drops::default();
    for reason in DropReason::ALL {
        dropped.add(reason, number(&dropped_name(reason))?);
    }
    let [wait, service] = TIMED.map(|name| {
        let part = |part| number(&format!("{name}-{part}")).unwrap_or_default();
        Timing::of_nanos(TIMED_PARTS.map(part))
    });
    Some(ConsumerHealth {
        consumer: stats.get("consumer").ok()?,
        pad: stats.get("pad").ok()?,
        run: number("run")?,
        state: State::from_name(stats.get("state").ok()?)?,
        last_flow: stats.get("last-flow").ok()?,
        ledger: Ledger {
            frames_in: number("in")?,
            frames_out: number("out")?,
            in_flight: number("in-flight")?,
            waiting: level("current-level-buffers")?,
            dropped,
        },
        limits: ConsumerLimits {
            depth: level("depth").unwrap_or_default(),
            max_size_bytes: level("max-size-bytes").unwrap_or_default(),
            max_size_time: time("max-size-time").unwrap_or_default(),
            max_age: time("max-age").unwrap_or_default(),
            max_lag: number("max-lag").unwrap_or_default(),
        },
        wait,
        service,
        in_flight_for: time("in-flight-for")?,
        qos: QosReport {
            events: number("qos-events").unwrap_or_default(),
            proportion: stats.get("qos-proportion").unwrap_or_default(),
            jitter: stats.get("qos-jitter").unwrap_or_default(),
        },
        requested_keyframes: number("requested-keyframes")?,
    })
}
