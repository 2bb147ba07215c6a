// SPDX-License-Identifier: MPL-2.0
//! Video to the ground as RTP over UDP, as QGroundControl reads it.

use std::sync::atomic::Ordering;

use gst::prelude::*;

use super::relay::Relay;
use super::srt::free_port;
use super::{Drone, Receiver, comes_back};
use crate::common::wait_for;

const PORT: &str = "port=5600";
/// So long a busy machine may keep a process waiting without a loss, and the stream's own times count.
const PATIENT: (&str, &str) = ("latency=100", "latency=2000 mode=none");

fn drone(port: u16) -> Drone {
    let port = format!("port={port}");
    Drone::start("ground-rtp.launch", &[(PORT, &port)])
}

fn receiver(port: u16) -> Receiver {
    let port = format!("port={port}");
    Receiver::start("ground-rtp-receiver.launch", &[(PORT, &port), PATIENT])
}

fn bytes_sent(drone: &Drone) -> u64 {
    drone.element("udp").property("bytes-served")
}

#[test]
fn without_a_receiver_all_is_out_and_sent() {
    let drone = drone(free_port());
    drone.wait_out("ground", 60);
    assert_eq!(drone.count("ground", "dropped"), 0);
    assert!(bytes_sent(&drone) > 0);
    drone.land();
}

#[test]
#[ignore = "slow: scripts/check.sh runs it"]
fn a_receiver_that_was_killed_gets_the_stream_again() {
    let port = free_port();
    comes_back("rtp", drone(port), || receiver(port));
}

/// Neither `out` nor the sink knows: RTP has no way back here.
#[test]
#[ignore = "slow: scripts/check.sh runs it"]
fn on_a_slow_link_only_the_receiver_knows() {
    let port = free_port();
    let relay = Relay::start(([127, 0, 0, 1], port).into(), 15_000);
    let receiver = receiver(port);
    let drone = drone(relay.address.port());
    wait_for("what the link loses", || {
        drone.assert_well();
        relay.up.lost.load(Ordering::Relaxed) > 100_000
    });
    println!(
        "rtp on 15 kB/s: {} pictures, {} missing; waited in the relay up to {} ms, {} bytes lost there and {} passed of {}",
        receiver.pictures().len(),
        receiver.missing(),
        relay.up.longest_wait.load(Ordering::Relaxed),
        relay.up.lost.load(Ordering::Relaxed),
        relay.up.passed.load(Ordering::Relaxed),
        bytes_sent(&drone),
    );
    let ground = drone.stats("ground");
    assert_eq!(ground.get::<u64>("dropped").unwrap(), 0, "{ground}");
    drone.land();
}
