// SPDX-License-Identifier: MPL-2.0
//! Notices as typed values: from the publisher, and from the bus.

use std::time::Duration;

use crate::common::wait_for;
use crate::source::{DEADLINE, Source};
use gst::prelude::*;
use gstdronetee::{DropReason, Notice, NoticeError, Notices, State};

/// What the notices of drops add up to, by consumer and reason.
fn dropped<'a>(
    notices: impl IntoIterator<Item = &'a Notice>,
    consumer: &str,
    reason: DropReason,
) -> u64 {
    let counts = notices.into_iter().map(|notice| match notice {
        Notice::Dropped(one) if one.consumer == consumer && one.reason == reason => one.count,
        _ => 0,
    });
    counts.sum()
}

/// All notices up to the summary of `consumer`, that included.
fn until_summary(notices: &mut Notices, consumer: &str) -> Vec<Notice> {
    let mut all = Vec::new();
    loop {
        let next = notices.recv_timeout(DEADLINE).unwrap();
        let is_last = matches!(&next, Notice::Summary(one) if one.consumer == consumer);
        all.push(next);
        if is_last {
            return all;
        }
    }
}

#[test]
fn drops_states_and_summaries_are_told() {
    let source = Source::started(None);
    let mut notices = source.publisher.notices().unwrap();
    let mut frames = source
        .publisher
        .consumer("a")
        .depth(2)
        .max_lag(5)
        .subscribe()
        .unwrap();
    (0..20).for_each(|_| source.publish());
    assert!(frames.recv().is_none());
    drop(frames);
    let all = until_summary(&mut notices, "a");
    assert_eq!(dropped(&all, "a", DropReason::Slow), 6);
    let evicted = dropped(&all, "a", DropReason::Evicted);
    assert_eq!(evicted, 20 - 6);
    let evictions: Vec<_> = all
        .iter()
        .filter_map(|notice| match notice {
            Notice::Evicted(transition) => Some(transition),
            _ => None,
        })
        .collect();
    assert_eq!(evictions.len(), 1);
    assert_eq!(
        (evictions[0].state, evictions[0].previous),
        (State::Evicted, State::Ok)
    );
    let Some(Notice::Summary(summary)) = all.last() else {
        panic!("no summary: {all:?}");
    };
    assert!(summary.ledger.balances());
    assert_eq!(summary.ledger.dropped.get(DropReason::Slow), 6);
    assert_eq!((summary.limits.depth, summary.limits.max_lag), (2, 5));
    assert!(all.iter().all(|notice| notice.consumer() == Some("a")));
}

/// What the bus says is the same.
#[test]
fn messages_are_read_as_the_same_values() {
    let source = Source::started(None);
    let bus = gst::Bus::new();
    source.tee.set_bus(Some(&bus));
    source.tee.set_property("gop-cache", 2u32);
    let mut notices = source.publisher.notices().unwrap();
    let frames = source
        .publisher
        .consumer("a")
        .depth(2)
        .max_lag(5)
        .subscribe()
        .unwrap();
    for delta in [false, true, true, true] {
        let mut buffer = gst::Buffer::from_slice([0; 4]);
        if delta {
            buffer
                .get_mut()
                .unwrap()
                .set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        source.publish_buffer(buffer);
    }
    (0..20).for_each(|_| source.publish());
    drop(frames);
    let own = until_summary(&mut notices, "a");
    let mut said = Vec::new();
    wait_for("the same on the bus", || {
        while let Some(message) = bus.pop() {
            said.extend(Notice::from_message(&message));
        }
        said.len() == own.len()
    });
    for (own, said) in own.iter().zip(&said) {
        match (own, said) {
            // Both round differently what takes time meanwhile.
            (Notice::Summary(own), Notice::Summary(said)) => {
                assert_eq!(own.ledger, said.ledger);
                assert_eq!((own.limits, own.run), (said.limits, said.run));
                assert_eq!((own.wait, own.service), (said.wait, said.service));
            }
            (own, said) => assert_eq!(own, said),
        }
    }
    assert!(
        own.iter()
            .any(|one| matches!(one, Notice::GopTruncated(gop) if gop.capacity == 2))
    );
    let other = gst::message::Eos::new();
    assert_eq!(Notice::from_message(&other), None);
    let foreign = gst::Structure::new_empty("dronetee-drop");
    let foreign = gst::message::Element::new(foreign);
    assert_eq!(Notice::from_message(&foreign), None);
}

/// Nothing is lost of the sums by the bound, the rate limit, or `post-drop-messages=false`.
#[test]
fn sums_are_exact_though_nothing_is_read() {
    let source = Source::started(None);
    source.tee.set_property("post-drop-messages", false);
    source.tee.set_property("drop-messages-interval", 0u32);
    let late = source
        .publisher
        .consumer("late")
        .depth(1)
        .subscribe()
        .unwrap();
    (0..10).for_each(|_| source.publish());
    // What was before is not told.
    let mut notices = source.publisher.notices().unwrap();
    let mut reader = source.publisher.notices().unwrap();
    let others: Vec<_> = (0..3)
        .map(|n| {
            source
                .publisher
                .consumer(&format!("r{n}"))
                .depth(1)
                .subscribe()
                .unwrap()
        })
        .collect();
    (0..3000).for_each(|_| source.publish());
    drop((late, others));
    let mut summaries = 0;
    while summaries < 4 {
        let next = reader.recv_timeout(DEADLINE).unwrap();
        summaries += usize::from(matches!(next, Notice::Summary(_)));
    }
    // Nothing was read of these before all of it was told.
    let all: Vec<_> = std::iter::from_fn(|| notices.try_recv().ok()).collect();
    for name in ["r0", "r1", "r2"] {
        assert_eq!(dropped(&all, name, DropReason::Slow), 2999, "{name}");
        assert_eq!(dropped(&all, name, DropReason::Flushing), 1);
    }
    assert_eq!(dropped(&all, "late", DropReason::Slow), 3000);
    // Bounded: far fewer than there were drops.
    assert!(all.len() <= 256, "{}", all.len());
}

/// Consumers with ever new names come and go, and nothing is read.
#[test]
fn notices_of_consumers_without_end_are_bounded() {
    let source = Source::started(None);
    let mut notices = source.publisher.notices().unwrap();
    let mut reader = source.publisher.notices().unwrap();
    const CLIENTS: u64 = 1500;
    for n in 0..CLIENTS {
        let consumer = source.publisher.consumer(&format!("client-{n}")).depth(1);
        let frames = consumer.subscribe().unwrap();
        (0..3).for_each(|_| source.publish());
        drop(frames);
        while !matches!(reader.recv_timeout(DEADLINE).unwrap(), Notice::Summary(_)) {}
    }
    let all: Vec<_> = std::iter::from_fn(|| notices.try_recv().ok()).collect();
    assert!(all.len() <= 4096, "{}", all.len());
    let counts = |reason| {
        let of_reason = all.iter().filter_map(|notice| match notice {
            Notice::Dropped(one) if one.reason == reason => Some(one.count),
            _ => None,
        });
        of_reason.sum::<u64>()
    };
    assert_eq!(counts(DropReason::Slow), 2 * CLIENTS);
    assert_eq!(counts(DropReason::Flushing), CLIENTS);
    // The first ones are summed up, the last ones told apart.
    assert_eq!(all[0].consumer(), None);
    let last = all.last().unwrap().consumer();
    assert_eq!(last, Some(format!("client-{}", CLIENTS - 1).as_str()));
}

#[test]
fn notices_go_on_over_a_restart_and_end_with_the_element() {
    let source = Source::started(None);
    let mut notices = source.publisher.notices().unwrap();
    assert_eq!(notices.try_recv(), Err(NoticeError::Empty));
    assert_eq!(
        notices.recv_timeout(Duration::from_millis(1)),
        Err(NoticeError::Empty)
    );
    let frames = source.publisher.consumer("a").depth(1).subscribe().unwrap();
    for run in 1..=2 {
        (0..5).for_each(|_| source.publish());
        source.set(gst::State::Null);
        let all = until_summary(&mut notices, "a");
        assert_eq!(dropped(&all, "a", DropReason::Slow), 4, "run {run}");
        assert_eq!(dropped(&all, "a", DropReason::Flushing), 1, "run {run}");
        source.set(gst::State::Playing);
        source.begin(None);
    }
    drop(frames);
    until_summary(&mut notices, "a");
    let publisher = source.publisher.clone();
    let waiting = std::thread::spawn(move || {
        while notices.recv().is_some() {}
        notices.try_recv()
    });
    drop(source);
    assert_eq!(waiting.join().unwrap(), Err(NoticeError::Ended));
    assert_eq!(publisher.notices().unwrap_err(), gstdronetee::Error::Gone);
}

#[test]
fn notices_are_a_stream_of_tasks() {
    let source = Source::started(None);
    let mut notices = source.publisher.notices().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let frames = source.publisher.consumer("a").depth(1).subscribe().unwrap();
    let first = runtime.block_on(async {
        // One that is given up takes nothing.
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            _ = notices.next() => unreachable!(),
        }
        (0..5).for_each(|_| source.publish());
        tokio::time::timeout(DEADLINE, notices.next()).await
    });
    let Ok(Some(Notice::Dropped(first))) = first else {
        panic!("{first:?}");
    };
    assert_eq!(
        (first.consumer.as_str(), first.reason),
        ("a", DropReason::Slow)
    );
    drop(frames);
}
