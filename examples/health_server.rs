// SPDX-License-Identifier: MPL-2.0
//! A web server that shows at `/health` how the stream does, as JSON, and at `/notices` what was told of
//! it last. Needs the feature `serde`.
//!
//! `health_server [ADDR:PORT]`, 127.0.0.1:8080 if not said otherwise.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use gstdronetee::gst::{self, prelude::*};
use gstdronetee::{FramePublisher, Notice, consumers};

const LINE: &str = "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 \
    ! dronetee name=t t.src_telemetry ! fakesink";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
type Last = Arc<Mutex<VecDeque<Notice>>>;

pub(crate) fn main() -> Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = TcpListener::bind(&address)?;
    println!("http://{}/health", listener.local_addr()?);
    serve(&listener, usize::MAX)
}

/// Answers so many requests.
pub(crate) fn serve(listener: &TcpListener, requests: usize) -> Result<()> {
    gst::init()?;
    gstdronetee::plugin_register_static()?;
    let pipeline = gst::parse::launch(LINE)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline")?;
    let publisher = FramePublisher::new(&pipeline.by_name("t").ok_or("no dronetee")?)?;
    // A slow consumer, so that there is something to tell.
    let mut slow = publisher
        .consumer(consumers::DETECTION_CLIENT)
        .depth(1)
        .subscribe()?;
    thread::spawn(move || {
        while slow.recv().is_some() {
            thread::sleep(Duration::from_millis(200));
        }
    });
    let (last, mut notices) = (Last::default(), publisher.notices()?);
    let kept = last.clone();
    thread::spawn(move || {
        while let Some(notice) = notices.recv() {
            let mut last = kept.lock().unwrap_or_else(PoisonError::into_inner);
            last.push_back(notice);
            if last.len() > 20 {
                last.pop_front();
            }
        }
    });
    pipeline.set_state(gst::State::Playing)?;
    for client in listener.incoming().take(requests) {
        // A client that hangs up is its own affair.
        let _ = client
            .map_err(Into::into)
            .and_then(|client| answer(client, &publisher, &last));
    }
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

fn answer(mut client: TcpStream, publisher: &FramePublisher, last: &Last) -> Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut request = String::new();
    BufReader::new(&client).read_line(&mut request)?;
    let (status, body) = match request.split_ascii_whitespace().nth(1) {
        Some("/health") => ("200 OK", serde_json::to_string_pretty(&publisher.health())?),
        Some("/notices") => {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ("200 OK", serde_json::to_string_pretty(&last)?)
        }
        _ => ("404 Not Found", "\"see /health and /notices\"".into()),
    };
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )?;
    Ok(())
}
