// SPDX-License-Identifier: MPL-2.0
//! Live frames and resident memory with one, three and eight subscribers.
//!
//! Each number has a process of its own, the test's executable again, so that it has its own
//! resident memory. All run at the same time.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstdronetee::{FramePublisher, FrameReceiver};

use super::DEADLINE;
use crate::ends::{begin, counted};

const SUBSCRIBERS: [u64; 3] = [1, 3, 8];
const SECONDS: usize = 60;
const RATE: u32 = 30;
const DEPTH: u64 = 4;
/// 1280 × 720, I420.
const FRAME: usize = 1280 * 720 * 3 / 2;
/// Tells the process that it is one of those that are measured.
const VARIABLE: &str = "DRONETEE_TEST_SUBSCRIBERS";
/// Marks the line with the figures.
const MARK: &str = "figures:";

/// Resident memory may grow by this from the first seconds to the last: what the allocator keeps,
/// not frames, which would be 1800 of 1.3 MiB.
const GROWTH_KIB: u64 = 2 * 1024;
/// A subscriber may cost its thread (stack, allocator arena), and none of its own frames.
const SUBSCRIBER_KIB: u64 = 192;

#[derive(Debug)]
struct Figures {
    /// Frames that were alive when one more had been published, most and typical.
    most_alive: u64,
    typically_alive: u64,
    /// Resident memory, KiB: typical in the first and in the last ten seconds, and the peak.
    early: u64,
    late: u64,
    peak: u64,
}

pub(crate) fn test(name: &str) {
    if let Ok(subscribers) = std::env::var(VARIABLE) {
        let figures = measure(subscribers.parse().unwrap());
        eprintln!("{MARK} {}", figures.render());
        return;
    }
    let children = SUBSCRIBERS.map(|subscribers| spawn(name, subscribers));
    let figures = children.map(Figures::of);
    for (subscribers, figures) in SUBSCRIBERS.iter().zip(&figures) {
        println!("{subscribers} subscribers: {figures:?}");
    }
    for (subscribers, figures) in SUBSCRIBERS.iter().zip(&figures) {
        // The deepest queue, one per branch, and one.
        let bound = DEPTH + subscribers + 1;
        assert!(figures.most_alive <= bound, "{subscribers}: {figures:?}");
        let grown = figures.late.saturating_sub(figures.early);
        assert!(grown <= GROWTH_KIB, "{subscribers}: {figures:?}");
    }
    let [one, more @ ..] = figures;
    for (subscribers, figures) in SUBSCRIBERS[1..].iter().zip(&more) {
        assert!(
            figures.typically_alive <= one.typically_alive + 1,
            "{subscribers}: {figures:?}, one: {one:?}"
        );
        // One frame for what was alive by chance when the allocator was asked.
        let bound = (subscribers - 1) * SUBSCRIBER_KIB + FRAME as u64 / 1024;
        let late = figures.late.saturating_sub(one.late);
        assert!(late <= bound, "{subscribers}: {figures:?}, one: {one:?}");
    }
}

fn spawn(name: &str, subscribers: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(VARIABLE, subscribers.to_string())
        // A frame that is freed goes back to the kernel at once: glibc would keep one or two in its heap.
        .env("MALLOC_MMAP_THRESHOLD_", "65536")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

impl Figures {
    fn render(&self) -> String {
        format!(
            "{} {} {} {} {}",
            self.most_alive, self.typically_alive, self.early, self.late, self.peak
        )
    }

    fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let line = said.lines().find_map(|line| line.strip_prefix(MARK));
        let numbers: Vec<u64> = line
            .unwrap_or_else(|| panic!("no figures: {said}"))
            .split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect();
        let [most_alive, typically_alive, early, late, peak] = numbers[..] else {
            panic!("{said}");
        };
        Self {
            most_alive,
            typically_alive,
            early,
            late,
            peak,
        }
    }
}

/// A frame of its own memory, each page of it written to.
fn frame(n: u64, alive: &Arc<AtomicUsize>) -> gst::Buffer {
    let mut buffer = counted(alive, vec![n as u8 | 1; FRAME]);
    let own = buffer.get_mut().unwrap();
    own.set_pts(gst::ClockTime::SECOND.mul_div_floor(n, u64::from(RATE)));
    buffer
}

/// From the kernel's account of this process, KiB.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.unwrap().trim().parse().unwrap()
}

fn typical(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// The first subscriber holds each frame for 200 ms, the others look at it.
fn consume(mut frames: FrameReceiver, holds_up: bool) {
    loop {
        match frames.recv_timeout(DEADLINE) {
            Ok(frame) => {
                let pixels = frame.pixels().unwrap();
                assert_eq!(pixels[0], pixels[FRAME - 1]);
                if holds_up {
                    // The consumer under test is one that takes its time.
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            Err(gstdronetee::RecvError::Closed(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A `dronetee` that is pushed into, with its subscribers.
fn start(subscribers: u64) -> (gst::Element, gst::Pad, Vec<std::thread::JoinHandle<()>>) {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let tee = gst::ElementFactory::make("dronetee").build().unwrap();
    let publisher = FramePublisher::new(&tee).unwrap();
    let workers = (0..subscribers).map(|n| {
        let frames = publisher.subscribe(&format!("subscriber{n}")).unwrap();
        std::thread::spawn(move || consume(frames, n == 0))
    });
    let workers = workers.collect();
    tee.set_state(gst::State::Playing).unwrap();
    let sink = tee.static_pad("sink").unwrap();
    let caps = gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::I420)
        .width(1280)
        .height(720)
        .framerate(gst::Fraction::new(RATE as i32, 1))
        .build();
    begin(&sink, Some(&caps));
    (tee, sink, workers)
}

fn measure(subscribers: u64) -> Figures {
    let (tee, sink, workers) = start(subscribers);
    let alive = Arc::<AtomicUsize>::default();
    let (mut counts, mut resident) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for n in 0..SECONDS as u64 * u64::from(RATE) {
        let due = start + Duration::from_secs(1) * n as u32 / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        sink.chain(frame(n, &alive)).unwrap();
        counts.push(alive.load(Ordering::SeqCst) as u64);
        resident.push(memory("VmRSS:"));
    }
    assert!(sink.send_event(gst::event::Eos::new()));
    for worker in workers {
        worker.join().unwrap();
    }
    tee.set_state(gst::State::Null).unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 0, "frames outlive the stream");
    let window = 10 * RATE as usize;
    Figures {
        most_alive: counts.iter().copied().max().unwrap(),
        typically_alive: typical(counts),
        early: typical(resident[..window].to_vec()),
        late: typical(resident[resident.len() - window..].to_vec()),
        peak: memory("VmHWM:"),
    }
}
