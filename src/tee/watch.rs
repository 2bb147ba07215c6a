// SPDX-License-Identifier: MPL-2.0
//! What is looked at now and then and warned of: a source that nothing clocks, queues that are too short.

use std::sync::Arc;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::helpers::Helpers;
use super::input::Input;
use super::latency::synced_latency;
use super::negotiation::latency::{measured_duration, needed_depth};
use super::output::pads;
use super::pace::{self, Asked, Due};
use super::props::SharedSettings;
use super::{CAT, DroneTee, DroneTeePad, Stream, now};

/// Never waits: a helper asks upstream or a branch what it has to.
pub(super) struct Watch {
    pub(super) element: glib::WeakRef<DroneTee>,
    pub(super) sinkpad: gst::Pad,
    pub(super) stream: Arc<Stream>,
    pub(super) settings: SharedSettings,
    pub(super) input: Arc<Input>,
    pub(super) helpers: Helpers,
}

impl Watch {
    /// Has a helper look.
    fn have(self: &Arc<Self>, look: impl FnOnce(&Self, &DroneTee) + Send + 'static) {
        let own = self.clone();
        self.helpers.run(move || {
            if let Some(element) = own.element.upgrade() {
                look(&own, &element);
            }
        });
    }

    pub(super) fn look(self: &Arc<Self>, due: Due) {
        if due.rate {
            self.have(|own, element| {
                for pad in pads::all(element) {
                    own.check_latency(element, &pad);
                }
            });
        }
        let Some(element) = self.element.upgrade() else {
            return;
        };
        let asked = self.input.asked_if_live();
        if pace::asks_if_live(&asked, element.upcast_ref(), &self.stream, due) {
            self.have(move |own, element| own.warn_if_unclocked(element, &asked));
        }
    }

    /// A latency was set by an event of the branch's own, in which it is not asked: it may hold its
    /// locks.
    pub(super) fn look_at_latency(self: &Arc<Self>, pad: &DroneTeePad) {
        let pad = pad.clone();
        self.have(move |own, element| own.check_latency(element, &pad));
    }

    fn warn_if_unclocked(&self, element: &DroneTee, asked: &Asked) {
        let is_current = || Arc::ptr_eq(asked, &self.input.asked_if_live());
        if pace::is_unclocked(asked, &self.sinkpad, is_current) {
            gst::element_warning!(
                element,
                gst::StreamError::Failed,
                (
                    "The source is not live and nothing clocks it: frames come before their \
                     time, and consumers lose them. Put clocksync (or identity sync=true) \
                     before {}",
                    element.name()
                )
            );
        }
    }

    fn frame_duration(&self) -> Option<gst::ClockTime> {
        let measured = || {
            let now = now();
            let is_known = self.input.is_rate_known(now);
            is_known.then(|| measured_duration(self.stream.totals(now).frame_rate))?
        };
        self.input.frame_duration().or_else(measured)
    }

    /// Warns once if the branch syncs and its queue is too short for the latency that was set.
    fn check_latency(&self, element: &DroneTee, pad: &DroneTeePad) {
        let Some(frame) = self.frame_duration() else {
            return;
        };
        let Some(latency) = pad.imp().peer().take_latency() else {
            return;
        };
        let Some(reached) = pad.peer().and_then(|peer| synced_latency(&peer, 0)) else {
            return;
        };
        let depth = pad.imp().depth(self.settings.get().depth);
        let Some(needed) = needed_depth(latency, reached, frame, depth) else {
            return;
        };
        if pad.imp().warned_of_latency() {
            return;
        }
        let (consumer, name) = (pad.imp().consumer(), pad.name());
        gst::element_warning!(
            element,
            gst::StreamError::Failed,
            ("The queue of consumer '{consumer}' is too short for the pipeline's latency: \
                 it will drop frames. Set depth={needed} (now {depth}) on pad {name}"),
            ["latency {latency}, reached the sink after {reached}, frame duration {frame}"]
        );
        gst::warning!(
            CAT,
            obj = pad,
            "Depth {depth} can not hold a latency of {latency}"
        );
    }
}
