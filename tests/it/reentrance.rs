// SPDX-License-Identifier: MPL-2.0
//! Elements that call `dronetee` with their locks held, or while another thread waits for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use gst::prelude::*;

use crate::common::{Consumer, DEADLINE, Got, Rig, Turnstile, caps, init, wait_for};

/// Runs `work` in a thread of its own; fails if it hangs.
#[track_caller]
fn returns<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, came) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    match came.recv_timeout(DEADLINE) {
        Ok(result) => result,
        Err(error) => panic!("{what}: {error}"),
    }
}

fn pipeline(line: &str) -> gst::Pipeline {
    init();
    let pipeline = gst::parse::launch(line).unwrap();
    pipeline.downcast().unwrap()
}

/// The selector sends RECONFIGURE with its lock held, and its answer to a query takes that lock.
#[test]
fn an_input_selector_switches_between_two_consumers() {
    let pipeline = pipeline(
        "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=100/1 ! dronetee name=t \
         t.src_0 ! i.sink_0 t.src_1 ! i.sink_1 input-selector name=i ! fakesink name=out sync=false",
    );
    pipeline.set_state(gst::State::Playing).unwrap();
    let selector = pipeline.by_name("i").unwrap();
    let frames = crate::accounts::count_frames(
        &pipeline.by_name("out").unwrap().static_pad("sink").unwrap(),
    );
    wait_for("frames", || frames.load(Ordering::SeqCst) > 3);
    for n in 0..50 {
        let (selector, pad) = (selector.clone(), format!("sink_{}", n % 2));
        returns("setting active-pad", move || {
            let pad = selector.static_pad(&pad).unwrap();
            selector.set_property("active-pad", &pad);
        });
    }
    let before = frames.load(Ordering::SeqCst);
    wait_for("more frames", || frames.load(Ordering::SeqCst) > before + 5);
    returns("NULL", move || {
        pipeline.set_state(gst::State::Null).unwrap()
    });
}

/// A branch that sends `event` with a lock held that its answers to queries need.
fn sends_locked(rig: &Rig, event: gst::Event) {
    let lock = Arc::new(Mutex::new(()));
    let asked = lock.clone();
    let consumer = rig.consumer_with(
        "locked",
        Some(Box::new(move |_| {
            drop(asked.lock().unwrap());
            None
        })),
    );
    rig.push(0).unwrap();
    consumer.wait_idle();
    returns("the event", move || {
        let _locked = lock.lock().unwrap();
        consumer.sink.push_event(event);
    });
}

#[test]
fn a_branch_is_not_asked_from_within_its_own_event() {
    let rig = Rig::started();
    sends_locked(&rig, gst::event::Reconfigure::new());
    let rig = Rig::started();
    sends_locked(&rig, gst::event::Latency::new(gst::ClockTime::SECOND));
}

/// Seeks again and again; each must be carried out.
fn seeks(line: &str, times: usize) {
    let pipeline = pipeline(line);
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline.state(None).0.unwrap();
    for n in 0..times {
        let own = pipeline.clone();
        let to = gst::ClockTime::from_mseconds(100 * (n as u64 % 7));
        returns("a seek", move || own.seek_simple(gst::SeekFlags::FLUSH, to)).unwrap();
    }
    returns("NULL", move || {
        pipeline.set_state(gst::State::Null).unwrap()
    });
}

#[test]
fn no_seek_in_a_row_is_refused() {
    seeks(
        "videotestsrc num-buffers=3000 ! dronetee name=t t. ! fakesink t. ! fakesink",
        25,
    );
    seeks(
        "videotestsrc num-buffers=3000 ! dronetee name=t t. ! queue ! videoconvert ! fakesink \
         t. ! identity sleep-time=30000 ! fakesink",
        25,
    );
}

/// The thread that seeks holds the state locks that a late end of the flush would wait for.
#[test]
fn a_flushing_seek_and_a_stop_at_once() {
    for _ in 0..20 {
        let pipeline =
            pipeline("videotestsrc ! dronetee name=t t. ! fakesink t. ! queue ! fakesink");
        pipeline.set_state(gst::State::Playing).unwrap();
        pipeline.state(None).0.unwrap();
        returns("a seek and NULL", move || {
            let _ = pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::SECOND);
            pipeline.set_state(gst::State::Null).unwrap();
        });
    }
}

/// An application waits in a handler of RESET_TIME, which sinks post in the end of a flush.
#[test]
fn the_end_of_a_flush_comes_from_the_thread_that_brings_it() {
    let rig = Rig::started();
    let consumer = rig.consumer("a");
    let thread = Arc::new(Mutex::new(None));
    let own = thread.clone();
    consumer
        .sink
        .add_probe(gst::PadProbeType::EVENT_FLUSH, move |_, info| {
            if let Some(gst::PadProbeData::Event(event)) = &info.data
                && event.type_() == gst::EventType::FlushStop
            {
                *own.lock().unwrap() = Some(std::thread::current().id());
            }
            gst::PadProbeReturn::Ok
        });
    rig.push(0).unwrap();
    consumer.wait_idle();
    rig.flush();
    assert_eq!(*thread.lock().unwrap(), Some(std::thread::current().id()));
}

/// A sink's thread is in the CAPS event while another sink is linked in its place.
#[test]
fn a_branch_that_is_linked_during_an_event_gets_it_too() {
    for late in [
        gst::EventType::StreamStart,
        gst::EventType::Caps,
        gst::EventType::Segment,
        gst::EventType::Tag,
    ] {
        linked_during(late);
    }
}

fn linked_during(late: gst::EventType) {
    let rig = Rig::new();
    let pad = rig.tee.request_pad_simple("src_a").unwrap();
    let sink = gst::ElementFactory::make("fakesink").build().unwrap();
    sink.set_property("async", false);
    sink.set_state(gst::State::Playing).unwrap();
    let old = sink.static_pad("sink").unwrap();
    let gate = Arc::new(Turnstile::default());
    let own = gate.clone();
    old.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &info.data
            && event.type_() == late
        {
            own.pass();
        }
        gst::PadProbeReturn::Ok
    });
    pad.link(&old).unwrap();
    rig.begin(&caps(8));
    let mut tags = gst::TagList::new();
    let own = tags.get_mut().unwrap();
    own.add::<gst::tags::Title>(&"flight", gst::TagMergeMode::Append);
    rig.src.push_event(gst::event::Tag::new(tags));
    gate.wait_came();
    pad.unlink(&old).unwrap();
    let new = rig.link(pad, None);
    gate.open();
    rig.push(7).unwrap();
    new.wait_idle();
    let story = new.story();
    let first = story.iter().position(|what| what == "7").unwrap();
    let wanted = ["stream-start", "caps", "segment", "tag"];
    let came: Vec<_> = story[..first].iter().map(String::as_str).collect();
    let in_order = wanted
        .iter()
        .map(|kind| came.iter().rposition(|came| came == kind));
    let places: Option<Vec<_>> = in_order.collect();
    let places = places.unwrap_or_else(|| panic!("{late:?}: {story:?}"));
    assert!(places.is_sorted(), "{late:?}: {story:?}");
    sink.set_state(gst::State::Null).unwrap();
}

/// What a consumer got must make sense: a format before its frames, no frame after a newer one.
#[track_caller]
fn assert_makes_sense(consumer: &Consumer) {
    let got = consumer.record.got_all();
    let (mut width, mut segment, mut newest) = (None, false, None);
    for one in &got {
        match one {
            Got::Frame(frame) => {
                assert!(segment, "a frame before a segment");
                // The frame says which format it is of.
                assert_eq!(width, Some(frame.offset_end()), "a frame under stale caps");
                assert!(newest < Some(frame.offset()), "a frame after a newer one");
                newest = Some(frame.offset());
            }
            Got::Event(event) => match event.view() {
                gst::EventView::StreamStart(_) => (width, segment) = (None, false),
                gst::EventView::Caps(caps) => {
                    let structure = caps.caps().structure(0).unwrap();
                    width = Some(structure.get::<i32>("width").unwrap() as u64);
                }
                gst::EventView::Segment(_) => segment = true,
                _ => {}
            },
        }
    }
}

/// `set_active(false)`, `set_active(true)` while frames and formats flow.
#[test]
fn nothing_of_an_old_session_comes_in_a_new_one() {
    let rig = Rig::started();
    let consumer = rig.consumer("a");
    let (stop, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::SeqCst) {
                let width = 8 + (n / 3) % 2;
                if n % 3 == 0 {
                    rig.src
                        .push_event(gst::event::Caps::new(&caps(width as i32)));
                }
                let mut frame = crate::common::frame(n);
                frame.get_mut().unwrap().set_offset_end(width);
                rig.src.push(frame).unwrap();
                n += 1;
            }
            stopped.store(true, Ordering::SeqCst);
        });
        for _ in 0..1000 {
            consumer.pad.set_active(false).unwrap();
            consumer.pad.set_active(true).unwrap();
        }
        let before = consumer.frames().len();
        wait_for("frames", || consumer.frames().len() > before);
        stop.store(true, Ordering::SeqCst);
    });
    assert!(stopped.load(Ordering::SeqCst));
    consumer.wait_idle();
    assert_makes_sense(&consumer);
}
