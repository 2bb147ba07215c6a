// SPDX-License-Identifier: MPL-2.0
//! The tracer as GStreamer sees it: its parameters and its hooks.

use std::io::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use glib::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::CAT;
use super::line;
use super::params::Params;
use super::writer::Log;
use crate::metrics::{Exporter, Server};

/// Messages of these names are logged.
const LOGGED: [&str; 2] = ["dronetee-", "dronebranch-"];

#[derive(Default)]
pub(super) struct MetricsTracer {
    exporter: Exporter,
    server: Mutex<Option<Server>>,
    /// Set when the tracer is made, if there is to be one.
    log: OnceLock<Log>,
}

#[glib::object_subclass]
impl ObjectSubclass for MetricsTracer {
    const NAME: &'static str = "GstDroneTeeMetricsTracer";
    type Type = super::MetricsTracer;
    type ParentType = gst::Tracer;
}

impl ObjectImpl for MetricsTracer {
    fn constructed(&self) {
        self.parent_constructed();
        let params = self.obj().property::<Option<String>>("params");
        match Params::parse(params.as_deref()) {
            Ok(params) => self.start(params),
            Err(error) => gst::error!(CAT, imp = self, "{error}"),
        }
    }

    fn dispose(&self) {
        let server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(server);
        if let Some(log) = self.log.get() {
            log.close();
        }
    }
}

impl GstObjectImpl for MetricsTracer {}

impl TracerImpl for MetricsTracer {
    fn element_new(&self, _ts: u64, element: &gst::Element) {
        // It is for dronetee and dronebranch alone to be added.
        let _ = self.exporter.add(element);
    }

    fn element_post_message_pre(&self, _ts: u64, element: &gst::Element, message: &gst::Message) {
        // The bins around it post it again.
        if message.type_() != gst::MessageType::Element
            || message.src() != Some(element.upcast_ref::<gst::Object>())
        {
            return;
        }
        if let Some(structure) = message.structure()
            && LOGGED.iter().any(|name| structure.name().starts_with(name))
            && let Some(log) = self.log.get()
            && let Some(label) = self.exporter.label_of(element)
        {
            log.write(line::of_message(
                &label,
                element.current_running_time(),
                structure,
            ));
        }
    }
}

impl MetricsTracer {
    fn start(&self, params: Params) {
        self.register_hook(TracerHook::ElementNew);
        if let Some(address) = params.listen {
            self.serve(&address);
        }
        if let Some(path) = params.log {
            match Log::start(&path) {
                Ok(log) => {
                    // It is started once.
                    let _ = self.log.set(log);
                    self.register_hook(TracerHook::ElementPostMessagePre);
                }
                Err(error) => gst::error!(CAT, imp = self, "No log in {}: {error}", path.display()),
            }
        }
    }

    fn serve(&self, address: &str) {
        match Server::start(address, self.exporter.clone()) {
            Ok(server) => {
                let own = server.address();
                gst::info!(CAT, imp = self, "Serves http://{own}/metrics");
                if address == "0" || address.ends_with(":0") {
                    // Nothing else tells which one it is.
                    let _ = writeln!(std::io::stderr(), "dronetee-metrics: http://{own}/metrics");
                }
                *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
            }
            Err(error) => gst::error!(CAT, imp = self, "No metrics on '{address}': {error}"),
        }
    }
}
