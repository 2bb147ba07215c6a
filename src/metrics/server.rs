// SPDX-License-Identifier: MPL-2.0
//! `/metrics` by HTTP: all clients on one thread, none of which another one waits for.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::exporter::Exporter;
use super::format::Format;

/// Seen by this machine alone; the port that exporters of OpenTelemetry's metrics have.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";

/// A client gets this long to ask,
const ASKING: Duration = Duration::from_secs(2);
/// and this long in all.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_CLIENTS: usize = 64;
/// With as many, the oldest makes way for the next one, once it has had this long.
const GRACE: Duration = Duration::from_millis(250);
/// How long it takes to look again if one has gone.
const LOOK: Duration = Duration::from_millis(5);
/// Out of file descriptors, accepting fails over and over.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Requests that are longer are not Prometheus'.
const LONGEST_REQUEST: usize = 16 * 1024;
/// How long the end of the thread is waited for.
const END: Duration = Duration::from_secs(1);

/// Serves `/metrics` until it is dropped.
///
/// It has one thread, however many clients there are. At most 64 are served at a time; a client that
/// has not asked after two seconds, or not read its answer after ten, is hung up on.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<Infallible>,
}

impl Server {
    /// Serves at `address`: `HOST:PORT`, or a port of 127.0.0.1. Port 0 is a free one, see
    /// [`address`](Self::address).
    ///
    /// There is neither TLS nor a login: an address that others can reach tells all of them.
    ///
    /// # Errors
    ///
    /// The address is none or is taken, or there is no thread to be had.
    pub fn start(address: &str, exporter: Exporter) -> io::Result<Self> {
        let listener = match address.parse::<u16>() {
            Ok(port) => std::net::TcpListener::bind(("127.0.0.1", port)),
            Err(_) => std::net::TcpListener::bind(address),
        }?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let (ends, ended) = mpsc::channel();
        std::thread::Builder::new()
            .name("dronetee:metrics".into())
            .spawn(move || {
                // Dropped in turn: who waits for the end finds the port free.
                let _ends = ends;
                let runtime = runtime;
                runtime.block_on(async {
                    if let Ok(listener) = TcpListener::from_std(listener) {
                        let serving = tokio::spawn(serve(listener, exporter));
                        // The server was dropped.
                        let _ = stopped.await;
                        serving.abort();
                    }
                });
            })?;
        Ok(Self {
            address,
            stop: Some(stop),
            ended,
        })
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // The port is free afterwards.
        let _ = self.ended.recv_timeout(END);
    }
}

async fn serve(listener: TcpListener, exporter: Exporter) {
    let mut clients = Clients::default();
    loop {
        clients.make_room().await;
        match listener.accept().await {
            Ok((client, _)) => clients.add(tokio::spawn(answer(client, exporter.clone()))),
            Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
        }
    }
}

/// The clients that are being served, and since when.
#[derive(Default)]
struct Clients(VecDeque<(Instant, JoinHandle<()>)>);

impl Clients {
    fn add(&mut self, task: JoinHandle<()>) {
        self.0.push_back((Instant::now(), task));
    }

    async fn make_room(&mut self) {
        loop {
            self.0.retain(|(_, task)| !task.is_finished());
            if self.0.len() < MOST_CLIENTS {
                return;
            }
            let is_due = |(since, _): &(Instant, _)| since.elapsed() >= GRACE;
            if self.0.front().is_some_and(is_due) {
                if let Some((_, oldest)) = self.0.pop_front() {
                    oldest.abort();
                }
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn answer(client: TcpStream, exporter: Exporter) {
    let service = service_fn(|request| {
        let response = respond(&request, &exporter);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKING)
        .keep_alive(false)
        .half_close(true)
        .max_buf_size(LONGEST_REQUEST)
        // Several buffers are written by a call that raises SIGPIPE when the client has gone, which ends
        // a program that is not written in Rust.
        .writev(false)
        .serve_connection(TokioIo::new(client), service);
    // A client that hangs up or says nothing gets nothing.
    let _ = tokio::time::timeout(PATIENCE, connection).await;
}

fn respond(request: &Request<Incoming>, exporter: &Exporter) -> Response<Full<Bytes>> {
    let plain = |status, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "See /metrics\n");
    }
    let accepted = request.headers().get_all(ACCEPT).iter();
    let accepted: Vec<_> = accepted.filter_map(|value| value.to_str().ok()).collect();
    let format = Format::from_accept(&accepted.join(","));
    let mut response = Response::new(Full::from(exporter.text(format)));
    let type_ = HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(CONTENT_TYPE, type_);
    response
}
