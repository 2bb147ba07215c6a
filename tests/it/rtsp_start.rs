// SPDX-License-Identifier: MPL-2.0
//! The burst that a camera's stream begins with: frames that came while decodebin built its
//! decoder, all at once. Consumers that keep up lose none of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use gst::prelude::*;

use crate::common::streams_for_video_lines;
use crate::common::wait_for;
use crate::pipelines::{field, launch, launch_line, run, summary, with_camera};
use crate::rtsp_server::RtspServer;

const KEEP_UP: [&str; 2] = ["movement_detector", "telemetry"];
/// Frames that wait when the first one has been decoded: those of 0.4 s.
const BACKLOG: u64 = 12;

/// The load of one of these tests is not for the other.
fn in_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `each` for every buffer that comes in at the sink pad of a `factory`'s element.
fn watch_added(
    pipeline: &gst::Pipeline,
    factory: &'static str,
    each: impl Fn(&gst::BufferRef) + Clone + Send + Sync + 'static,
) {
    pipeline.connect_deep_element_added(move |_, _, element| {
        if element.factory().is_none_or(|own| own.name() != factory) {
            return;
        }
        let each = each.clone();
        let both = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        let sink = element.static_pad("sink").unwrap();
        sink.add_probe(both, move |_, info| {
            match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => each(buffer),
                Some(gst::PadProbeData::BufferList(list)) => list.iter().for_each(&each),
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    });
}

/// The last packet of a picture: marker bit, and the camera's payload type for video.
fn ends_picture(packet: &gst::BufferRef) -> bool {
    let packet = packet.map_readable().unwrap();
    packet.get(1) == Some(&(0x80 | 96))
}

/// Starts the line and holds the first decoded frame back until `BACKLOG` frames have come; `None`
/// if the machine made it more than that.
fn lost_of_a_burst(line: &str) -> Option<[u64; 2]> {
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let arrived = Arc::<AtomicU64>::default();
    let count = arrived.clone();
    watch_added(&pipeline, "rtpjitterbuffer", move |packet| {
        if ends_picture(packet) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let tee = pipeline.by_name("t").unwrap();
    let backlog = Arc::<AtomicU64>::default();
    let (held, seen) = (backlog.clone(), arrived.clone());
    let sink = tee.static_pad("sink").unwrap();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        wait_for("a backlog", || seen.load(Ordering::Relaxed) >= BACKLOG);
        held.store(seen.load(Ordering::Relaxed), Ordering::Relaxed);
        gst::PadProbeReturn::Remove
    });
    for name in ["movement", "telemetry"] {
        let sink = pipeline.by_name(name).unwrap().static_pad("sink").unwrap();
        sink.add_probe(gst::PadProbeType::BUFFER, |_, _| {
            // The work of a consumer that keeps up: a third of the time that it has.
            std::thread::sleep(Duration::from_millis(10));
            gst::PadProbeReturn::Ok
        });
    }
    pipeline.set_state(gst::State::Playing).unwrap();
    let pads = KEEP_UP.map(|name| tee.static_pad(&format!("src_{name}")).unwrap());
    wait_for("the burst to pass", || {
        let out = |pad: &gst::Pad| pad.property::<u64>("out") + pad.property::<u64>("dropped");
        pads.iter().all(|pad| out(pad) > 2 * BACKLOG)
    });
    let lost = pads.map(|pad| pad.property("dropped-slow"));
    pipeline.set_state(gst::State::Null).unwrap();
    (backlog.load(Ordering::Relaxed) <= BACKLOG + 2).then_some(lost)
}

#[test]
fn consumers_that_keep_up_lose_nothing_of_the_burst_at_the_start() {
    let _turn = in_turn();
    crate::common::init();
    let camera = RtspServer::start(streams_for_video_lines(), 0).unwrap();
    let line = with_camera(&launch_line("rtsp-in.launch"), &camera);
    let lost = (0..10).find_map(|_| lost_of_a_burst(&line));
    assert_eq!(lost, Some([0, 0]), "None: the machine is too busy for it");
}

/// Threads that take all the time they can get.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(threads: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let burn = |_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..threads).map(burn).collect();
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It can not panic.
            let _ = thread.join();
        }
    }
}

#[test]
fn the_shipped_line_starts_without_loss_on_a_loaded_machine() {
    let _turn = in_turn();
    gst::init().unwrap();
    let camera = RtspServer::start(streams_for_video_lines(), 0).unwrap();
    let line = with_camera(&launch_line("rtsp-in.launch"), &camera);
    for _ in 0..2 {
        let load = Load::start(4);
        let (ok, lines) = run(launch(&line), |line| {
            line.contains("tag=(string)detection_client_slow") && field(line, "total") > 20
        });
        drop(load);
        assert!(ok, "{lines:#?}");
        for consumer in KEEP_UP {
            let summary = summary(&lines, consumer);
            assert!(field(summary, "out") > 20, "{summary}");
            assert_eq!(field(summary, "dropped-slow"), 0, "{summary}");
        }
    }
}
