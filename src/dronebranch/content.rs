// SPDX-License-Identifier: MPL-2.0
//! The bin that holds the content, and its one open sink pad.

use std::sync::OnceLock;

use gst::prelude::*;

/// An empty content, whose children follow its state by themselves, also after a preroll: the
/// pipeline is not asked to wait.
pub(super) fn new() -> gst::Bin {
    let bin = gst::Bin::with_name("content");
    make_independent(&bin);
    bin
}

fn make_independent(bin: &gst::Bin) {
    bin.set_property("async-handling", true);
}

/// The content that a launch line describes.
pub(super) fn parse(description: &str) -> Result<gst::Bin, glib::Error> {
    let bin = gst::parse::bin_from_description_with_name(description, false, "content")?;
    make_independent(&bin);
    Ok(bin)
}

/// The pad of `content` where frames go in. It is made for the one open sink pad inside, unless
/// the application or the launch line has made one.
pub(super) fn entry(content: &gst::Bin) -> Result<gst::Pad, String> {
    let own = content.sink_pads();
    if let [entry] = own.as_slice() {
        return Ok(entry.clone());
    }
    let open = open_pads(content);
    match (own.as_slice(), open.as_slice()) {
        ([], [open]) => ghost(content, open).ok_or_else(|| "No pad for the content".to_owned()),
        ([], []) => Err("The content has no open sink pad".to_owned()),
        _ => Err("The content has more than one open sink pad".to_owned()),
    }
}

/// The sink pads inside that frames may go in at, in the order in which the elements were added.
fn open_pads(content: &gst::Bin) -> Vec<gst::Pad> {
    let mut children: Vec<gst::Element> = content.children().into_iter().collect();
    children.reverse();
    let open_pads = |child: &gst::Element| {
        let pads = child.sink_pads();
        pads.into_iter().filter(|pad| !pad.is_linked())
    };
    let open: Vec<_> = children.iter().flat_map(open_pads).collect();
    // In "decodebin ! fakesink" the sink is open until decodebin has found out what comes: the pad
    // where frames go in is one that leads there.
    let leads = |pad: &&gst::Pad| {
        let element = pad.parent_element();
        element.is_some_and(|element| leads_to_later_pads(&element, MAX_CHAIN))
    };
    match open.iter().find(leads) {
        Some(first) if open.len() > 1 => vec![first.clone()],
        _ => open,
    }
}

/// A chain of elements that is longer is not followed.
const MAX_CHAIN: u32 = 64;

/// True if `element`, or one that it is linked to, makes src pads when data comes.
fn leads_to_later_pads(element: &gst::Element, chain: u32) -> bool {
    let makes_pads = |template: gst::PadTemplate| {
        template.direction() == gst::PadDirection::Src
            && template.presence() == gst::PadPresence::Sometimes
    };
    let leads = |pad: gst::Pad| {
        let next = pad.peer().and_then(|peer| peer.parent_element());
        next.is_some_and(|next| leads_to_later_pads(&next, chain - 1))
    };
    element.pad_template_list().into_iter().any(makes_pads)
        || chain > 0 && element.src_pads().into_iter().any(leads)
}

/// A pad of `content` for `target`, a pad of one of its children.
pub(super) fn ghost(content: &gst::Bin, target: &gst::Pad) -> Option<gst::Pad> {
    let ghost = gst::GhostPad::builder_with_target(target).ok()?;
    let ghost = ghost.name("sink").build();
    content.add_pad(&ghost).ok()?;
    Some(ghost.upcast())
}

/// All elements in `bin`, also those in bins. An iterator of GStreamer's would have to begin anew
/// whenever elements come or go meanwhile.
pub(super) fn descendants(bin: &gst::Bin) -> Vec<gst::Element> {
    let mut all = Vec::new();
    let mut bins = vec![bin.clone()];
    while let Some(bin) = bins.pop() {
        for child in bin.children() {
            bins.extend(child.downcast_ref::<gst::Bin>().cloned());
            all.push(child);
        }
    }
    all
}

/// Calls `seen` whenever something comes to a sink in `content`.
pub(super) fn watch_sinks(content: &gst::Bin, seen: impl Fn() + Clone + Send + Sync + 'static) {
    let is_sink = |element: &gst::Element| {
        let flags = element.element_flags();
        flags.contains(gst::ElementFlags::SINK) && !element.is::<gst::Bin>()
    };
    for sink in descendants(content).into_iter().filter(is_sink) {
        for pad in sink.sink_pads() {
            let seen = seen.clone();
            pad.add_probe(gst::PadProbeType::DATA_DOWNSTREAM, move |_, _| {
                seen();
                gst::PadProbeReturn::Ok
            });
        }
    }
}

/// An error of the branch's own.
pub(super) fn error(text: &str) -> glib::Error {
    glib::Error::new(gst::StreamError::Failed, text)
}

/// Starts a thread with a name.
pub(super) fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Monotonic time, ns; never 0, which stands for "never".
pub(super) fn now() -> u64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let start = START.get_or_init(std::time::Instant::now);
    u64::try_from(start.elapsed().as_nanos())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}
