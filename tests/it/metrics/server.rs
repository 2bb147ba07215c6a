// SPDX-License-Identifier: MPL-2.0
//! What the server answers, and to whom.

use super::*;

#[test]
fn other_requests_are_refused_and_hold_nobody_up() {
    let rig = Rig::started();
    let server = serve(&rig);
    let address = server.address();
    let mut silent = TcpStream::connect(address).unwrap();
    let mut half = TcpStream::connect(address).unwrap();
    half.write_all(b"GET /metrics HT").unwrap();
    let mut long = TcpStream::connect(address).unwrap();
    // It may hang up before all is written.
    let _ = long.write_all(&[b'x'; 100_000]);
    for (request, status) in [
        ("GET / HTTP/1.1", "404 "),
        ("GET /metrics/all HTTP/1.1", "404 "),
        ("POST /metrics HTTP/1.1", "405 "),
        ("nonsense", "400 "),
        ("GET /metrics?x=1 HTTP/1.0", "200 "),
        ("HEAD /metrics HTTP/1.1", "200 "),
    ] {
        let (head, body) = ask(address, &format!("{request}\r\nHost: drone\r\n\r\n"));
        assert!(head.contains(status), "{request}: {head}");
        let scraped = request.starts_with("GET") && status == "200 ";
        assert_eq!(body.contains("dronetee_frames"), scraped, "{request}");
    }
    for client in [&mut silent, &mut half] {
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(
            !String::from_utf8_lossy(&answer).contains(" 200 "),
            "answered unasked"
        );
    }
    drop(server);
    // The port is free again.
    TcpListener::bind(address).unwrap();
}

#[test]
fn a_client_gets_the_format_that_it_prefers() {
    let rig = Rig::started();
    let server = serve(&rig);
    let of = |accept: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: drone\r\n{accept}\r\n");
        ask(server.address(), &request)
    };
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain\r\n"] {
        let (head, body) = of(accept);
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        assert!(
            body.contains("# TYPE dronetee_frames_published_total counter\n"),
            "{body}"
        );
        assert!(
            !body.contains("# EOF") && !body.contains("# UNIT"),
            "{body}"
        );
    }
    let (head, body) = of("Accept: text/plain;q=0.5\r\naccept: application/openmetrics-text\r\n");
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(
        body.contains("# TYPE dronetee_frames_published counter\n"),
        "{body}"
    );
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[test]
fn a_handler_that_hangs_holds_up_no_scrape() {
    let rig = Rig::started();
    let server = serve(&rig);
    let consumer = rig.consumer("stuck");
    consumer.stick();
    let (reached, hangs) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let state = std::sync::Mutex::new((reached, released));
    rig.bus.set_sync_handler(move |_, _| {
        let state = state.lock().unwrap();
        let _ = state.0.send(());
        let _ = state.1.recv();
        gst::BusSyncReply::Drop
    });
    rig.push_all(0..20);
    hangs.recv_timeout(DEADLINE).unwrap();
    let scrape = Scrape::of(server.address());
    scrape.assert_balanced("stuck");
    assert_eq!(scrape.count("dronetee_frames_in_total", "stuck"), 20);
    drop(release);
    consumer.unstick();
}
