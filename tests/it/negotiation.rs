// SPDX-License-Identifier: MPL-2.0
//! What upstream is told to send, and when it is told to ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Answer, Consumer, Rig, caps, wait_for};
use gst::prelude::*;
use gstdronetee::FramePublisher;

/// Takes frames of one width only, which may change.
fn picky(width: &Arc<AtomicI32>) -> Answer {
    let width = width.clone();
    Box::new(move |query| {
        let taken = caps(width.load(Ordering::SeqCst));
        match query.view_mut() {
            gst::QueryViewMut::Caps(query) => {
                let filter = query.filter_owned();
                query.set_result(&filter.map_or(taken.clone(), |filter| filter.intersect(&taken)));
                Some(true)
            }
            gst::QueryViewMut::AcceptCaps(query) => {
                query.set_result(query.caps().is_subset(&taken));
                Some(true)
            }
            _ => None,
        }
    })
}

fn only(width: i32) -> Answer {
    picky(&Arc::new(AtomicI32::new(width)))
}

fn reconfigures(rig: &Rig) -> usize {
    let events = rig.upstream_events.lock().unwrap();
    let all = events.iter().map(|event| event.type_());
    all.filter(|type_| *type_ == gst::EventType::Reconfigure)
        .count()
}

/// What an upstream that can do both widths would choose now.
fn choice(rig: &Rig) -> gst::Caps {
    let mut able = caps(8);
    able.make_mut().append(caps(16));
    let mut answer = rig.src.peer_query_caps(Some(&able));
    answer.truncate();
    answer
}

#[test]
fn a_receiver_takes_what_the_branches_refuse() {
    let rig = Rig::new();
    let publisher = FramePublisher::new(&rig.tee).unwrap();
    let mut receiver = publisher.subscribe("inside").unwrap();
    let odd = rig.consumer_with("odd", Some(only(16)));
    rig.begin(&caps(8));
    assert_eq!(rig.push(0), Ok(gst::FlowSuccess::Ok));
    assert!(receiver.recv_timeout(crate::common::DEADLINE).is_ok());
    odd.wait_idle();
    assert_eq!(odd.state(), "failed");
}

#[test]
fn a_branch_that_changes_its_mind_does_not_change_the_others_format() {
    let rig = Rig::new();
    let takes = Arc::new(AtomicI32::new(8));
    let fickle = rig.consumer_with("fickle", Some(picky(&takes)));
    let steady = rig.consumer_with("steady", Some(only(8)));
    rig.begin(&caps(8));
    rig.push(0).unwrap();
    for consumer in [&fickle, &steady] {
        consumer.wait_idle();
    }
    takes.store(16, Ordering::SeqCst);
    fickle.sink.push_event(gst::event::Reconfigure::new());
    assert_eq!(choice(&rig), caps(8));
    // On its own it may.
    rig.tee.release_request_pad(&steady.pad);
    assert_eq!(choice(&rig), caps(16));
}

#[test]
fn a_relinked_branch_joins_late() {
    let rig = Rig::new();
    let [one, other] = ["one", "other"].map(|name| rig.consumer(name));
    rig.begin(&caps(8));
    rig.push(0).unwrap();
    for consumer in [&one, &other] {
        consumer.wait_idle();
    }
    one.pad.unlink(&one.sink).unwrap();
    let (sink, _record) = Consumer::sink(Some(only(16)));
    let before = reconfigures(&rig);
    one.pad
        .link_full(&sink, gst::PadLinkCheck::empty())
        .unwrap();
    sink.push_event(gst::event::Reconfigure::new());
    assert_eq!(reconfigures(&rig), before);
    assert_eq!(choice(&rig), caps(8));
}

fn offering(min: u32, metas: bool) -> Answer {
    Box::new(move |query| match query.view_mut() {
        gst::QueryViewMut::Allocation(query) => {
            if metas {
                query.add_allocation_meta::<gst_video::VideoMeta>(None);
            }
            query.add_allocation_pool(None::<&gst::BufferPool>, 64, min, 0);
            Some(true)
        }
        _ => None,
    })
}

/// Buffers and kinds of metadata that upstream may use.
fn allocation(rig: &Rig) -> (u32, usize) {
    let mut query = gst::query::Allocation::new(Some(&caps(8)), true);
    assert!(rig.src.peer_query(&mut query));
    let (_, _, min, _) = query.allocation_pools().next().unwrap();
    (min, query.allocation_metas().count())
}

/// The first consumer of a stream that begins then, when upstream has heard of its link: a helper that is
/// late with that would tell it of the next one's a second time.
fn joined_first(rig: &Rig, answer: Answer) -> Consumer {
    let first = rig.consumer_with("first", Some(answer));
    wait_for("its link to be heard of", || reconfigures(rig) == 1);
    rig.begin(&caps(8));
    first
}

#[test]
fn upstream_asks_again_for_whoever_it_has_not_asked_for() {
    let rig = Rig::new();
    let first = joined_first(&rig, offering(3, true));
    assert_eq!(allocation(&rig), (4 + 3 + 1, 1));
    let publisher = FramePublisher::new(&rig.tee).unwrap();
    let mut told = reconfigures(&rig);
    let mut asks_again = |what: &str, expected: (u32, usize)| {
        wait_for(what, || reconfigures(&rig) == told + 1);
        assert_eq!(allocation(&rig), expected, "{what}");
        told += 1;
    };
    let late = rig.consumer_with("late", Some(offering(0, true)));
    asks_again("a late branch", (4 + 3 + 1 + 1, 1));
    late.pad.unlink(&late.sink).unwrap();
    let (sink, _record) = Consumer::sink(Some(offering(0, false)));
    late.pad.link(&sink).unwrap();
    asks_again("another branch on its pad", (4 + 3 + 1 + 1, 0));
    let _receiver = publisher.subscribe("inside").unwrap();
    asks_again("a receiver", (4 + 3 + 1 + 1 + 1, 0));
    late.pad.set_property("depth", 6u32);
    asks_again("a deeper queue", (6 + 3 + 1 + 1 + 1, 0));
    rig.tee.set_property("gop-cache", 2u32);
    asks_again("frames kept for late joiners", (6 + 2 + 3 + 1 + 1 + 1, 0));
    // Nothing is new, though there is one more pad, which nothing can be asked of.
    let unlinked = rig.tee.request_pad_simple("src_unlinked").unwrap();
    assert_eq!(allocation(&rig).0, 6 + 2 + 3 + 1 + 1 + 1 + 1);
    first.sink.push_event(gst::event::Reconfigure::new());
    late.pad.set_property("depth", 5u32);
    unlinked.set_property("consumer", "another");
    rig.tee.set_property("qos-messages", true);
    assert_eq!(reconfigures(&rig), told);
}

#[test]
fn a_joiner_is_not_asked_what_was_asked_before_it_came() {
    let rig = Rig::with(|tee| tee.set_property("gop-cache", 10u32));
    let _first = joined_first(&rig, offering(0, true));
    rig.push(0).unwrap();
    assert_eq!(allocation(&rig).1, 1);
    let pad = rig.tee.request_pad_simple("src_late").unwrap();
    let told = reconfigures(&rig);
    let late = rig.link(pad, Some(offering(0, false)));
    late.wait_idle();
    assert_eq!(late.offsets(), [0]);
    assert!(
        !late
            .record
            .queries
            .lock()
            .unwrap()
            .contains(&"allocation".into())
    );
    wait_for("upstream to ask again", || reconfigures(&rig) == told + 1);
    assert_eq!(allocation(&rig).1, 0);
}

#[test]
fn whoever_is_linked_anew_is_asked_though_the_one_before_hangs() {
    let rig = Rig::started();
    let hang = Hang(Arc::default());
    let pad = rig.tee.request_pad_simple("src_a").unwrap();
    let (hung, _record) = Consumer::sink(Some(hang.answer()));
    hang.0.store(true, Ordering::SeqCst);
    // A link asks it itself, unless told not to.
    let unasked = gst::PadLinkCheck::NO_RECONFIGURE;
    pad.link_full(&hung, unasked).unwrap();
    assert!(rig.src.peer_query_caps(None).can_intersect(&caps(8)));
    pad.unlink(&hung).unwrap();
    let (sink, _record) = Consumer::sink(Some(only(16)));
    pad.link_full(&sink, unasked).unwrap();
    assert_eq!(choice(&rig), caps(16));
}

/// Does not come back from queries of these kinds while it hangs.
struct Hang(Arc<AtomicBool>);

impl Hang {
    fn answer(&self) -> Answer {
        let hangs = self.0.clone();
        Box::new(move |query| {
            if !query.is_serialized() {
                let begin = Instant::now();
                while hangs.load(Ordering::SeqCst) && begin.elapsed() < crate::common::DEADLINE {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
            None
        })
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[test]
fn a_branch_that_hangs_in_a_query_is_not_waited_for() {
    let rig = Rig::started();
    let hang = Hang(Arc::default());
    let hung = rig.consumer_with("hung", Some(hang.answer()));
    let knowing: Answer = Box::new(|query| match query.view_mut() {
        gst::QueryViewMut::Uri(uri) => {
            uri.set_uri(Some("test:known"));
            Some(true)
        }
        _ => None,
    });
    let good = rig.consumer_with("good", Some(knowing));
    rig.push(0).unwrap();
    for consumer in [&hung, &good] {
        consumer.wait_idle();
    }
    hang.0.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    for n in 1..50 {
        assert!(rig.src.push_event(gst::event::Caps::new(&caps(8 * n))));
        assert!(
            rig.src
                .peer_query_caps(None)
                .is_subset(&rig.src.peer_query_caps(None))
        );
        let mut uri = gst::query::Uri::new();
        assert!(rig.src.peer_query(&mut uri));
        assert_eq!(uri.uri().unwrap(), "test:known");
        rig.push(n as u64).unwrap();
        good.wait_idle();
    }
    // Once, and not fifty times.
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(good.offsets(), (0..50).collect::<Vec<_>>());
    drop(hang);
    crate::common::wait_for("it to be asked again", || {
        let before = hung.record.queries.lock().unwrap().len();
        rig.src.peer_query_caps(None);
        hung.record.queries.lock().unwrap().len() > before
    });
}

/// It was linked unchecked, and its RECONFIGURE has it served again.
#[test]
fn a_branch_that_never_took_a_frame_is_no_reason_to_renegotiate() {
    let rig = Rig::started();
    let able = rig.consumer("able");
    rig.push(0).unwrap();
    able.wait_idle();
    let pad = rig.tee.request_pad_simple("src_odd").unwrap();
    let (odd, _) = Consumer::sink(Some(only(16)));
    pad.link_full(&odd, gst::PadLinkCheck::empty()).unwrap();
    for n in 1..4 {
        rig.push(n).unwrap();
        wait_for("it fails alone", || {
            pad.property::<u64>("dropped-error") == n
        });
        assert!(odd.push_event(gst::event::Reconfigure::new()));
        assert_eq!(choice(&rig), caps(8));
    }
    able.wait_idle();
    assert_eq!(able.offsets(), [0, 1, 2, 3]);
}
