// SPDX-License-Identifier: MPL-2.0
//! A camera on loopback for trying things out: `rtsp_server [PORT]` (default 8554, 0: any free).

#[path = "common/rtsp_server.rs"]
mod rtsp_server;

use rtsp_server::{RtspServer, Streams};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    gst::init()?;
    let port = match std::env::args().nth(1) {
        Some(port) => port.parse().map_err(|_| format!("'{port}' is no port"))?,
        None => 8554,
    };
    let server = RtspServer::start(Streams::VideoAndAudio, port)?;
    println!("{}", server.url());
    loop {
        std::thread::park();
    }
}
