// SPDX-License-Identifier: MPL-2.0
//! A coded branch with a decoder: each life begins with a keyframe, nothing is decoded wrongly.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;

use super::{Flight, rude};
use crate::common::{init, wait_for};
use crate::video::{Codec, H264, H264_B, Pictures, compare};

/// Looks at what comes to the decoder: lives, and those that began with a delta frame.
fn watch_decoder(flight: &Flight) -> (Arc<AtomicU64>, Arc<AtomicU64>) {
    let (lives, wrong) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (began, faults) = (lives.clone(), wrong.clone());
    let is_first = AtomicBool::new(false);
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    let pad = flight.element("decoder").static_pad("sink").unwrap();
    pad.add_probe(kinds, move |_, info| {
        if let Some(event) = info.event() {
            is_first.fetch_or(event.type_() == gst::EventType::Segment, Ordering::Relaxed);
        }
        if let Some(buffer) = info.buffer()
            && is_first.swap(false, Ordering::Relaxed)
        {
            began.fetch_add(1, Ordering::Relaxed);
            let delta = buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            faults.fetch_add(delta.into(), Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
    (lives, wrong)
}

fn collect(flight: &Flight) -> Arc<Mutex<Pictures>> {
    let pictures = Arc::<Mutex<Pictures>>::default();
    let seen = pictures.clone();
    let out = flight
        .element("out")
        .downcast::<gst_app::AppSink>()
        .unwrap();
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |out| {
        let sample = out.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let buffer = sample.buffer().unwrap();
        let pixels = buffer.map_readable().unwrap().to_vec();
        let picture = (buffer.pts().unwrap().nseconds(), pixels);
        seen.lock().unwrap().push(picture);
        Ok(gst::FlowSuccess::Ok)
    });
    out.set_callbacks(callbacks.build());
    pictures
}

fn decodes_nothing_wrongly(codec: &Codec, way: &str, good: &str) {
    init();
    rude::register();
    let coded = codec.encode(240);
    let reference = codec.decode(&coded.caps, &coded.frames);
    let flight = Flight::of(&format!(
        "appsrc name=in format=time is-live=true max-bytes=0 ! {way} ! dronebranch.( name=branch \
         restart-delay=1000000 restart-delay-max=1000000 \
         avdec_h264 name=decoder max-threads=1 output-corrupt=true ! identity error-after=12 \
         ! appsink name=out sync=false ) {good}"
    ));
    let source = flight.element("in").downcast::<gst_app::AppSrc>().unwrap();
    source.set_caps(Some(&coded.caps));
    let (lives, wrong) = watch_decoder(&flight);
    let pictures = collect(&flight);
    let beside = flight.frames_at("good");
    flight.play();
    for (pushed, frame) in (1..).zip(&coded.frames) {
        source.push_buffer(frame.clone()).unwrap();
        wait_for("the good one", || beside.load(Ordering::Relaxed) == pushed);
        // Time for the branch, which must not keep up.
        std::thread::park_timeout(Duration::from_micros(500));
    }
    source.end_of_stream().unwrap();
    flight.wait_end();
    flight.stop();

    assert!(lives.load(Ordering::Relaxed) > 3, "{lives:?}");
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
    let (right, wrong) = compare(&pictures.lock().unwrap(), &reference);
    assert_eq!(wrong, 0);
    assert!(right > 30, "{right}");
}

#[test]
fn behind_dronetee() {
    let good = "t.src_good ! fakesink name=good sync=false async=false";
    for codec in [H264, H264_B] {
        decodes_nothing_wrongly(&codec, "dronetee name=t depth=300 t.src_bad", good);
    }
}

#[test]
fn behind_a_queue_of_tee() {
    let good = "t. ! queue ! fakesink name=good sync=false async=false";
    for codec in [H264, H264_B] {
        decodes_nothing_wrongly(&codec, "tee name=t t. ! queue max-size-buffers=0", good);
    }
}

/// A source with one keyframe at the start gives another one when the branch comes back.
#[test]
fn upstream_is_asked_for_a_keyframe() {
    init();
    let flight = Flight::of(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=48,framerate=100/1 \
         ! x264enc speed-preset=ultrafast tune=zerolatency key-int-max=100000 ! h264parse ! tee name=t \
         t. ! queue ! fakesink name=good sync=false async=false \
         t. ! queue ! dronebranch.( name=branch restart-delay=1000000 \
         avdec_h264 name=decoder ! identity error-after=5 ! fakesink sync=false )",
    );
    let (lives, wrong) = watch_decoder(&flight);
    flight.play();
    wait_for("lives", || lives.load(Ordering::Relaxed) >= 3);
    flight.end();
    flight.stop();
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
}
