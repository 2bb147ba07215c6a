// SPDX-License-Identifier: MPL-2.0
//! What was seen of a consumer's work: how long frames waited and took, and its QoS events.

use hdrhistogram::Histogram;

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

    pub(super) fn put(&self, stats: &mut gst::StructureRef) {
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
