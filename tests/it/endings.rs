// SPDX-License-Identifier: MPL-2.0
//! Where receivers take the frames, the element is a sink: pipelines end, none too early, and none
//! hangs because a receiver is not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::{init, wait_for};
use crate::source::Source;
use gst::prelude::*;
use gstdronetee::{FramePublisher, FrameReceiver};

const DEADLINE: gst::ClockTime = gst::ClockTime::from_seconds(30);
/// For as long no message comes that must not.
const NONE: gst::ClockTime = gst::ClockTime::from_mseconds(150);

struct Player {
    pipeline: gst::Pipeline,
    tee: gst::Element,
    publisher: FramePublisher,
    bus: gst::Bus,
}

impl Player {
    /// Ten frames; `branches` are behind the `dronetee`, with `settings`.
    fn new(settings: &str, branches: &str) -> Self {
        init();
        let line = format!(
            "videotestsrc num-buffers=10 ! video/x-raw,width=16,height=16,framerate=100/1 \
             ! dronetee name=t depth=20 {settings} {branches}"
        );
        let pipeline = gst::parse::launch(&line).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        Self::of(pipeline)
    }

    fn of(pipeline: gst::Pipeline) -> Self {
        let tee = pipeline.by_name("t").unwrap();
        Self {
            publisher: FramePublisher::new(&tee).unwrap(),
            bus: pipeline.bus().unwrap(),
            pipeline,
            tee,
        }
    }

    fn subscribe(&self, name: &str) -> FrameReceiver {
        self.publisher.subscribe(name).unwrap()
    }

    fn set(&self, state: gst::State) {
        self.pipeline.set_state(state).unwrap();
    }

    fn play(&self) {
        self.set(gst::State::Playing);
    }

    fn wait_published(&self, frames: u64) {
        wait_for("the frames", || self.publisher.published() >= frames);
    }

    fn message(&self, type_: gst::MessageType, patience: gst::ClockTime) -> bool {
        let types = [type_, gst::MessageType::Error];
        let message = self.bus.timed_pop_filtered(patience, &types);
        if let Some(message) = &message {
            assert_eq!(message.type_(), type_, "{message:?}");
            assert_eq!(message.src().unwrap(), &self.pipeline);
        }
        message.is_some()
    }

    #[track_caller]
    fn assert_ends(&self) {
        assert!(self.message(gst::MessageType::Eos, DEADLINE), "no end");
    }

    #[track_caller]
    fn assert_goes_on(&self) {
        assert!(!self.message(gst::MessageType::Eos, NONE), "it has ended");
    }

    fn is_sink(&self) -> [bool; 2] {
        let elements = [&self.tee, self.pipeline.upcast_ref::<gst::Element>()];
        elements.map(|element| element.element_flags().contains(gst::ElementFlags::SINK))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Takes all frames in a thread of its own, until the end; how many there were by now.
fn read(mut frames: FrameReceiver) -> (Arc<AtomicU64>, std::thread::JoinHandle<FrameReceiver>) {
    let count = Arc::<AtomicU64>::default();
    let counted = count.clone();
    let thread = std::thread::spawn(move || {
        while frames.recv().is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        frames
    });
    (count, thread)
}

fn drain(frames: &mut FrameReceiver) -> u64 {
    std::iter::from_fn(|| frames.recv()).count() as u64
}

#[test]
fn receivers_alone_end_the_pipeline_when_all_have_all_frames() {
    let player = Player::new("", "");
    let readers = ["a", "b", "c"].map(|name| read(player.subscribe(name)));
    assert_eq!(player.is_sink(), [true; 2]);
    player.play();
    assert!(player.message(gst::MessageType::StreamStart, DEADLINE));
    player.assert_ends();
    for (count, _) in &readers {
        assert_eq!(count.load(Ordering::SeqCst), 10);
    }
    player.assert_goes_on();
    for (_, thread) in readers {
        drop(thread.join().unwrap());
    }
    // A sink until it stops.
    assert_eq!(player.is_sink(), [true; 2]);
    player.set(gst::State::Null);
    assert_eq!(player.is_sink(), [false; 2]);
}

#[test]
fn the_end_waits_for_a_receiver_that_keeps_its_last_frame() {
    let player = Player::new("stall-timeout=60000000000", "");
    let mut frames = player.subscribe("a");
    let (_, other) = read(player.subscribe("b"));
    player.play();
    let last = (0..10).map(|_| frames.recv().unwrap()).last().unwrap();
    assert_eq!(last.seq(), 9);
    drop(other.join().unwrap());
    player.assert_goes_on();
    assert!(frames.recv().is_none());
    player.assert_ends();
}

#[test]
fn a_receiver_that_is_not_read_does_not_hang_the_pipeline() {
    for branch in ["", "t. ! fakesink"] {
        // Longer than the default would not be waited for if it is off.
        for timeout in ["stall-timeout=50000000", "stall-timeout=0"] {
            let player = Player::new(timeout, branch);
            let mut frames = player.subscribe("a");
            player.play();
            player.assert_ends();
            // The frames are there all the same.
            assert_eq!(drain(&mut frames), 10);
            player.assert_goes_on();
        }
    }
}

#[test]
fn an_evicted_receiver_is_not_waited_for() {
    let player = Player::new("stall-timeout=3600000000000", "");
    let late = player.publisher.consumer("late").depth(1).max_lag(1);
    let mut late = late.subscribe().unwrap();
    let (count, thread) = read(player.subscribe("a"));
    player.play();
    player.assert_ends();
    assert_eq!(count.load(Ordering::SeqCst), 10);
    assert!(late.recv().is_none());
    drop(thread.join().unwrap());
}

#[test]
fn a_sink_and_a_receiver_wait_for_each_other() {
    for sink_first in [true, false] {
        let player = Player::new(
            "stall-timeout=60000000000",
            "t. ! fakesink name=end sync=false",
        );
        let mut frames = player.subscribe("a");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let sink = player.pipeline.by_name("end").unwrap();
        let pad = sink.static_pad("sink").unwrap();
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if info.event().unwrap().type_() == gst::EventType::Eos {
                let _ = wait.lock().unwrap().recv();
            }
            gst::PadProbeReturn::Ok
        });
        player.play();
        assert!(player.message(gst::MessageType::StreamStart, DEADLINE));
        player.wait_published(10);
        let mut steps: [&mut dyn FnMut(); 2] = [&mut || go.send(()).unwrap(), &mut || {
            assert_eq!(drain(&mut frames), 10);
        }];
        if !sink_first {
            steps.reverse();
        }
        steps[0]();
        player.assert_goes_on();
        steps[1]();
        player.assert_ends();
        player.assert_goes_on();
    }
}

#[test]
fn dropped_receivers_are_not_waited_for() {
    // In the middle, with the one that is left reading on; and when there is no other.
    for others in [true, false] {
        let player = Player::new("stall-timeout=3600000000000", "");
        let reader = others.then(|| read(player.subscribe("other")));
        let mut first = player.subscribe("a");
        let unread = player.subscribe("b");
        player.play();
        first.recv().unwrap();
        drop(first);
        player.wait_published(10);
        player.assert_goes_on();
        // The application may release the pad as well.
        let pad = player.tee.static_pad("src_b").unwrap();
        player.tee.release_request_pad(&pad);
        player.assert_ends();
        drop((unread, reader));
    }
    let player = Player::new("", "");
    drop(player.subscribe("a"));
    assert_eq!(player.is_sink(), [false; 2], "it has not started");
    player.set(gst::State::Paused);
    drop(player.subscribe("a"));
    assert_eq!(player.is_sink(), [true; 2]);
    player.play();
    player.assert_ends();
}

#[test]
fn a_receiver_that_joins_after_the_end_gets_it() {
    let player = Player::new("stall-timeout=60000000000", "");
    let (_, thread) = read(player.subscribe("a"));
    player.play();
    player.assert_ends();
    let mut late = player.subscribe("late");
    assert!(late.recv().is_none());
    player.assert_goes_on();
    drop(thread.join().unwrap());

    // The sink has not ended when the first receiver joins.
    let player = Player::new(
        "stall-timeout=60000000000",
        "t. ! fakesink name=end sync=false",
    );
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let pad = player.pipeline.by_name("end").unwrap().static_pad("sink");
    pad.unwrap()
        .add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if info.event().unwrap().type_() == gst::EventType::Eos {
                let _ = wait.lock().unwrap().recv();
            }
            gst::PadProbeReturn::Ok
        });
    player.play();
    player.wait_published(10);
    let sink = player.tee.static_pad("sink").unwrap();
    wait_for("the end", || sink.pad_flags().contains(gst::PadFlags::EOS));
    let mut late = player.subscribe("late");
    go.send(()).unwrap();
    player.assert_goes_on();
    assert!(late.recv().is_none());
    player.assert_ends();
}

#[test]
fn a_seek_of_the_pipeline_reaches_upstream_and_each_end_is_told() {
    for branch in ["", "t. ! fakesink sync=false"] {
        init();
        // Clocked, so that no end is on its way when the second sink of the two seeks.
        let line = format!(
            "videotestsrc ! video/x-raw,width=16,height=16,framerate=100/1 \
             ! clocksync ! dronetee name=t depth=20 {branch}"
        );
        let pipeline = gst::parse::launch(&line).unwrap();
        let player = Player::of(pipeline.downcast().unwrap());
        let mut frames = player.subscribe("a");
        player.play();
        frames.recv().unwrap();
        for _ in 0..3 {
            let seek = gst::event::Seek::new(
                1.0,
                gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
                gst::SeekType::Set,
                gst::ClockTime::ZERO,
                gst::SeekType::Set,
                gst::ClockTime::from_mseconds(100),
            );
            assert!(player.pipeline.send_event(seek));
            let mut last = None;
            while let Some(frame) = frames.recv() {
                last = frame.pts();
            }
            assert_eq!(last, Some(gst::ClockTime::from_mseconds(90)));
            player.assert_ends();
        }
    }
}

#[test]
fn the_end_is_told_in_playing_and_again_after_a_pause() {
    let player = Player::new("", "");
    let mut frames = player.subscribe("a");
    player.set(gst::State::Paused);
    assert_eq!(drain(&mut frames), 10);
    player.assert_goes_on();
    for _ in 0..3 {
        player.play();
        player.assert_ends();
        player.set(gst::State::Paused);
        player.assert_goes_on();
    }
    // A restart is a new stream.
    player.set(gst::State::Null);
    player.play();
    wait_for("the first frame of the new stream", || {
        frames.recv().is_some()
    });
    assert_eq!(drain(&mut frames), 9);
    player.assert_ends();
}

/// Without a bin around it, which would keep a message back until PLAYING.
#[test]
fn in_paused_no_end_is_told_and_a_flush_makes_it_void() {
    let source = Source::idle();
    let bus = gst::Bus::new();
    source.tee.set_bus(Some(&bus));
    let is_told = |patience| {
        let types = [gst::MessageType::Eos];
        bus.timed_pop_filtered(patience, &types).is_some()
    };
    let mut frames = source.publisher.subscribe("a").unwrap();
    let mut end = || {
        source.end();
        assert!(frames.recv().is_none());
    };
    source.set(gst::State::Paused);
    source.begin(None);
    end();
    assert!(!is_told(NONE));
    source.set(gst::State::Playing);
    assert!(is_told(DEADLINE));
    source.set(gst::State::Paused);
    source.flush();
    source.set(gst::State::Playing);
    assert!(!is_told(NONE));
    end();
    assert!(is_told(DEADLINE));
    assert!(!is_told(NONE));
}

#[test]
fn bins_around_it_are_sinks_too() {
    init();
    let line = "bin.( name=outer bin.( videotestsrc num-buffers=10 ! dronetee name=t depth=20 ) )";
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = match pipeline.downcast::<gst::Pipeline>() {
        Ok(pipeline) => pipeline,
        Err(bin) => {
            let pipeline = gst::Pipeline::new();
            pipeline.add(&bin).unwrap();
            pipeline
        }
    };
    let player = Player::of(pipeline);
    let outer = player.pipeline.by_name("outer").unwrap();
    let outer_is_sink = || outer.element_flags().contains(gst::ElementFlags::SINK);
    assert!(!outer_is_sink());
    let (_, thread) = read(player.subscribe("a"));
    assert!(outer_is_sink());
    player.play();
    assert!(player.message(gst::MessageType::StreamStart, DEADLINE));
    player.assert_ends();
    drop(thread.join().unwrap());
    player.set(gst::State::Null);
    assert!(!outer_is_sink());
    assert_eq!(player.is_sink(), [false; 2]);
}

#[test]
fn with_branches_only_it_is_no_sink() {
    let player = Player::new("", "t. ! fakesink name=end");
    let sinks: Vec<_> = player
        .pipeline
        .iterate_sinks()
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(sinks, [player.pipeline.by_name("end").unwrap()]);
    // One that was there before the start makes no difference.
    drop(player.subscribe("a"));
    assert_eq!(player.is_sink(), [false, true]);
    player.play();
    player.assert_ends();
    assert_eq!(player.is_sink(), [false, true]);
}

#[test]
fn a_pipeline_of_receivers_answers_queries() {
    let player = Player::new("", "");
    let mut frames = player.subscribe("a");
    player.play();
    frames.recv().unwrap();
    let duration = player.pipeline.query_duration::<gst::ClockTime>();
    assert_eq!(duration, Some(gst::ClockTime::from_mseconds(100)));
    assert!(player.pipeline.query_position::<gst::ClockTime>().is_some());
    let mut latency = gst::query::Latency::new();
    assert!(player.pipeline.query(&mut latency));
    // As a sink, it passes on the latency that the pipeline decides on.
    player.pipeline.recalculate_latency().unwrap();
    drain(&mut frames);
    player.assert_ends();
}
