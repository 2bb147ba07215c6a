// SPDX-License-Identifier: MPL-2.0
//! The tracer `dronetee-metrics` in programs that know nothing of it: gst-launch-1.0 and Python.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{DEADLINE, wait_for};
use crate::pipelines::tool;
use crate::scrape::{Scrape, ask};

pub(crate) const SOURCE: &str =
    "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1";
/// One consumer loses frames, one does not, and a branch fails over and over.
const LINE: &str = "dronetee name=t src_telemetry::depth=1000 t.src_detection_client ! identity sleep-time=200000 ! fakesink \
    t.src_telemetry ! fakesink t.src_recorder ! dronebranch name=recording \
    restart-delay=50000000 description=identity\\ error-after=3\\ !\\ fakesink";

/// A program with the tracer, which is ended with the test.
pub(crate) struct Traced {
    child: Child,
    address: SocketAddr,
}

impl Traced {
    /// `params` go behind the address.
    pub(crate) fn start(mut command: Command, params: &str) -> Self {
        let tracers = format!("dronetee-metrics(listen=127.0.0.1:0{params})");
        let mut child = command
            .env("GST_TRACERS", tracers)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let url = line.strip_prefix("dronetee-metrics: http://")?;
            Some(url.strip_suffix("/metrics").expect(&line).parse().unwrap())
        });
        // What comes later is not to fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self {
            child,
            address: address.expect("no address was printed"),
        }
    }

    pub(crate) fn launch(params: &str, line: &str) -> Self {
        let mut command = tool("gst-launch-1.0");
        command.arg("-e").args(words(line)).stdout(Stdio::null());
        Self::start(command, params)
    }

    /// As Ctrl-C does; true if the program then ends well.
    fn interrupt(mut self) -> bool {
        self.signal("-INT");
        let mut status = None;
        wait_for("the end of the program", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().success()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    fn scrape(&self) -> Scrape {
        Scrape::of(self.address)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As a shell splits a line that has no quotes.
pub(crate) fn words(line: &str) -> Vec<String> {
    let line = line.replace("\\ ", "\u{1}");
    line.split_whitespace()
        .map(|word| word.replace('\u{1}', " "))
        .collect()
}

fn line() -> String {
    format!("{SOURCE} ! {LINE}")
}

#[test]
fn an_unchanged_gst_launch_serves_its_accounts() {
    let traced = Traced::launch("", &line());
    let mut scrape = traced.scrape();
    wait_for("drops, and failures of the branch", || {
        scrape = traced.scrape();
        let find = |key: &str| scrape.find(key).unwrap_or_default();
        let slow = r#"{element="t",consumer="detection_client",reason="slow"}"#;
        find(&format!("dronetee_frames_dropped_total{slow}")) > 3.0
            && find(r#"dronebranch_restarts_total{element="recording"}"#) > 1.0
    });
    for consumer in ["detection_client", "telemetry", "recorder"] {
        scrape.assert_balanced(consumer);
    }
    assert_eq!(scrape.dropped("telemetry", "slow"), 0);
    let states = ["stopped", "running", "waiting", "failed"].map(|state| {
        scrape.get(&format!(
            r#"dronebranch_state{{element="recording",state="{state}"}}"#
        ))
    });
    assert_eq!(states.iter().sum::<f64>(), 1.0);
    // No thread of the tracer's keeps it.
    assert!(traced.interrupt());
}

fn get(address: SocketAddr, accept: &str) -> (String, String) {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: drone\r\n{accept}\r\n");
    ask(address, &request)
}

#[test]
fn promtool_finds_nothing_wrong() {
    let traced = Traced::launch("", &line());
    wait_for("a frame", || {
        traced.scrape().has("dronetee_last_frame_age_seconds")
    });
    let (head, body) = get(traced.address, "");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(body.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}{body}");
}

/// A Prometheus that scrapes an address each second, ended with the test.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    dir: std::path::PathBuf,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("prometheus-{}", target.port()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let config = dir.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs:\n  - job_name: drone\n    \
             static_configs: [{{targets: ['{target}']}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        // Free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let own = Self {
            child,
            address,
            dir,
        };
        wait_for("Prometheus", || {
            let ready = "GET /-/ready HTTP/1.0\r\n\r\n";
            TcpStream::connect(own.address).is_ok() && ask(own.address, ready).0.contains(" 200 ")
        });
        own
    }

    /// What it answers to a query; HTTP/1.0, so that the answer comes in one piece.
    fn query(&self, query: &str) -> Vec<Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (_, body) = ask(
            self.address,
            &format!("GET /api/v1/query?query={escaped} HTTP/1.0\r\n\r\n"),
        );
        let answer: Value = serde_json::from_str(&body).expect(&body);
        assert_eq!(answer["status"], "success", "{query}: {body}");
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The dashboard's queries, as Grafana would send them.
fn dashboard_queries() -> Vec<String> {
    let queries = crate::dashboard::queries().into_iter();
    let fill = |query: String| {
        query
            .replace("$__rate_interval", "10s")
            .replace("$__range", "10s")
            .replace("$element", ".*")
    };
    queries.map(fill).collect()
}

#[test]
fn prometheus_takes_it_and_answers_the_dashboard() {
    let traced = Traced::launch("", &line());
    let prometheus = Prometheus::start(traced.address);
    wait_for("drops in Prometheus", || {
        let dropped = prometheus.query("dronetee_frames_dropped_total{reason=\"slow\"} > 0");
        dropped
            .iter()
            .any(|series| series["metric"]["consumer"] == "detection_client")
    });
    // Nothing of a scrape was refused.
    assert!(prometheus.query("up{job=\"drone\"} == 0").is_empty());
    assert!(!prometheus.query("scrape_samples_scraped > 20").is_empty());
    for query in dashboard_queries() {
        // No limit is in force here.
        if !query.contains("dronetee_max_frames_held") {
            wait_for(&query, || !prometheus.query(&query).is_empty());
        }
    }
}

/// A Python program that does as it is told.
struct Python {
    traced: Traced,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Python {
    fn start() -> Self {
        let program = "import gi, sys\n\
            gi.require_version('Gst', '1.0')\n\
            from gi.repository import Gst\n\
            Gst.init(None)\n\
            for line in sys.stdin:\n    exec(line)\n    print('done', flush=True)\n";
        let mut command = tool("/usr/bin/python3");
        command
            .args(["-u", "-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut traced = Traced::start(command, "");
        Self {
            stdin: traced.child.stdin.take().unwrap(),
            stdout: BufReader::new(traced.child.stdout.take().unwrap()),
            traced,
        }
    }

    fn run(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "{line}");
    }

    fn elements(&self) -> Vec<String> {
        let scrape = self.traced.scrape();
        let keys = scrape.keys();
        let of = |key: &str| {
            let rest = key.strip_prefix("dronetee_frames_published_total{element=\"")?;
            Some(rest.strip_suffix("\"}").unwrap().to_owned())
        };
        keys.filter_map(of).collect()
    }
}

#[test]
fn elements_of_a_python_program_come_and_go() {
    let mut python = Python::start();
    let make = |variable: &str, name: &str| {
        let line = format!("{SOURCE} ! dronetee name={name} ! fakesink");
        format!("{variable} = Gst.parse_launch('{line}'); {variable}.set_state(Gst.State.PLAYING)")
    };
    python.run(&make("a", "t"));
    assert_eq!(python.elements(), ["t"]);
    python.run(&make("b", "t"));
    python.run(&make("c", "u"));
    let second = python.elements();
    assert_eq!(second.len(), 3, "{second:?}");
    assert!(second.contains(&"t".to_owned()) && second.contains(&"u".to_owned()));
    let other = second
        .iter()
        .find(|label| label.ends_with("/t"))
        .expect("two are called t");
    assert!(other.starts_with("pipeline"), "{other}");
    // The first goes; the second keeps its label.
    python.run("a.set_state(Gst.State.NULL); a = None");
    wait_for("the end of the first", || python.elements().len() == 2);
    assert!(python.elements().contains(other));
    python.run("b.set_state(Gst.State.NULL); c.set_state(Gst.State.NULL); b = c = None");
    wait_for("the end of all", || python.elements().is_empty());
    // Its name is free again.
    python.run(&make("a", "t"));
    assert_eq!(python.elements(), ["t"]);
    python.run("a.set_state(Gst.State.NULL)");
}

/// What gst-launch-1.0 says of a short pipeline with the tracer, which it ends well.
fn complaints(tracer: &str) -> String {
    let output = tool("gst-launch-1.0")
        .env("GST_TRACERS", tracer)
        .env("GST_DEBUG", "dronetee-metrics:2")
        .env("GST_DEBUG_NO_COLOR", "1")
        .args("videotestsrc num-buffers=5 ! dronetee ! fakesink".split_whitespace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{tracer}");
    let said = String::from_utf8(output.stderr).unwrap();
    let own = said
        .lines()
        .filter(|line| line.contains("dronetee-metrics"));
    own.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_wrong_is_an_error_on_the_log_and_the_pipeline_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    for (params, expected) in [
        (
            format!("listen={taken}"),
            format!("No metrics on '{taken}': Address already in use"),
        ),
        ("listen=nowhere".into(), "No metrics on 'nowhere': ".into()),
        (
            "listen=none,log=/nowhere/log".into(),
            "No log in /nowhere/log: No such file".into(),
        ),
        (
            "listen=none,log=/".into(),
            "No log in /: Is a directory".into(),
        ),
        (
            "port=9464".into(),
            "'port' is neither listen nor log".into(),
        ),
        ("log=/a b".into(), "is not listen=HOST:PORT,log=FILE".into()),
    ] {
        let said = complaints(&format!("dronetee-metrics({params})"));
        assert!(
            said.contains("ERROR") && said.contains(&expected),
            "{params}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(complaints("dronetee-metrics(listen=none)"), "");
    assert_eq!(
        complaints("dronetee-metrics(listen=127.0.0.1:0)")
            .lines()
            .count(),
        1
    );
}

/// Closed without its answer being read, which resets the connection.
fn ask_and_leave(address: SocketAddr) {
    let mut client = TcpStream::connect(address).unwrap();
    let _ = client.write_all(b"GET /metrics HTTP/1.1\r\nHost: drone\r\n\r\n");
}

#[test]
fn clients_that_leave_do_not_end_the_program() {
    // Written in C, it would end on SIGPIPE.
    let traced = Traced::launch("", &line());
    for _ in 0..300 {
        ask_and_leave(traced.address);
    }
    traced.scrape().assert_balanced("telemetry");
    assert!(traced.interrupt());
}

#[test]
fn two_hundred_slow_clients_hold_up_none() {
    let traced = Traced::launch("", &line());
    let mut slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut client = TcpStream::connect(traced.address).unwrap();
            client.write_all(b"GET /metrics HTT").unwrap();
            client
        })
        .collect();
    let begin = Instant::now();
    traced.scrape().assert_balanced("telemetry");
    // Each of them alone would be waited for as long as Prometheus waits in all.
    assert!(begin.elapsed() < Duration::from_secs(10));
    for client in &mut slow {
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        // The end, or a reset: but not for ever.
        let mut rest = Vec::new();
        if let Err(error) = client.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }
    assert!(traced.interrupt());
}

#[test]
fn many_clients_are_served_at_a_time() {
    let traced = Traced::launch("", &line());
    let frames = r#"dronetee_frames_in_total{element="t",consumer="detection_client"}"#;
    wait_for("the consumer", || traced.scrape().find(frames).is_some());
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| traced.scrape().assert_balanced("detection_client"));
        }
    });
    let tasks = std::fs::read_dir(format!("/proc/{}/task", traced.child.id())).unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let own = names
        .filter(|name| name.trim() == "dronetee:metric")
        .count();
    assert_eq!(own, 1, "one thread for all of them");
    assert!(traced.interrupt());
}
