// SPDX-License-Identifier: MPL-2.0
//! LATENCY: upstream's and what the queues hold, and what a branch's syncing sinks have.

use gst::prelude::*;
use gst_base::prelude::*;

use super::negotiation::latency::{self, is_defined};

/// Answers with upstream's latency; a queue can hold `depth` frames more.
pub(super) fn answer(
    sinkpad: &gst::Pad,
    query: &mut gst::QueryRef,
    frame: impl FnOnce() -> Option<gst::ClockTime>,
    depth: u32,
) -> bool {
    if !sinkpad.peer_query(query) {
        return false;
    }
    let gst::QueryViewMut::Latency(answer) = query.view_mut() else {
        return false;
    };
    if !is_defined(answer.structure(), "min-latency") {
        return true;
    }
    let (live, min, max) = answer.result();
    if let (Some(max), Some(frame)) = (max, frame()) {
        answer.set(live, min, latency::bridged(max, frame, depth));
    }
    true
}

/// The branch's own least latency up to its syncing sinks, if there are any: upstream's included.
pub(super) fn synced_latency(sinkpad: &gst::Pad, hops: u32) -> Option<gst::ClockTime> {
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
