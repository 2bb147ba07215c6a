// SPDX-License-Identifier: MPL-2.0
//! A camera over RTSP for a long time: `cargo test --test soak -- --minutes N [--json FILE]`
//!
//! The coded stream and the decoded one each go through a `dronetee`. One consumer takes all, one
//! stalls for a while once a minute and recovers, one fails again and again in a `dronebranch`, one is a
//! receiver in this process, and every ten seconds another one joins and leaves. Resident memory,
//! threads and file descriptors have to stay as they are, and the accounts have to be exact: at each
//! look, and in what the messages say up to a consumer's summary. The camera is a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../../examples/common/rtsp_server.rs"]
mod rtsp_server;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstdronetee::{DropReason, FramePublisher};

/// Between two joiners, and two samples.
const TICK: Duration = Duration::from_secs(10);
/// How long a joiner stays.
const STAY: Duration = Duration::from_secs(5);
/// What does not come in this time does not come, also on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the first ticks need: caches, pools and threads that are made once.
const WARM_UP: usize = 12;

struct Options {
    minutes: u64,
    json: Option<String>,
}

fn options() -> Option<Options> {
    let mut minutes = None;
    let mut json = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--serve" => serve(),
            "--minutes" => minutes = arguments.next()?.parse().ok(),
            "--json" => json = arguments.next(),
            _ => {}
        }
    }
    minutes.map(|minutes| Options { minutes, json })
}

/// The camera.
fn serve() -> ! {
    gst::init().unwrap();
    let server = rtsp_server::RtspServer::start(rtsp_server::Streams::VideoAndAudio, 0).unwrap();
    println!("{}", server.url());
    loop {
        std::thread::park();
    }
}

struct Camera(Child);

impl Camera {
    fn start() -> (Self, String) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--serve")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufReader::new(out).read_line(&mut url).unwrap();
        (Self(child), url.trim().to_owned())
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Drops that messages told, by pad and reason.
type Told = BTreeMap<(String, String), u64>;

/// What the messages say, checked as they come.
#[derive(Default)]
struct Witness {
    told: Mutex<Told>,
    summaries: AtomicU64,
    stalled: AtomicU64,
    recovered: AtomicU64,
    failures: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Witness {
    fn fault(&self, what: String) {
        eprintln!("soak: FAULT: {what}");
        self.faults.lock().unwrap().push(what);
    }

    fn note(&self, message: &gst::Message) {
        if let gst::MessageView::Error(error) = message.view() {
            self.fault(format!("{error:?}"));
        }
        let (Some(structure), Some(source)) = (message.structure(), message.src()) else {
            return;
        };
        let key = |what: &str| {
            let pad = structure.get::<String>("pad").unwrap();
            (format!("{}:{pad}", source.name()), what.to_owned())
        };
        match structure.name().as_str() {
            "dronetee-drop" => {
                let key = key(&structure.get::<String>("reason").unwrap());
                let total = structure.get::<u64>("total").unwrap();
                let mut told = self.told.lock().unwrap();
                let sum = told.entry(key.clone()).or_default();
                *sum += structure.get::<u64>("count").unwrap();
                if *sum != total {
                    self.fault(format!("{key:?}: {sum} told, {total} in {structure}"));
                }
            }
            "dronetee-summary" => {
                self.summaries.fetch_add(1, Ordering::Relaxed);
                self.check_summary(&key, structure);
            }
            "dronetee-consumer" => {
                let state = structure.get::<String>("state").unwrap();
                let previous = structure.get::<String>("previous").unwrap();
                if state == "stalled" {
                    self.stalled.fetch_add(1, Ordering::Relaxed);
                } else if previous == "stalled" {
                    self.recovered.fetch_add(1, Ordering::Relaxed);
                }
            }
            "dronebranch-error" => {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn check_summary(&self, key: &dyn Fn(&str) -> (String, String), summary: &gst::StructureRef) {
        check_ledger(self, summary);
        let mut told = self.told.lock().unwrap();
        for reason in DropReason::all().iter().map(|reason| reason.name()) {
            let sum = told.remove(&key(reason)).unwrap_or(0);
            let total = summary
                .get::<u64>(&format!("dropped-{reason}"))
                .unwrap_or(0);
            if sum != total {
                self.fault(format!("{sum} {reason} told, but {summary}"));
            }
        }
    }
}

/// `in == out + dropped + waiting + in flight`.
fn check_ledger(witness: &Witness, pad: &gst::StructureRef) {
    let read = |name: &str| pad.get::<u64>(name).unwrap_or(0);
    let waiting = u64::from(pad.get::<u32>("current-level-buffers").unwrap_or(0));
    let dropped: u64 = DropReason::all()
        .iter()
        .map(|reason| read(&format!("dropped-{}", reason.name())))
        .sum();
    if read("in") != read("out") + dropped + waiting + read("in-flight") {
        witness.fault(format!("the accounts do not balance: {pad}"));
    }
}

struct Sample {
    rss_kib: u64,
    threads: u64,
    files: u64,
}

fn sample() -> Sample {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    Sample {
        rss_kib: field("VmRSS:"),
        threads: field("Threads:"),
        files: std::fs::read_dir("/proc/self/fd").unwrap().count() as u64,
    }
}

fn launch(url: &str) -> gst::Pipeline {
    let line = format!(
        "rtspsrc location={url} protocols=tcp latency=200 ! application/x-rtp,media=video \
         ! rtph264depay ! h264parse ! dronetee name=coded gop-cache=60 depth=16 \
         coded.src_telemetry ! h264parse ! fakesink name=telemetry sync=false async=false \
         coded.src_decoder ! avdec_h264 max-threads=1 ! dronetee name=raw \
         raw.src_detection_client ! fakesink name=detection sync=false async=false \
         raw.src_movement_detector ! dronebranch name=movement restart-delay=500000000 \
         restart-delay-max=2000000000 description=\"identity error-after=300 ! fakesink sync=false async=false\""
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    pipeline.downcast().unwrap()
}

/// Waits for a condition.
fn wait(what: &str, witness: &Witness, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return witness.fault(format!("not in time: {what}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A consumer that joins for a while.
struct Joiner {
    tee: gst::Element,
    pad: gst::Pad,
    bin: gst::Bin,
}

impl Joiner {
    fn start(
        pipeline: &gst::Pipeline,
        tee: &str,
        line: &str,
        number: usize,
        witness: &Witness,
    ) -> Self {
        let tee = pipeline.by_name(tee).unwrap();
        let bin = gst::parse::bin_from_description(line, true).unwrap();
        let frames = Arc::new(AtomicU64::new(0));
        let (own, sink) = (frames.clone(), bin.static_pad("sink").unwrap());
        sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            own.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        pipeline.add(&bin).unwrap();
        bin.sync_state_with_parent().unwrap();
        let pad = tee
            .request_pad_simple(&format!("src_joiner_{number}"))
            .unwrap();
        pad.link(&sink).unwrap();
        wait("a joiner's first frames", witness, || {
            frames.load(Ordering::Relaxed) >= 5
        });
        Self { tee, pad, bin }
    }

    fn leave(self, pipeline: &gst::Pipeline) {
        self.tee.release_request_pad(&self.pad);
        self.bin.set_state(gst::State::Null).unwrap();
        pipeline.remove(&self.bin).unwrap();
    }
}

const JOINERS: [(&str, &str); 4] = [
    ("raw", "fakesink sync=false async=false"),
    (
        "coded",
        "h264parse ! avdec_h264 max-threads=1 ! fakesink sync=false async=false",
    ),
    (
        "raw",
        "queue ! videoconvert ! fakesink sync=false async=false",
    ),
    ("coded", "queue ! fakesink sync=false async=false"),
];

fn main() {
    let Some(options) = options() else {
        println!("soak: say how long: --minutes N");
        return;
    };
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let (camera, url) = Camera::start();
    let pipeline = launch(&url);
    let witness = Arc::new(Witness::default());
    let noting = witness.clone();
    pipeline.bus().unwrap().set_sync_handler(move |_, message| {
        noting.note(message);
        gst::BusSyncReply::Drop
    });
    // It is at work for as long as this says.
    let stalls = Arc::new(AtomicBool::new(false));
    let (own, sink) = (stalls.clone(), pipeline.by_name("detection").unwrap());
    let sink = sink.static_pad("sink").unwrap();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        while own.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        gst::PadProbeReturn::Ok
    });
    let raw = pipeline.by_name("raw").unwrap();
    let publisher = FramePublisher::new(&raw).unwrap();
    let mut receiver = publisher.subscribe("receiver").unwrap();
    let receiving = std::thread::spawn(move || {
        let (mut frames, mut lost) = (0_u64, 0_u64);
        while let Some(frame) = receiver.recv() {
            frames += 1;
            lost += frame.lost_before();
        }
        (frames, lost)
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    wait("the first frames", &witness, || publisher.published() > 30);

    let samples = run(&pipeline, &witness, &stalls, options.minutes);

    stalls.store(false, Ordering::Relaxed);
    let consumers: Vec<String> = ["coded", "raw"]
        .iter()
        .map(|tee| {
            pipeline
                .by_name(tee)
                .unwrap()
                .property::<gst::Structure>("stats")
                .to_string()
        })
        .collect();
    pipeline.set_state(gst::State::Null).unwrap();
    let (frames, lost) = receiving.join().unwrap();
    // A fault ends the program, which would leave it behind.
    drop(camera);
    conclude(&options, &witness, &samples, &consumers, (frames, lost));
}

/// Joins, stalls and looks until the time is over.
fn run(
    pipeline: &gst::Pipeline,
    witness: &Witness,
    stalls: &AtomicBool,
    minutes: u64,
) -> Vec<Sample> {
    let (start, mut samples) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(60 * minutes) {
        let tick = Instant::now();
        samples.push(sample());
        let number = samples.len();
        let (tee, line) = JOINERS[number % JOINERS.len()];
        let joiner = Joiner::start(pipeline, tee, line, number, witness);
        if number.is_multiple_of(6) {
            stalls.store(true, Ordering::Relaxed);
        }
        std::thread::sleep(STAY.saturating_sub(tick.elapsed()));
        joiner.leave(pipeline);
        for tee in ["coded", "raw"] {
            let stats = pipeline
                .by_name(tee)
                .unwrap()
                .property::<gst::Structure>("stats");
            let pads = stats.get::<gst::ArrayRef<'_>>("consumers").unwrap();
            for pad in pads.iter() {
                check_ledger(witness, &pad.get::<gst::Structure>().unwrap());
            }
        }
        stalls.store(false, Ordering::Relaxed);
        std::thread::sleep(TICK.saturating_sub(tick.elapsed()));
        if number.is_multiple_of(30) {
            let last = samples.last().unwrap();
            println!(
                "soak: {} s, {} KiB resident, {} threads, {} files",
                start.elapsed().as_secs(),
                last.rss_kib,
                last.threads,
                last.files
            );
        }
    }
    samples
}

fn median(samples: &[Sample], what: fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(what).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn conclude(
    options: &Options,
    witness: &Witness,
    samples: &[Sample],
    consumers: &[String],
    (frames, lost): (u64, u64),
) {
    let steady = samples.get(WARM_UP..).unwrap_or(&[]);
    let third = steady.len() / 3;
    let (first, last) = (&steady[..third], &steady[steady.len() - third..]);
    let compare = |name: &str, what: fn(&Sample) -> u64, allowed: u64| {
        let (before, after) = (median(first, what), median(last, what));
        println!("soak: {name}: {before} in the first third, {after} in the last");
        if after > before + allowed {
            witness.fault(format!("{name} grew from {before} to {after}"));
        }
        (before, after)
    };
    let rss = compare("resident KiB", |sample| sample.rss_kib, 2048);
    let threads = compare("threads", |sample| sample.threads, 1);
    let files = compare("file descriptors", |sample| sample.files, 0);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (stalled, recovered) = (count(&witness.stalled), count(&witness.recovered));
    if stalled != recovered || options.minutes > 1 && stalled == 0 {
        witness.fault(format!("{stalled} stalls, {recovered} recoveries"));
    }
    let faults = witness.faults.lock().unwrap().clone();
    for stats in consumers {
        println!("soak: {stats}");
    }
    println!(
        "soak: {} minutes, {} joiners, {stalled} stalls, {} failures in the dronebranch, {} summaries, \
         the receiver got {frames} frames and lost {lost}, {} faults",
        options.minutes,
        samples.len(),
        count(&witness.failures),
        count(&witness.summaries),
        faults.len()
    );
    if let Some(path) = &options.json {
        let figures = serde_json::json!({
            "minutes": options.minutes,
            "joiners": samples.len(),
            "rss_kib": { "first_third": rss.0, "last_third": rss.1 },
            "threads": { "first_third": threads.0, "last_third": threads.1 },
            "files": { "first_third": files.0, "last_third": files.1 },
            "stalls": stalled,
            "failures": count(&witness.failures),
            "summaries": count(&witness.summaries),
            "receiver": { "frames": frames, "lost": lost },
            "faults": faults,
            "rss_by_sample_kib": samples.iter().map(|sample| sample.rss_kib).collect::<Vec<_>>(),
        });
        std::fs::write(path, serde_json::to_string_pretty(&figures).unwrap()).unwrap();
    }
    if !faults.is_empty() {
        std::process::exit(1);
    }
}
