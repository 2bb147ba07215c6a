// SPDX-License-Identifier: MPL-2.0
//! The structures behind `stats`.

use glib::prelude::*;
use gst::subclass::prelude::*;
use hdrhistogram::Histogram;

use super::Snapshot;
use super::messages::flow_name;
use super::props::dropped_name;
use super::{DroneTeePad, imp, now};
use crate::facts::DropReason;
use crate::fanout::Stamp;

/// An hour: longer counts as that.
const LONGEST: u64 = 3_600_000_000_000;

/// How long frames waited and how long the branch took, ns.
pub(crate) struct Timings {
    /// The session that they are of.
    pub(super) session: Option<Stamp>,
    wait: Option<Histogram<u32>>,
    service: Option<Histogram<u32>>,
}

impl Default for Timings {
    fn default() -> Self {
        // From a microsecond, within one per cent.
        let histogram = || Histogram::new_with_bounds(1_000, LONGEST, 2).ok();
        Self {
            session: None,
            wait: histogram(),
            service: histogram(),
        }
    }
}

impl Timings {
    /// What comes too late, from a session before, is not of this one.
    pub(crate) fn record(&mut self, stamp: Stamp, wait: u64, service: u64) {
        if self.session.is_some_and(|session| stamp >= session)
            && let (Some(waits), Some(services)) = (&mut self.wait, &mut self.service)
        {
            waits.saturating_record(wait);
            services.saturating_record(service);
        }
    }

    /// Of the wait and of the service.
    pub(crate) fn p99(&self) -> [u64; 2] {
        [&self.wait, &self.service].map(|histogram| {
            let p99 = |histogram: &Histogram<u32>| histogram.value_at_quantile(0.99);
            histogram.as_ref().map_or(0, p99)
        })
    }

    fn put(&self, stats: &mut gst::StructureRef) {
        for (name, histogram) in [("wait", &self.wait), ("service", &self.service)] {
            let Some(histogram) = histogram else { continue };
            stats.set(format!("{name}-p50"), histogram.value_at_quantile(0.5));
            stats.set(format!("{name}-p99"), histogram.value_at_quantile(0.99));
            stats.set(format!("{name}-max"), histogram.max());
        }
    }
}

/// What the branch reported of itself by QoS events.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Qos {
    pub(crate) events: u64,
    pub(crate) proportion: f64,
    /// ns
    pub(crate) jitter: i64,
}

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

/// Levels are 32 bits wide, as those of `queue`.
pub(super) fn saturated(level: u64) -> u32 {
    u32::try_from(level).unwrap_or(u32::MAX)
}

impl imp::DroneTee {
    pub(super) fn pad_stats(&self, pad: &DroneTeePad, snapshot: &Snapshot) -> gst::Structure {
        let mut stats = ledger_stats(snapshot);
        pad.imp().with_timings(|timings| timings.put(&mut stats));
        let qos = pad.imp().qos();
        stats.set("qos-events", qos.events);
        stats.set("qos-proportion", qos.proportion);
        stats.set("qos-jitter", qos.jitter);
        stats
    }

    pub(super) fn stats(&self) -> gst::Structure {
        let pads = self.obj().consumers();
        let (totals, snapshots) = self.stream.snapshot(now());
        let consumers = snapshots.iter().filter_map(|snapshot| {
            let pad = pads
                .iter()
                .find(|pad| pad.imp().id() == Some(snapshot.id))?;
            Some(self.pad_stats(pad, snapshot).to_send_value())
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
            .field("requested-keyframes", totals.keyframe_requests)
            .field("consumers", gst::Array::from_values(consumers))
            .build();
        if let Some(caps) = self.current_caps() {
            stats.set("caps", caps);
        }
        stats
    }

    /// The `stats` of a pad that may have left by now.
    pub(super) fn summary_of(&self, snapshot: &Snapshot) -> gst::Structure {
        match snapshot.label.pad() {
            Some(pad) => self.pad_stats(&pad, snapshot),
            None => ledger_stats(snapshot),
        }
    }
}
