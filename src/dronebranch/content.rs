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
    let open: Vec<_> = content
        .children()
        .iter()
        .flat_map(|child| child.sink_pads())
        .filter(|pad| !pad.is_linked())
        .collect();
    match (own.as_slice(), open.as_slice()) {
        ([], [open]) => ghost(content, open).ok_or_else(|| "No pad for the content".to_owned()),
        ([], []) => Err("The content has no open sink pad".to_owned()),
        _ => Err("The content has more than one open sink pad".to_owned()),
    }
}

/// A pad of `content` for `target`, a pad of one of its children.
pub(super) fn ghost(content: &gst::Bin, target: &gst::Pad) -> Option<gst::Pad> {
    let ghost = gst::GhostPad::builder_with_target(target).ok()?;
    let ghost = ghost.name("sink").build();
    content.add_pad(&ghost).ok()?;
    Some(ghost.upcast())
}

/// Calls `seen` whenever something comes to a sink in `content`.
pub(super) fn watch_sinks(content: &gst::Bin, seen: impl Fn() + Clone + Send + Sync + 'static) {
    let sinks = content.iterate_recurse().into_iter().flatten();
    for sink in sinks.filter(|sink| {
        let flags = sink.element_flags();
        flags.contains(gst::ElementFlags::SINK) && !sink.is::<gst::Bin>()
    }) {
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
