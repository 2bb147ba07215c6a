// SPDX-License-Identifier: MPL-2.0
//! Nothing outlives its element: threads, tasks and references.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;

use crate::common::{Rig, caps, frame, init, wait_for};

/// Threads of this process whose name begins with `name`.
fn threads_called(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|own| own.starts_with(name)).count()
}

fn linked_pads(rig: &Rig, prefix: &str, count: usize) -> Vec<gst::Pad> {
    let names = (0..count).map(|n| format!("src_{prefix}{n}"));
    let pads = names.map(|name| rig.tee.request_pad_simple(&name).unwrap());
    pads.inspect(|pad| {
        rig.link(pad.clone(), None);
    })
    .collect()
}

#[test]
fn a_pad_that_is_removed_and_not_released_leaves_nothing_behind() {
    let rig = Rig::started();
    let pads = linked_pads(&rig, "gone", 40);
    rig.push(0).unwrap();
    wait_for("a thread for each", || threads_called("gone") == 40);
    for pad in &pads {
        rig.tee.remove_pad(pad).unwrap();
    }
    wait_for("no thread", || threads_called("gone") == 0);
    let dropped = rig.tee.property::<u64>("dropped");
    rig.push_all(1..20);
    assert_eq!(rig.tee.property::<u64>("dropped"), dropped);
    assert_eq!(rig.tee.property::<i32>("num-src-pads"), 0);
    rig.tee.set_state(gst::State::Ready).unwrap();
    assert_eq!(rig.messages("dronetee-summary").len(), 40);
    // The names are free again.
    assert!(rig.tee.request_pad_simple("src_gone0").is_some());
}

/// A pool of the application's, which every task of the element is run by.
fn give_tasks_to(pool: &gst::TaskPool, rig: &Rig) -> Arc<AtomicU64> {
    let given = Arc::<AtomicU64>::default();
    let (pool, count) = (pool.downgrade(), given.clone());
    rig.bus.set_sync_handler(move |_, message| {
        if let gst::MessageView::StreamStatus(status) = message.view()
            && status.type_() == gst::StreamStatusType::Create
            && let Some(object) = status.stream_status_object()
            && let Some(pool) = pool.upgrade()
        {
            let task = object.get::<gst::Task>().unwrap();
            task.set_pool(&pool);
            count.fetch_add(1, Ordering::SeqCst);
        }
        gst::BusSyncReply::Drop
    });
    given
}

#[test]
fn each_task_is_joined() {
    init();
    let pool = gst::TaskPool::new();
    pool.prepare().unwrap();
    let rig = Rig::new();
    let given = give_tasks_to(&pool, &rig);
    let pads = linked_pads(&rig, "joined", 2);
    for run in 0..5 {
        rig.tee.set_state(gst::State::Ready).unwrap();
        rig.tee.set_state(gst::State::Playing).unwrap();
        rig.begin(&caps(8));
        rig.push(run).unwrap();
    }
    for pad in &pads {
        rig.tee.release_request_pad(pad);
    }
    assert_eq!(given.load(Ordering::SeqCst), 12);
    wait_for("no task to hold the pool", || pool.ref_count() == 1);
    pool.cleanup();
}

/// GstHarness and gst-check assert this in their teardown.
#[test]
fn no_reference_is_left_once_the_element_is_in_null() {
    init();
    for round in 0..300 {
        let tee = gst::ElementFactory::make("dronetee").build().unwrap();
        let pad = tee.request_pad_simple("src_%u").unwrap();
        let fakesink = gst::ElementFactory::make("fakesink").build().unwrap();
        fakesink.set_property("async", false);
        fakesink.set_state(gst::State::Playing).unwrap();
        pad.link(&fakesink.static_pad("sink").unwrap()).unwrap();
        tee.set_state(gst::State::Playing).unwrap();
        let src = gst::Pad::builder(gst::PadDirection::Src).build();
        src.link(&tee.static_pad("sink").unwrap()).unwrap();
        src.set_active(true).unwrap();
        src.push_event(gst::event::StreamStart::new("stream"));
        src.push_event(gst::event::Caps::new(&caps(8)));
        src.push_event(gst::event::Segment::new(&gst::FormattedSegment::<
            gst::ClockTime,
        >::new()));
        for n in 0..20 {
            src.push(frame(n)).unwrap();
        }
        tee.set_state(gst::State::Null).unwrap();
        // The pad's parent is no reference.
        assert_eq!(tee.ref_count(), 1, "in round {round}");
        tee.release_request_pad(&pad);
        fakesink.set_state(gst::State::Null).unwrap();
    }
}
