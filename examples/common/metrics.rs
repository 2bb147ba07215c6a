// SPDX-License-Identifier: MPL-2.0
//! `/metrics` for Prometheus: the accounts of a `dronetee`, read anew at each scrape.
//!
//! Counters are the ledger's own numbers, not copies that are kept in step, and all of a scrape
//! are of one moment, so that for each consumer and in each scrape
//! `in == delivered + Σ dropped + queue level + in flight`. The wait alone is read right after.
//!
//! A consumer that is released takes its series along: Prometheus sees them end, and a consumer of
//! that name that joins later starts at zero, which `rate()` and `increase()` take for the reset
//! that it is, as they do after a stop of the pipeline. Only a sum over consumers would shrink;
//! `dronetee_stream_frames_dropped_total` still has what the released ones lost.
//!
//! Consumers' names must differ, as those of [`FramePublisher::subscribe`] do: Prometheus takes
//! nothing of a scrape with a series in it twice. The pad property `consumer` can break that.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstdronetee::{ConsumerHealth, FramePublisher, Health};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// Seen by this machine alone.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";
/// A client gets this long to ask, and to take the answer: others wait meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longer requests are nobody's who wants metrics.
const LONGEST_REQUEST: usize = 8192;
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A figure of each consumer: name, help, and where it is.
type Figure<T> = (&'static str, &'static str, fn(&ConsumerHealth) -> T);

const COUNTERS: [Figure<u64>; 2] = [
    (
        "dronetee_frames_in",
        "Frames offered to the consumer since it joined.",
        |consumer| consumer.ledger.frames_in,
    ),
    (
        "dronetee_frames_delivered",
        "Frames that the consumer took and was done with.",
        |consumer| consumer.ledger.frames_out,
    ),
];

const GAUGES: [Figure<u64>; 3] = [
    (
        "dronetee_queue_level",
        "Frames that wait in the consumer's queue.",
        |consumer| consumer.ledger.waiting,
    ),
    (
        "dronetee_frames_in_flight",
        "Frames handed to the consumer that it is not done with, 0 or 1.",
        |consumer| consumer.ledger.in_flight,
    ),
    (
        "dronetee_consumer_healthy",
        "0 while the consumer is stalled, failed or evicted.",
        |consumer| u64::from(consumer.is_healthy()),
    ),
];

const DURATIONS: [Figure<Duration>; 3] = [
    (
        "dronetee_wait_p99",
        "How long frames waited in the queue, 99th percentile since start.",
        |consumer| consumer.wait_p99,
    ),
    (
        "dronetee_service_p99",
        "How long the consumer took for a frame, 99th percentile since start.",
        |consumer| consumer.service_p99,
    ),
    (
        "dronetee_in_flight",
        "How long the frame in flight has been so.",
        |consumer| consumer.in_flight_for,
    ),
];

#[derive(Debug)]
struct Accounts(FramePublisher);

impl Collector for Accounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Once a scrape: two snapshots would not add up.
        let health = self.0.health();
        encode_stream(&mut encoder, &health)?;
        for (name, help, of) in COUNTERS {
            let counter = |consumer: &_| ConstCounter::new(of(consumer));
            encode_consumers(&mut encoder, (name, help, None), &health, counter)?;
        }
        encode_drops(&mut encoder, &health)?;
        for (name, help, of) in GAUGES {
            let gauge = |consumer: &_| ConstGauge::new(of(consumer));
            encode_consumers(&mut encoder, (name, help, None), &health, gauge)?;
        }
        for (name, help, of) in DURATIONS {
            let gauge = |consumer: &_| ConstGauge::new(of(consumer).as_secs_f64());
            let about = (name, help, Some(&Unit::Seconds));
            encode_consumers(&mut encoder, about, &health, gauge)?;
        }
        Ok(())
    }
}

/// Name, help and unit, which ends the name.
type About<'a> = (&'a str, &'a str, Option<&'a Unit>);

fn encode_one(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): About<'_>,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}

fn encode_stream(encoder: &mut DescriptorEncoder<'_>, health: &Health) -> fmt::Result {
    encode_one(
        encoder,
        (
            "dronetee_frames_published",
            "Frames that arrived at the element.",
            None,
        ),
        &ConstCounter::new(health.published),
    )?;
    encode_one(
        encoder,
        (
            "dronetee_published",
            "Bytes that arrived at the element.",
            Some(&Unit::Bytes),
        ),
        &ConstCounter::new(health.bytes),
    )?;
    encode_one(
        encoder,
        (
            "dronetee_stream_frames_dropped",
            "Frames dropped over all consumers, released ones included.",
            None,
        ),
        &ConstCounter::new(health.dropped),
    )?;
    encode_one(
        encoder,
        (
            "dronetee_frames_held",
            "Frames of upstream's that are out, each counted once.",
            None,
        ),
        &ConstGauge::new(health.held),
    )?;
    encode_one(
        encoder,
        (
            "dronetee_max_frames_held",
            "How many may be out at once, 0 without a limit.",
            None,
        ),
        &ConstGauge::new(health.max_held),
    )?;
    // Before the first frame there is none that could be old.
    let Some(age) = health.last_frame_age else {
        return Ok(());
    };
    encode_one(
        encoder,
        (
            "dronetee_last_frame_age",
            "Time since the last frame arrived.",
            Some(&Unit::Seconds),
        ),
        &ConstGauge::new(age.as_secs_f64()),
    )
}

fn encode_consumers<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): About<'_>,
    health: &Health,
    metric: impl Fn(&ConsumerHealth) -> M,
) -> fmt::Result {
    let mut metrics = health.consumers.iter().map(|consumer| {
        let labels = [("consumer", consumer.consumer.as_str())];
        (labels, metric(consumer))
    });
    let Some(first) = metrics.next() else {
        return Ok(());
    };
    let mut family = encoder.encode_descriptor(name, help, unit, first.1.metric_type())?;
    for (labels, metric) in std::iter::once(first).chain(metrics) {
        metric.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Every reason is there from the start: `rate()` misses the first drops of a series that begins
/// with them.
fn encode_drops(encoder: &mut DescriptorEncoder<'_>, health: &Health) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "dronetee_frames_dropped",
        "Frames that the consumer did not get, by reason.",
        None,
        prometheus_client::metrics::MetricType::Counter,
    )?;
    for consumer in &health.consumers {
        for (reason, count) in consumer.ledger.dropped.iter() {
            let labels = [
                ("consumer", consumer.consumer.as_str()),
                ("reason", reason.name()),
            ];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// Takes the address, `ADDR:PORT` or a port of 127.0.0.1; who asks is answered once it is served.
pub(crate) fn bind(address: &str) -> Result<TcpListener, String> {
    let port: Option<u16> = address.parse().ok();
    match port {
        Some(port) => TcpListener::bind(("127.0.0.1", port)),
        None => TcpListener::bind(address),
    }
    .map_err(|error| format!("no metrics on '{address}': {error}"))
}

/// Serves until it is dropped.
pub(crate) struct MetricsServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    pub(crate) fn start(listener: TcpListener, publisher: FramePublisher) -> io::Result<Self> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Accounts(publisher)));
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || serve(&listener, &registry, &stopped))?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Nothing else ends the wait for a client. Without it the thread goes with the process.
        let woken = TcpStream::connect_timeout(&self.address, PATIENCE).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // A panic there has told its story on stderr.
            let _ = thread.join();
        }
    }
}

/// One client at a time: Prometheus alone asks, a few times a minute.
fn serve(listener: &TcpListener, registry: &Registry, stop: &AtomicBool) {
    for client in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        // A client that hangs up or says nothing gets nothing, which is its own affair.
        let answered = client.and_then(|client| answer(client, registry));
        if answered.is_err() {
            // Out of file descriptors, accepting fails at once, over and over.
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

fn answer(mut client: TcpStream, registry: &Registry) -> io::Result<()> {
    let request = read_head(&mut client)?;
    let mut words = request.split_ascii_whitespace();
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split('?').next();
    let (status, type_, body) = match (method, path) {
        (Some("GET" | "HEAD"), Some("/metrics")) => {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry)
                .map_err(io::Error::other)?;
            ("200 OK", OPEN_METRICS, text)
        }
        (Some("GET" | "HEAD"), _) => ("404 Not Found", "text/plain", "See /metrics\n".into()),
        _ => (
            "405 Method Not Allowed\r\nAllow: GET, HEAD",
            "text/plain",
            "GET only\n".into(),
        ),
    };
    let length = body.len();
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {type_}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    if method != Some("HEAD") {
        response.push_str(&body);
    }
    client.set_write_timeout(Some(PATIENCE))?;
    client.write_all(response.as_bytes())
}

/// The request up to the empty line, in the time that a client has for it.
fn read_head(client: &mut TcpStream) -> io::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > LONGEST_REQUEST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_read_timeout(Some(left))?;
        match client.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => head.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
