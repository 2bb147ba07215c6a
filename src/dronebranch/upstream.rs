// SPDX-License-Identifier: MPL-2.0
//! What can be seen when looking over links, without calling an element:
//! only pads' peers, parents and sticky events are read.

use gst::prelude::*;

/// Types by name: they may be of another copy of the plugin.
const TEE_PAD: &str = "GstDroneTeePad";
const BRANCH: &str = "GstDroneBranch";
pub(super) const FEED_PAD: &str = "GstDroneBranchFeedPad";
/// A chain of elements that is longer is not followed.
const MAX_DEPTH: u32 = 64;

/// The real src pad that feeds `sink`, through ghost pads on either side.
pub(super) fn source_of(sink: &gst::Pad) -> Option<gst::Pad> {
    let mut peer = sink.peer()?;
    for _ in 0..MAX_DEPTH {
        peer = if let Some(ghost) = peer.downcast_ref::<gst::GhostPad>() {
            ghost.target()?
        } else if let Some(proxy) = peer.downcast_ref::<gst::ProxyPad>() {
            proxy.internal()?.peer()?
        } else {
            return Some(peer);
        };
    }
    None
}

/// True if a `dronebranch` is linked to the src pad `source`, through ghost pads on either side.
pub(crate) fn is_behind(source: &gst::Pad) -> bool {
    let mut peer = source.peer();
    for _ in 0..MAX_DEPTH {
        let Some(pad) = peer else { return false };
        if pad.parent().is_some_and(|parent| is_a(&parent, BRANCH)) {
            return true;
        }
        peer = if let Some(ghost) = pad.downcast_ref::<gst::GhostPad>() {
            ghost.target()
        } else {
            let proxy = pad.downcast_ref::<gst::ProxyPad>();
            proxy
                .and_then(|proxy| proxy.internal())
                .and_then(|ghost| ghost.peer())
        };
    }
    false
}

/// A frame that a pad of `dronetee` hands over may be answered an error: it goes no further.
pub(super) fn is_tee_pad(pad: &gst::Pad) -> bool {
    is_a(pad.upcast_ref(), TEE_PAD)
}

fn is_a(object: &gst::Object, name: &str) -> bool {
    let mut type_ = Some(object.type_());
    while let Some(current) = type_ {
        if current.name() == name {
            return true;
        }
        type_ = current.parent();
    }
    false
}

/// True if the end of the stream is known upstream of `sink` and nothing else can come: EOS has
/// come to all inputs of an element upstream, or a source has sent it.
pub(super) fn has_ended(sink: &gst::Pad) -> bool {
    ended_above(sink, MAX_DEPTH)
}

fn ended_above(sink: &gst::Pad, depth: u32) -> bool {
    let Some(source) = source_of(sink).filter(|_| depth > 0) else {
        return false;
    };
    if is_at_end(&source) {
        return true;
    }
    let sinks = match source.parent_element() {
        Some(element) => element.sink_pads(),
        // It feeds the content of a branch around this one.
        None if is_a(source.upcast_ref(), FEED_PAD) => source
            .iterate_internal_links()
            .next()
            .ok()
            .flatten()
            .into_iter()
            .collect(),
        // An application's own pad, or one whose element is just giving it up: GStreamer knows no links of these.
        None => return false,
    };
    !sinks.is_empty()
        && sinks
            .iter()
            .all(|sink| is_at_end(sink) || ended_above(sink, depth - 1))
}

fn is_at_end(pad: &gst::Pad) -> bool {
    pad.sticky_event::<gst::event::Eos>(0).is_some()
}
