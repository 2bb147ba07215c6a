// SPDX-License-Identifier: MPL-2.0
//! A pad's place in the stream: what its parts need of the element, without the element's class.

use std::sync::Arc;

use super::names::Names;
use crate::fanout::ConsumerId;
use crate::tee::helpers::Helpers;
use crate::tee::props::SharedSettings;
use crate::tee::reporter::Reporter;
use crate::tee::{Stream, now};

/// Whose consumer the pad is, and who takes from it.
pub(in crate::tee) struct Member {
    pub(in crate::tee) element: glib::WeakRef<gst::Element>,
    pub(in crate::tee) stream: Arc<Stream>,
    /// The element's.
    pub(in crate::tee) settings: SharedSettings,
    pub(in crate::tee) names: Arc<Names>,
    pub(in crate::tee) helpers: Helpers,
    pub(in crate::tee) reporter: Arc<Reporter>,
    pub(in crate::tee) id: ConsumerId,
    /// The element looks at the pad's settings, which have changed.
    pub(in crate::tee) changed: Box<dyn Fn() + Send + Sync>,
}

impl Member {
    /// The consumer is served again if it had ended; `repeats` has it get the last event once more.
    pub(super) fn readmit(&self, repeats: bool) {
        self.stream.readmit(self.id, repeats, now());
    }
}
