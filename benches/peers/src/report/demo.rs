// SPDX-License-Identifier: MPL-2.0
//! Processor time of the demo: a camera over RTSP, decoded once, for three consumers of which one is slow.

use std::process::{Command, Stdio};
use std::time::Duration;

use gst::prelude::*;
use gstdronetee::FramePublisher;

#[path = "../../../../examples/common/rtsp_server.rs"]
mod rtsp_server;

use crate::section::{Section, head, rounded};

const SECONDS: u64 = 8;

const WAYS: [(&str, &str); 3] = [
    ("dronetee", "dronetee"),
    ("receivers", "dronetee, FrameReceiver"),
    ("tee", "tee ! queue leaky"),
];

/// The program again: does its part and ends.
pub(crate) fn part(arguments: &[String]) {
    let [way, url] = arguments else {
        panic!("demo WAY URL");
    };
    let source = format!(
        "rtspsrc location={url} protocols=tcp latency=100 ! application/x-rtp,media=video \
         ! rtph264depay ! h264parse ! avdec_h264 max-threads=1"
    );
    let sinks = ["identity sleep-time=200000 !", "", ""].map(|slow| match way.as_str() {
        "tee" => {
            format!("t. ! queue leaky=downstream max-size-buffers=4 ! {slow} fakesink async=false")
        }
        _ => format!("t. ! {slow} fakesink async=false"),
    });
    let line = match way.as_str() {
        "tee" => format!("{source} ! tee name=t {}", sinks.join(" ")),
        "dronetee" => format!("{source} ! dronetee name=t {}", sinks.join(" ")),
        _ => format!("{source} ! dronetee name=t"),
    };
    let pipeline = gst::parse::launch(&line).expect("the line");
    let mut threads = Vec::new();
    if way == "receivers" {
        let bin = pipeline.downcast_ref::<gst::Bin>().expect("a pipeline");
        let publisher = FramePublisher::new(&bin.by_name("t").expect("t")).expect("a dronetee");
        for (number, pause) in [200, 0, 0].into_iter().enumerate() {
            let mut frames = publisher.subscribe(&format!("c{number}")).expect("a name");
            threads.push(std::thread::spawn(move || {
                while frames.recv().is_some() {
                    std::thread::sleep(Duration::from_millis(pause));
                }
            }));
        }
    }
    pipeline.set_state(gst::State::Playing).expect("state");
    // What a start takes is not the question.
    std::thread::sleep(Duration::from_secs(2));
    let before = processor_time();
    std::thread::sleep(Duration::from_secs(SECONDS));
    println!("{}", processor_time() - before);
    pipeline.set_state(gst::State::Null).expect("state");
    for thread in threads {
        let _ = thread.join();
    }
}

/// Of this process, in hundredths of a second.
fn processor_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let after_name = stat.rsplit(')').next().expect("fields");
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    ticks(11) + ticks(12)
}

pub(crate) fn demo() -> Section {
    let server = rtsp_server::RtspServer::start(rtsp_server::Streams::VideoAndAudio, 0);
    let server = server.expect("a camera");
    let mut rows = Vec::new();
    for (way, name) in WAYS {
        let part = Command::new(std::env::current_exe().expect("this program"))
            .args(["demo", way, server.url()])
            .stderr(Stdio::inherit())
            .output()
            .expect("a part");
        let ticks = String::from_utf8_lossy(&part.stdout);
        let ticks: f64 = ticks.trim().parse().unwrap_or(f64::NAN);
        rows.push(head(name, [rounded(ticks * 10.0 / SECONDS as f64)]));
    }
    Section {
        title: "Processor time of the RTSP demo".into(),
        text: format!(
            "A camera on loopback, 640×360 at 30 frames/s, decoded once, for three consumers of which one takes \
             200 ms a frame. ms of processor time a second, over {SECONDS} s, without the camera's; the \
             decoder is most of it."
        ),
        head: ["", "ms a second"].map(str::to_owned).to_vec(),
        rows,
        plot: None,
    }
}
