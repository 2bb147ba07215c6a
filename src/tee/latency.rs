// SPDX-License-Identifier: MPL-2.0
//! LATENCY: what the queues can hold, and the warning when that is not enough.

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;

use super::{CAT, DroneTeePad, imp, now};

impl imp::DroneTee {
    /// Upstream's latency; the queue can hold `depth` frames more.
    pub(super) fn answer_latency(&self, pad: &DroneTeePad, query: &mut gst::QueryRef) -> bool {
        if !self.sinkpad.peer_query(query) {
            return false;
        }
        let gst::QueryViewMut::Latency(latency) = query.view_mut() else {
            return false;
        };
        if !is_defined(latency.structure(), "min-latency") {
            return true;
        }
        let (live, min, max) = latency.result();
        if let (Some(max), Some(frame)) = (max, self.frame_duration()) {
            let more = frame.saturating_mul(u64::from(self.depth_of(pad)));
            latency.set(live, min, max.saturating_add(more));
        }
        true
    }

    /// As the caps say.
    fn frame_duration(&self) -> Option<gst::ClockTime> {
        let caps = self.current_caps()?;
        let rate = caps.structure(0)?.get::<gst::Fraction>("framerate").ok()?;
        let (numer, denom) = (
            u64::try_from(rate.numer()).ok()?,
            u64::try_from(rate.denom()).ok()?,
        );
        // 0/1 is a variable rate.
        (numer != 0).then(|| gst::ClockTime::SECOND.mul_div_floor(denom, numer))?
    }

    /// As it is measured.
    fn measured_duration(&self) -> Option<gst::ClockTime> {
        let now = now();
        if !self.incoming().pace.is_rate_known(now) {
            return None;
        }
        let rate = self.stream.totals(now).frame_rate;
        (rate > 0.0).then(|| gst::ClockTime::from_nseconds((1e9 / rate) as u64))
    }

    /// Looks at the latencies that were set while no frame rate was known.
    pub(super) fn check_latencies(&self) {
        for pad in self.obj().consumers() {
            self.check_latency(&pad);
        }
    }

    /// Warns once if the branch syncs and its queue is too short for the latency that was set.
    ///
    /// It asks the branch, and so must not be called from the branch's own event.
    pub(super) fn check_latency(&self, pad: &DroneTeePad) {
        let duration = self.frame_duration().or_else(|| self.measured_duration());
        let Some(frame) = duration.filter(|frame| !frame.is_zero()) else {
            return;
        };
        let Some(latency) = pad.imp().peer().take_latency() else {
            return;
        };
        let Some(reached) = pad.peer().and_then(|peer| synced_latency(&peer, 0)) else {
            return;
        };
        // Frames are held from when they get to the sink until they are due; one is in the sink.
        let held = latency
            .saturating_sub(reached)
            .nseconds()
            .div_ceil(frame.nseconds());
        let depth = u64::from(self.depth_of(pad));
        if held <= depth + 1 || pad.imp().warned_of_latency() {
            return;
        }
        let consumer = pad.imp().consumer();
        gst::element_warning!(
            self.obj(),
            gst::StreamError::Failed,
            (
                "The queue of consumer '{consumer}' is too short for the pipeline's latency: \
                 it will drop frames. Set depth={} (now {depth}) on pad {}",
                held - 1,
                pad.name()
            ),
            ["latency {latency}, reached the sink after {reached}, frame duration {frame}"]
        );
        gst::warning!(
            CAT,
            obj = pad,
            "Depth {depth} can not hold a latency of {latency}"
        );
    }
}

/// The branch's own least latency up to its syncing sinks, if there are any: upstream's included.
fn synced_latency(sinkpad: &gst::Pad, hops: u32) -> Option<gst::ClockTime> {
    // No branch is that long; links can not go round either, but nothing here relies on it.
    if hops > 64 {
        return None;
    }
    let mut links = Vec::new();
    // Not by the iterator: a pad need not have one, which the bindings do not expect.
    sinkpad.forward(|link| {
        links.push(link.clone());
        false
    });
    if links.is_empty() {
        let sink = sinkpad
            .parent_element()?
            .downcast::<gst_base::BaseSink>()
            .ok()?;
        let mut query = gst::query::Latency::new();
        let answered = sink.is_sync() && sink.query(&mut query);
        let defined = answered && is_defined(query.structure(), "min-latency");
        return defined.then(|| query.result().1);
    }
    let peers = links.iter().filter_map(|pad| pad.peer());
    peers
        .filter_map(|peer| synced_latency(&peer, hops + 1))
        .min()
}

/// The bindings expect times to be defined, which a branch need not know.
pub(super) fn is_defined(structure: Option<&gst::StructureRef>, field: &str) -> bool {
    let time = structure.and_then(|fields| fields.get::<Option<gst::ClockTime>>(field).ok());
    time.flatten().is_some()
}
