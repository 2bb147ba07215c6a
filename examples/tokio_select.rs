// SPDX-License-Identifier: MPL-2.0
//! Two consumers as tasks of tokio, each in a `select!` with something else to do.
//!
//! No thread is taken per consumer: the thread that publishes wakes the task. A branch of `select!` that
//! is dropped has taken no frame.

use std::time::Duration;

use gstdronetee::gst::{self, prelude::*};
use gstdronetee::{CloseReason, FramePublisher, FrameReceiver};
use tokio::sync::watch;

const LINE: &str = "videotestsrc is-live=true \
    ! video/x-raw,format=I420,width=640,height=480,framerate=30/1 ! dronetee name=t";

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    gst::init()?;
    gstdronetee::plugin_register_static()?;
    let pipeline = gst::parse::launch(LINE)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline")?;
    let publisher = FramePublisher::new(&pipeline.by_name("t").ok_or("no dronetee")?)?;
    let (settings, changes) = watch::channel(30);
    let detector = tokio::spawn(detect(publisher.subscribe("detection_client")?, changes));
    let reporter = tokio::spawn(report(publisher.subscribe("telemetry")?));

    pipeline.set_state(gst::State::Playing)?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    settings.send(60)?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The stop ends both tasks. It waits for the pipeline, so it is not for this thread.
    tokio::task::spawn_blocking(move || pipeline.set_state(gst::State::Null)).await??;
    let (seen, reason) = detector.await?;
    println!("{seen} frames for the detector: {reason}");
    assert_eq!(reason, CloseReason::Stopped);
    assert!(reporter.await? > 0);
    Ok(())
}

/// Each frame, and each change of a setting, whichever comes first.
async fn detect(
    mut frames: FrameReceiver,
    mut threshold: watch::Receiver<u8>,
) -> (u64, CloseReason) {
    let mut seen = 0;
    loop {
        tokio::select! {
            frame = frames.next() => match frame {
                Some(frame) => {
                    seen += 1;
                    std::hint::black_box((frame.seq(), *threshold.borrow()));
                }
                None => break,
            },
            Ok(()) = threshold.changed() => println!("threshold {}", *threshold.borrow_and_update()),
        }
    }
    (seen, frames.close_reason().unwrap_or(CloseReason::Stopped))
}

/// Once every 200 ms, with what has come since.
async fn report(mut frames: FrameReceiver) -> u64 {
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let mut reports = 0;
    loop {
        ticks.tick().await;
        let came = frames.try_iter().count();
        println!("{came} frames");
        reports += 1;
        if frames.close_reason().is_some() {
            return reports;
        }
    }
}
