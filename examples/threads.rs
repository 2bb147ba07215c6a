// SPDX-License-Identifier: MPL-2.0
//! One stream, three consumers, a thread each.
//!
//! The slow one loses its own oldest frames, which it is told; the others notice nothing.

use std::thread;
use std::time::Duration;

use gstdronetee::gst::{self, prelude::*};
use gstdronetee::{CloseReason, FramePublisher, FrameReceiver, consumers};

const LINE: &str = "videotestsrc is-live=true num-buffers=60 \
    ! video/x-raw,format=I420,width=640,height=480,framerate=30/1 ! dronetee name=t";

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    gst::init()?;
    gstdronetee::plugin_register_static()?;
    let pipeline = gst::parse::launch(LINE)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline")?;
    let publisher = FramePublisher::new(&pipeline.by_name("t").ok_or("no dronetee")?)?;

    // Consumers that join before the start get the first frame.
    let detection = publisher.subscribe(consumers::DETECTION_CLIENT)?;
    let movement = publisher
        .consumer(consumers::MOVEMENT_DETECTOR)
        .depth(8)
        .subscribe()?;
    let telemetry = publisher.subscribe(consumers::TELEMETRY)?;
    let workers = [
        thread::spawn(|| work(detection, Duration::from_millis(150))),
        thread::spawn(|| work(movement, Duration::ZERO)),
        thread::spawn(|| work(telemetry, Duration::ZERO)),
    ];

    pipeline.set_state(gst::State::Playing)?;
    // Each ends by itself: at the end of the stream, and also if the pipeline is stopped.
    for worker in workers {
        let (seen, lost, reason) = worker.join().map_err(|_| "a consumer panicked")?;
        println!("{seen} frames seen, {lost} lost: {reason}");
        assert_eq!(reason, CloseReason::Eos);
    }
    println!("{:#?}", publisher.health());
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

fn work(mut frames: FrameReceiver, per_frame: Duration) -> (u64, u64, CloseReason) {
    let (mut seen, mut lost) = (0, 0);
    for frame in &mut frames {
        seen += 1;
        lost += frame.lost_before();
        // What a real consumer does with the pixels; here it takes its time.
        let luma = frame
            .plane(0)
            .map(|luma| luma.rows().flatten().map(|p| u64::from(*p)).sum::<u64>());
        std::hint::black_box(luma.unwrap_or_default());
        thread::sleep(per_frame);
    }
    (
        seen,
        lost,
        frames.close_reason().unwrap_or(CloseReason::Stopped),
    )
}
