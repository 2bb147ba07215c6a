// SPDX-License-Identifier: MPL-2.0
//! Flow returns by number, which is how the core keeps them, and their names.

use glib::translate::IntoGlib;

/// The name of a flow return given by its number.
pub(super) fn flow_name(flow: i32) -> &'static str {
    known_flow(flow).1
}

pub(super) fn flow_from(flow: i32) -> gst::FlowReturn {
    known_flow(flow).0
}

/// Numbers without a name of their own are custom errors or successes.
fn known_flow(flow: i32) -> (gst::FlowReturn, &'static str) {
    let unnamed = match flow {
        1.. => (gst::FlowReturn::CustomSuccess, "custom-success"),
        _ => (gst::FlowReturn::CustomError, "custom-error"),
    };
    let named = |known: &(gst::FlowReturn, &str)| known.0.into_glib() == flow;
    FLOWS.into_iter().find(named).unwrap_or(unnamed)
}

const FLOWS: [(gst::FlowReturn, &str); 7] = [
    (gst::FlowReturn::Ok, "ok"),
    (gst::FlowReturn::NotLinked, "not-linked"),
    (gst::FlowReturn::Flushing, "flushing"),
    (gst::FlowReturn::Eos, "eos"),
    (gst::FlowReturn::NotNegotiated, "not-negotiated"),
    (gst::FlowReturn::Error, "error"),
    (gst::FlowReturn::NotSupported, "not-supported"),
];
