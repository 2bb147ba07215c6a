// SPDX-License-Identifier: MPL-2.0
//! A camera on loopback: a moving test picture as H.264, with sound, over RTSP.

use gst::glib;
use gst_rtsp_server::RTSPFilterResult;
use gst_rtsp_server::prelude::*;

/// What the camera sends.
#[derive(Debug, Clone, Copy)]
#[allow(
    dead_code,
    reason = "not every program that includes this file uses all"
)]
pub(crate) enum Streams {
    VideoAndAudio,
    Video,
    Audio,
    /// To those who have the `LOGIN` alone.
    Secured,
}

/// User and password.
#[allow(
    dead_code,
    reason = "not every program that includes this file uses all"
)]
pub(crate) const LOGIN: (&str, &str) = ("pilot", "open/sesame@42");

/// Stops with this, and hangs up on who is connected.
pub(crate) struct RtspServer {
    url: String,
    main_loop: glib::MainLoop,
    thread: Option<std::thread::JoinHandle<()>>,
}

const VIDEO: &str = "videotestsrc is-live=true pattern=ball \
    ! video/x-raw,width=640,height=360,framerate=30/1 \
    ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 bitrate=1000 \
    ! rtph264pay pt=96";
const AUDIO: &str = "audiotestsrc is-live=true wave=ticks ! opusenc ! rtpopuspay pt=97";

impl RtspServer {
    /// Starts the camera on a free port of 127.0.0.1, or on `port`.
    pub(crate) fn start(streams: Streams, port: u16) -> Result<Self, Box<dyn std::error::Error>> {
        let context = glib::MainContext::new();
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let server = gst_rtsp_server::RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service(&port.to_string());

        let factory = gst_rtsp_server::RTSPMediaFactory::new();
        // The sound comes first: a program that takes the first stream gets no picture.
        factory.set_launch(&match streams {
            Streams::VideoAndAudio | Streams::Secured => {
                format!("( {AUDIO} name=pay0 {VIDEO} name=pay1 )")
            }
            Streams::Video => format!("( {VIDEO} name=pay0 )"),
            Streams::Audio => format!("( {AUDIO} name=pay0 )"),
        });
        factory.set_shared(true);
        if let Streams::Secured = streams {
            secure(&server, &factory);
        }
        let mounts = server.mount_points().ok_or("no mount points")?;
        mounts.add_factory("/camera", factory);

        let source = server.create_source(gst_rtsp_server::gio::Cancellable::NONE)?;
        source.attach(Some(&context));
        let url = format!("rtsp://127.0.0.1:{}/camera", server.bound_port());
        let running = main_loop.clone();
        let thread = std::thread::Builder::new()
            .name("rtsp-server".into())
            .spawn(move || {
                // Cannot fail: nobody else runs this context.
                let _ = context.with_thread_default(|| running.run());
                // Connections have threads of their own, and would outlive the server.
                server.client_filter(Some(&mut |_, _| RTSPFilterResult::Remove));
            })?;
        Ok(Self {
            url,
            main_loop,
            thread: Some(thread),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

fn secure(server: &gst_rtsp_server::RTSPServer, factory: &gst_rtsp_server::RTSPMediaFactory) {
    let auth = gst_rtsp_server::RTSPAuth::new();
    let token = gst_rtsp_server::RTSPToken::builder()
        .field("media.factory.role", "viewer")
        .build();
    let (user, password) = LOGIN;
    auth.add_basic(
        &gst_rtsp_server::RTSPAuth::make_basic(user, password),
        &token,
    );
    server.set_auth(Some(&auth));
    factory.add_role_from_structure(
        &gst::Structure::builder("viewer")
            .field("media.factory.access", true)
            .field("media.factory.construct", true)
            .build(),
    );
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        let main_loop = self.main_loop.clone();
        // From within the loop, so that it cannot be missed before the loop runs.
        self.main_loop
            .context()
            .invoke_with_priority(glib::Priority::DEFAULT, move || main_loop.quit());
        if let Some(thread) = self.thread.take() {
            // A panic there has told its story on stderr.
            let _ = thread.join();
        }
    }
}
