// SPDX-License-Identifier: MPL-2.0
//! What the element does in a sink's place, see [`role`](super::role): posts, and passes on.

use std::sync::Arc;

use gst::prelude::*;

use super::helpers::Helpers;
use super::props::{DEFAULT_STALL_TIMEOUT, SharedSettings};
use super::reporter::Reporter;
use super::role::{AsSink, Due, LastCall};
use super::{CAT, DroneTee, Stream, now};
use crate::facts::State;
use crate::fanout::ConsumerId;

/// A sink's part of an element: what is said to its bin, and by which thread.
pub(super) struct BinSide {
    role: AsSink,
    element: glib::WeakRef<DroneTee>,
    stream: Arc<Stream>,
    settings: SharedSettings,
    helpers: Helpers,
    reporter: Arc<Reporter>,
}

impl BinSide {
    pub(super) fn new(
        element: &DroneTee,
        stream: &Arc<Stream>,
        settings: &SharedSettings,
        helpers: &Helpers,
        reporter: &Arc<Reporter>,
    ) -> Self {
        Self {
            role: AsSink::default(),
            element: element.downgrade(),
            stream: stream.clone(),
            settings: settings.clone(),
            helpers: helpers.clone(),
            reporter: reporter.clone(),
        }
    }

    /// Called with what comes to the sink pad, before anything is done with it.
    pub(super) fn note(self: &Arc<Self>, event: &gst::Event) {
        if self.role.note(event) {
            self.serve();
        }
    }

    pub(super) fn set_running(&self, element: &DroneTee, runs: bool) {
        self.role.set_running(runs, element.upcast_ref());
    }

    pub(super) fn is_running(&self) -> bool {
        self.role.is_running()
    }

    pub(super) fn set_playing(&self, element: &DroneTee, playing: bool) {
        if let Some(end) = self.role.set_playing(playing) {
            post_end(element, &end);
        }
    }

    /// A receiver joins, and says in `last_call` when it called last.
    pub(super) fn join(self: &Arc<Self>, element: &DroneTee, id: ConsumerId, last_call: LastCall) {
        if self.role.join(id, last_call, element.upcast_ref()) {
            self.serve();
        }
    }

    pub(super) fn leave(&self, element: &DroneTee, id: ConsumerId) {
        self.role.leave(id, element.upcast_ref());
    }

    /// A receiver was handed the end `event`.
    pub(super) fn handed(&self, id: ConsumerId, event: &gst::Event) {
        self.role.handed(id, event);
    }

    /// A receiver was handed its eviction.
    pub(super) fn look_again(&self) {
        self.role.look_again();
    }

    /// True if what a bin sends to its sinks goes upstream from here, as there is no branch that it
    /// could come from.
    pub(super) fn takes(&self, element: &DroneTee, event: &gst::Event) -> bool {
        let has_branch = || element.src_pads().iter().any(|pad| pad.is_linked());
        !event.is_downstream() && self.role.is_sink() && !has_branch()
    }

    /// Has a helper post what is due, so that neither upstream nor a receiver waits for a handler.
    fn serve(self: &Arc<Self>) {
        let own = self.clone();
        if !self.helpers.run(move || own.post_due()) {
            gst::error!(CAT, "No thread to say EOS from");
        }
    }

    fn post_due(&self) {
        let patience = || match self.settings.get().stall_timeout {
            0 => DEFAULT_STALL_TIMEOUT,
            timeout => timeout,
        };
        let is_served = |id| {
            let snapshot = self.stream.snapshot_of(id, now());
            snapshot.is_some_and(|snapshot| snapshot.state != State::Evicted)
        };
        while let Some(due) = self.role.next(patience(), is_served) {
            let Some(element) = self.element.upgrade() else {
                return;
            };
            match due {
                Due::StreamStart(event) => post_start(&element, &event),
                Due::End => {
                    self.reporter.send_before_end();
                    if let Some(event) = self.role.reach() {
                        post_end(&element, &event);
                    }
                }
            }
        }
    }
}

fn post_start(element: &DroneTee, event: &gst::Event) {
    let gst::EventView::StreamStart(start) = event.view() else {
        return;
    };
    let mut message = gst::message::StreamStart::builder()
        .src(element)
        .seqnum(event.seqnum());
    if let Some(group) = start.group_id() {
        message = message.group_id(group);
    }
    // Without a bus the message is for no application.
    let _ = element.post_message(message.build());
}

fn post_end(element: &DroneTee, event: &gst::Event) {
    let message = gst::message::Eos::builder()
        .src(element)
        .seqnum(event.seqnum())
        .build();
    // Without a bus the message is for no application.
    let _ = element.post_message(message);
}
