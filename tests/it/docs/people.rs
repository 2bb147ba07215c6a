// SPDX-License-Identifier: MPL-2.0
//! The launch lines for hardware, with elements of software in place of those of the hardware.

use super::{empty_folder, root};
use crate::common::streams_for_video_lines;
use crate::pipelines::{field, launch_line, run, summary, tool, with_camera};
use crate::rtsp_server::RtspServer;

/// Ends by itself, as no camera does.
const DECODER: &str = "avdec_h264 ! identity eos-after=60";

/// What stands in for what. A property of the hardware's element is part of the text: where a line
/// changes it, its stand-in is found no more.
const STAND_INS: [(&str, &str); 12] = [
    (
        "v4l2src device=/dev/video0 do-timestamp=true",
        "videotestsrc is-live=true num-buffers=60 ! video/x-raw,framerate=30/1 ! x264enc tune=zerolatency key-int-max=30",
    ),
    ("libcamerasrc", "videotestsrc is-live=true num-buffers=60"),
    (
        "v4l2h264enc extra-controls=controls,repeat_sequence_header=1,video_bitrate=5000000,h264_i_frame_period=30",
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30",
    ),
    (
        "v4l2h264enc extra-controls=controls,repeat_sequence_header=1 ",
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ",
    ),
    // What the Pi's encoder has to be told, and others find out.
    ("level=(string)4,", ""),
    (",level=(string)4", ""),
    ("nvv4l2decoder num-extra-surfaces=7", DECODER),
    ("video/x-raw(memory:NVMM)", "video/x-raw"),
    ("nvvidconv", "videoconvert ! videoscale"),
    (
        "nvv4l2h264enc",
        "x264enc tune=zerolatency speed-preset=ultrafast",
    ),
    ("v4l2h264dec", DECODER),
    ("vah264dec", DECODER),
];
const OF_VA: [(&str, &str); 2] = [
    ("video/x-raw(memory:VAMemory)", "video/x-raw"),
    ("vapostproc", "videoconvert ! videoscale"),
];

/// Runs it to its end; each consumer has balanced accounts and got frames.
fn runs_with_stand_ins(file: &str, consumers: &[&str]) {
    gst::init().unwrap();
    let mut line = launch_line(file);
    let original = line.clone();
    for (hardware, software) in STAND_INS.iter().chain(&OF_VA) {
        line = line.replace(hardware, software);
    }
    assert_ne!(line, original);
    let camera = original.contains("rtspsrc").then(|| {
        let camera = RtspServer::start(streams_for_video_lines(), 0).unwrap();
        line = with_camera(&line, &camera);
        camera
    });
    let folder = empty_folder(&format!("people-{file}"));
    let child = tool("gst-launch-1.0")
        .args(["-e", "-m"])
        .args(line.split_whitespace())
        .current_dir(&folder)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (ok, printed) = run(child, |_| false);
    assert!(ok, "{file}: {printed:#?}");
    drop(camera);
    for consumer in consumers {
        let summary = summary(&printed, consumer);
        let [arrived, out, dropped] = ["in", "out", "dropped"].map(|name| field(summary, name));
        assert_eq!(arrived, out + dropped, "{file}: {summary}");
        assert!(out > 5, "{file}: {summary}");
        assert_eq!(field(summary, "dropped-error"), 0, "{file}: {summary}");
    }
}

#[test]
fn mavlink_camera_manager_runs() {
    runs_with_stand_ins("mavlink-camera-manager.launch", &["rtp", "record"]);
}

#[test]
fn openhd_runs() {
    runs_with_stand_ins("openhd.launch", &["air", "record"]);
}

#[test]
fn jetson_runs() {
    let consumers = ["detection_client", "movement_detector", "relay"];
    runs_with_stand_ins("jetson.launch", &consumers);
}

#[test]
fn raspberry_pi_runs() {
    runs_with_stand_ins(
        "raspberry-pi-camera.launch",
        &["detection_client", "ground"],
    );
    runs_with_stand_ins(
        "raspberry-pi-rtsp.launch",
        &["detection_client", "telemetry"],
    );
}

#[test]
fn va_api_runs() {
    runs_with_stand_ins("va-api.launch", &["detection_client", "telemetry"]);
}

/// Each of the files says what it needs, and is in the table of the folder.
#[test]
fn files_say_what_they_need() {
    let page = std::fs::read_to_string(root().join("pipelines/README.md")).unwrap();
    for entry in std::fs::read_dir(root().join("pipelines")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".launch") {
            continue;
        }
        assert!(
            page.contains(&format!("`{name}`")),
            "{name} is not in the table"
        );
        let text = std::fs::read_to_string(root().join("pipelines").join(&name)).unwrap();
        if text.starts_with('#') {
            assert!(text.contains("\n# Needs: "), "{name}");
            assert!(text.contains("\n# Buffers: "), "{name}");
        }
    }
}
