// SPDX-License-Identifier: MPL-2.0
//! Sources that are not live: what nothing clocks is warned of, and nothing else.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::common::{DEADLINE, init, wait_for};
use gst::prelude::*;

struct Run {
    pipeline: gst::Pipeline,
    tee: gst::Element,
}

impl Run {
    fn start(line: &str) -> Self {
        let run = Self::paused(line);
        run.play();
        run
    }

    /// No clock runs, and sinks that sync take one frame only.
    fn paused(line: &str) -> Self {
        init();
        let pipeline = gst::parse::launch(line).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let tee = pipeline.by_name("t").unwrap();
        pipeline.set_state(gst::State::Paused).unwrap();
        Self { pipeline, tee }
    }

    fn play(&self) {
        self.pipeline.set_state(gst::State::Playing).unwrap();
    }

    /// Until that many frames have come.
    fn wait_published(&self, count: u64) {
        wait_for("frames", || self.tee.property::<u64>("published") == count);
    }

    /// Until the end of the stream; the warnings until then.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let deadline = gst::ClockTime::from_mseconds(DEADLINE.as_millis() as u64);
        let types = [
            gst::MessageType::Eos,
            gst::MessageType::Error,
            gst::MessageType::Warning,
        ];
        let bus = self.pipeline.bus().unwrap();
        loop {
            let message = bus.timed_pop_filtered(deadline, &types).expect("no end");
            match message.view() {
                gst::MessageView::Warning(warning) => warnings.push(warning.error().to_string()),
                gst::MessageView::Eos(_) => return warnings,
                _ => panic!("{message:?}"),
            }
        }
    }

    fn dropped(&self) -> u64 {
        self.tee.property("dropped")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A file with one group of pictures of 60 frames.
fn one_gop() -> String {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("one-gop.h264");
        let line = format!(
            "videotestsrc num-buffers=60 ! video/x-raw,width=160,height=120,framerate=30/1 \
             ! x264enc key-int-max=60 ! video/x-h264,stream-format=byte-stream \
             ! dronetee name=t depth=100 ! filesink location={}",
            file.display()
        );
        let run = Run::start(&line);
        // Offline, but nothing is lost.
        assert_eq!(run.warnings(), [""; 0]);
        assert_eq!(run.dropped(), 0);
        file
    });
    file.display().to_string()
}

#[track_caller]
fn assert_warned(warnings: &[String]) {
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for word in ["clocksync", "identity sync=true", "not live"] {
        assert!(warnings[0].contains(word), "{warnings:?}");
    }
}

#[test]
fn a_file_that_nothing_clocks_is_warned_of_once() {
    let file = one_gop();
    let run = Run::paused(&format!(
        "filesrc location={file} ! h264parse ! dronetee name=t \
         t. ! avdec_h264 ! fakesink sync=true t. ! avdec_h264 ! fakesink sync=true"
    ));
    run.wait_published(60);
    run.play();
    assert_warned(&run.warnings());
    assert!(run.dropped() > 0);
}

#[test]
fn pictures_that_nothing_clocks_are_warned_of_once() {
    let run = Run::start(
        "videotestsrc num-buffers=150 ! dronetee name=t t. ! fakesink sync=true t. ! fakesink",
    );
    assert_warned(&run.warnings());
    assert!(run.dropped() > 0);
}

/// Also without drop messages, and again when it runs again.
#[test]
fn the_warning_does_not_hang_on_drop_messages() {
    let run = Run::start(
        "videotestsrc num-buffers=150 ! dronetee name=t post-drop-messages=false ! fakesink sync=true",
    );
    assert_warned(&run.warnings());
    run.pipeline.set_state(gst::State::Ready).unwrap();
    run.pipeline.set_state(gst::State::Playing).unwrap();
    assert_warned(&run.warnings());
}

#[test]
fn a_file_that_is_clocked_is_not_warned_of() {
    let file = one_gop();
    for clock in ["clocksync", "identity sync=true"] {
        // One consumer is slow: it loses frames, but for its own fault.
        let run = Run::start(&format!(
            "filesrc location={file} ! h264parse ! {clock} ! dronetee name=t \
             t.src_fast ! avdec_h264 ! fakesink sync=true \
             t.src_slow ! identity sleep-time=200000 ! fakesink sync=false"
        ));
        assert_eq!(run.warnings(), [""; 0], "{clock}");
        let slow = run.tee.static_pad("src_slow").unwrap();
        assert!(slow.property::<u64>("dropped") > 0);
    }
}

#[test]
fn a_live_source_is_not_warned_of() {
    let run = Run::start(
        "videotestsrc is-live=true num-buffers=75 ! video/x-raw,framerate=30/1 ! dronetee name=t \
         t.src_fast ! fakesink sync=true t.src_slow ! identity sleep-time=200000 ! fakesink sync=false",
    );
    assert_eq!(run.warnings(), [""; 0]);
    assert!(run.dropped() > 0);
}

/// A live source may tell times that lie in the future.
#[test]
fn a_live_source_ahead_of_its_time_is_not_warned_of() {
    let run = Run::start(
        "appsrc name=in format=time is-live=true \
         caps=video/x-raw,format=GRAY8,width=8,height=2,framerate=30/1 \
         ! dronetee name=t ! identity sleep-time=200000 ! fakesink sync=false",
    );
    let input = run.pipeline.by_name("in").unwrap();
    let input = input.downcast::<gst_app::AppSrc>().unwrap();
    for n in 1800..1860 {
        input.push_buffer(crate::common::frame(n)).unwrap();
    }
    input.end_of_stream().unwrap();
    assert_eq!(run.warnings(), [""; 0]);
    assert!(run.dropped() > 0);
}

#[test]
fn offline_processing_that_loses_nothing_is_not_warned_of() {
    let run = Run::start(
        "videotestsrc num-buffers=300 ! dronetee name=t depth=300 \
         t. ! fakesink sync=false t. ! identity sleep-time=1000 ! fakesink sync=false",
    );
    assert_eq!(run.warnings(), [""; 0]);
    assert_eq!(run.dropped(), 0);
}

/// Its frames come late, one that is lost is the consumer's fault.
#[test]
fn a_source_that_is_slower_than_its_time_is_not_warned_of() {
    let run = Run::start(
        "videotestsrc num-buffers=45 ! video/x-raw,framerate=30/1 ! identity sleep-time=40000 \
         ! dronetee name=t ! identity sleep-time=200000 ! fakesink sync=false",
    );
    assert_eq!(run.warnings(), [""; 0]);
    assert!(run.dropped() > 0);
}

/// The source was held up for 3 s and catches up: its frames come fast, but late.
#[test]
fn a_burst_of_late_frames_is_not_warned_of() {
    init();
    let line = "videotestsrc num-buffers=60 ! video/x-raw,framerate=30/1 ! identity name=valve \
         ! dronetee name=t t. ! identity sleep-time=10000 ! fakesink sync=false async=false";
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let tee = pipeline.by_name("t").unwrap();
    let valve = pipeline.by_name("valve").unwrap();
    let valve = valve.static_pad("src").unwrap();
    let types = gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER;
    let closed = valve.add_probe(types, |_, _| gst::PadProbeReturn::Ok);
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_for("3 s of the clock", || {
        let time = pipeline.current_running_time();
        pipeline.current_state() == gst::State::Playing
            && time > Some(gst::ClockTime::from_seconds(3))
    });
    valve.remove_probe(closed.unwrap());
    let run = Run { pipeline, tee };
    assert_eq!(run.warnings(), [""; 0]);
    assert!(run.dropped() > 0);
}

/// Only the last frames are lost, within less than a second of the stream.
#[test]
fn a_short_stream_is_warned_of_at_its_end() {
    let run = Run::paused(
        "videotestsrc num-buffers=59 ! video/x-raw,framerate=30/1 ! dronetee name=t depth=35 \
         ! fakesink sync=true",
    );
    run.wait_published(59);
    run.play();
    assert_warned(&run.warnings());
}

/// Frames do not wait for upstream's answer, which may need the thread that pushes them.
#[test]
fn frames_do_not_wait_for_upstreams_answer() {
    init();
    let line = "videotestsrc num-buffers=300 ! identity name=hangs ! dronetee name=t ! fakesink";
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let tee = pipeline.by_name("t").unwrap();
    let hangs = pipeline
        .by_name("hangs")
        .unwrap()
        .static_pad("src")
        .unwrap();
    // A stream of 10 s comes, although the answer comes only when all of it is there.
    let weak = tee.downgrade();
    hangs.add_probe(gst::PadProbeType::QUERY_UPSTREAM, move |_, info| {
        let query = info.query().map(|query| query.type_());
        let tee = weak.upgrade();
        if let Some(tee) = tee.filter(|_| query == Some(gst::QueryType::Latency)) {
            // Sinks ask too, before a frame has come.
            let published = || tee.property::<u64>("published");
            if published() > 0 {
                wait_for("all frames", || published() == 300);
            }
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let run = Run { pipeline, tee };
    wait_for("all frames", || run.tee.property::<u64>("published") == 300);
}
