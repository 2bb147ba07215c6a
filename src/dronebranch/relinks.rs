// SPDX-License-Identifier: MPL-2.0
//! Links to pads that come and go with each life of the content, as those of `decodebin`.
//!
//! A launch line, and many an application, link such a pad when it comes for the first time. Content
//! that is restarted makes new pads: they are linked as those were that went.

use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;

/// What a pad was linked to that is there no more.
struct Link {
    element: glib::WeakRef<gst::Element>,
    template: glib::GString,
    /// The kind of the stream.
    media: Option<glib::GString>,
    sink: glib::WeakRef<gst::Pad>,
}

/// Of one content, over all its lives.
#[derive(Default)]
pub(super) struct Relinks {
    links: Mutex<Vec<Link>>,
}

impl Relinks {
    /// The content goes down: its links are kept. Written by the life's state thread only.
    pub(super) fn keep(self: &Arc<Self>, content: &gst::Bin) {
        for element in plain_descendants(content) {
            let links: Vec<_> = element.src_pads().iter().filter_map(link_of).collect();
            if !links.is_empty() && self.add(&element, links) {
                let own = Arc::downgrade(self);
                element.connect_pad_added(move |element, pad| {
                    if let Some(own) = own.upgrade() {
                        own.link(element, pad);
                    }
                });
            }
        }
    }

    /// True if these are the first ones of `element`.
    fn add(&self, element: &gst::Element, new: Vec<Link>) -> bool {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = !links.iter().any(|link| link.element == *element);
        links.retain(|old| !new.iter().any(|new| new.sink == old.sink));
        links.extend(new);
        is_first
    }

    /// Links a pad that has come, unless the launch line or the application has.
    fn link(&self, element: &gst::Element, pad: &gst::Pad) {
        let Some(template) = later_template(pad).filter(|_| !pad.is_linked()) else {
            return;
        };
        let media = media_of(pad);
        let sinks: Vec<gst::Pad> = {
            let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = |link: &&Link| {
                link.element == *element && link.template == template && link.media == media
            };
            let sinks = links.iter().filter(fits);
            sinks.filter_map(|link| link.sink.upgrade()).collect()
        };
        let open = sinks.into_iter().find(|sink| !sink.is_linked());
        if let Some(sink) = open
            && let Err(error) = pad.link(&sink)
        {
            gst::warning!(super::CAT, obj = pad, "Not linked as before: {error}");
        }
    }
}

/// Those whose links are the content's: what a bin of another kind has inside is its own business.
fn plain_descendants(content: &gst::Bin) -> Vec<gst::Element> {
    let mut all = Vec::new();
    let mut bins = vec![content.clone()];
    while let Some(bin) = bins.pop() {
        for child in bin.children() {
            let plain = child.downcast_ref::<gst::Bin>();
            bins.extend(
                plain
                    .filter(|bin| bin.type_() == gst::Bin::static_type())
                    .cloned(),
            );
            all.push(child);
        }
    }
    all
}

fn link_of(pad: &gst::Pad) -> Option<Link> {
    let (template, sink) = (later_template(pad)?, pad.peer()?);
    Some(Link {
        element: pad.parent_element()?.downgrade(),
        template,
        media: media_of(pad),
        sink: sink.downgrade(),
    })
}

/// The name of the pad's template, if the pad comes and goes.
fn later_template(pad: &gst::Pad) -> Option<glib::GString> {
    let template = pad.pad_template()?;
    let is_later = template.presence() == gst::PadPresence::Sometimes;
    is_later.then(|| template.name_template().into())
}

fn media_of(pad: &gst::Pad) -> Option<glib::GString> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let structure = caps.structure(0)?;
    Some(structure.name().as_str().into())
}
