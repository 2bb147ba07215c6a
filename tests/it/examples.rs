// SPDX-License-Identifier: MPL-2.0
//! The examples, as they stand: each checks itself what it shows.

#[cfg(feature = "serde")]
#[path = "../../examples/health_server.rs"]
mod health_server;
#[path = "../../examples/newest_frame.rs"]
mod newest_frame;
#[path = "../../examples/recorder.rs"]
mod recorder;
#[path = "../../examples/threads.rs"]
mod threads;
#[path = "../../examples/tokio_select.rs"]
mod tokio_select;

/// Here, or where the rest of what the program needs is.
#[test]
fn every_example_is_run() {
    let elsewhere = [
        ("autopilot.rs", include_str!("demo.rs"), "Run::autopilot("),
        (
            "health.py",
            include_str!("pipelines.rs"),
            "examples/health.py",
        ),
        (
            "losses.py",
            include_str!("loss_events.rs"),
            "examples/losses.py",
        ),
    ];
    let here = include_str!("examples.rs");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            continue;
        }
        found += 1;
        let is_run = match elsewhere.iter().find(|other| other.0 == name) {
            Some((_, tests, call)) => tests.contains(call),
            None => {
                let stem = path.file_stem().unwrap().to_str().unwrap();
                here.contains(&format!("#[test]\nfn {stem}() {{"))
            }
        };
        assert!(is_run, "no test runs {name}");
    }
    assert!(found > elsewhere.len());
}

#[test]
fn rtsp_server() {
    let program = crate::autopilot::program().with_file_name("rtsp_server");
    let mut run = crate::autopilot::Run::start(std::process::Command::new(program).arg("0"));
    let url = run.until("rtsp://");
    let address = url.trim_start_matches("rtsp://").split('/').next();
    std::net::TcpStream::connect(address.unwrap()).unwrap();
}

#[test]
fn threads() {
    threads::main().unwrap();
}

#[test]
fn tokio_select() {
    tokio_select::main().unwrap();
}

#[test]
fn newest_frame() {
    newest_frame::main().unwrap();
}

#[test]
fn recorder() {
    recorder::main().unwrap();
}

#[cfg(feature = "serde")]
#[test]
fn health_server() {
    use std::io::{Read as _, Write as _};

    use crate::common::wait_for;

    // Its own main() serves until it is killed.
    let _ = health_server::main;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ask = |path: &str| {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    };
    const REQUESTS: usize = 2_000;
    let mut asked = 0;
    std::thread::scope(|scope| {
        let server = scope.spawn(|| health_server::serve(&listener, REQUESTS).is_ok());
        let mut get = |path: &str| {
            asked += 1;
            ask(path)
        };
        wait_for("a drop of the slow consumer", || {
            get("/notices").contains("\"reason\": \"slow\"")
        });
        let answer = get("/health");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let health: gstdronetee::Health = serde_json::from_str(body).unwrap();
        assert!(health.published > 0 && health.consumer("telemetry").is_some());
        assert!(get("/").starts_with("HTTP/1.1 404"));
        for _ in asked..REQUESTS {
            drop(std::net::TcpStream::connect(address).unwrap());
        }
        assert!(server.join().unwrap());
    });
}
