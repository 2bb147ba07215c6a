// SPDX-License-Identifier: MPL-2.0
//! `docs/reference.md` is what the elements say of themselves.
//!
//! After a change of a property: `DRONETEE_WRITE_REFERENCE=1 cargo test --test it reference`.

use std::fmt::Write as _;

use super::root;
use glib::prelude::*;
use gst::prelude::*;

const INTRODUCTION: &str = "# Reference

Written from the elements themselves, as `gst-inspect-1.0 dronetee` shows them; a test compares. The fields of `stats` and
of the messages are in [stats.md](stats.md), what to do about a state or a loss in
[troubleshooting.md](troubleshooting.md).

*Set in*: in which states of the element a property may be set; it takes effect at once. *Read* ones cannot be set. All
may be read in any state, and from any thread.
";

/// Numbers that mean no limit have no digits that help.
fn range(minimum: u64, maximum: u64, greatest: u64) -> String {
    match (minimum, maximum) {
        (0, maximum) if maximum == greatest => String::new(),
        _ => format!(" {minimum}–{maximum}"),
    }
}

/// Type with its range, and the default.
fn type_and_default(spec: &glib::ParamSpec) -> (String, String) {
    let name = spec.value_type().name().to_owned();
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt>() {
        let range = range(
            spec.minimum().into(),
            spec.maximum().into(),
            u32::MAX.into(),
        );
        (name + &range, spec.default_value().to_string())
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt64>() {
        let range = range(spec.minimum(), spec.maximum(), u64::MAX);
        (name + &range, spec.default_value().to_string())
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecInt>() {
        (name, spec.default_value().to_string())
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecBoolean>() {
        (name, spec.default_value().to_string().to_uppercase())
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecString>() {
        (
            name,
            spec.default_value()
                .map_or("NULL".to_owned(), |text| text.to_string()),
        )
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecEnum>() {
        let class = spec.enum_class();
        let nicks = class
            .values()
            .iter()
            .map(|value| format!("`{}`", value.nick()));
        let nicks: Vec<_> = nicks.collect();
        let default = spec.default_value_as_i32();
        let default = class.value(default).map_or("", |value| value.nick());
        (format!("{name}: {}", nicks.join(", ")), default.to_owned())
    } else {
        (name, String::new())
    }
}

fn set_in(spec: &glib::ParamSpec) -> &'static str {
    let flags = spec.flags();
    let bits = flags.bits();
    // Flags of GStreamer's above those of GObject's.
    let mutable = |bit: u32| bits & (1 << (8 + bit)) != 0;
    match flags.contains(glib::ParamFlags::WRITABLE) {
        false => "read",
        true if mutable(4) => "any state",
        true if mutable(3) => "NULL to PAUSED",
        true if mutable(2) => "NULL, READY",
        true => "any state",
    }
}

fn properties(text: &mut String, object: &glib::Object) {
    let own = object.type_();
    text.push_str(
        "| property | type | default | set in | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    let specs = object.list_properties().to_vec();
    for spec in specs.iter().filter(|spec| spec.owner_type() == own) {
        let (kind, default) = type_and_default(spec);
        let (name, set, blurb) = (spec.name(), set_in(spec), spec.blurb().unwrap_or_default());
        // With a default of its own only where it can be set.
        let default = if set == "read" {
            String::new()
        } else {
            default
        };
        writeln!(text, "| `{name}` | {kind} | {default} | {set} | {blurb} |").unwrap();
    }
}

fn templates(text: &mut String, factory: &gst::ElementFactory) {
    text.push_str("| pad | presence | caps |\n| --- | --- | --- |\n");
    let mut before = None;
    for template in factory.static_pad_templates() {
        let caps = template.caps();
        let media = media_types(&caps);
        let said = match before {
            Some(same) if same == media => "the same".to_owned(),
            _ => media.clone(),
        };
        let presence = match template.presence() {
            gst::PadPresence::Always => "always",
            gst::PadPresence::Sometimes => "sometimes",
            _ => "request",
        };
        let name = template.name_template();
        writeln!(text, "| `{name}` | {presence} | {said} |").unwrap();
        before = Some(media);
    }
}

fn media_types(caps: &gst::Caps) -> String {
    if caps.is_any() {
        return "any".to_owned();
    }
    assert!(
        caps.iter_with_features()
            .all(|(_, features)| features.is_any())
    );
    let media: Vec<_> = caps
        .iter()
        .map(|structure| format!("`{}`", structure.name()))
        .collect();
    format!("with any memory feature: {}", media.join(", "))
}

fn heading(text: &mut String, name: &str, factory: &gst::ElementFactory) {
    writeln!(
        text,
        "\n## {name}\n\n{}. {}.\n",
        factory.metadata("long-name").unwrap(),
        factory
            .metadata("description")
            .unwrap()
            .trim_end_matches('.')
    )
    .unwrap();
}

fn reference() -> String {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let mut text = INTRODUCTION.to_owned();
    let factory = gst::ElementFactory::find("dronetee").unwrap();
    let tee = factory.create().build().unwrap();
    heading(&mut text, "dronetee", &factory);
    templates(&mut text, &factory);
    text.push_str("\n### Properties of the element\n\n");
    properties(&mut text, tee.upcast_ref());
    text.push_str("\n### Properties of a src pad\n\n");
    text.push_str("In a launch line: `dronetee name=t src_a::depth=2 t.src_a ! …`.\n\n");
    let pad = tee.request_pad_simple("src_a").unwrap();
    properties(&mut text, pad.upcast_ref());

    let factory = gst::ElementFactory::find("dronebranch").unwrap();
    let branch = factory.create().build().unwrap();
    heading(&mut text, "dronebranch", &factory);
    templates(&mut text, &factory);
    text.push_str("\n### Properties of the branch\n\n");
    properties(&mut text, branch.upcast_ref());
    text
}

#[test]
fn is_what_the_elements_say() {
    let path = root().join("docs/reference.md");
    let now = reference();
    if std::env::var_os("DRONETEE_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == now,
        "docs/reference.md is old: DRONETEE_WRITE_REFERENCE=1 cargo test --test it reference\n{now}"
    );
}
