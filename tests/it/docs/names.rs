// SPDX-License-Identifier: MPL-2.0
//! Names that the pages use exist, and what exists is in the tables.

use std::collections::BTreeSet;

use super::{Page, table};
use glib::prelude::*;
use gst::prelude::*;
use gstdronetee::DropReason;

fn properties(object: &impl IsA<glib::Object>) -> impl Iterator<Item = String> {
    let all = object.list_properties().to_vec();
    all.into_iter().map(|spec| spec.name().to_owned())
}

fn fields(structure: &gst::StructureRef) -> impl Iterator<Item = String> + '_ {
    structure.fields().map(|name| name.to_string())
}

/// All names of ours, and of the elements that the pages speak of.
fn known() -> BTreeSet<String> {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let make = |name: &str| gst::ElementFactory::make(name).build().unwrap();
    let tee = make("dronetee");
    let pad = tee.request_pad_simple("src_a").unwrap();
    let mut known = BTreeSet::new();
    known.extend(properties(&tee));
    known.extend(properties(&pad));
    for other in [
        "dronebranch",
        "queue",
        "tee",
        "identity",
        "appsink",
        "splitmuxsink",
        "srtsink",
        "shmsink",
        "h264parse",
    ] {
        known.extend(properties(&make(other)));
    }
    for object in [tee.upcast_ref::<glib::Object>(), pad.upcast_ref()] {
        known.extend(fields(&object.property::<gst::Structure>("stats")));
    }
    // Of messages, which tests/it/docs/stats.rs compares with real ones.
    let page = Page::read("docs/stats.md");
    for row in page.text.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.trim_matches('|').split('|').next().unwrap();
        known.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    known
}

/// Words of these beginnings, with a dash, are names of properties or fields.
const BEGINNINGS: [&str; 19] = [
    "dropped-",
    "max-",
    "current-level-",
    "wait-",
    "service-",
    "qos-",
    "stall-",
    "gop-",
    "in-flight",
    "restart-",
    "stop-",
    "drop-messages",
    "post-drop",
    "last-",
    "is-",
    "allow-",
    "input-",
    "loss-",
    "num-src",
];

#[test]
fn in_the_pages_exist() {
    let known = known();
    for page in Page::all() {
        for span in page.spans() {
            // A value may follow.
            let name = span.split(['=', ' ']).next().unwrap();
            let name = name.rsplit("::").next().unwrap();
            let is_name = !name.contains(['<', '*', '…', '.', '/'])
                && name.contains('-')
                && BEGINNINGS
                    .iter()
                    .any(|beginning| name.starts_with(beginning));
            if is_name {
                let is_known = known.contains(name) || gst::ElementFactory::find(name).is_some();
                assert!(is_known, "{}: there is no {name}", page.name);
            }
            if let Some(message) = span
                .strip_prefix("dronetee-")
                .or(span.strip_prefix("dronebranch-"))
            {
                let known = [
                    "drop",
                    "consumer",
                    "summary",
                    "gop-truncated",
                    "pool",
                    "error",
                    "loss",
                    "metrics",
                    "zenoh",
                ];
                assert!(
                    known.iter().any(|name| message.starts_with(name)),
                    "{}: {span}",
                    page.name
                );
            }
        }
        for line in page.text.lines() {
            for (at, _) in line.match_indices("::") {
                let after = &line[at + 2..];
                let Some(end) = after.find('=') else { continue };
                let name = &after[..end];
                if name.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                    assert!(known.contains(name), "{}: {line}", page.name);
                }
            }
        }
    }
}

#[test]
fn of_reasons_and_states_are_in_the_tables() {
    let readme = Page::read("README.md");
    let rows = table(&readme.text, "| property, tag |");
    let reasons: Vec<_> = DropReason::all()
        .iter()
        .map(|reason| format!("`dropped-{reason}`, `{}`", reason.tag("<consumer>")))
        .collect();
    let listed: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed, reasons);

    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let tee = gst::ElementFactory::make("dronetee").build().unwrap();
    let pad = tee.request_pad_simple("src_a").unwrap();
    let states = pad.find_property("state").unwrap().value_type();
    let states = glib::EnumClass::with_type(states).unwrap();
    let states: Vec<_> = states
        .values()
        .iter()
        .map(|value| format!("`{}`", value.nick()))
        .collect();
    let rows = table(&readme.text, "| `state` | meaning |");
    let listed: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed, states);
}
