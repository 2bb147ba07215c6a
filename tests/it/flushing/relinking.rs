// SPDX-License-Identifier: MPL-2.0
//! A branch that takes the place of another one, amid a flush or not.

use std::sync::Mutex;

use super::*;
use crate::accounts::count_frames;

/// A consumer whose branch is stuck in frame 0.
fn stuck_with_a_frame(rig: &Rig) -> Consumer {
    let stuck = rig.consumer("moves");
    stuck.stick();
    rig.push(0).unwrap();
    stuck.wait_in_flight();
    stuck
}

/// Pushes frames from number 1 on until one `came`.
fn push_until(rig: &Rig, came: impl Fn() -> bool) {
    let mut n = 0;
    wait_for("a frame", || {
        n += 1;
        rig.push(n).unwrap();
        came()
    });
}

/// A pad is linked to another branch while the one before is asked ALLOCATION.
#[test]
fn what_the_branch_before_offers_is_not_taken_for_the_next_ones() {
    let rig = Rig::started();
    let gate = Arc::new(Turnstile::default());
    let own = gate.clone();
    let answers = move |query: &mut gst::QueryRef| {
        let gst::QueryViewMut::Allocation(allocation) = query.view_mut() else {
            return None;
        };
        own.pass();
        allocation.add_allocation_meta::<gst_video::VideoMeta>(None);
        Some(true)
    };
    let old = rig.consumer_with("a", Some(Box::new(answers)));
    let is_offered = || {
        let mut query = gst::query::Allocation::new(Some(&caps(8)), false);
        assert!(rig.src.peer_query(&mut query));
        let meta = query.find_allocation_meta::<gst_video::VideoMeta>();
        meta.is_some()
    };
    rig.push(0).unwrap();
    old.wait_idle();
    assert!(!is_offered(), "it has not answered yet");
    gate.wait_came();
    old.pad.unlink(&old.sink).unwrap();
    let next = rig.link(old.pad.clone(), None);
    next.stick();
    gate.open();
    rig.push(1).unwrap();
    wait_for("a frame in the next branch", || next.offsets() == [1]);
    assert!(
        !is_offered(),
        "the next branch is busy, and did not offer it"
    );
    next.unstick();
}

#[test]
fn a_successor_of_a_branch_that_hangs_in_a_flush_gets_frames() {
    let rig = Rig::started();
    let hung = rig.consumer("a");
    rig.push(0).unwrap();
    hung.wait_idle();
    let hangs = Arc::new(AtomicBool::new(true));
    let own = hangs.clone();
    hung.sink
        .add_probe(gst::PadProbeType::EVENT_FLUSH, move |_, info| {
            let starts = info.event().unwrap().type_() == gst::EventType::FlushStart;
            while starts && own.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            gst::PadProbeReturn::Ok
        });
    rig.flush();
    hung.pad.unlink(&hung.sink).unwrap();
    let next = rig.link(hung.pad.clone(), None);
    rig.push_all(1..3);
    next.wait_idle();
    let offsets = next.offsets();
    let (stats, story) = (next.stats(), next.story());
    hangs.store(false, Ordering::SeqCst);
    assert_eq!(offsets, [1, 2], "{stats}");
    // The flush ends while no branch is linked, or else the next one gets all of it.
    let flush = story.iter().filter(|event| event.starts_with("flush"));
    let flush: Vec<_> = flush.collect();
    assert!(
        flush.is_empty() || flush == ["flush-start", "flush-stop"],
        "{story:?}"
    );
}

#[test]
fn block_and_relink_brings_each_event_once() {
    let rig = Rig::started();
    let consumer = rig.consumer("a");
    rig.push(0).unwrap();
    consumer.wait_idle();
    let (sink, record) = Consumer::sink(None);
    let (old, new) = (consumer.sink.clone(), sink.clone());
    consumer
        .pad
        .add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, move |pad, _| {
            pad.unlink(&old).unwrap();
            pad.link(&new).unwrap();
            gst::PadProbeReturn::Remove
        });
    rig.push_all(1..3);
    wait_for("frames", || {
        record
            .got_all()
            .iter()
            .filter(|got| matches!(got, Got::Frame(_)))
            .count()
            == 2
    });
    rig.push(3).unwrap();
    consumer.wait_idle();
    let story: Vec<_> = record
        .got_all()
        .iter()
        .map(|got| match got {
            Got::Frame(frame) => frame.offset().to_string(),
            Got::Event(event) => event.type_().name().to_string(),
        })
        .collect();
    assert_eq!(story, ["stream-start", "caps", "segment", "1", "2", "3"]);
}

/// The end of a flush waits behind a stuck frame. The branch that is linked then gets the whole of it.
#[test]
fn a_branch_that_replaces_a_stuck_one_in_a_flush_is_served() {
    let rig = Rig::started();
    let stuck = stuck_with_a_frame(&rig);
    rig.flush();
    stuck.pad.unlink(&stuck.sink).unwrap();
    let next = rig.link(stuck.pad.clone(), None);
    stuck.unstick();
    push_until(&rig, || !next.offsets().is_empty());
    let story = next.story();
    let whole = [
        "flush-start",
        "flush-stop",
        "stream-start",
        "caps",
        "segment",
    ];
    assert_eq!(story[..5], whole, "{story:?}");
}

/// The end of a flush waits a moment for a frame to return. The branch that is linked then is not the one
/// that it was for.
#[test]
fn a_branch_that_is_unlinked_while_a_flush_ends_does_not_keep_the_end() {
    let rig = Rig::started();
    let stuck = stuck_with_a_frame(&rig);
    let (ending, ends) = mpsc::channel();
    let sink = rig.tee.static_pad("sink").unwrap();
    sink.add_probe(gst::PadProbeType::EVENT_FLUSH, move |_, info| {
        let is_stop = |event: &gst::Event| event.type_() == gst::EventType::FlushStop;
        if info.event().is_some_and(is_stop) {
            // The test may have failed.
            let _ = ending.send(());
        }
        gst::PadProbeReturn::Ok
    });
    let src = rig.src.clone();
    let flushing = std::thread::spawn(move || flush(&src));
    ends.recv_timeout(DEADLINE).unwrap();
    // It may have begun to wait by then; if not, this is like any other flush.
    std::thread::park_timeout(std::time::Duration::from_millis(5));
    stuck.pad.unlink(&stuck.sink).unwrap();
    flushing.join().unwrap();
    rig.segment();
    stuck.unstick();
    let next = rig.link(stuck.pad.clone(), None);
    push_until(&rig, || !next.offsets().is_empty());
    let story = next.story();
    assert!(story.contains(&"segment".to_owned()), "{story:?}");
}

/// `queue ! identity ! fakesink`, linked.
fn queue_to_sink() -> [gst::Element; 3] {
    let elements = ["queue", "identity", "fakesink"]
        .map(|name| gst::ElementFactory::make(name).build().unwrap());
    // There is no bin that would bring it back to PLAYING after a flush.
    elements[2].set_property("async", false);
    gst::Element::link_many(&elements).unwrap();
    elements
}

/// Frames of before wait in the branch that is linked amid a flush: its queue does not lose their segment only.
#[test]
fn a_branch_that_is_linked_amid_a_flush_is_flushed_like_the_others() {
    let rig = Rig::started();
    let stuck = rig.consumer("moves");
    stuck.stick();
    let other = rig.consumer("other");
    let elements = queue_to_sink();
    let [queue, identity, _] = &elements;
    let gate = Arc::new(Turnstile::default());
    let (own, got) = (gate.clone(), Arc::<Mutex<Vec<String>>>::default());
    let (seen, entry) = (got.clone(), queue.static_pad("sink").unwrap());
    identity.static_pad("sink").unwrap().add_probe(
        gst::PadProbeType::BUFFER
            | gst::PadProbeType::EVENT_DOWNSTREAM
            | gst::PadProbeType::EVENT_FLUSH,
        move |_, info| {
            if let Some(buffer) = info.buffer() {
                own.pass();
                seen.lock().unwrap().push(buffer.offset().to_string());
            } else if let Some(event) = info.event() {
                seen.lock().unwrap().push(event.type_().name().to_string());
            }
            gst::PadProbeReturn::Ok
        },
    );
    for element in &elements {
        element.set_state(gst::State::Playing).unwrap();
    }
    // Frames in the queue, of which one is on its way.
    other.pad.unlink(&other.sink).unwrap();
    other.pad.link(&entry).unwrap();
    rig.push_all(0..3);
    wait_for("frames in the queue", || {
        queue.property::<u32>("current-level-buffers") == 2
    });
    gate.wait_came();
    stuck.wait_in_flight();
    other.pad.unlink(&entry).unwrap();
    // A flush begins in the stuck one and ends when the queue hangs in its place.
    rig.flush();
    stuck.pad.unlink(&stuck.sink).unwrap();
    stuck.pad.link(&entry).unwrap();
    stuck.unstick();
    rig.push(7).unwrap();
    gate.open();
    wait_for("all frames", || {
        got.lock().unwrap().last().is_some_and(|last| last == "7")
    });
    for element in &elements {
        element.set_state(gst::State::Null).unwrap();
    }
    let story = got.lock().unwrap().clone();
    let before = ["stream-start", "caps", "segment"];
    assert_eq!(story[..3], before, "{story:?}");
    let start = story.iter().position(|event| event == "flush-start");
    let after = &story[start.expect("a flush") + 1..];
    // The frame that was on its way may come before or after the start.
    let after: Vec<_> = after.iter().filter(|what| *what != "0").collect();
    assert_eq!(after, ["flush-stop", "segment", "7"], "{story:?}");
}

/// A queue's FLUSH_START waits for its thread, which is stuck: who flushes does not.
#[test]
fn who_flushes_waits_for_no_branch_that_is_linked_amid_it() {
    link_a_stuck_queue_amid_a_flush(false);
}

/// The FLUSH_START is under way in it, from the link before. What it makes of that and of an end that comes meanwhile is its own:
/// it may take the next flush to be served again.
#[test]
fn who_flushes_waits_for_no_branch_that_is_linked_again_amid_it() {
    link_a_stuck_queue_amid_a_flush(true);
}

fn link_a_stuck_queue_amid_a_flush(again: bool) {
    let rig = Rig::started();
    let consumer = rig.consumer("a");
    let elements = queue_to_sink();
    let [queue, identity, sink] = &elements;
    let gate = Arc::new(Turnstile::default());
    let (own, entry) = (gate.clone(), queue.static_pad("sink").unwrap());
    let stuck = identity.static_pad("sink").unwrap();
    stuck.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        own.pass();
        gst::PadProbeReturn::Ok
    });
    let frames = count_frames(&sink.static_pad("sink").unwrap());
    for element in &elements {
        element.set_state(gst::State::Playing).unwrap();
    }
    let relink = |from: &gst::Pad, to: &gst::Pad| {
        consumer.pad.unlink(from).unwrap();
        consumer.pad.link(to).unwrap();
    };
    relink(&consumer.sink, &entry);
    rig.push(0).unwrap();
    gate.wait_came();
    wait_for("the frame to be out", || consumer.count("out") == 1);
    let before = if again { &entry } else { &consumer.sink };
    relink(&entry, before);

    rig.src.push_event(gst::event::FlushStart::new());
    relink(before, &entry);
    let (src, opens) = (rig.src.clone(), gate.clone());
    let stop = move || _ = src.push_event(gst::event::FlushStop::new(true));
    returns("the end of a flush", stop, move || opens.open());
    gate.open();
    rig.segment();
    if !again {
        push_until(&rig, || frames.load(Ordering::SeqCst) > 1);
    }
    for element in elements.iter().rev() {
        element.set_state(gst::State::Null).unwrap();
    }
}

/// A change to the first element of a branch.
type Change = fn(&gst::Pipeline, &gst::Element);

fn restart(_: &gst::Pipeline, first: &gst::Element) {
    first.set_state(gst::State::Null).unwrap();
    first.sync_state_with_parent().unwrap();
}

fn restart_pad(_: &gst::Pipeline, first: &gst::Element) {
    let pad = first.static_pad("sink").unwrap();
    pad.set_active(false).unwrap();
    pad.set_active(true).unwrap();
}

fn replace(pipeline: &gst::Pipeline, first: &gst::Element) {
    let entry = first.static_pad("src").unwrap().peer().unwrap();
    let feed = first.static_pad("sink").unwrap().peer().unwrap();
    first.set_state(gst::State::Null).unwrap();
    pipeline.remove(first).unwrap();
    put_between(pipeline, &feed, &entry);
}

fn insert(pipeline: &gst::Pipeline, first: &gst::Element) {
    let entry = first.static_pad("sink").unwrap();
    let feed = entry.peer().unwrap();
    feed.unlink(&entry).unwrap();
    put_between(pipeline, &feed, &entry);
}

fn put_between(pipeline: &gst::Pipeline, feed: &gst::Pad, entry: &gst::Pad) {
    let next = gst::ElementFactory::make("videoconvert").build().unwrap();
    pipeline.add(&next).unwrap();
    next.sync_state_with_parent().unwrap();
    next.static_pad("src").unwrap().link(entry).unwrap();
    feed.link(&next.static_pad("sink").unwrap()).unwrap();
}

/// The `queue` behind it has seen FLUSH_START, the first element has not.
#[test]
fn a_branch_whose_first_element_came_amid_the_flush_is_served() {
    init();
    let changes: [Change; 4] = [restart, restart_pad, replace, insert];
    for change in changes {
        let line =
            "videotestsrc name=src is-live=true ! video/x-raw,width=64,height=48,framerate=100/1 !
            dronetee name=t t. ! fakesink async=false
            t. ! identity name=first ! queue name=queue ! fakesink name=end async=false";
        let pipeline = gst::parse::launch(line).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let [src, first, queue, end] =
            ["src", "first", "queue", "end"].map(|name| pipeline.by_name(name).unwrap());
        let frames = count_frames(&end.static_pad("sink").unwrap());
        pipeline.set_state(gst::State::Playing).unwrap();
        wait_for("frames", || frames.load(Ordering::SeqCst) > 0);

        src.send_event(gst::event::FlushStart::new());
        let entry = queue.static_pad("sink").unwrap();
        wait_for("the flush", || {
            entry.pad_flags().contains(gst::PadFlags::FLUSHING)
        });
        change(&pipeline, &first);
        src.send_event(gst::event::FlushStop::new(true));
        let before = frames.load(Ordering::SeqCst);
        wait_for("frames again", || {
            frames.load(Ordering::SeqCst) > before + 2
        });

        pipeline.set_state(gst::State::Null).unwrap();
        let error = pipeline
            .bus()
            .unwrap()
            .pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "{error:?}");
    }
}

/// A src pad that is not active takes no frames, whatever comes along.
#[test]
fn the_end_of_a_flush_alone_leaves_an_inactive_pad_flushing() {
    let rig = Rig::started();
    let consumer = rig.consumer("a");
    consumer.pad.set_active(false).unwrap();
    rig.src.push_event(gst::event::FlushStop::new(false));
    rig.segment();
    assert!(consumer.pad.pad_flags().contains(gst::PadFlags::FLUSHING));
    consumer.pad.set_active(true).unwrap();
    push_until(&rig, || !consumer.offsets().is_empty());
}

/// The branch that is linked anew amid a flush knows of its start, and gets the end.
#[test]
fn a_branch_that_is_linked_again_amid_a_flush_gets_the_end_of_it() {
    let rig = Rig::started();
    let stuck = stuck_with_a_frame(&rig);
    rig.flush();
    stuck.pad.unlink(&stuck.sink).unwrap();
    stuck.pad.link(&stuck.sink).unwrap();
    stuck.unstick();
    push_until(&rig, || stuck.offsets().iter().any(|offset| *offset > 0));
}
