// SPDX-License-Identifier: MPL-2.0
//! What was seen of a consumer's work: how long frames waited and took, and its QoS events.

use hdrhistogram::Histogram;

use crate::fanout::Stamp;

/// The fields of `stats` are called so, the first word and one of the second.
pub(super) const TIMED: [&str; 2] = ["wait", "service"];
pub(super) const TIMED_PARTS: [&str; 3] = ["p50", "p99", "max"];

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

    /// Median, 99th percentile and maximum of the wait, and of the service; ns.
    pub(crate) fn figures(&self) -> [[u64; 3]; 2] {
        [&self.wait, &self.service].map(|histogram| {
            let figures = |histogram: &Histogram<u32>| {
                let [p50, p99] = [0.5, 0.99].map(|part| histogram.value_at_quantile(part));
                [p50, p99, histogram.max()]
            };
            histogram.as_ref().map_or([0; 3], figures)
        })
    }

    pub(super) fn put(&self, stats: &mut gst::StructureRef) {
        for (name, figures) in TIMED.into_iter().zip(self.figures()) {
            for (part, time) in TIMED_PARTS.into_iter().zip(figures) {
                stats.set(format!("{name}-{part}"), time);
            }
        }
    }
}
