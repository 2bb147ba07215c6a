// SPDX-License-Identifier: MPL-2.0
//! Flushes, releases and stops that meet a thread which is in a branch, or on its way there.

mod relinking;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gst::prelude::*;

use crate::common::{Consumer, DEADLINE, Got, Rig, Turnstile, caps, frame, init, wait_for};

/// Runs `work` in a thread of its own, lets go of what holds it up, and fails if it had to.
#[track_caller]
fn returns(what: &str, work: impl FnOnce() + Send + 'static, let_go: impl FnOnce()) {
    let (done, came) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        // The test may have failed meanwhile.
        let _ = done.send(());
    });
    let result = came.recv_timeout(DEADLINE / 3);
    let_go();
    assert!(result.is_ok(), "{what} hangs");
}

fn flush(src: &gst::Pad) {
    src.push_event(gst::event::FlushStart::new());
    src.push_event(gst::event::FlushStop::new(true));
}

/// The thread of the session before holds the branch's stream lock, which the end of a flush takes.
#[test]
fn a_flush_does_not_wait_for_a_push_of_the_session_before() {
    let rig = Rig::started();
    let hung = rig.full_consumer("a");
    hung.pad.set_active(false).unwrap();
    hung.pad.set_active(true).unwrap();
    let src = rig.src.clone();
    returns("a flush", move || flush(&src), || hung.unstick());
}

#[test]
fn a_flush_does_not_wait_for_a_push_of_the_run_before() {
    let rig = Rig::started();
    let hung = rig.full_consumer("a");
    rig.tee.set_state(gst::State::Null).unwrap();
    rig.tee.set_state(gst::State::Playing).unwrap();
    rig.begin(&caps(8));
    let src = rig.src.clone();
    returns("a flush", move || flush(&src), || hung.unstick());
}

/// An application's probe is at work on a frame, outside of the branch's stream lock.
#[test]
fn no_frame_of_before_a_flush_comes_after_its_end() {
    let rig = Rig::started();
    let consumer = rig.consumer("a");
    let gate = Arc::new(Turnstile::default());
    let own = gate.clone();
    let buffers = gst::PadProbeType::BUFFER;
    consumer.pad.add_probe(buffers, move |_, _| {
        own.pass();
        gst::PadProbeReturn::Ok
    });
    rig.push(0).unwrap();
    gate.wait_came();
    rig.flush();
    gate.open();
    rig.push(1).unwrap();
    consumer.wait_idle();
    let story = consumer.story();
    let end = story.iter().position(|what| what == "flush-stop").unwrap();
    assert_eq!(story[end + 1..], ["segment", "1"], "{story:?}");
}

/// The branch's thread waits for the summary to be told when the flush comes.
#[test]
fn no_end_of_before_a_flush_comes_after_its_end() {
    let rig = Rig::started();
    let consumer = rig.consumer("a");
    rig.push(0).unwrap();
    consumer.wait_idle();
    let gate = Arc::new(Turnstile::default());
    let own = gate.clone();
    rig.bus.set_sync_handler(move |_, message| {
        let name = message.structure().map(|fields| fields.name().to_string());
        if name.as_deref() == Some("dronetee-summary") {
            own.pass();
        }
        gst::BusSyncReply::Drop
    });
    rig.src.push_event(gst::event::Eos::new());
    gate.wait_came();
    rig.flush();
    gate.open();
    rig.push_all(1..3);
    consumer.wait_idle();
    let story = consumer.story();
    let end = story.iter().position(|what| what == "flush-stop").unwrap();
    assert_eq!(story[end + 1..], ["segment", "1", "2"], "{story:?}");
}

/// The queue pauses its thread when a flush starts, which waits for the one that sleeps.
#[test]
fn no_seek_in_a_row_is_refused_behind_a_queue_with_a_slow_thread() {
    init();
    let pipeline = gst::parse::launch(
        "videotestsrc ! video/x-raw,width=64,height=48 ! dronetee name=t \
         t. ! queue ! identity sleep-time=100000 ! fakesink sync=false",
    );
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline.state(None).0.unwrap();
    let to = |n| gst::ClockTime::from_mseconds(100 * n);
    let seek = |n: &u64| {
        let sought = pipeline.seek_simple(gst::SeekFlags::FLUSH, to(*n));
        sought.is_err()
    };
    let refused = (0..8).filter(seek).count();
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(refused, 0, "of 8");
}

/// Memory of an application that takes its time to free it.
struct Held(Arc<Turnstile>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &[0; 16]
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.pass();
    }
}

/// The branch's thread frees what became stale when it looks for the next frame.
#[test]
fn a_release_does_not_wait_for_what_frees_a_frame() {
    let rig = Rig::started();
    let consumer = rig.consumer("a");
    consumer.stick();
    rig.push(0).unwrap();
    consumer.wait_in_flight();
    consumer.pad.set_property("max-age", 1u64);
    let gate = Arc::new(Turnstile::default());
    let frame = gst::Buffer::from_slice(Held(gate.clone()));
    rig.src.push(frame).unwrap();
    consumer.unstick();
    gate.wait_came();
    let (tee, pad) = (rig.tee.clone(), consumer.pad.clone());
    let release = move || tee.release_request_pad(&pad);
    returns("a release", release, || gate.open());
}

/// As applications do it: a probe lets go of the pad that it is called for.
#[test]
fn a_pad_is_released_by_the_thread_that_serves_it() {
    use gst::PadProbeType as Type;
    for kind in [Type::BUFFER, Type::BLOCK_DOWNSTREAM, Type::IDLE] {
        for by_removal in [false, true] {
            released_by_a_probe(kind, by_removal);
        }
    }
}

fn released_by_a_probe(kind: gst::PadProbeType, by_removal: bool) {
    let rig = Rig::started();
    let (consumer, other) = (rig.consumer("a"), rig.consumer("b"));
    let (tee, released) = (rig.tee.clone(), AtomicBool::new(false));
    consumer.pad.add_probe(kind, move |pad, _| {
        if released.swap(true, Ordering::SeqCst) {
            return gst::PadProbeReturn::Remove;
        }
        match by_removal {
            true => tee.remove_pad(pad).unwrap(),
            false => tee.release_request_pad(pad),
        }
        gst::PadProbeReturn::Remove
    });
    rig.push(0).unwrap();
    wait_for("one pad", || rig.tee.num_src_pads() == 1);
    let src = rig.src.clone();
    returns("a flush", move || flush(&src), || {});
    rig.segment();
    rig.push(9).unwrap();
    other.wait_idle();
    assert_eq!(other.offsets().last(), Some(&9));
    let tee = rig.tee.clone();
    let stop = move || assert!(tee.set_state(gst::State::Null).is_ok());
    returns("NULL", stop, || {});
}

#[test]
fn a_branchs_own_thread_may_flush() {
    let rig = Rig::started();
    let (consumer, other) = (rig.consumer("a"), rig.consumer("b"));
    let (src, once) = (rig.src.clone(), AtomicBool::new(true));
    let (done, came) = mpsc::channel();
    let buffers = gst::PadProbeType::BUFFER;
    consumer.sink.add_probe(buffers, move |_, _| {
        if once.swap(false, Ordering::SeqCst) {
            flush(&src);
            done.send(()).unwrap();
        }
        gst::PadProbeReturn::Ok
    });
    rig.src.push(frame(0)).unwrap();
    came.recv_timeout(DEADLINE).expect("the flush hangs");
    rig.segment();
    rig.push_all(1..3);
    for consumer in [consumer, other] {
        consumer.wait_idle();
        assert!(consumer.offsets().ends_with(&[1, 2]));
    }
}

#[test]
fn pads_that_are_requested_while_the_element_starts_are_served() {
    for _ in 0..40 {
        let rig = Rig::new();
        rig.tee.set_state(gst::State::Ready).unwrap();
        let consumers: Vec<_> = std::thread::scope(|scope| {
            let own = &rig;
            let request = |n| own.consumer(&format!("c{n}"));
            let requests = scope.spawn(move || (0..6).map(request).collect());
            rig.tee.set_state(gst::State::Playing).unwrap();
            requests.join().unwrap()
        });
        rig.begin(&caps(8));
        rig.push(7).unwrap();
        for consumer in &consumers {
            wait_for("its frame", || consumer.offsets() == [7]);
        }
    }
}

/// Elements with threads or with several inputs handle a flush in ways of their own.
#[test]
fn frames_come_after_seeks_through_elements_with_threads() {
    for branches in [
        "t.src_0 ! m.sink_0 t.src_1 ! m.sink_1 compositor name=m ! fakesink sync=false",
        "t.src_0 ! m.sink_0 t.src_1 ! m.sink_1 input-selector name=m ! fakesink sync=false",
        "t.src_0 ! m.sink_0 t.src_1 ! m.sink_1 funnel name=m ! fakesink sync=false",
        "t.src_0 ! m.sink_0 t.src_1 ! m.sink_1 multiqueue name=m \
         m.src_0 ! fakesink sync=false m.src_1 ! fakesink sync=false",
        "t.src_0 ! jpegenc ! decodebin ! fakesink sync=false t.src_1 ! queue ! fakesink sync=false",
    ] {
        seeks_through(branches);
    }
}

fn seeks_through(branches: &'static str) {
    init();
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc ! video/x-raw,width=64,height=48 ! identity sleep-time=3000 \
         ! dronetee name=t {branches}"
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline.state(None).0.unwrap();
    let own = pipeline.clone();
    let seeks = move || {
        for n in 0..8 {
            let to = gst::ClockTime::from_mseconds(100 * n);
            own.seek_simple(gst::SeekFlags::FLUSH, to).unwrap();
        }
    };
    returns(branches, seeks, || {});
    for sink in pipeline.iterate_sinks() {
        let pad = sink.unwrap().static_pad("sink").unwrap();
        let frames = crate::accounts::count_frames(&pad);
        wait_for(branches, || frames.load(Ordering::SeqCst) > 2);
    }
    let stop = move || assert!(pipeline.set_state(gst::State::Null).is_ok());
    returns(branches, stop, || {});
}
