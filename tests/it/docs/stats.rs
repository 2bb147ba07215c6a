// SPDX-License-Identifier: MPL-2.0
//! The tables of fields against the structures of real pipelines.

use std::collections::BTreeMap;

use super::{Page, table};
use glib::prelude::*;
use gst::prelude::*;

type Fields = BTreeMap<String, String>;

/// Name and type of each field, as the table after this heading or sentence has them.
fn documented(after: &str) -> Fields {
    let page = Page::read("docs/stats.md");
    let (_, rest) = page
        .text
        .split_once(after)
        .unwrap_or_else(|| panic!("no '{after}'"));
    let mut fields = Fields::new();
    for row in table(rest, "| field | type |") {
        let names = row[0].split('`').skip(1).step_by(2);
        let types: Vec<_> = row[1].split(", ").collect();
        for (n, name) in names.enumerate() {
            let of_type = types.get(n).unwrap_or(&types[0]);
            fields.insert(name.to_owned(), (*of_type).to_owned());
        }
    }
    fields
}

fn real(structure: &gst::StructureRef) -> Fields {
    let fields = structure.iter();
    fields
        .map(|(name, value)| (name.to_string(), value.type_().name().to_owned()))
        .collect()
}

/// The line to its end, and the first message of each name.
fn messages_of(line: &str) -> (gst::Pipeline, BTreeMap<String, gst::Structure>) {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let pipeline = gst::parse::launch(line)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let bus = pipeline.bus().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut seen = BTreeMap::new();
    loop {
        let message = bus
            .timed_pop(gst::ClockTime::from_seconds(60))
            .expect("it does not end");
        match message.view() {
            gst::MessageView::Element(element) => {
                let structure = element.structure().unwrap().to_owned();
                seen.entry(structure.name().to_string())
                    .or_insert(structure);
            }
            gst::MessageView::Error(error) => panic!("{error:?}"),
            gst::MessageView::Eos(_) => break,
            _ => {}
        }
    }
    (pipeline, seen)
}

#[test]
fn fields_are_those_of_the_page() {
    let (pipeline, seen) = messages_of(
        "videotestsrc is-live=true num-buffers=40 ! video/x-raw,width=64,height=64,framerate=30/1 \
         ! dronetee name=t depth=1 stall-timeout=50000000 \
         t.src_a ! identity sleep-time=200000 ! fakesink \
         t.src_b ! dronebranch.( restart=false identity error-after=2 ! fakesink )",
    );
    let tee = pipeline.by_name("t").unwrap();
    let stats = tee.property::<gst::Structure>("stats");
    assert_eq!(real(&stats), documented("## `stats` of the element"));
    assert_eq!(stats.name(), "application/x-dronetee-stats");
    let pad = tee.static_pad("src_a").unwrap();
    let of_pad = documented("## `stats` of a pad");
    let stats = pad.property::<gst::Structure>("stats");
    assert_eq!(real(&stats), of_pad);
    assert_eq!(stats.name(), "application/x-dronetee-pad-stats");
    assert_eq!(real(&seen["dronetee-summary"]), of_pad);
    for name in ["dronetee-drop", "dronetee-consumer", "dronebranch-error"] {
        let message = seen
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {seen:?}"));
        assert_eq!(real(message), documented(&format!("\n`{name}`")), "{name}");
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn fields_of_rare_messages_are_those_of_the_page() {
    let (pipeline, seen) = messages_of(
        "videotestsrc num-buffers=40 ! video/x-raw,width=64,height=64,framerate=30/1 \
         ! x264enc key-int-max=20 speed-preset=ultrafast tune=zerolatency \
         ! dronetee name=t gop-cache=5 t.src_a ! fakesink",
    );
    pipeline.set_state(gst::State::Null).unwrap();
    let message = &seen["dronetee-gop-truncated"];
    assert_eq!(real(message), documented("\n`dronetee-gop-truncated`"));

    let (pipeline, seen) = messages_of(
        "videotestsrc num-buffers=20 ! video/x-raw,width=64,height=64,framerate=30/1 \
         ! dronetee name=t max-held=0 t.src_a ! identity sleep-time=20000 ! fakesink",
    );
    pipeline.set_state(gst::State::Null).unwrap();
    let _ = seen.get("dronetee-pool").map(|message| {
        assert_eq!(real(message), documented("\n`dronetee-pool`"));
    });
}
