// SPDX-License-Identifier: MPL-2.0
//! Consumers in other processes and on the ground, behind Debian's elements: a sender in this process, a
//! receiver in another, which is killed, comes back, or sits behind a slow link. All on loopback.

mod relay;
mod rtp;
mod shm;
mod srt;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

use crate::accounts::{assert_element_balanced, pad_stats};
use crate::common::streams_for_video_lines;
use crate::common::{init, wait_for};
use crate::pipelines::{launch_line, tool, with_camera};
use crate::rtsp_server::RtspServer;

/// How long a receiver is away.
const AWAY: Duration = Duration::from_secs(3);

/// A camera, and one of the lines in `pipelines/` that sends its stream somewhere.
struct Drone {
    pipeline: gst::Pipeline,
    tee: gst::Element,
    _camera: RtspServer,
}

impl Drone {
    /// With each `(text, other)` replaced in the line.
    fn start(file: &str, replaced: &[(&str, &str)]) -> Self {
        init();
        let camera = RtspServer::start(streams_for_video_lines(), 0).unwrap();
        // The camera's own times tell at the receiver what is missing.
        let line = replace(launch_line(file), replaced);
        let line = replace(line, &[("rtspsrc ", "rtspsrc buffer-mode=none ")]);
        let line = with_camera(&line, &camera);
        let pipeline = gst::parse::launch(&line).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let tee = pipeline.by_name("t").unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let drone = Self {
            pipeline,
            tee,
            _camera: camera,
        };
        drone.wait_frames(30);
        drone
    }

    fn element(&self, name: &str) -> gst::Element {
        self.pipeline.by_name(name).unwrap()
    }

    fn published(&self) -> u64 {
        self.tee.property("published")
    }

    /// So many frames more, while the accounts balance and the consumer in this process loses nothing.
    #[track_caller]
    fn wait_frames(&self, more: u64) {
        let before = self.published();
        wait_for("frames of the camera", || {
            self.assert_well();
            self.published() >= before + more
        });
    }

    /// Until the branch of a consumer took so many frames.
    #[track_caller]
    fn wait_out(&self, consumer: &str, frames: u64) {
        wait_for("frames that a branch took", || {
            self.assert_well();
            self.count(consumer, "out") >= frames
        });
    }

    #[track_caller]
    fn assert_well(&self) {
        assert_element_balanced(&self.tee);
        let telemetry = self.stats("telemetry");
        assert_eq!(telemetry.get::<u64>("dropped").unwrap(), 0, "{telemetry}");
    }

    fn stats(&self, consumer: &str) -> gst::Structure {
        pad_stats(&self.tee.static_pad(&format!("src_{consumer}")).unwrap())
    }

    fn count(&self, consumer: &str, what: &str) -> u64 {
        self.stats(consumer).get(what).unwrap()
    }

    /// Stops, with all accounts in order and no error of the pipeline.
    #[track_caller]
    fn land(self) {
        self.assert_well();
        let bus = self.pipeline.bus().unwrap();
        let error = bus.pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "{error:?}");
        self.pipeline.set_state(gst::State::Null).unwrap();
        // What was on its way at the stop is booked.
        assert_element_balanced(&self.tee);
        let [published, got] = [self.published(), self.count("telemetry", "in")];
        assert_eq!(published, got);
    }
}

impl Drop for Drone {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn replace(mut line: String, replaced: &[(&str, &str)]) -> String {
    for (text, other) in replaced {
        assert!(line.contains(text), "no {text} in {line}");
        line = line.replace(text, other);
    }
    line
}

/// A picture that a receiver got: when, and its time in the stream.
#[derive(Debug, Clone, Copy)]
struct Picture {
    at: Instant,
    pts: Option<Duration>,
}

/// A receiver in a process of its own, which is started again when it ends by itself.
///
/// `tsdemux` of GStreamer 1.22 may abort when it joins a stream in its midst.
struct Receiver {
    line: String,
    child: Child,
    started: Instant,
    pictures: Arc<Mutex<Vec<Picture>>>,
}

impl Receiver {
    /// One of the lines in `pipelines/`, whose last element prints each picture.
    fn start(file: &str, replaced: &[(&str, &str)]) -> Self {
        let line = replace(launch_line(file), replaced)
            .replace("autovideosink", "fakesink")
            .replace("fakesink", "fakesink silent=false");
        let pictures = Arc::<Mutex<Vec<Picture>>>::default();
        Self {
            started: Instant::now(),
            child: receive(&line, &pictures),
            line,
            pictures,
        }
    }

    fn pictures(&self) -> Vec<Picture> {
        self.pictures.lock().unwrap().clone()
    }

    #[track_caller]
    fn wait_pictures(&mut self, more: usize) {
        let mut before = self.pictures().len();
        wait_for("pictures at the receiver", || {
            if self.revive() {
                before = 0;
            }
            self.pictures().len() >= before + more
        });
    }

    /// Starts it again if it has ended by itself; true if so.
    fn revive(&mut self) -> bool {
        let Some(status) = self.child.try_wait().unwrap() else {
            return false;
        };
        println!("a receiver ended by itself ({status}) and is started again");
        self.pictures.lock().unwrap().clear();
        self.child = receive(&self.line, &self.pictures);
        true
    }

    /// How long it took from its start to its first picture.
    fn first_after(&self) -> Duration {
        self.pictures()[0].at.duration_since(self.started)
    }

    /// Pictures of 30 a second that are missing between those that came.
    fn missing(&self) -> u64 {
        let times: Vec<_> = self.pictures().iter().filter_map(|one| one.pts).collect();
        let gaps = times.windows(2).map(|pair| {
            let apart = pair[1].saturating_sub(pair[0]).as_secs_f64() * 30.0;
            (apart.round() as u64).saturating_sub(1)
        });
        gaps.sum()
    }

    /// At once, as by a crash.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let kill = std::process::Command::new("kill")
            .args([signal, &pid])
            .status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn receive(line: &str, pictures: &Arc<Mutex<Vec<Picture>>>) -> Child {
    let mut child = tool("gst-launch-1.0")
        .arg("-v")
        .args(line.split_whitespace())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let got = pictures.clone();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if line.contains("last-message = chain") {
                got.lock().unwrap().push(Picture {
                    at: Instant::now(),
                    pts: pts(&line),
                });
            }
        }
    });
    child
}

/// The `pts` of what `fakesink` prints.
fn pts(line: &str) -> Option<Duration> {
    let text = line.split(" pts: ").nth(1)?.split(',').next()?;
    let mut parts = text.rsplit(':');
    let seconds: f64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let hours: u64 = parts.next()?.parse().ok()?;
    Some(Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_secs_f64(seconds))
}

/// A receiver is killed, is away, and is started again: it has the whole stream each time, and nothing is lost
/// on board.
fn comes_back(way: &str, drone: Drone, receiver: impl Fn() -> Receiver) {
    let mut first = receiver();
    first.wait_pictures(60);
    assert_eq!(first.missing(), 0);
    first.kill();
    away(&drone);
    let mut second = receiver();
    second.wait_pictures(60);
    assert_eq!(second.missing(), 0);
    assert_eq!(drone.count("ground", "dropped"), 0);
    println!("{way}: back {:?} after the start", second.first_after());
    drone.land();
}

/// Nothing is there for a while, and the drone flies on.
#[track_caller]
fn away(drone: &Drone) {
    let back = Instant::now() + AWAY;
    wait_for("the receiver's absence", || {
        drone.assert_well();
        Instant::now() >= back
    });
}
