// SPDX-License-Identifier: MPL-2.0
//! The example program serves metrics, if it is asked to.

use super::*;

/// Where a program serves its metrics.
fn address(run: &mut Run) -> SocketAddr {
    let line = run.until("metrics: ");
    let address = line
        .strip_prefix("metrics: http://")
        .and_then(|rest| rest.strip_suffix("/metrics"));
    address.expect(&line).parse().unwrap()
}

#[test]
fn the_program_serves_what_its_table_shows() {
    let mut run = Run::autopilot(&["--seconds", "600", "--metrics", "127.0.0.1:0"]);
    let address = address(&mut run);
    let slow = |scrape: &Scrape| scrape.dropped(NAMES[0], "slow");
    // It serves before its element is there.
    let mut scrape = Scrape::of(address);
    wait_for("the element", || {
        scrape = Scrape::of(address);
        scrape.has("dronetee_frames_published_total")
    });
    for _ in 0..2 {
        let seen = slow(&scrape);
        wait_for("more drops of the slow consumer", || {
            scrape = Scrape::of(address);
            for name in NAMES {
                scrape.assert_balanced(name);
            }
            slow(&scrape) > seen
        });
    }
    fails_with(
        Run::autopilot(&["--metrics", &address.to_string()]),
        &format!("no metrics on '{address}': Address already in use"),
    );
    run.interrupt();
    let table = final_table(run.end());
    for name in NAMES {
        let [arrived, out, .., dropped] = scrape.numbers(name);
        let end = numbers(&table, name);
        assert!(arrived > 0 && arrived <= end[0], "{table}{scrape:#?}");
        assert!(out <= end[1] && dropped <= end[4], "{table}{scrape:#?}");
    }
}

/// The addresses that a process listens on by TCP, as the kernel writes them.
fn listening(pid: u32) -> Vec<String> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    ["tcp", "tcp6"]
        .iter()
        .flat_map(|kind| {
            let table = std::fs::read_to_string(format!("/proc/{pid}/net/{kind}")).unwrap();
            table
                .lines()
                .skip(1)
                .map(|row| row.split_whitespace().map(str::to_owned).collect())
                .collect::<Vec<Vec<String>>>()
        })
        .filter(|row| row[3] == "0A" && sockets.contains(&row[9]))
        .map(|row| row[1].clone())
        .collect()
}

#[test]
fn nothing_listens_unless_asked_and_then_on_loopback() {
    gst::init().unwrap();
    let camera = RtspServer::start(Streams::VideoAndAudio, 0).unwrap();
    let mut run = Run::autopilot(&["--seconds", "600", camera.url()]);
    run.until("telemetry");
    assert_eq!(listening(run.pid()), [""; 0]);
    run.interrupt();
    assert!(!final_table(run.end()).contains("metrics"));

    let mut run = Run::autopilot(&["--seconds", "600", camera.url(), "--metrics", "0"]);
    let address = address(&mut run);
    // 127.0.0.1 in the byte order of this machine.
    let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
    let expected = format!("{loopback:08X}:{:04X}", address.port());
    assert_eq!(listening(run.pid()), [expected]);
    run.interrupt();
    let _ = run.end();
}

#[test]
fn the_address_may_be_left_out() {
    for args in [
        ["--metrics", "rtsp://127.0.0.1:1/nothing", "--seconds", "1"],
        ["rtsp://127.0.0.1:1/nothing", "--metrics", "--seconds", "1"],
    ] {
        let output = Run::autopilot(&args).end();
        assert_eq!(output.status.code(), Some(1));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        // Another program may have that port: then it is in the error.
        assert!(text.contains(DEFAULT_ADDRESS), "{text}");
        assert!(DEFAULT_ADDRESS.starts_with("127.0.0.1:"));
    }
}

#[test]
fn a_bad_address_is_an_error() {
    for bad in ["nowhere", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:0"] {
        fails_with(
            Run::autopilot(&["--metrics", bad]),
            &format!("no metrics on '{bad}': "),
        );
    }
}
