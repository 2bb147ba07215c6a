// SPDX-License-Identifier: MPL-2.0
//! The launch lines in `pipelines/`, run by the real gst-launch-1.0, and gst-inspect-1.0.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::common::streams_for_video_lines;
use crate::rtsp_server::{RtspServer, Streams};
use gst::prelude::*;

const DEADLINE: Duration = Duration::from_secs(60);

/// A directory with the plugin of this build, and nothing else.
///
/// Cargo copies a `cdylib` out of `deps/` only for some commands: a copy there may be of yesterday.
pub(crate) fn plugin_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pipelines");
        std::fs::create_dir_all(&dir).unwrap();
        let plugin = std::env::current_exe()
            .unwrap()
            .with_file_name("libgstdronetee.so");
        let link = dir.join("libgstdronetee.so");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(plugin, &link).unwrap();
        dir
    })
}

/// With a registry of its own: the user's stays as it is.
pub(crate) fn tool(name: &str) -> Command {
    let registry = plugin_dir().join(format!("registry-{}.bin", name.replace('/', "-")));
    let mut command = Command::new(name);
    command
        .env("GST_PLUGIN_PATH", plugin_dir())
        .env("GST_REGISTRY", registry);
    command
}

pub(crate) fn launch_line(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("pipelines")
        .join(file);
    let text = std::fs::read_to_string(path).unwrap();
    // Comments, which a user takes out by `grep -v '^#'`.
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

pub(crate) fn launch(line: &str) -> Child {
    tool("gst-launch-1.0")
        .args(["-e", "-m"])
        .args(line.split_whitespace())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads until `wanted` lines were seen, then ends the run as Ctrl-C would; all that was printed.
pub(crate) fn run(mut child: Child, mut wanted: impl FnMut(&str) -> bool) -> (bool, Vec<String>) {
    let pid = child.id().to_string();
    let (lines, printed) = std::sync::mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        stdout.lines().map_while(Result::ok).for_each(|line| {
            let _ = lines.send(line);
        });
    });
    let deadline = Instant::now() + DEADLINE;
    let mut seen = Vec::new();
    let mut interrupted = false;
    while let Ok(line) = printed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if !interrupted && wanted(&line) {
            interrupted = true;
            Command::new("kill").args(["-INT", &pid]).status().unwrap();
        }
        seen.push(line);
    }
    if Instant::now() >= deadline {
        child.kill().unwrap();
    }
    reader.join().unwrap();
    (child.wait().unwrap().success(), seen)
}

pub(crate) fn summary<'a>(lines: &'a [String], consumer: &str) -> &'a str {
    let name = format!("consumer=(string){consumer},");
    lines
        .iter()
        .find(|line| line.contains("dronetee-summary") && line.contains(&name))
        .unwrap_or_else(|| panic!("no summary of {consumer} in {lines:#?}"))
}

pub(crate) fn field(line: &str, name: &str) -> u64 {
    let start = format!(" {name}=(guint64)");
    let rest = line
        .split(&start)
        .nth(1)
        .unwrap_or_else(|| panic!("no {name} in {line}"));
    rest.split([',', ';']).next().unwrap().parse().unwrap()
}

#[test]
fn inspect_shows_the_element_and_its_pads() {
    let output = tool("gst-inspect-1.0").arg("dronetee").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let origin = text.lines().find(|line| line.contains("Origin URL"));
    assert!(
        origin.unwrap().ends_with(env!("CARGO_PKG_AUTHORS")),
        "{text}"
    );
    for name in [
        "src_%u",
        "src_%s",
        "Type: GstDroneTeePad",
        "GstChildProxy",
        "allow-not-linked",
        "drop-messages-interval",
        "gop-cache",
        "num-src-pads",
        "post-drop-messages",
        "published",
        "qos-messages",
        "stall-timeout",
        "stats",
        "max-size-bytes",
        "max-size-time",
        "max-age",
        "max-lag",
        "in-flight",
        "dropped-slow",
        "dropped-stale",
        "dropped-waiting-keyframe",
        "dropped-not-linked",
        "dropped-flushing",
        "dropped-eos",
        "dropped-error",
        "dropped-evicted",
        "dropped-pool",
        "max-held",
        "held",
        "current-level-buffers",
        "is-healthy",
        "last-flow",
        "silent",
    ] {
        assert!(text.contains(name), "no {name} in:\n{text}");
    }
}

#[test]
fn takes_the_place_of_tee() {
    let (ok, lines) = run(launch(&launch_line("tee-drop-in.launch")), |_| false);
    assert!(ok, "{lines:#?}");
    for consumer in ["src_0", "src_1"] {
        assert_eq!(field(summary(&lines, consumer), "in"), 90);
    }
}

#[test]
fn only_the_slow_one_of_three_named_consumers_loses_frames() {
    let (ok, lines) = run(launch(&launch_line("named-consumers.launch")), |_| false);
    assert!(ok, "{lines:#?}");
    let detection = summary(&lines, "detection_client");
    assert!(field(detection, "dropped-slow") > 50, "{detection}");
    let told: u64 = lines
        .iter()
        .filter(|line| line.contains("tag=(string)detection_client_slow"))
        .map(|line| field(line, "count"))
        .sum();
    assert_eq!(told, field(detection, "dropped-slow"));
    for consumer in ["movement_detector", "telemetry"] {
        let summary = summary(&lines, consumer);
        assert_eq!(field(summary, "in"), 90);
        assert_eq!(
            field(summary, "out") + field(summary, "dropped"),
            90,
            "{summary}"
        );
    }
    assert_eq!(field(summary(&lines, "telemetry"), "out"), 90);
}

#[test]
fn a_branch_keeps_its_failures() {
    let (ok, lines) = run(launch(&launch_line("dronebranch.launch")), |_| false);
    assert!(ok, "{lines:#?}");
    let errors = lines.iter().filter(|line| {
        line.contains("dronebranch-error") && line.contains("branch=(string)detection")
    });
    assert!(errors.count() >= 2, "{lines:#?}");
    let telemetry = summary(&lines, "telemetry");
    assert_eq!(
        (field(telemetry, "in"), field(telemetry, "dropped")),
        (90, 0)
    );
    let detection = summary(&lines, "detection_client");
    assert!(field(detection, "out") > 20, "{detection}");
}

#[test]
fn inspect_shows_the_branch() {
    let output = tool("gst-inspect-1.0").arg("dronebranch").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for name in [
        "GstDroneBranch",
        "SINK: 'sink'",
        "description",
        "restart-delay-max",
        "max-restarts",
        "stop-timeout",
        "Enum \"GstDroneBranchState\" Default: 0, \"stopped\"",
        "failures",
        "restarts",
        "abandoned",
        "dropped",
        "last-error",
        "changeable only in NULL or READY state",
    ] {
        assert!(text.contains(name), "no {name} in:\n{text}");
    }
}

/// The line with the URL of a camera of the test's own.
pub(crate) fn with_camera(line: &str, camera: &RtspServer) -> String {
    let own = "rtsp://127.0.0.1:8554/camera";
    assert!(line.contains(own));
    line.replace(own, camera.url())
}

#[test]
fn takes_the_video_of_an_rtsp_camera_with_sound() {
    gst::init().unwrap();
    let camera = RtspServer::start(Streams::VideoAndAudio, 0).unwrap();
    let mut line = with_camera(&launch_line("rtsp-in.launch"), &camera);
    if gst::version() >= (1, 24, 0, 0) {
        // What docs/troubleshooting.md says of a sound that is not linked.
        line = line.replace("rtspsrc ", "rtspsrc name=camera ");
        line += " camera. ! application/x-rtp,media=audio ! fakesink async=false";
    }
    let (ok, lines) = run(launch(&line), |line| {
        line.contains("tag=(string)detection_client_slow") && field(line, "total") > 40
    });
    assert!(ok, "{lines:#?}");
    assert!(field(summary(&lines, "telemetry"), "out") > 40);
    assert!(field(summary(&lines, "detection_client"), "dropped-slow") > 40);
}

/// Decodes something and counts the pictures.
struct Player {
    pipeline: gst::Pipeline,
    pictures: Arc<AtomicU64>,
}

impl Player {
    fn start(launch: &str) -> Self {
        let launch = format!("{launch} ! fakesink name=end sync=false");
        let pipeline = gst::parse::launch(&launch).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let pictures = Arc::<AtomicU64>::default();
        let count = pictures.clone();
        let pad = pipeline.by_name("end").unwrap().static_pad("sink").unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, pictures }
    }

    fn count(&self) -> u64 {
        self.pictures.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

fn free_udp_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn records_and_relays_while_detection_lags() {
    gst::init().unwrap();
    let camera = RtspServer::start(streams_for_video_lines(), 0).unwrap();
    let file = plugin_dir().join("test-record.mkv");
    let port = free_udp_port();
    let relayed = Player::start(&format!(
        "udpsrc port={port} address=127.0.0.1 \
         caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=H264 \
         ! rtph264depay ! h264parse ! avdec_h264"
    ));
    let line = with_camera(&launch_line("rtsp-record.launch"), &camera)
        .replace("record.mkv", file.to_str().unwrap())
        .replace("port=5600", &format!("port={port}"));
    let (ok, lines) = run(launch(&line), |line| {
        line.contains("consumer=(string)detection_client") && field(line, "dropped") > 60
    });
    assert!(ok, "{lines:#?}");
    let recorded = field(summary(&lines, "record"), "out");
    assert_eq!(
        field(summary(&lines, "record"), "dropped-slow"),
        0,
        "{lines:#?}"
    );

    // What was relayed can be seen meanwhile.
    assert!(relayed.count() > 30, "{} relayed", relayed.count());
    relayed.stop();

    // The recording plays from start to end.
    let recording = Player::start(&format!(
        "filesrc location={} ! matroskademux ! h264parse ! avdec_h264",
        file.display()
    ));
    let message = recording
        .pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(
            gst::ClockTime::from_seconds(60),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        )
        .expect("the recording does not end");
    recording.stop();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    let decoded = recording.count();
    assert!(
        decoded + 2 >= recorded && decoded > 30,
        "{decoded} of {recorded}"
    );
}

#[test]
fn python_reads_the_accounts_and_the_messages() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/health.py");
    let output = tool("/usr/bin/python3")
        .arg(program)
        .arg("3")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors, "");
    let row = text
        .lines()
        .rfind(|line| line.contains("detection_client "))
        .unwrap();
    assert!(row.contains("detection_client_slow="), "{text}");
    assert!(text.contains("dronetee-drop, consumer=(string)detection_client"));
}

#[test]
fn the_python_program_helps_and_says_what_it_lacks() {
    let python = |path: &str, args: &[&str]| {
        let output = Command::new("/usr/bin/python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/health.py"))
            .args(args)
            .env("PYTHONPATH", path)
            .env("GST_PLUGIN_PATH", "")
            .env("GST_REGISTRY", plugin_dir().join("registry-without.bin"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let without_gi = Path::new(env!("CARGO_TARGET_TMPDIR")).join("without-gi");
    std::fs::create_dir_all(&without_gi).unwrap();
    std::fs::write(without_gi.join("gi.py"), "raise ImportError('no gi')\n").unwrap();
    let without_gi = without_gi.to_str().unwrap();

    let (ok, said) = python(without_gi, &["--help"]);
    assert!(ok && said.contains("[SECONDS] [LAUNCH LINE]"), "{said}");
    let (ok, said) = python(without_gi, &[]);
    assert!(!ok && said.contains("apt-get install python3-gi"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let (ok, said) = python("", &["1"]);
    assert!(!ok && said.contains("does not find dronetee"), "{said}");
}
