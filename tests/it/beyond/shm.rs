// SPDX-License-Identifier: MPL-2.0
//! A detector in a process of its own, over shared memory.

use std::io::Write as _;

use super::{Drone, Receiver, away};
use crate::common::wait_for;

const SOCKET: &str = "/tmp/dronetee-detection";

/// The lines of the two sides, and a socket of the test's own.
struct Ways {
    lines: [&'static str; 2],
    socket: tempdir::Folder,
}

mod tempdir {
    //! A folder with a short path, which a socket's name must have, that goes with the test.

    pub(super) struct Folder(std::path::PathBuf);

    impl Folder {
        pub(super) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(super) fn socket(&self) -> String {
            self.0.join("s").display().to_string()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

impl Ways {
    /// Shared memory, with one copy into it: Debian 12.
    fn shm(test: &str) -> Self {
        Self {
            lines: ["shm-detector.launch", "shm-detector-receiver.launch"],
            socket: tempdir::Folder::new(&format!("dronetee-shm-{test}")),
        }
    }

    /// File descriptors of the frames' own memory: GStreamer 1.24 and later.
    fn unixfd(test: &str) -> Option<Self> {
        gst::init().unwrap();
        if gst::ElementFactory::find("unixfdsink").is_none() {
            // Past what the test harness keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED {test}: GStreamer {} has no unixfdsink",
                gst::version_string()
            );
            return None;
        }
        Some(Self {
            lines: ["unixfd-detector.launch", "unixfd-detector-receiver.launch"],
            socket: tempdir::Folder::new(&format!("dronetee-fd-{test}")),
        })
    }

    fn drone(&self) -> Drone {
        Drone::start(self.lines[0], &[(SOCKET, &self.socket.socket())])
    }

    fn detector(&self) -> Receiver {
        Receiver::start(self.lines[1], &[(SOCKET, &self.socket.socket())])
    }
}

fn without_a_detector(ways: &Ways) {
    let drone = ways.drone();
    drone.wait_out("detection_client", 60);
    assert_eq!(drone.count("detection_client", "dropped-error"), 0);
    drone.land();
}

fn killed_and_restarted(ways: &Ways) {
    let drone = ways.drone();
    let mut first = ways.detector();
    first.wait_pictures(60);
    first.kill();
    away(&drone);
    let mut second = ways.detector();
    second.wait_pictures(60);
    println!("detector: back {:?} after the start", second.first_after());
    drone.land();
}

/// A detector that stands still is a slow consumer, and of its branch alone.
fn stopped(ways: &Ways) {
    let drone = ways.drone();
    let mut detector = ways.detector();
    detector.wait_pictures(30);
    detector.stop("-STOP");
    wait_for("drops of the detector's", || {
        drone.assert_well();
        drone.count("detection_client", "dropped-slow") > 60
    });
    detector.stop("-CONT");
    detector.wait_pictures(60);
    drone.land();
}

#[test]
fn without_a_detector_the_drone_flies() {
    without_a_detector(&Ways::shm("none"));
}

#[test]
#[ignore = "slow: scripts/check.sh runs it"]
fn a_detector_that_was_killed_gets_frames_again() {
    killed_and_restarted(&Ways::shm("killed"));
}

#[test]
#[ignore = "slow: scripts/check.sh runs it"]
fn a_detector_that_stands_still_loses_its_own_frames() {
    stopped(&Ways::shm("stopped"));
}

#[test]
fn without_a_detector_the_drone_flies_unixfd() {
    if let Some(ways) = Ways::unixfd("without_a_detector") {
        without_a_detector(&ways);
    }
}

#[test]
#[ignore = "slow: scripts/check.sh runs it"]
fn a_detector_that_was_killed_gets_frames_again_unixfd() {
    if let Some(ways) = Ways::unixfd("killed_and_restarted") {
        killed_and_restarted(&ways);
    }
}
