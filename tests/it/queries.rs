// SPDX-License-Identifier: MPL-2.0
//! ALLOCATION, DRAIN, and the pool that upstream is told to have.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::{Answer, Consumer, Rig, caps, wait_for};
use gst::prelude::*;

/// Far more than is promised, far less than a branch takes.
const BOUNDED: Duration = Duration::from_secs(1);

fn offering(min: u32, align: usize, metas: &'static [&'static str]) -> Answer {
    Box::new(move |query| match query.view_mut() {
        gst::QueryViewMut::Allocation(allocation) => {
            for meta in metas {
                match *meta {
                    "video" => allocation.add_allocation_meta::<gst_video::VideoMeta>(None),
                    "crop" => allocation.add_allocation_meta::<gst_video::VideoCropMeta>(None),
                    _ => unreachable!(),
                }
            }
            let params = gst::AllocationParams::new(gst::MemoryFlags::empty(), align, 0, 0);
            allocation.add_allocation_param(None::<&gst::Allocator>, params);
            allocation.add_allocation_pool(None::<&gst::BufferPool>, 64, min, 0);
            Some(true)
        }
        gst::QueryViewMut::Drain(_) => Some(true),
        _ => None,
    })
}

struct Answered {
    min: u32,
    size: u32,
    align: usize,
    metas: Vec<String>,
    took: Duration,
}

fn ask(rig: &Rig, width: i32) -> Answered {
    let mut query = gst::query::Allocation::new(Some(&caps(width)), true);
    let begin = Instant::now();
    assert!(rig.src.peer_query(&mut query));
    let took = begin.elapsed();
    let (_, size, min, _) = query.allocation_pools().next().unwrap();
    Answered {
        min,
        size,
        align: query
            .allocation_params()
            .next()
            .map_or(0, |(_, params)| params.align()),
        metas: query
            .allocation_metas()
            .map(|(api, _)| api.name().to_owned())
            .collect(),
        took,
    }
}

#[test]
fn allocation_joins_what_the_branches_offer() {
    let rig = Rig::started();
    let _a = rig.consumer_with("a", Some(offering(3, 15, &["video", "crop"])));
    let _b = rig.consumer_with("b", Some(offering(0, 63, &["video"])));
    _b.pad.set_property("depth", 7u32);
    let answer = ask(&rig, 8);
    assert_eq!(answer.metas, ["GstVideoMetaAPI"]);
    assert_eq!((answer.align, answer.size), (63, 64));
    // The deepest queue, the larger of one and its own for each branch, and one.
    assert_eq!(answer.min, 7 + 3 + 1 + 1);

    // A branch that offers nothing takes the metas away, and no more.
    let silent: Answer = Box::new(|query| match query.view_mut() {
        gst::QueryViewMut::Allocation(_) => Some(false),
        _ => None,
    });
    let _c = rig.consumer_with("c", Some(silent));
    let answer = ask(&rig, 8);
    assert_eq!(
        (answer.metas.len(), answer.align, answer.min),
        (0, 63, 7 + 3 + 1 + 1 + 1)
    );
}

#[test]
fn a_stuck_branch_is_answered_for() {
    let rig = Rig::started();
    let stuck = rig.consumer_with("stuck", Some(offering(5, 31, &["video"])));
    let idle = rig.consumer_with("idle", Some(offering(0, 15, &["video", "crop"])));
    assert_eq!(ask(&rig, 8).min, 4 + 5 + 1 + 1);
    stuck.stick();
    rig.push(0).unwrap();
    stuck.wait_in_flight();
    idle.wait_idle();

    // The same caps: what it said last.
    let asked = |consumer: &Consumer| {
        let queries = consumer.record.queries.lock().unwrap();
        queries
            .iter()
            .filter(|query| *query == "allocation")
            .count()
    };
    assert_eq!((asked(&stuck), asked(&idle)), (1, 1));
    let answer = ask(&rig, 8);
    assert_eq!((asked(&stuck), asked(&idle)), (1, 2));
    assert!(answer.took < BOUNDED, "{:?}", answer.took);
    assert_eq!(
        (answer.min, answer.align, answer.metas.len()),
        (4 + 5 + 1 + 1, 31, 1)
    );

    // Other caps: as if it offered nothing. The others get them at once.
    assert!(rig.src.push_event(gst::event::Caps::new(&caps(16))));
    let answer = ask(&rig, 16);
    assert!(answer.took < BOUNDED, "{:?}", answer.took);
    assert_eq!((answer.min, answer.metas.len()), (4 + 1 + 1 + 1, 0));
    rig.push(1).unwrap();
    wait_for("the idle one", || idle.offsets() == [0, 1]);
    stuck.unstick();
    stuck.wait_idle();
    assert_eq!(stuck.story()[3..], ["0", "caps", "1"]);
    wait_for("its late answer", || ask(&rig, 16).min == 4 + 5 + 1 + 1);
}

#[test]
fn drained_is_who_holds_no_frame() {
    let rig = Rig::started();
    let stuck = rig.consumer_with("stuck", Some(offering(0, 0, &[])));
    let _idle = rig.consumer_with("idle", Some(offering(0, 0, &[])));
    let drain = || {
        let mut query = gst::query::Drain::new();
        let begin = Instant::now();
        let drained = rig.src.peer_query(&mut query);
        assert!(begin.elapsed() < BOUNDED);
        drained
    };
    assert!(drain());
    stuck.stick();
    rig.push_all(0..2);
    stuck.wait_in_flight();
    assert!(!drain());
    stuck.unstick();
    stuck.wait_idle();
    wait_for("drained", &drain);
    // A branch that has ended may hold frames all the same, as a queue at EOS.
    let holding: Answer = Box::new(|query| match query.view_mut() {
        gst::QueryViewMut::Drain(_) => Some(false),
        _ => None,
    });
    let ended = rig.consumer_with("ended", Some(holding));
    rig.push(2).unwrap();
    ended.wait_idle();
    ended.answer(Some(gst::FlowError::Eos));
    rig.push(3).unwrap();
    wait_for("its end", || ended.state() == "eos");
    assert!(!drain());
    rig.tee.release_request_pad(&ended.pad);
    assert!(drain());
}

/// A pool of no more buffers than the answer asks for.
fn bounded_pool(answer: &Answered) -> gst::BufferPool {
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    config.set_params(Some(&caps(8)), answer.size, answer.min, answer.min);
    pool.set_config(config).unwrap();
    pool.set_active(true).unwrap();
    pool
}

fn acquire(pool: &gst::BufferPool) -> gst::Buffer {
    let params = gst::BufferPoolAcquireParams::with_flags(gst::BufferPoolAcquireFlags::DONTWAIT);
    pool.acquire_buffer(Some(&params))
        .expect("the pool ran dry")
}

#[test]
fn a_pool_as_big_as_told_never_runs_dry() {
    let rig = Rig::started();
    let consumers: Vec<_> = (0..5)
        .map(|n| rig.consumer_with(&format!("c{n}"), Some(offering(0, 0, &[]))))
        .collect();
    consumers[2].pad.set_property("depth", 9u32);
    let answer = ask(&rig, 8);
    assert_eq!(answer.min, 9 + 5 + 1);
    let pool = bounded_pool(&answer);

    // Each is stuck with another frame, and all queues are full.
    let mut n = 0;
    let mut publish = || {
        let mut buffer = acquire(&pool);
        buffer.get_mut().unwrap().set_offset(n);
        n += 1;
        rig.src.push(buffer).unwrap();
    };
    for consumer in &consumers {
        consumer.record.forgetful.store(true, Ordering::Relaxed);
    }
    for consumer in &consumers {
        consumer.stick();
        publish();
        consumer.wait_in_flight();
        for _ in 0..20 {
            publish();
        }
    }
    for _ in 0..200 {
        publish();
    }
    for consumer in &consumers {
        assert_eq!(consumer.count("in-flight"), 1);
        consumer.unstick();
    }
    for consumer in &consumers {
        consumer.wait_idle();
    }
    rig.tee.set_state(gst::State::Null).unwrap();
    pool.set_active(false).unwrap();
}

/// A branch that is not served any more may hang with a frame all the same, or recover.
#[test]
fn the_pool_is_big_enough_for_who_is_not_served() {
    type End = fn(&Rig, &Consumer);
    let ends: [End; 4] = [
        |rig, consumer| {
            consumer.pad.set_property("max-lag", 1u64);
            rig.push_all(1..10);
            assert_eq!(consumer.state(), "evicted");
        },
        |_, consumer| consumer.pad.unlink(&consumer.sink).unwrap(),
        |rig, consumer| rig.tee.release_request_pad(&consumer.pad),
        |rig, consumer| {
            consumer.answer(Some(gst::FlowError::Eos));
            consumer.unstick();
            wait_for("its answer", || consumer.state() == "eos");
            consumer.stick();
            rig.segment();
        },
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let rig = Rig::started();
        let [one, other] = ["one", "other"].map(|name| rig.consumer(name));
        one.stick();
        rig.push(0).unwrap();
        one.wait_in_flight();
        other.wait_idle();
        end(&rig, &one);
        assert_eq!(ask(&rig, 8).min, 4 + 2 + 1, "case {n}");
        one.unstick();
    }
}

/// What a branch holds from before it was restarted, or the element.
#[test]
fn frames_from_a_life_before_are_not_drained() {
    type Restart = fn(&Rig, &gst::Pad);
    let restarts: [Restart; 2] = [
        |_, pad| {
            pad.set_active(false).unwrap();
            pad.set_active(true).unwrap();
        },
        |rig, _| {
            rig.tee.set_state(gst::State::Ready).unwrap();
            rig.tee.set_state(gst::State::Playing).unwrap();
            rig.begin(&caps(8));
        },
    ];
    for restart in restarts {
        let rig = Rig::started();
        let hung = rig.consumer_with("a", Some(offering(0, 0, &[])));
        hung.stick();
        rig.push(0).unwrap();
        hung.wait_in_flight();
        hung.pad.unlink(&hung.sink).unwrap();
        restart(&rig, &hung.pad);
        let _again = rig.link(hung.pad.clone(), Some(offering(0, 0, &[])));
        let drain = || rig.src.peer_query(&mut gst::query::Drain::new());
        assert!(!drain());
        assert_eq!(ask(&rig, 8).min, 4 + 1 + 1 + 1);
        hung.unstick();
        wait_for("its return", drain);
    }
}

/// One consumer is stuck with an old frame, another with all that was kept for who joins late.
#[test]
fn the_pool_is_big_enough_for_the_frames_kept_for_late_joiners() {
    let rig = Rig::with(|tee| tee.set_property("gop-cache", 10u32));
    rig.begin(&caps(8));
    let [early, late] =
        ["early", "late"].map(|name| rig.consumer_with(name, Some(offering(0, 0, &[]))));
    let answer = ask(&rig, 8);
    assert_eq!(answer.min, 4 + 10 + 2 + 1);
    let pool = bounded_pool(&answer);
    let publish = |delta: bool| {
        let mut buffer = acquire(&pool);
        let own = buffer.get_mut().unwrap();
        own.unset_flags(gst::BufferFlags::DELTA_UNIT);
        if delta {
            own.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        rig.src.push(buffer).unwrap();
    };
    rig.tee.release_request_pad(&late.pad);
    early.record.forgetful.store(true, Ordering::Relaxed);
    early.stick();
    publish(false);
    early.wait_in_flight();
    publish(false);
    (1..10).for_each(|_| publish(true));
    let late = rig.stuck_consumer("late");
    assert_eq!(late.level(), 9);
    (0..4).for_each(|_| publish(true));
    assert_eq!((late.level(), late.count("dropped")), (13, 0));
    for n in 0..100 {
        publish(n % 12 != 0);
    }
    for consumer in [early, late] {
        consumer.unstick();
        consumer.wait_idle();
    }
    rig.tee.set_state(gst::State::Null).unwrap();
    pool.set_active(false).unwrap();
}

/// A question waits in the stream for a branch that does not take; those that answered need not.
#[test]
fn released_pads_are_let_go_though_somebody_does_not_take() {
    let rig = Rig::started();
    let publisher = gstdronetee::FramePublisher::new(&rig.tee).unwrap();
    let _idle = publisher.subscribe("idle").unwrap();
    let branch = rig.consumer_with("branch", Some(offering(0, 0, &[])));
    ask(&rig, 8);
    branch.wait_idle();
    let pad = branch.pad.downgrade();
    rig.tee.release_request_pad(&branch.pad);
    drop(branch);
    wait_for("the pad to go", || {
        // Messages of its thread hold it.
        rig.messages("none");
        pad.upgrade().is_none()
    });
}
