// SPDX-License-Identifier: MPL-2.0
//! What the core hands back with all that it tells of a consumer.

use gst::prelude::*;

use crate::tee::DroneTeePad;

/// How a consumer is called, and its pad.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) consumer: String,
    /// The pad's name.
    pub(crate) pad: String,
    weak: glib::WeakRef<DroneTeePad>,
    /// The pad of a consumer that leaves, until the last of it is told.
    leaving: Option<DroneTeePad>,
}

impl Label {
    pub(in crate::tee) fn new(consumer: String, pad: &DroneTeePad) -> Self {
        Self {
            consumer,
            pad: pad.name().into(),
            weak: pad.downgrade(),
            leaving: None,
        }
    }

    /// The same for a consumer that leaves.
    pub(in crate::tee) fn leaving(self) -> Self {
        let leaving = self.weak.upgrade();
        Self { leaving, ..self }
    }

    pub(in crate::tee) fn pad(&self) -> Option<DroneTeePad> {
        self.leaving.clone().or_else(|| self.weak.upgrade())
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        (&self.consumer, &self.pad) == (&other.consumer, &other.pad)
    }
}
