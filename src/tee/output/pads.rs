// SPDX-License-Identifier: MPL-2.0
//! How src pads come and go.

use std::sync::Arc;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::member::Member;
use super::names::{Names, Refusal};
use crate::tee::helpers::Helpers;
use crate::tee::props::{PadSettings, SharedSettings};
use crate::tee::reporter::Reporter;
use crate::tee::{CAT, DroneTee, DroneTeePad, Stream};

/// The src pads of an element.
pub(in crate::tee) fn all(element: &DroneTee) -> Vec<DroneTeePad> {
    let pads = element.src_pads().into_iter();
    pads.filter_map(|pad| pad.downcast().ok()).collect()
}

/// A pad that is asked for.
pub(in crate::tee) struct Request<'a> {
    pub(in crate::tee) template: &'a gst::PadTemplate,
    pub(in crate::tee) name: Option<&'a str>,
    /// The settings of a receiver: no branch is behind its pad.
    pub(in crate::tee) receiver: Option<PadSettings>,
    pub(in crate::tee) reporter: &'a Arc<Reporter>,
    /// Called when the pad's settings have changed.
    pub(in crate::tee) changed: Box<dyn Fn() + Send + Sync>,
}

/// Has the names, and adds and removes the pads.
pub(in crate::tee) struct Pads {
    stream: Arc<Stream>,
    settings: SharedSettings,
    helpers: Helpers,
    names: Arc<Names>,
}

impl Pads {
    pub(in crate::tee) fn new(
        stream: &Arc<Stream>,
        settings: &SharedSettings,
        helpers: &Helpers,
    ) -> Self {
        Self {
            stream: stream.clone(),
            settings: settings.clone(),
            helpers: helpers.clone(),
            names: Arc::default(),
        }
    }

    /// Adds a pad, which `make` makes for a name and for a receiver or not; a refusal is on the log.
    pub(in crate::tee) fn add(
        &self,
        element: &DroneTee,
        request: Request<'_>,
        make: impl FnOnce(&str, bool) -> DroneTeePad,
    ) -> Result<DroneTeePad, Refusal> {
        let name = request.name;
        let added = self.try_add(element, request, make);
        if let Err(refusal) = &added {
            let name = name.unwrap_or("src_%u");
            gst::error!(CAT, obj = element, "No pad '{name}': {refusal}");
        }
        added
    }

    fn try_add(
        &self,
        element: &DroneTee,
        request: Request<'_>,
        make: impl FnOnce(&str, bool) -> DroneTeePad,
    ) -> Result<DroneTeePad, Refusal> {
        let receiver = request.receiver.as_ref();
        // GStreamer's helpers pass the template's own name on, which means any. A receiver has a name.
        let is_any = |name: &&str| receiver.is_none() && *name == request.template.name_template();
        let name = request.name.filter(|name| !is_any(name));
        let consumer = receiver.and_then(|own| own.consumer.clone());
        let name = self.names.take(element.upcast_ref(), name, consumer)?;
        let pad = make(&name, receiver.is_some());
        self.join(element, &pad, request);
        if let Err(refusal) = self.begin(element, &pad) {
            if pad.imp().begin_release() {
                self.leave(&pad);
            }
            if pad.parent().is_some() {
                let _ = element.remove_pad(&pad);
            }
            return Err(refusal);
        }
        element.child_added(&pad, &name);
        element.notify("num-src-pads");
        Ok(pad)
    }

    /// The pad's consumer joins the stream.
    fn join(&self, element: &DroneTee, pad: &DroneTeePad, request: Request<'_>) {
        let settings = request.receiver.clone().unwrap_or_default();
        let limits = settings.limits(self.settings.get().depth);
        let label = pad.imp().label_for(settings.consumer);
        let member = Member {
            element: element.upcast_ref::<gst::Element>().downgrade(),
            stream: self.stream.clone(),
            settings: self.settings.clone(),
            names: self.names.clone(),
            helpers: self.helpers.clone(),
            reporter: request.reporter.clone(),
            id: self.stream.join(label, limits),
            changed: request.changed,
        };
        pad.imp().join(member, request.receiver);
    }

    /// Activates the pad if the element runs, and adds it.
    fn begin(&self, element: &DroneTee, pad: &DroneTeePad) -> Result<(), Refusal> {
        if runs(element) {
            pad.set_active(true).map_err(Refusal::NotActivated)?;
        }
        element.add_pad(pad).map_err(Refusal::NotAdded)?;
        if !runs(element) {
            // The element stopped between the two, and did not see it.
            pad.set_active(false).map_err(Refusal::NotActivated)?;
        }
        if pad.is_active() && pad.imp().id().is_some_and(|id| self.stream.is_idle(id)) {
            // The element started between the two, and did not see it.
            let activated = pad.imp().activate(true);
            activated.map_err(|error| Refusal::NotActivated(glib::bool_error!("{error}")))?;
        }
        Ok(())
    }

    /// Releases a pad; `left` is called while it is still there.
    pub(in crate::tee) fn remove(
        &self,
        element: &DroneTee,
        pad: &DroneTeePad,
        left: impl FnOnce(),
    ) {
        // The application and a receiver that is dropped may both release it.
        if !pad.imp().begin_release() {
            return;
        }
        self.leave(pad);
        left();
        if let Err(error) = element.remove_pad(pad) {
            gst::warning!(CAT, obj = pad, "Not removed: {error}");
        }
        tell_removed(element, pad);
    }

    /// The pad was removed: by `gst_element_remove_pad()`, if it was not released.
    pub(in crate::tee) fn removed(
        &self,
        element: &DroneTee,
        pad: &DroneTeePad,
        left: impl FnOnce(),
    ) {
        if pad.imp().begin_release() {
            self.leave(pad);
            left();
            tell_removed(element, pad);
        }
    }

    fn leave(&self, pad: &DroneTeePad) {
        // A pad that does not let itself be stopped is removed all the same.
        let _ = pad.set_active(false);
        pad.imp().leave();
        // A handler that hears of the removal may give them to another pad.
        self.names.release(&pad.name());
    }
}

fn tell_removed(element: &DroneTee, pad: &DroneTeePad) {
    element.child_removed(pad, &pad.name());
    element.notify("num-src-pads");
    if let Some(member) = pad.imp().member() {
        member.reporter.send_if_alone();
    }
}

/// The element runs, or is about to.
fn runs(element: &DroneTee) -> bool {
    let next = match element.pending_state() {
        gst::State::VoidPending => element.current_state(),
        pending => pending,
    };
    next >= gst::State::Paused
}
