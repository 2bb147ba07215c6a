// SPDX-License-Identifier: MPL-2.0
//! Real sources with real pools of few buffers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

use crate::common::{init, wait_for};

/// A test source that is given a pool of so many buffers, and waits for one to come back.
fn camera(line: &str, buffers: u32) -> gst::Pipeline {
    init();
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("t").unwrap().static_pad("sink").unwrap();
    // Once the query was answered.
    let answers = gst::PadProbeType::QUERY_DOWNSTREAM | gst::PadProbeType::PULL;
    sink.add_probe(answers, move |_, info| {
        if let Some(gst::QueryViewMut::Allocation(query)) =
            info.query_mut().map(|query| query.view_mut())
        {
            while query.allocation_pools().next().is_some() {
                query.remove_nth_allocation_pool(0);
            }
            let pool = gst::BufferPool::new();
            query.add_allocation_pool(Some(&pool), SIZE, buffers, buffers);
        }
        gst::PadProbeReturn::Ok
    });
    pipeline
}

const SIZE: u32 = 64 * 64;
const CAPS: &str = "video/x-raw,format=GRAY8,width=64,height=64,framerate=60/1";

fn count(pipeline: &gst::Pipeline, pad: &str, name: &str) -> u64 {
    let tee = pipeline.by_name("t").unwrap();
    tee.static_pad(pad).unwrap().property(name)
}

fn figures(pipeline: &gst::Pipeline) -> (u32, u32) {
    let stats: gst::Structure = pipeline.by_name("t").unwrap().property("stats");
    let get = |name| stats.get::<u32>(name).unwrap();
    (get("pool-size"), get("max-held"))
}

/// The source's frames, by their time: where their pixels are.
fn watch_pixels(pad: &gst::Pad) -> Arc<Mutex<HashMap<gst::ClockTime, (usize, bool)>>> {
    let pixels = Arc::<Mutex<HashMap<_, _>>>::default();
    let seen = pixels.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().unwrap();
        let at = buffer.map_readable().unwrap().as_ptr() as usize;
        let discont = buffer.flags().contains(gst::BufferFlags::DISCONT);
        seen.lock()
            .unwrap()
            .insert(buffer.pts().unwrap(), (at, discont));
        gst::PadProbeReturn::Ok
    });
    pixels
}

/// Holds all frames until it is told not to.
fn stick(pipeline: &gst::Pipeline, name: &str) -> Arc<(Mutex<bool>, Condvar)> {
    let stuck = Arc::new((Mutex::new(true), Condvar::new()));
    let held = stuck.clone();
    let pad = pipeline.by_name(name).unwrap().static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let waits = held.0.lock().unwrap();
        drop(held.1.wait_while(waits, |stuck| *stuck).unwrap());
        gst::PadProbeReturn::Ok
    });
    stuck
}

fn unstick(stuck: &(Mutex<bool>, Condvar)) {
    *stuck.0.lock().unwrap() = false;
    stuck.1.notify_all();
}

/// Everybody stopped for good after seven frames, with every drop counter at 0.
#[test]
fn one_stuck_and_one_slow_consumer_of_a_source_with_four_buffers() {
    let pipeline = camera(
        &format!(
            "videotestsrc name=camera is-live=true num-buffers=120 ! {CAPS} ! dronetee name=t \
             t.src_fast ! fakesink sync=false async=false enable-last-sample=false \
             t.src_slow ! identity name=slow sleep-time=50000 ! fakesink sync=false async=false enable-last-sample=false \
             t.src_stuck ! fakesink name=stuck sync=false async=false"
        ),
        4,
    );
    let stuck = stick(&pipeline, "stuck");
    let tee = pipeline.by_name("t").unwrap();
    // On a busy machine: the source does not go on before the fast one has what it has sent.
    let fast = tee.static_pad("src_fast").unwrap();
    let source = pipeline.by_name("camera").unwrap();
    let mut before = 0;
    let wait = move || {
        wait_for("the fast one", || fast.property::<u64>("out") == before);
        before += 1;
    };
    let wait = Mutex::new(wait);
    let pad = source.static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        (wait.lock().unwrap())();
        gst::PadProbeReturn::Ok
    });
    let sent = watch_pixels(&tee.static_pad("sink").unwrap());
    let slow = watch_pixels(
        &pipeline
            .by_name("slow")
            .unwrap()
            .static_pad("sink")
            .unwrap(),
    );
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_for("all frames", || count(&pipeline, "src_fast", "out") == 120);
    assert_eq!(count(&pipeline, "src_fast", "dropped"), 0);
    assert_eq!(figures(&pipeline), (4, 2));
    for pad in ["src_stuck", "src_slow"] {
        let dropped = count(&pipeline, pad, "dropped");
        assert_eq!(count(&pipeline, pad, "dropped-pool"), dropped, "{pad}");
        assert!(dropped > 0, "{pad}");
    }
    assert_eq!(count(&pipeline, "src_stuck", "in-flight"), 1);
    unstick(&stuck);
    pipeline.set_state(gst::State::Null).unwrap();
    // After each loss a frame with DISCONT came, of the same memory.
    let (sent, slow) = (sent.lock().unwrap(), slow.lock().unwrap());
    let flagged = slow.values().filter(|(_, discont)| *discont).count();
    assert!(flagged > 3, "{flagged}");
    for (pts, (at, _)) in slow.iter() {
        assert_eq!(sent[pts].0, *at, "{pts}");
    }
}

/// All three hold their first frame until PLAYING. Sinks that also keep the last one would need more
/// buffers than consumers.
#[test]
fn a_source_with_few_buffers_prerolls_plays_and_ends() {
    for buffers in [2, 3, 4] {
        let pipeline = camera(
            &format!(
                "videotestsrc num-buffers=60 ! {CAPS} ! identity sync=true ! dronetee name=t \
                 t. ! fakesink name=a sync=true enable-last-sample=false t. ! fakesink sync=true enable-last-sample=false \
                 t. ! queue max-size-buffers=1 ! fakesink sync=true enable-last-sample=false"
            ),
            buffers,
        );
        pipeline.set_state(gst::State::Paused).unwrap();
        let (changed, state, _) = pipeline.state(gst::ClockTime::from_seconds(30));
        assert_eq!((changed.is_ok(), state), (true, gst::State::Paused));
        pipeline.set_state(gst::State::Playing).unwrap();
        let bus = pipeline.bus().unwrap();
        let end = bus.timed_pop_filtered(
            gst::ClockTime::from_seconds(30),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        );
        let end = end.expect("neither an end nor an error");
        assert_eq!(end.type_(), gst::MessageType::Eos, "{buffers}: {end:?}");
        assert_eq!(figures(&pipeline).0, buffers);
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// The pool of a decoder grows as it needs: nothing is given back.
#[test]
fn a_decoder_whose_pool_grows_gives_each_consumer_its_depth() {
    let found = (0..10).find_map(|_| given_back_of_a_decoder());
    assert_eq!(
        found,
        Some((0, (0, 0))),
        "None: the machine is too busy for it"
    );
}

/// What a decoder got back early, and what was learned of its pool; `None` if the machine made the source as silent as
/// one that has starved.
fn given_back_of_a_decoder() -> Option<(u64, (u32, u32))> {
    let pipeline = camera_of_a_decoder();
    let stuck = stick(&pipeline, "stuck");
    let silences = count_silences(&pipeline);
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_for("frames", || count(&pipeline, "src_fast", "out") >= 90);
    assert_eq!(count(&pipeline, "src_fast", "dropped"), 0);
    assert!(count(&pipeline, "src_stuck", "dropped-slow") > 0);
    let found = (
        count(&pipeline, "src_stuck", "dropped-pool"),
        figures(&pipeline),
    );
    let is_quiet = silences.load(Ordering::SeqCst) == 0;
    unstick(&stuck);
    pipeline.set_state(gst::State::Null).unwrap();
    is_quiet.then_some(found)
}

/// How often no frame came for three frame durations.
fn count_silences(pipeline: &gst::Pipeline) -> Arc<AtomicU64> {
    let silences = Arc::<AtomicU64>::default();
    let (counted, last) = (silences.clone(), Mutex::new(None::<Instant>));
    let sink = pipeline.by_name("t").unwrap().static_pad("sink").unwrap();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let before = last.lock().unwrap().replace(Instant::now());
        if before.is_some_and(|before| before.elapsed() >= Duration::from_millis(45)) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        gst::PadProbeReturn::Ok
    });
    silences
}

fn camera_of_a_decoder() -> gst::Pipeline {
    init();
    let line = "videotestsrc is-live=true ! video/x-raw,width=64,height=64,framerate=60/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast ! h264parse ! avdec_h264 \
         ! dronetee name=t t.src_fast ! fakesink sync=false async=false \
         t.src_stuck ! fakesink name=stuck sync=false async=false";
    let pipeline = gst::parse::launch(line).unwrap();
    pipeline.downcast().unwrap()
}
