// SPDX-License-Identifier: MPL-2.0
//! Takes frames for the ground as fast as the link carries them: what it can not carry is dropped in the queue,
//! by `dronetee`, with a reason.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use gstdronetee::{Frame, FrameReceiver, RecvError};

use crate::Result;
use crate::accounts::Accounts;
use crate::flight::captured;
use crate::ground::Ground;
use crate::message::{Attachment, compressed_video};
use crate::options::Options;

/// How long nothing has to come or to go before it is looked whether to stop.
const STEP: Duration = Duration::from_millis(100);
/// So long after a subscriber came the echo may take to be there too.
const ECHO_PATIENCE: Duration = Duration::from_secs(3);

/// The loop that sends.
pub(crate) struct Sender {
    frames: FrameReceiver,
    ground: Arc<OnceLock<Ground>>,
    accounts: Arc<Accounts>,
    stop: Arc<AtomicBool>,
    frame_id: String,
    format: &'static str,
    /// Frames that were lost or not sent since the last message.
    lost: u64,
    /// Since when frames are wanted and nothing comes back.
    without_echo: Option<Instant>,
    /// Frames were sent at the last look that let any be taken.
    was_open: bool,
}

/// What the link allows.
enum Way {
    Open,
    /// Nothing is there to send to.
    Nowhere,
    /// Too much is on its way.
    Closed,
}

impl Sender {
    pub(crate) fn new(
        frames: FrameReceiver,
        options: &Options,
        ground: Arc<OnceLock<Ground>>,
        accounts: Arc<Accounts>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            frames,
            ground,
            accounts,
            stop,
            frame_id: options.frame_id.clone(),
            format: options.codec.name(),
            lost: 0,
            without_echo: None,
            was_open: false,
        }
    }

    /// Until the stream ends, or the program is to stop. The receiver comes back, for its accounts.
    pub(crate) fn run(mut self) -> FrameReceiver {
        while !self.stop.load(Ordering::Relaxed) {
            let way = self.way();
            if matches!(way, Way::Closed) {
                continue;
            }
            self.begin(matches!(way, Way::Open));
            match self.frames.recv_timeout(STEP) {
                Ok(frame) => self.take(&frame, matches!(way, Way::Open)),
                Err(RecvError::Empty) => {}
                Err(RecvError::Closed(_)) => break,
            }
        }
        self.frames
    }

    fn way(&mut self) -> Way {
        let Some(ground) = self.ground.get() else {
            return Way::Nowhere;
        };
        if !ground.is_subscribed() {
            ground.forget_way();
            self.without_echo = None;
            return Way::Nowhere;
        }
        if ground.has_echo() {
            self.without_echo = None;
            return match ground.wait_open(STEP) {
                true => Way::Open,
                false => Way::Closed,
            };
        }
        ground.forget_way();
        let since = *self.without_echo.get_or_insert_with(Instant::now);
        if since.elapsed() > ECHO_PATIENCE {
            return Way::Open;
        }
        std::thread::sleep(STEP / 10);
        Way::Closed
    }

    /// Asks for a keyframe when frames begin to be sent: the receivers can decode none before it. One that was asked
    /// for when the subscriber came would often be taken before the way is open.
    fn begin(&mut self, is_open: bool) {
        if is_open
            && !self.was_open
            && let Some(ground) = self.ground.get()
        {
            ground.want_keyframe();
        }
        self.was_open = is_open;
    }

    fn take(&mut self, frame: &Frame, is_open: bool) {
        self.lost += frame.lost_before();
        if !is_open {
            self.lost += 1;
            self.accounts.change(|sender| {
                sender.taken += 1;
                sender.no_subscriber += 1;
            });
            return;
        }
        match self.send(frame) {
            Ok(bytes) => {
                self.lost = 0;
                self.accounts.change(|sender| {
                    sender.taken += 1;
                    sender.sent += 1;
                    sender.bytes += bytes;
                    sender.first.get_or_insert(frame.seq());
                    sender.last = Some(frame.seq());
                });
            }
            Err(error) => {
                eprintln!(
                    "dronetee-zenoh: frame {} was not sent: {error}",
                    frame.seq()
                );
                self.lost += 1;
                self.accounts.change(|sender| {
                    sender.taken += 1;
                    sender.failed += 1;
                });
            }
        }
    }

    fn send(&self, frame: &Frame) -> Result<u64> {
        let ground = self.ground.get().ok_or("no link")?;
        let captured = captured(frame);
        let data = frame.pixels()?;
        let message = compressed_video(captured, &self.frame_id, &data, self.format)?;
        let bytes = message.len() as u64;
        let attachment = Attachment {
            sequence: frame.seq(),
            captured,
            lost_before: self.lost,
        };
        ground.send(message, attachment)?;
        Ok(bytes)
    }
}
