// SPDX-License-Identifier: MPL-2.0
//! Consumers in this process, each in a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gst::prelude::*;
use gstdronetee::{Frame, FramePublisher, FrameReceiver, RecvError};

use crate::fault::{fault, watch};
use crate::witness::Marks;

#[derive(Default)]
struct Command {
    stops: AtomicBool,
    holds: AtomicBool,
    is_done: AtomicBool,
}

pub(crate) struct Receiver {
    pub(crate) name: String,
    pub(crate) tee: usize,
    pub(crate) pad: Option<gst::Pad>,
    /// It waits for frames without a limit.
    pub(crate) waits: bool,
    command: Arc<Command>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What one receiver has had.
#[derive(Default)]
struct Seen {
    name: String,
    marks: Arc<Marks>,
    last: Option<(u64, u64)>,
}

impl Receiver {
    pub(crate) fn start(
        tee: usize,
        element: &gst::Element,
        marks: &Arc<Marks>,
        name: &str,
        depth: u32,
        waits: bool,
    ) -> Self {
        let publisher = FramePublisher::new(element).unwrap();
        let consumer = publisher.consumer(name).depth(depth);
        let receiver = watch("subscribe", || consumer.subscribe());
        let receiver = receiver.unwrap_or_else(|error| fault(format!("subscribe: {error}")));
        let pad = element.static_pad(&format!("src_{name}"));
        let command = Arc::new(Command::default());
        let seen = Seen {
            name: name.to_owned(),
            marks: marks.clone(),
            last: None,
        };
        let own = command.clone();
        let thread = std::thread::Builder::new()
            .name(format!("receiver {name}"))
            .spawn(move || {
                receive(receiver, seen, &own, waits);
                own.is_done.store(true, Ordering::SeqCst);
            })
            .unwrap();
        Self {
            name: name.to_owned(),
            tee,
            pad,
            waits,
            command,
            thread: Some(thread),
        }
    }

    /// It keeps the frame that it has, or not.
    pub(crate) fn hold(&self, holds: bool) {
        self.command.holds.store(holds, Ordering::SeqCst);
    }

    /// Ends it; one that waits has its pad released before.
    pub(crate) fn stop(mut self, tee: &gst::Element) {
        if self.waits
            && let Some(pad) = &self.pad
        {
            watch("release a receiver's pad", || tee.release_request_pad(pad));
        }
        self.command.stops.store(true, Ordering::SeqCst);
        self.hold(false);
        if let Some(thread) = self.thread.take() {
            watch("join a receiver", || thread.join()).unwrap();
        }
    }
}

fn receive(mut receiver: FrameReceiver, mut seen: Seen, command: &Command, waits: bool) {
    let mut held = None;
    while !command.stops.load(Ordering::SeqCst) {
        let next = match waits {
            true => receiver.recv().ok_or_else(|| {
                let reason = receiver.close_reason();
                RecvError::Closed(reason.expect("it is closed for a reason"))
            }),
            false => receiver.recv_timeout(Duration::from_millis(20)),
        };
        match next {
            Ok(frame) => {
                seen.check(&frame);
                held = Some(frame);
            }
            Err(RecvError::Closed(_)) => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(_) => {}
        }
        while command.holds.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    drop(receiver);
    drop(held);
}

impl Seen {
    fn check(&mut self, frame: &Frame) {
        let number = frame.buffer().offset();
        let complain = |what: String| -> ! {
            fault(format!("receiver {}: frame {number}: {what}", self.name))
        };
        let Some(mark) = self.marks.get(number) else {
            complain("it never came in".into());
        };
        if frame.caps() != mark.caps.as_ref() {
            complain(format!("came as {:?}, is {:?}", mark.caps, frame.caps()));
        }
        let sequence = frame.seq();
        if let Some((last, last_sequence)) = self.last {
            if number <= last {
                complain(format!("comes after {last}"));
            }
            let is_flagged = frame.buffer().flags().contains(gst::BufferFlags::DISCONT);
            if number != last + 1 && !is_flagged {
                complain(format!("no DISCONT although {last} was the last one"));
            }
            let missing = sequence.saturating_sub(last_sequence + 1);
            if frame.lost_before() < missing {
                complain(format!("{missing} missing, {} told", frame.lost_before()));
            }
        }
        if mark.delta && self.last.is_none_or(|(last, _)| last + 1 != number) {
            complain(format!(
                "a delta frame, and {:?} was the last one",
                self.last
            ));
        }
        self.last = Some((number, sequence));
    }
}
