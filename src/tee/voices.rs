// SPDX-License-Identifier: MPL-2.0
//! What speaks in the element's name, and so needs the element.

use std::sync::Arc;

use glib::prelude::*;

use super::as_sink::BinSide;
use super::helpers::Helpers;
use super::input::Input;
use super::notice::Notice;
use super::observers::Observers;
use super::props::SharedSettings;
use super::reporter::Reporter;
use super::watch::Watch;
use super::{DroneTee, Stream, messages};
use crate::fanout;

pub(super) struct Voices {
    pub(super) observers: Arc<Observers>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) bin_side: Arc<BinSide>,
    pub(super) watch: Arc<Watch>,
}

impl Voices {
    pub(super) fn new(
        element: &DroneTee,
        sinkpad: &gst::Pad,
        stream: &Arc<Stream>,
        settings: &SharedSettings,
        input: &Arc<Input>,
        helpers: &Helpers,
    ) -> Self {
        let (weak, own_settings) = (element.downgrade(), settings.clone());
        let observers = Arc::<Observers>::default();
        let told = observers.clone();
        let reporter = Arc::new(Reporter::new(stream.clone(), move |notice| {
            match notice {
                fanout::Notice::Mark(mark) => told.begin(mark),
                ref notice => told.tell(|| Notice::of(notice)),
            }
            if let Some(element) = weak.upgrade() {
                messages::post(&element, notice, || own_settings.get().qos_messages);
            }
        }));
        let bin_side = BinSide::new(element, stream, settings, helpers, &reporter);
        let watch = Watch {
            element: element.downgrade(),
            sinkpad: sinkpad.clone(),
            stream: stream.clone(),
            settings: settings.clone(),
            input: input.clone(),
            helpers: helpers.clone(),
        };
        Self {
            observers,
            reporter,
            bin_side: Arc::new(bin_side),
            watch: Arc::new(watch),
        }
    }
}
