// SPDX-License-Identifier: MPL-2.0
//! A detector that is slower than the camera and always works on the newest frame.
//!
//! `depth(1)` keeps one frame waiting: a newer one takes its place. What was skipped is counted, and
//! `age()` shows that what the detector gets is never old, however long it takes.

use std::thread;
use std::time::Duration;

use gstdronetee::gst::{self, prelude::*};
use gstdronetee::{DropReason, Frame, FramePublisher, consumers};

const LINE: &str = "videotestsrc is-live=true num-buffers=45 pattern=ball \
    ! video/x-raw,format=NV12,width=640,height=480,framerate=30/1 ! dronetee name=t";

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    gst::init()?;
    gstdronetee::plugin_register_static()?;
    let pipeline = gst::parse::launch(LINE)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline")?;
    let publisher = FramePublisher::new(&pipeline.by_name("t").ok_or("no dronetee")?)?;
    let newest = publisher.consumer(consumers::DETECTION_CLIENT).depth(1);
    let mut frames = newest.subscribe()?;
    pipeline.set_state(gst::State::Playing)?;

    let mut seen = 0;
    let mut skipped = 0;
    while let Some(frame) = frames.recv() {
        let age = frame.age();
        let (x, y) = detect(&frame)?;
        seen += 1;
        skipped += frame.lost_before();
        println!("frame {}, {age:?} old: brightest at {x}, {y}", frame.seq());
    }

    let health = publisher.health();
    let own = health.consumers.first().ok_or("no consumer")?;
    println!(
        "{seen} looked at, {skipped} skipped of {}",
        health.published
    );
    assert_eq!(
        own.ledger.dropped.get(DropReason::Slow),
        own.ledger.dropped.total()
    );
    assert_eq!(seen + skipped, health.published);
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

/// Where the brightest pixel is; a network would take about as long.
fn detect(frame: &Frame) -> Result<(usize, usize), gstdronetee::Error> {
    let luma = frame.plane(0)?;
    let mut brightest = (0, (0, 0));
    for (y, row) in luma.rows().enumerate() {
        for (x, pixel) in row.iter().enumerate() {
            if *pixel > brightest.0 {
                brightest = (*pixel, (x, y));
            }
        }
    }
    thread::sleep(Duration::from_millis(100));
    Ok(brightest.1)
}
