// SPDX-License-Identifier: MPL-2.0
//! Elements whose own pads are requested, linked as people write it.

use crate::common::{DEADLINE, Rig, init};
use gst::prelude::*;

const ELEMENTS: [&str; 7] = [
    "funnel",
    "input-selector",
    "multiqueue",
    "concat",
    "splitmuxsink",
    "streamsynchronizer",
    "playsink",
];

fn src_pads(tee: &gst::Element) -> Vec<String> {
    let pads = tee.src_pads().into_iter();
    pads.map(|pad| pad.name().to_string()).collect()
}

#[test]
fn what_requests_pads_itself_is_linked_by_a_launch_line() {
    init();
    for name in ELEMENTS {
        // Raw video is nothing that it could record, and with `tee` neither.
        let source = match name {
            "splitmuxsink" => "videotestsrc ! x264enc",
            _ => "videotestsrc",
        };
        for line in [
            format!("{source} ! dronetee name=t ! {name}"),
            format!("{source} ! dronetee name=t t. ! fakesink t. ! {name}"),
        ] {
            let mut context = gst::ParseContext::new();
            let flags = gst::ParseFlags::FATAL_ERRORS;
            let parsed = gst::parse::launch_full(&line, Some(&mut context), flags);
            let parsed = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
            let bin = parsed.downcast::<gst::Bin>().unwrap();
            let tee = bin.by_name("t").unwrap();
            let pads = src_pads(&tee);
            assert!(
                pads.iter()
                    .enumerate()
                    .all(|(n, pad)| *pad == format!("src_{n}")),
                "{line}: {pads:?}"
            );
            assert!(tee.src_pads().iter().all(|pad| pad.is_linked()), "{line}");
        }
    }
}

#[test]
fn what_requests_pads_itself_is_linked_by_a_program() {
    init();
    for name in ELEMENTS {
        let pipeline = gst::Pipeline::new();
        let tee = gst::ElementFactory::make("dronetee").build().unwrap();
        let other = gst::ElementFactory::make(name).build().unwrap();
        pipeline.add_many([&tee, &other]).unwrap();
        tee.link(&other)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(src_pads(&tee), ["src_0"], "{name}");
    }
}

#[test]
fn frames_get_through_a_funnel() {
    init();
    let line =
        "videotestsrc num-buffers=5 ! dronetee name=t depth=8 ! funnel ! fakesink sync=false";
    let pipeline = gst::parse::launch(line).unwrap();
    let bin = pipeline.downcast_ref::<gst::Bin>().unwrap();
    let tee = bin.by_name("t").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let end = pipeline.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_mseconds(DEADLINE.as_millis() as u64),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
    assert_eq!(tee.static_pad("src_0").unwrap().property::<u64>("out"), 5);
    pipeline.set_state(gst::State::Null).unwrap();
}

/// A template's own name means any; a name is a name all the same.
#[test]
fn a_templates_name_means_any_pad() {
    let rig = Rig::new();
    for (template, name) in [
        ("src_%u", "src_0"),
        ("src_%s", "src_1"),
        ("src_%u", "src_2"),
    ] {
        let template = rig.tee.pad_template(template).unwrap();
        let passed = template.name_template();
        let pad = rig.tee.request_pad(&template, Some(passed), None).unwrap();
        assert_eq!(pad.name(), name);
    }
    let named = rig.tee.pad_template("src_%s").unwrap();
    let pad = rig.tee.request_pad(&named, Some("src_detector"), None);
    assert_eq!(pad.unwrap().name(), "src_detector");
    assert!(
        rig.tee
            .request_pad(&named, Some("src_detector"), None)
            .is_none()
    );
    assert!(rig.tee.request_pad(&named, Some("src_%d"), None).is_none());
}

/// As with `tee`: no pad of these muxers takes any caps.
#[test]
fn muxers_need_a_pad_by_name() {
    init();
    for (tee, works) in [("t.", false), ("t.src_0", true)] {
        for element in ["tee", "dronetee"] {
            let line =
                format!("videotestsrc ! x264enc ! {element} name=t {tee} ! mp4mux ! fakesink");
            let flags = gst::ParseFlags::FATAL_ERRORS;
            assert_eq!(
                gst::parse::launch_full(&line, None, flags).is_ok(),
                works,
                "{line}"
            );
        }
    }
}
