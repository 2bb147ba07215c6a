// SPDX-License-Identifier: MPL-2.0
//! What the synchronous bus handler of an element does.

use std::collections::VecDeque;
use std::sync::Mutex;

use gst::prelude::*;

use crate::ledger::{Told, check_element};

/// What a synchronous bus handler does at the next message.
pub(crate) enum Errand {
    ReadAll,
    Release(gst::Pad),
    Remove(gst::Pad),
    Request(Option<String>),
    Unlink(gst::Pad),
    Depth(u32),
}

impl Errand {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::ReadAll => "read all".into(),
            Self::Release(pad) => format!("release {}", pad.name()),
            Self::Remove(pad) => format!("remove {}", pad.name()),
            Self::Request(name) => format!("request {name:?}"),
            Self::Unlink(pad) => format!("unlink {}", pad.name()),
            Self::Depth(depth) => format!("depth={depth}"),
        }
    }
}

/// What the bus handler of one element shares with the driver.
#[derive(Default)]
pub(crate) struct Handler {
    pub(crate) errands: Mutex<VecDeque<Errand>>,
    /// Pads that it requested.
    pub(crate) requested: Mutex<Vec<gst::Pad>>,
    pub(crate) told: Told,
}

impl Handler {
    pub(crate) fn run(&self, tee: &gst::Element, errand: Errand) {
        match errand {
            Errand::ReadAll => read_all(tee),
            Errand::Release(pad) => tee.release_request_pad(&pad),
            Errand::Remove(pad) => drop(tee.remove_pad(&pad)),
            Errand::Request(name) => {
                let name = name.unwrap_or_else(|| "src_%u".into());
                let pad = tee.request_pad_simple(&name);
                self.requested.lock().unwrap().extend(pad);
            }
            Errand::Unlink(pad) => {
                if let Some(peer) = pad.peer() {
                    let _ = pad.unlink(&peer);
                }
            }
            Errand::Depth(depth) => tee.set_property("depth", depth),
        }
    }
}

/// Reads every property of the element and of its pads.
pub(crate) fn read_all(tee: &gst::Element) {
    check_element(tee);
    let read = |object: &glib::Object| {
        for spec in object.list_properties() {
            if spec.flags().contains(glib::ParamFlags::READABLE) {
                object.property_value(spec.name());
            }
        }
    };
    read(tee.upcast_ref());
    for pad in tee.pads() {
        read(pad.upcast_ref());
    }
}
