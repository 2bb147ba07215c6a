// SPDX-License-Identifier: MPL-2.0
//! `/metrics` for Prometheus: the accounts of every `dronetee` and `dronebranch` that is added.
//!
//! The tracer `dronetee-metrics` serves the same for a pipeline that no code is written for. A program
//! that links the crate adds its elements to an [`Exporter`] and starts a [`Server`]:
//!
//! ```
//! use gst::prelude::*;
//! use gstdronetee::metrics::{Exporter, Format, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! gst::init()?;
//! gstdronetee::plugin_register_static()?;
//! let line = "videotestsrc num-buffers=30 ! dronetee name=camera ! fakesink";
//! let pipeline = gst::parse::launch(line)?.downcast::<gst::Pipeline>().map_err(|_| "no pipeline")?;
//! let exporter = Exporter::new();
//! exporter.add(&pipeline.by_name("camera").ok_or("no dronetee")?)?;
//! // Port 0 is a free one.
//! let server = Server::start("127.0.0.1:0", exporter.clone())?;
//! println!("http://{}/metrics", server.address());
//!
//! pipeline.set_state(gst::State::Playing)?;
//! // The same text, for a program that has a server of its own.
//! let text = exporter.text(Format::OpenMetrics);
//! assert!(text.contains(r#"dronetee_frames_in_total{element="camera",consumer="src_0"}"#));
//! # pipeline.set_state(gst::State::Null)?;
//! # Ok(())
//! # }
//! ```
//!
//! Counters are the ledger's own numbers, read at the scrape, and those of an element are of one moment:
//! for each consumer and in each scrape `in == delivered + Σ dropped + queue level + in flight`. The two
//! 99th percentiles and what was lost before the element are read right after.
//!
//! `docs/metrics.md` lists the names.

mod encode;
mod exporter;
mod format;
mod hide;
mod server;

pub use exporter::Exporter;
pub use format::Format;
pub(crate) use hide::hide_passwords;
pub use server::{DEFAULT_ADDRESS, Server};
