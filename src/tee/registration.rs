// SPDX-License-Identifier: MPL-2.0
//! Who has the types: an application that links the crate may meet the plugin's file as well.
//!
//! Type names are the process's, and there are two copies of this code in such a process. One of
//! them gets the names, whichever asks first; the other one registers no element.

use std::sync::OnceLock;

use glib::prelude::*;
use gst::prelude::*;

use super::state::PadState;
use super::{DroneTee, DroneTeePad};

const ELEMENT: &str = "GstDroneTee";
const PAD: &str = "GstDroneTeePad";

/// True if this copy of the crate has the names of the types, which it gets if they are free.
///
/// Blocks for the moment that another thread takes for the same.
fn has_types() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        // The pad's type decides. The two copies share no lock but those of GStreamer's objects;
        // nothing else locks this one. No more than a type without interfaces may be registered
        // under it: adding an interface waits for class initializers of other threads.
        let shared = gst::Allocator::find(None);
        let lock = shared.as_ref().map(|shared| shared.object_lock());
        let pad = DroneTeePad::static_type();
        drop(lock);
        // A copy that comes too late gets a name with a number.
        if pad.name() != PAD || DroneTee::static_type().name() != ELEMENT {
            return false;
        }
        PadState::static_type();
        true
    })
}

pub(crate) fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    if !has_types() {
        return Err(glib::bool_error!(
            "Another copy of the plugin is loaded in this process"
        ));
    }
    gst::Element::register(plugin, "dronetee", gst::Rank::NONE, DroneTee::static_type())
}

/// The element, if it is a `dronetee` of this copy of the crate.
pub(crate) fn dronetee(element: &gst::Element) -> Option<&DroneTee> {
    // Where there is no dronetee at all, the question takes no names from the plugin's file.
    glib::Type::from_name(ELEMENT)?;
    has_types().then(|| element.downcast_ref()).flatten()
}
