// SPDX-License-Identifier: MPL-2.0
//! Video to the ground over SRT.

use std::sync::atomic::Ordering;

use gst::prelude::*;

use super::relay::Relay;
use super::{Drone, Receiver, away, comes_back};
use crate::common::wait_for;

const PORT: &str = "localport=7001";
const URI: &str = "srt://127.0.0.1:7001";
/// So long a busy machine may keep a process waiting without a loss.
const PATIENT: (&str, &str) = ("latency=200", "latency=2000");

/// A UDP port that nothing has.
pub(super) fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn drone(port: u16) -> Drone {
    let port = format!("localport={port}");
    Drone::start("ground-srt.launch", &[(PORT, &port), PATIENT])
}

fn receiver(port: u16) -> Receiver {
    let uri = format!("srt://127.0.0.1:{port}");
    Receiver::start("ground-srt-receiver.launch", &[(URI, &uri), PATIENT])
}

/// What the sink says of all its receivers.
fn sent(drone: &Drone) -> gst::Structure {
    drone.element("srt").property("stats")
}

fn bytes_sent(drone: &Drone) -> u64 {
    sent(drone).get("bytes-sent-total").unwrap()
}

/// The sum of a field over the receivers that are connected.
fn of_callers(drone: &Drone, name: &str) -> i64 {
    let stats = sent(drone);
    let Ok(callers) = stats.get::<glib::ValueArray>("callers") else {
        return 0;
    };
    let callers = callers
        .iter()
        .map(|one| one.get::<gst::Structure>().unwrap());
    callers
        .map(|one| match one.value(name).unwrap() {
            value if value.is::<i32>() => value.get::<i32>().unwrap().into(),
            value if value.is::<u64>() => value.get::<u64>().unwrap() as i64,
            value => value.get::<i64>().unwrap(),
        })
        .sum()
}

#[test]
fn without_a_receiver_all_is_out_and_nothing_is_sent() {
    let drone = drone(free_port());
    drone.wait_out("ground", 60);
    assert_eq!(drone.count("ground", "dropped"), 0);
    assert_eq!(bytes_sent(&drone), 0);
    drone.land();
}

#[test]
#[ignore = "slow: scripts/check.sh runs it"]
fn a_receiver_that_was_killed_gets_the_stream_again() {
    let port = free_port();
    comes_back("srt", drone(port), || receiver(port));
}

#[test]
#[ignore = "slow: scripts/check.sh runs it"]
fn a_stopped_receiver_holds_up_nothing() {
    let port = free_port();
    let drone = drone(port);
    let [mut stopped, mut good] = [receiver(port), receiver(port)];
    stopped.wait_pictures(30);
    good.wait_pictures(30);
    stopped.stop("-STOP");
    away(&drone);
    good.wait_pictures(60);
    assert_eq!(good.missing(), 0);
    stopped.stop("-CONT");
    assert_eq!(drone.count("ground", "dropped"), 0);
    drone.land();
}

/// `out` counts on: only the sink knows what its link did not carry.
#[test]
#[ignore = "slow: scripts/check.sh runs it"]
fn on_a_slow_link_the_sink_drops_and_says_so() {
    let port = free_port();
    let drone = drone(port);
    let relay = Relay::start(([127, 0, 0, 1], port).into(), 15_000);
    let mut receiver = receiver(relay.address.port());
    // Whether a picture gets through is up to the link, and to tsdemux, which may abort over what is missing.
    wait_for("packets that the sink drops", || {
        drone.assert_well();
        receiver.revive();
        of_callers(&drone, "packets-sent-dropped") > 100
    });
    println!(
        "srt on 15 kB/s: {} pictures, {} missing; waited in the relay up to {} ms, {} of {} bytes lost there; {}",
        receiver.pictures().len(),
        receiver.missing(),
        relay.down.longest_wait.load(Ordering::Relaxed),
        relay.down.lost.load(Ordering::Relaxed),
        relay.down.passed.load(Ordering::Relaxed),
        sent(&drone),
    );
    let ground = drone.stats("ground");
    assert_eq!(ground.get::<u64>("dropped").unwrap(), 0, "{ground}");
    drone.land();
}
