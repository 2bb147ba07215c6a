// SPDX-License-Identifier: MPL-2.0
//! A drone's main job: one RTSP camera, three consumers in this process, one of them slow.
//!
//! `autopilot [rtsp://…] [--seconds N] [--slow-ms N] [--metrics [ADDR:PORT]]`; without a URL it
//! starts a camera of its own. Prints who got and who lost what once a second, until the time is
//! over or Ctrl-C, and serves the same to Prometheus if asked to.

#[path = "common/camera.rs"]
mod camera;
#[path = "common/rtsp_server.rs"]
mod rtsp_server;
#[path = "common/table.rs"]
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use camera::Camera;
use gst::prelude::*;
use gstdronetee::metrics::{self, Exporter, Server};
use gstdronetee::{Frame, FramePublisher, FrameReceiver, consumers};
use rtsp_server::{RtspServer, Streams};
use table::Table;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A camera that does not answer, or sends no video, is given up after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Frames that may wait for a consumer that keeps up: the first half second comes as a burst, once
/// `decodebin` has built its decoder.
const START_BURST: u32 = 16;

const HELP: &str = include_str!("common/autopilot.txt");

struct Options {
    url: Option<String>,
    run_for: Duration,
    slow: Duration,
    /// Where to serve metrics.
    metrics: Option<String>,
    help: bool,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut args = args.peekable();
        let mut options = Self {
            url: None,
            run_for: Duration::from_secs(15),
            slow: Duration::from_millis(200),
            metrics: None,
            help: false,
        };
        while let Some(arg) = args.next() {
            let mut number = || -> Result<u64> {
                let value = args.next().ok_or(format!("{arg} takes a number"))?;
                Ok(value
                    .parse()
                    .map_err(|_| format!("'{value}' is no number"))?)
            };
            match arg.as_str() {
                "--help" | "-h" => options.help = true,
                "--seconds" => options.run_for = Duration::from_secs(number()?),
                "--slow-ms" => options.slow = Duration::from_millis(number()?),
                "--metrics" => {
                    // The address may be left out, and what follows is something else then.
                    let own = args.next_if(|next| !next.starts_with("--") && !next.contains("://"));
                    options.metrics = Some(own.unwrap_or(metrics::DEFAULT_ADDRESS.into()));
                }
                url if is_url(url) && options.url.is_none() => {
                    options.url = Some(arg);
                }
                _ => {
                    return Err(format!(
                        "'{}' is neither a URL (rtsp://…) nor one of --seconds N, --slow-ms N, \
                         --metrics [ADDR:PORT], --help",
                        camera::harmless(&arg)
                    )
                    .into());
                }
            }
        }
        Ok(options)
    }
}

/// A closed pipe is no reason to stop.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn is_url(arg: &str) -> bool {
    arg.starts_with("rtsp")
}

/// Stands for a network that takes its time: it yields to others while it waits.
fn detect(mut frames: FrameReceiver, per_frame: Duration) {
    while frames.recv().is_some() {
        std::thread::sleep(per_frame);
    }
}

/// Mean difference of the luma of two frames, 0 to 255.
fn movement(previous: &Frame, current: &Frame) -> Option<f64> {
    let (before, now) = (previous.plane(0).ok()?, current.plane(0).ok()?);
    let pairs = before.rows().flatten().zip(now.rows().flatten());
    let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    Some(sum as f64 / (now.width() * now.height()).max(1) as f64)
}

fn detect_movement(mut frames: FrameReceiver) {
    let mut previous: Option<Frame> = None;
    while let Some(frame) = frames.recv() {
        if let Some(difference) = previous
            .as_ref()
            .and_then(|previous| movement(previous, &frame))
        {
            // Kept from being optimised away; a real detector would act on it.
            std::hint::black_box(difference);
        }
        previous = Some(frame);
    }
}

fn report(mut frames: FrameReceiver) {
    while let Some(frame) = frames.recv() {
        std::hint::black_box((frame.seq(), frame.pts(), frame.lost_before()));
    }
}

/// Only the video: a camera with a microphone offers a pad for each, and sound must not come here.
fn pipeline(camera: &Camera, exporter: &Exporter) -> Result<(gst::Pipeline, FramePublisher)> {
    let line = "rtspsrc name=camera latency=0 ! application/x-rtp,media=video \
        ! decodebin ! dronetee name=t";
    let pipeline = gst::parse::launch(line)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline")?;
    let source = pipeline.by_name("camera").ok_or("no camera")?;
    camera.set_up(&source);
    source.set_property("tcp-timeout", PATIENCE.as_micros() as u64);
    // Sound is not even asked for. In GStreamer 1.26 a stream whose pad is not linked may end the other one.
    source.connect("select-stream", false, |values| {
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        let media = caps.structure(0)?.get::<&str>("media").ok()?;
        Some((media == "video").to_value())
    });
    let tee = pipeline.by_name("t").ok_or("no dronetee")?;
    exporter.add(&tee)?;
    Ok((pipeline, FramePublisher::new(&tee)?))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

fn subscribe(publisher: &FramePublisher, slow: Duration) -> Result<Vec<JoinHandle<()>>> {
    let detection = publisher.subscribe(consumers::DETECTION_CLIENT)?;
    let keeping_up = |name| publisher.consumer(name).depth(START_BURST).subscribe();
    let movement = keeping_up(consumers::MOVEMENT_DETECTOR)?;
    let telemetry = keeping_up(consumers::TELEMETRY)?;
    Ok(vec![
        spawn("detection", move || detect(detection, slow))?,
        spawn("movement", move || detect_movement(movement))?,
        spawn("telemetry", move || report(telemetry))?,
    ])
}

/// Until the time is over, a signal, the end of the stream, or an error.
fn run(
    camera: &Camera,
    pipeline: &gst::Pipeline,
    publisher: &FramePublisher,
    run_for: Duration,
) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let bus = pipeline.bus().ok_or("no bus")?;
    let mut table = Table::default();
    let (start, mut shown) = (Instant::now(), 0);
    let mut first_frame = None;
    while !stop.load(Ordering::Relaxed) {
        if let Some(message) = bus.timed_pop(gst::ClockTime::from_mseconds(50)) {
            match message.view() {
                gst::MessageView::Error(error) => {
                    return Err(camera.explain(error, publisher.published() == 0).into());
                }
                gst::MessageView::Eos(_) => break,
                _ => {}
            }
        }
        if publisher.published() == 0 {
            if start.elapsed() > PATIENCE {
                return Err(camera::NO_VIDEO.into());
            }
            continue;
        }
        let running = first_frame.get_or_insert_with(Instant::now).elapsed();
        if running >= run_for {
            break;
        }
        if running.as_secs() > shown {
            shown = running.as_secs();
            table.update(&publisher.health());
        }
    }
    Ok(())
}

fn main_job() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.help {
        say(HELP.trim_end());
        return Ok(());
    }
    // Before anything starts: a port that is taken is told at once.
    let exporter = Exporter::new();
    let serve = |address: &str| {
        Server::start(address, exporter.clone())
            .map_err(|error| format!("no metrics on '{address}': {error}"))
    };
    let server = options.metrics.as_deref().map(serve).transpose()?;
    gst::init()?;
    gstdronetee::plugin_register_static()?;
    let own = match options.url {
        Some(_) => None,
        None => Some(RtspServer::start(Streams::VideoAndAudio, 0)?),
    };
    let url = options
        .url
        .as_deref()
        .or(own.as_ref().map(RtspServer::url))
        .unwrap_or_default();
    let camera = Camera::parse(url)?;
    say(&format!("camera: {}", camera.shown()));

    let (pipeline, publisher) = pipeline(&camera, &exporter)?;
    let workers = subscribe(&publisher, options.slow)?;
    if let Some(server) = &server {
        say(&format!("metrics: http://{}/metrics", server.address()));
    }
    // Why it fails, if it does, is on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
    let outcome = run(&camera, &pipeline, &publisher, options.run_for);
    let health = publisher.health();
    pipeline.set_state(gst::State::Null)?;
    for worker in workers {
        worker.join().map_err(|_| "a consumer panicked")?;
    }
    if health.published > 0 {
        say("at the end:");
        Table::show(&health);
    }
    outcome.map_err(|error| format!("{}: {error}", camera.shown()))?;
    match health
        .consumers
        .iter()
        .find(|consumer| !consumer.ledger.balances())
    {
        Some(consumer) => {
            Err(format!("the accounts of {} do not balance", consumer.consumer).into())
        }
        None => Ok(()),
    }
}

fn main() -> std::process::ExitCode {
    match main_job() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("autopilot: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
