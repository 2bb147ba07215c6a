// SPDX-License-Identifier: MPL-2.0
//! One publisher, consumers that come and go, each in a thread of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::*;

/// No wait here takes that long, unless a thread misses a wake-up.
const DEADLINE: Duration = Duration::from_secs(60);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

struct Shared {
    fan: Fan,
    began: Instant,
    /// Consumers that saw the end of the stream.
    ended: AtomicUsize,
    late: AtomicBool,
    /// The publisher goes on when a consumer is done with a frame.
    publisher: Thread,
}

impl Shared {
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Parks until woken; a park that lasts to the deadline is a missed wake-up.
    fn park(&self) -> bool {
        // The test as a whole may take as long as a busy machine lets it.
        let parked = Instant::now();
        thread::park_timeout(DEADLINE);
        let late = parked.elapsed() >= DEADLINE;
        self.late.fetch_or(late, Ordering::SeqCst);
        !late
    }
}

/// What a consumer's thread saw.
#[derive(Default)]
struct Seen {
    frames: u64,
    /// Those that it was told are lost.
    lost: u64,
}

fn consume(shared: &Shared, id: ConsumerId, session: Stamp) -> Seen {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut spare = None;
    let mut seen = Seen::default();
    let mut last = None;
    loop {
        spare.get_or_insert_with(|| waker.clone());
        match shared.fan.take(id, session, shared.now(), &mut spare) {
            Taken::Wait => {
                if !shared.park() {
                    return seen;
                }
            }
            Taken::Closed(_) | Taken::Superseded(_) | Taken::Cancelled | Taken::Released => {
                return seen;
            }
            Taken::Event(event, _) if event.kind == Kind::Eos => {
                shared.ended.fetch_add(1, Ordering::SeqCst);
                shared.publisher.unpark();
            }
            Taken::Event(..) => {}
            Taken::Evicted | Taken::Resumed => panic!("evicted or flushed"),
            Taken::Frame(taken) => {
                let skipped = last.map_or(0, |last| taken.sequence - last - 1);
                assert_eq!(taken.discont, taken.lost_before > 0);
                if last.is_some() {
                    assert_eq!(taken.lost_before, skipped);
                }
                last = Some(taken.sequence);
                seen.frames += 1;
                seen.lost += taken.lost_before;
                drop(taken.frame);
                let fan = &shared.fan;
                let done = Done {
                    stamp: taken.stamp,
                    outcome: Outcome::Delivered,
                    flow: 0,
                    untold: 0,
                };
                fan.finish(id, done, shared.now());
            }
        }
    }
}

type Consumer = (ConsumerId, JoinHandle<Seen>);

fn start(shared: &Arc<Shared>) -> Consumer {
    let id = shared.fan.join(label("some"), depth(3));
    let session = shared.fan.activate(id, Link::Made, shared.now());
    let theirs = shared.clone();
    (id, thread::spawn(move || consume(&theirs, id, session)))
}

/// Releases a consumer and compares its accounts with what its thread saw.
fn stop(shared: &Shared, (id, thread): Consumer) -> Drops {
    shared.fan.deactivate(id, shared.now());
    let seen = thread.join().unwrap();
    let mut last = None;
    shared
        .fan
        .leave(id, label("some"), shared.now(), |snapshot| {
            last = Some(snapshot)
        });
    let ledger = last.unwrap().ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.waiting, ledger.in_flight), (0, 0));
    assert_eq!(ledger.frames_out, seen.frames);
    assert!(seen.lost <= ledger.dropped.total());
    ledger.dropped
}

/// A pseudo-random number, the same in each run.
fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    *state >> 33
}

#[test]
fn nothing_is_lost_uncounted_and_nobody_sleeps_on() {
    let shared = Arc::new(Shared {
        fan: Fan::new(),
        began: Instant::now(),
        ended: AtomicUsize::new(0),
        late: AtomicBool::new(false),
        publisher: thread::current(),
    });
    let mut consumers: Vec<Consumer> = (0..3).map(|_| start(&shared)).collect();
    let mut dropped = Drops::default();
    let mut frames = Vec::new();
    let mut state = 1;
    for sequence in 0..20_000 {
        let frame = Arc::new(Body(sequence));
        frames.push(Arc::downgrade(&frame));
        let now = shared.now();
        let published = shared.fan.publish(frame, FrameInfo::default(), now);
        assert_eq!(published.answer, Answer::Ok);
        match random(&mut state) % 200 {
            0 => {
                let which = random(&mut state) as usize % consumers.len();
                let old = std::mem::replace(&mut consumers[which], start(&shared));
                dropped.add_all(&stop(&shared, old));
            }
            1..50 => shared.fan.publish_event(Ev::new(Kind::Gap, sequence), now),
            50..100 => thread::yield_now(),
            _ => {}
        }
    }
    shared
        .fan
        .publish_event(Ev::new(Kind::Eos, 0), shared.now());
    while shared.ended.load(Ordering::SeqCst) < 3 && shared.park() {}
    assert!(!shared.late.load(Ordering::SeqCst), "missed a wake-up");
    for consumer in consumers {
        dropped.add_all(&stop(&shared, consumer));
    }
    let totals = shared.fan.totals(shared.now());
    assert_eq!(
        (totals.published, totals.dropped),
        (20_000, dropped.total())
    );
    assert!(frames.iter().all(|frame| frame.strong_count() == 0));
    assert!(shared.fan.is_drained());
}
