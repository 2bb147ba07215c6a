// SPDX-License-Identifier: MPL-2.0
//! The tracer `dronetee-metrics`: `/metrics`, and a log of losses, for pipelines that nothing is changed
//! in.
//!
//! | thread | runs | may be held up by | for how long |
//! | --- | --- | --- | --- |
//! | any that makes an element or posts a message | the hooks | the writer of the log | 50 ms, once until it writes again |
//! | the server's (`metrics/server.rs`) | scrapes | nothing | |
//! | the log's writer (`writer.rs`) | opens the file, writes | the file: a full pipe, a disk that hangs | without bound: it is left behind |
//! | that of `gst_deinit()` | ends the others | the two above | 1 s each |

mod imp;
mod line;
mod params;
mod writer;

use glib::prelude::*;
use once_cell::sync::Lazy;

static CAT: Lazy<gst::DebugCategory> = Lazy::new(|| {
    gst::DebugCategory::new(
        "dronetee-metrics",
        gst::DebugColorFlags::empty(),
        Some("Metrics and a log of losses"),
    )
});

glib::wrapper! {
    struct MetricsTracer(ObjectSubclass<imp::MetricsTracer>)
        @extends gst::Tracer, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Tracer::register(
        Some(plugin),
        "dronetee-metrics",
        MetricsTracer::static_type(),
    )
}
