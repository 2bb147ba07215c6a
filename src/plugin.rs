// SPDX-License-Identifier: MPL-2.0
//! The plugin's entry point.
#![allow(missing_docs, reason = "the macro documents nothing that it defines")]

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    // Fails if another copy of this code has the names of the types, also of those below.
    crate::tee::register(Some(plugin))?;
    crate::dronebranch::register(Some(plugin))?;
    #[cfg(feature = "metrics")]
    crate::tracer::register(plugin)?;
    Ok(())
}

gst::plugin_define!(
    dronetee,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MPL",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_AUTHORS"),
    env!("BUILD_REL_DATE")
);
