// SPDX-License-Identifier: MPL-2.0
//! `loss-events`: an element of the branch learns how many frames were lost, before the one that follows.

use std::sync::{Arc, Mutex};

use gst::prelude::*;

use crate::common::{Consumer, Got, Rig, caps, init, wait_for};
use crate::pipelines::{plugin_dir, tool};

fn loss(event: &gst::Event) -> Option<(u64, u64)> {
    let loss = event.structure().filter(|s| s.name() == "dronetee-loss")?;
    assert!(event.is_serialized() && event.is_downstream() && !event.is_sticky());
    Some((loss.get("count").unwrap(), loss.get("sequence").unwrap()))
}

/// Frames by number; losses as count and the number of the frame that follows.
fn story(consumer: &Consumer) -> Vec<String> {
    let got = consumer.record.got_all();
    let told = got.iter().filter_map(|got| match got {
        Got::Frame(frame) => Some(frame.offset().to_string()),
        Got::Event(event) => loss(event).map(|(count, next)| format!("{count} before {next}")),
    });
    told.collect()
}

fn telling(rig: &Rig, name: &str) -> Consumer {
    let pad = rig.tee.request_pad_simple(&format!("src_{name}")).unwrap();
    pad.set_property("loss-events", true);
    rig.link(pad, None)
}

#[test]
fn each_loss_is_told_before_the_frame_that_follows() {
    let rig = Rig::started();
    let [told, quiet] = [telling(&rig, "told"), rig.consumer("quiet")];
    for consumer in [&told, &quiet] {
        consumer.stick();
    }
    rig.push(0).unwrap();
    [&told, &quiet]
        .into_iter()
        .for_each(Consumer::wait_in_flight);
    rig.push_all(1..10);
    [&told, &quiet].into_iter().for_each(Consumer::unstick);
    [&told, &quiet].into_iter().for_each(Consumer::wait_idle);
    rig.push(10).unwrap();
    [&told, &quiet].into_iter().for_each(Consumer::wait_idle);
    let expected = ["0", "5 before 6", "6", "7", "8", "9", "10"];
    assert_eq!(story(&told), expected);
    assert_eq!(story(&quiet), ["0", "6", "7", "8", "9", "10"]);
    // For whatever reason.
    told.pad.set_property("enabled", false);
    rig.push_all(11..14);
    told.pad.set_property("enabled", true);
    rig.push(14).unwrap();
    told.wait_idle();
    assert_eq!(story(&told)[7..], ["3 before 14", "14"]);
    let sum = told.count("dropped-slow") + told.count("dropped-disabled");
    assert_eq!(sum, 8);
}

#[test]
fn counts_add_up_over_flushes_and_sessions() {
    let rig = Rig::started();
    let told = telling(&rig, "told");
    told.stick();
    rig.push(0).unwrap();
    told.wait_in_flight();
    rig.push_all(1..7);
    // What waits goes for the flush, and so does what is in flight.
    told.answer(Some(gst::FlowError::Flushing));
    assert!(rig.src.push_event(gst::event::FlushStart::new()));
    told.unstick();
    wait_for("the last flight", || told.count("in-flight") == 0);
    told.answer(None);
    assert!(rig.src.push_event(gst::event::FlushStop::new(true)));
    rig.segment();
    rig.push(7).unwrap();
    told.wait_idle();
    // A session of the pad's that is over.
    told.pad.set_active(false).unwrap();
    rig.push_all(8..11);
    told.sink.set_active(false).unwrap();
    told.sink.set_active(true).unwrap();
    told.pad.set_active(true).unwrap();
    rig.push(11).unwrap();
    told.wait_idle();
    assert_eq!(story(&told), ["0", "7 before 7", "7", "3 before 11", "11"]);
    assert_eq!(told.count("dropped"), 10);
}

/// A branch that refuses event and frame because it is flushing hears of the loss after that.
#[test]
fn what_a_flushing_branch_did_not_take_is_told_again() {
    let rig = Rig::started();
    let told = telling(&rig, "told");
    rig.push(0).unwrap();
    told.wait_idle();
    told.pad.set_property("enabled", false);
    rig.push_all(1..4);
    told.pad.set_property("enabled", true);
    assert!(told.sink.send_event(gst::event::FlushStart::new()));
    rig.push(4).unwrap();
    told.wait_idle();
    assert_eq!(told.count("dropped-flushing"), 1);
    assert!(told.sink.send_event(gst::event::FlushStop::new(false)));
    rig.push(5).unwrap();
    told.wait_idle();
    assert_eq!(story(&told), ["0", "4 before 5", "5"]);
}

/// A queue whose branch has failed refuses events and frames; served again, it hears of all.
#[test]
fn what_a_failed_branch_did_not_take_is_told_when_it_recovers() {
    let rig = Rig::started();
    let queue = gst::ElementFactory::make("queue").build().unwrap();
    let pad = rig.tee.request_pad_simple("src_told").unwrap();
    pad.set_property("loss-events", true);
    let (sink, record) = Consumer::sink(None);
    queue.static_pad("src").unwrap().link(&sink).unwrap();
    queue.set_state(gst::State::Playing).unwrap();
    let entry = queue.static_pad("sink").unwrap();
    pad.link(&entry).unwrap();
    let told = Consumer { pad, sink, record };
    let came = |n: u64| {
        wait_for("the frame", || told.offsets().last() == Some(&n));
    };
    rig.push(0).unwrap();
    came(0);
    // The queue knows of the failure, and its pad does not yet.
    told.answer(Some(gst::FlowError::Error));
    rig.push(1).unwrap();
    came(1);
    let exit = queue.static_pad("src").unwrap();
    wait_for("the queue's end", || {
        exit.task_state() == gst::TaskState::Paused
    });
    told.pad.set_property("enabled", false);
    rig.push_all(2..5);
    told.pad.set_property("enabled", true);
    let _ = rig.push(5);
    told.wait_idle();
    assert_eq!(told.count("dropped"), 4);
    told.answer(None);
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    for event in [
        gst::event::FlushStart::new(),
        gst::event::FlushStop::new(false),
        gst::event::Segment::new(&segment),
    ] {
        assert!(entry.send_event(event));
    }
    assert!(entry.push_event(gst::event::Reconfigure::new()));
    rig.push(6).unwrap();
    came(6);
    assert_eq!(story(&told), ["0", "1", "4 before 6", "6"]);
    queue.set_state(gst::State::Null).unwrap();
}

#[test]
fn sticky_events_come_first() {
    let rig = Rig::new();
    let told = telling(&rig, "told");
    told.pad.set_property("enabled", false);
    rig.begin(&caps(8));
    rig.push_all(0..3);
    told.pad.set_property("enabled", true);
    rig.push(3).unwrap();
    told.wait_idle();
    let all = told.story();
    assert_eq!(all[..3], ["stream-start", "caps", "segment"]);
    assert_eq!(all[all.len() - 2..], ["custom-downstream", "3"]);
}

#[test]
fn an_appsink_reads_them() {
    init();
    let line = "videotestsrc num-buffers=40 ! video/x-raw,width=32,height=32,framerate=100/1 \
                ! clocksync ! dronetee name=t depth=2 src_out::loss-events=true \
                t.src_out ! queue max-size-buffers=1 ! appsink name=out sync=false max-buffers=1";
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let out = pipeline.by_name("out").unwrap();
    let losses = Arc::<Mutex<Vec<u64>>>::default();
    let seen = losses.clone();
    out.static_pad("sink").unwrap().add_probe(
        gst::PadProbeType::EVENT_DOWNSTREAM,
        move |_, info| {
            if let Some(gst::PadProbeData::Event(event)) = &info.data
                && let Some((count, _)) = loss(event)
            {
                seen.lock().unwrap().push(count);
            }
            gst::PadProbeReturn::Ok
        },
    );
    pipeline.set_state(gst::State::Playing).unwrap();
    let out = out.downcast::<gst_app::AppSink>().unwrap();
    let pad = pipeline
        .by_name("t")
        .unwrap()
        .static_pad("src_out")
        .unwrap();
    wait_for("a loss", || pad.property::<u64>("dropped-slow") >= 3);
    let mut frames = 0;
    while out.pull_sample().is_ok() {
        frames += 1;
    }
    let stats = pad.property::<gst::Structure>("stats");
    let lost: u64 = stats.get("dropped").unwrap();
    let told: u64 = losses.lock().unwrap().iter().sum();
    assert_eq!((told, frames + lost), (lost, 40), "{stats}");
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_python_program_reads_them() {
    let program = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/losses.py");
    let output = tool("/usr/bin/python3").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors, "");
    let number =
        |line: &str, word: usize| line.split(' ').nth(word).unwrap().parse::<u64>().unwrap();
    let (last, told) = text
        .trim_end()
        .rsplit_once('\n')
        .unwrap_or_else(|| panic!("{text}"));
    let lost: u64 = last.lines().map(|line| number(line, 1)).sum();
    // lost 5 before frame 6 … / 40 frames: 35 came, 5 were lost
    assert_eq!(number(told, 0), number(told, 2) + number(told, 4), "{text}");
    assert_eq!(number(told, 4), lost, "{text}");
    assert!(lost > 0, "{text}");
}

#[test]
fn gst_inspect_shows_both() {
    assert!(plugin_dir().exists());
    let output = tool("gst-inspect-1.0").arg("dronetee").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["enabled ", "loss-events ", "dropped-disabled "] {
        assert!(text.contains(name), "{name} in {text}");
    }
}
