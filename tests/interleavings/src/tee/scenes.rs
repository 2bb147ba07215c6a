// SPDX-License-Identifier: MPL-2.0
//! The scenes: a publisher, consumers, and what others do to them meanwhile.
//!
//! After each step all accounts balance, and no consumer gets a frame twice or out of order. When all
//! threads have left: each frame was delivered or dropped, never both, what the drop messages say adds
//! up to the counters, and no frame is kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::reporter::Reporter;
use super::{Frame, Kind, Label, Stream, now};
use crate::facts::{DropReason, Ledger};
use crate::fanout::{
    Answer, ConsumerId, Done, FrameInfo, Limits, Link, Notice, Outcome, ReportConfig, Stamp, Taken,
};
use crate::park::thread_waker;
use crate::sync::thread::{self, JoinHandle, Thread};
use crate::sync::{Plain, draw};

pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

pub(crate) const SCENES: [Scene; 5] = [
    Scene {
        name: "step",
        run: step,
    },
    Scene {
        name: "flow",
        run: flow,
    },
    Scene {
        name: "release",
        run: release,
    },
    Scene {
        name: "flush",
        run: flush,
    },
    Scene {
        name: "restart",
        run: restart,
    },
];

fn depth(depth: u64) -> Limits {
    Limits {
        depth,
        bytes: 0,
        time: 0,
        max_age: 0,
        max_lag: 0,
    }
}

/// What was told of a consumer.
#[derive(Default)]
struct Told {
    drops: BTreeMap<(Label, usize), u64>,
    summaries: BTreeMap<Label, Ledger>,
}

/// The element: the core and the thread that reports.
struct Stage {
    stream: Arc<Stream>,
    reporter: Arc<Reporter>,
    told: Arc<Plain<Told>>,
    frames: Plain<Vec<Weak<u64>>>,
    publisher: Thread,
}

impl Stage {
    fn new() -> Arc<Self> {
        let stream = Arc::new(Stream::new());
        let told = Arc::new(Plain::new(Told::default()));
        let telling = told.clone();
        let reporter = Arc::new(Reporter::new(stream.clone(), move |notice| {
            let mut told = telling.lock().unwrap();
            match notice {
                Notice::Drop(drop) => {
                    let key = (*drop.label, drop.reason.index());
                    let sum = told.drops.entry(key).or_default();
                    *sum += drop.count.unwrap_or(0);
                    assert_eq!(*sum, drop.total, "a drop message misses frames");
                }
                Notice::Summary(snapshot) => {
                    told.summaries.insert(*snapshot.label, snapshot.ledger);
                }
                _ => {}
            }
        }));
        // Without a time to wait for, the reporter sleeps until it is woken.
        stream.set_report(|| ReportConfig {
            drops: true,
            messages: true,
            interval: 1,
            stall_timeout: 0,
        });
        reporter.start().unwrap();
        Arc::new(Self {
            stream,
            reporter,
            told,
            frames: Plain::default(),
            publisher: thread::current(),
        })
    }

    fn publish(&self, delta: bool) -> Answer {
        let mut frames = self.frames.lock().unwrap();
        let frame = Arc::new(frames.len() as u64);
        frames.push(Arc::downgrade(&frame));
        drop(frames);
        let info = FrameInfo {
            bytes: 10,
            delta,
            ..FrameInfo::default()
        };
        let published = self.stream.publish(frame, info, now());
        self.check();
        published.answer
    }

    fn event(&self, kind: Kind) {
        self.stream.publish_event(kind, now());
        self.check();
    }

    fn begin(&self) {
        self.event(Kind::Start);
        self.event(Kind::Segment);
    }

    /// All accounts balance at any moment.
    fn check(&self) {
        let (totals, snapshots) = self.stream.snapshot(now());
        for snapshot in snapshots {
            assert!(snapshot.ledger.balances(), "{:?}", snapshot.ledger);
            assert!(snapshot.ledger.frames_in <= totals.published);
        }
    }

    fn consumer(self: &Arc<Self>, label: Label, limits: Limits, answers: Answers) -> Actor {
        let id = self.stream.join(label, limits);
        let session = self.stream.activate(id, Link::Made, now());
        let state = Arc::new(State {
            delivered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            last: Plain::new(None),
            session: Plain::new(Some(session)),
        });
        let thread = self.serve(id, session, answers, &state);
        Actor {
            id,
            label,
            state,
            threads: vec![thread],
        }
    }

    fn serve(
        self: &Arc<Self>,
        id: ConsumerId,
        session: Stamp,
        answers: Answers,
        state: &Arc<State>,
    ) -> JoinHandle<()> {
        let (stage, state) = (self.clone(), state.clone());
        thread::spawn(move || consume(&stage, id, session, answers, &state))
    }

    /// The consumer leaves. Its accounts are compared with what its threads saw.
    fn part_with(self: &Arc<Self>, actor: Actor, counts: Counts) -> Ledger {
        for thread in actor.threads {
            thread.join().unwrap();
        }
        let mut last = None;
        self.stream.leave(actor.id, actor.label, now(), |snapshot| {
            last = Some(snapshot)
        });
        self.check();
        let ledger = last.expect("the last accounts").ledger;
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!((ledger.waiting, ledger.in_flight), (0, 0), "{ledger:?}");
        let delivered = actor.state.delivered.load(Ordering::SeqCst);
        let lost = actor.state.lost.load(Ordering::SeqCst);
        match counts {
            Counts::All => assert_eq!(ledger.frames_out, delivered, "{ledger:?}"),
            // A frame that came back after its session was over counts as flushing.
            Counts::AllButOrphans => {
                let flushing = ledger.dropped.get(DropReason::Flushing);
                let least = delivered.saturating_sub(flushing);
                assert!(
                    (least..=delivered).contains(&ledger.frames_out),
                    "{ledger:?}"
                );
            }
        }
        assert!(
            lost <= ledger.dropped.total(),
            "{lost} lost, but {ledger:?}"
        );
        ledger
    }

    /// All is told, no frame is kept, and the reporter leaves.
    fn end(&self, ledgers: &[(Label, Ledger)]) {
        self.reporter.stop(Instant::now() + Duration::from_secs(60));
        let told = self.told.lock().unwrap();
        for (label, ledger) in ledgers {
            for reason in DropReason::ALL {
                let sum = told.drops.get(&(*label, reason.index()));
                assert_eq!(
                    sum.copied().unwrap_or(0),
                    ledger.dropped.get(reason),
                    "what was told of {label}, {reason:?}"
                );
            }
            let summary = told.summaries.get(label);
            assert_eq!(summary.map(|last| last.frames_in), Some(ledger.frames_in));
        }
        let frames = self.frames.lock().unwrap();
        let kept = frames.iter().filter(|frame| frame.strong_count() > 0);
        assert_eq!(kept.count(), 0, "frames are kept");
        assert!(self.stream.is_drained());
    }
}

/// How a consumer answers its frames.
#[derive(Clone, Copy)]
enum Answers {
    Takes,
    /// The first frame of the stream ends it.
    Ends(DropReason),
}

enum Counts {
    All,
    AllButOrphans,
}

/// A consumer, and the threads that serve it.
struct Actor {
    id: ConsumerId,
    label: Label,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

struct State {
    delivered: AtomicU64,
    /// As it was told with the frames.
    lost: AtomicU64,
    last: Plain<Option<u64>>,
    /// The session that serves it; None while that changes.
    session: Plain<Option<Stamp>>,
}

/// What a consumer's thread does.
fn consume(stage: &Stage, id: ConsumerId, session: Stamp, answers: Answers, state: &State) {
    let waker = thread_waker();
    let mut spare = None;
    let mut done = None;
    loop {
        spare.get_or_insert_with(|| waker.clone());
        let stream = &stage.stream;
        let taken = match done.take() {
            Some(done) => stream.finish_and_take(id, done, session, now(), &mut spare),
            None => stream.take(id, session, now(), &mut spare),
        };
        match taken {
            Taken::Wait => thread::park(),
            Taken::Closed(_) | Taken::Superseded(_) | Taken::Cancelled | Taken::Released => return,
            Taken::Event(Kind::Eos, _) => return,
            Taken::Event(..) | Taken::Resumed => {}
            Taken::Evicted => panic!("evicted"),
            Taken::Frame(taken) => {
                let sequence = taken.sequence;
                assert_eq!(*taken.frame, sequence, "another frame than said");
                assert_eq!(taken.discont, taken.lost_before > 0);
                let last = state.last.lock().unwrap().replace(sequence);
                assert!(last < Some(sequence), "{sequence} after {last:?}");
                state.lost.fetch_add(taken.lost_before, Ordering::SeqCst);
                drop(taken.frame);
                stage.publisher.unpark();
                check_flight(stage, id, session, state);
                let outcome = match answers {
                    Answers::Ends(reason) if sequence == 0 => Outcome::Ended(reason),
                    _ => Outcome::Delivered,
                };
                if outcome == Outcome::Delivered {
                    state.delivered.fetch_add(1, Ordering::SeqCst);
                }
                done = Some(Done {
                    stamp: taken.stamp,
                    outcome,
                    flow: -(i32::from(outcome != Outcome::Delivered)),
                    untold: 0,
                });
            }
        }
    }
}

/// The frame that a thread has is in flight, as long as its session is.
fn check_flight(stage: &Stage, id: ConsumerId, session: Stamp, state: &State) {
    let serves = || *state.session.lock().unwrap() == Some(session);
    let before = serves();
    let snapshot = stage.stream.snapshot_of(id, now());
    if before && serves() {
        let ledger = snapshot.expect("its accounts").ledger;
        assert_eq!(ledger.in_flight, 1, "{ledger:?}");
        assert!(ledger.balances(), "{ledger:?}");
    }
}

// ---- the scenes ----------------------------------------------------------------------------

/// The publisher waits until both consumers have a frame before it publishes the next one.
fn step() {
    let stage = Stage::new();
    stage.begin();
    let actors = [
        stage.consumer("one", depth(1), Answers::Takes),
        stage.consumer("two", depth(3), Answers::Takes),
    ];
    for frame in 0..3 {
        assert_eq!(stage.publish(false), Answer::Ok);
        let has_it = |actor: &Actor| *actor.state.last.lock().unwrap() == Some(frame);
        while !actors.iter().all(has_it) {
            thread::park();
        }
    }
    stage.event(Kind::Eos);
    let ledgers = actors.map(|actor| {
        let label = actor.label;
        (label, stage.part_with(actor, Counts::All))
    });
    for (_, ledger) in &ledgers {
        assert_eq!((ledger.frames_in, ledger.frames_out), (3, 3));
    }
    stage.end(&ledgers);
}

/// Two consumers and settings that change.
fn flow() {
    let stage = Stage::new();
    stage.begin();
    let actors = [
        stage.consumer("one", depth(1), Answers::Takes),
        stage.consumer("two", depth(3), Answers::Takes),
    ];
    let id = actors[1].id;
    let other = stage.clone();
    let settings = thread::spawn(move || {
        for _ in 0..2 {
            let frames = 1 + draw(3);
            match draw(3) {
                0 => other.stream.set_max_held(|| frames, now()),
                1 => other.stream.set_gop_capacity(|| frames),
                _ => other.stream.set_limits(id, || depth(frames), now()),
            }
            other.check();
        }
    });
    for frame in 0..5 {
        assert_eq!(stage.publish(draw(3) == 0), Answer::Ok);
        if frame == 2 {
            stage.event(Kind::Gap);
        }
    }
    stage.event(Kind::Eos);
    settings.join().unwrap();
    let ledgers = actors.map(|actor| {
        let label = actor.label;
        (label, stage.part_with(actor, Counts::All))
    });
    for (_, ledger) in &ledgers {
        assert_eq!(ledger.frames_in, 5);
    }
    stage.stream.forget_gop();
    stage.end(&ledgers);
}

/// One consumer is released, another joins meanwhile.
fn release() {
    let stage = Stage::new();
    stage.stream.set_gop_capacity(|| 2);
    stage.begin();
    let one = stage.consumer("one", depth(2), Answers::Takes);
    let two = stage.consumer("two", depth(2), Answers::Takes);
    let other = stage.clone();
    let releases = thread::spawn(move || {
        other.stream.deactivate(two.id, now());
        other.check();
        (two.label, other.part_with(two, Counts::All))
    });
    let other = stage.clone();
    let joins = thread::spawn(move || other.consumer("late", depth(2), Answers::Takes));
    for frame in 0..4 {
        stage.publish(frame % 2 == 1);
    }
    let late = joins.join().unwrap();
    stage.event(Kind::Eos);
    let released = releases.join().unwrap();
    let ledgers = [
        released,
        (one.label, stage.part_with(one, Counts::All)),
        (late.label, stage.part_with(late, Counts::All)),
    ];
    assert_eq!(ledgers[1].1.frames_in, 4);
    stage.stream.forget_gop();
    stage.end(&ledgers);
}

/// A flush while both consumers say that the first frame was their last.
fn flush() {
    let stage = Stage::new();
    stage.begin();
    let actors = [
        stage.consumer("one", depth(2), Answers::Ends(DropReason::Eos)),
        stage.consumer("two", depth(2), Answers::Ends(DropReason::Error)),
    ];
    stage.publish(false);
    if draw(2) == 0 {
        stage.publish(false);
    }
    stage.stream.flush_start(now());
    stage.check();
    stage.stream.flush_stop(now());
    stage.check();
    // An answer from before ends nothing any more.
    stage.event(Kind::Segment);
    let before = stage.frames.lock().unwrap().len() as u64;
    for _ in 0..3 {
        assert_eq!(stage.publish(false), Answer::Ok, "after a flush");
    }
    stage.event(Kind::Eos);
    let ledgers = actors.map(|actor| {
        let label = actor.label;
        (label, stage.part_with(actor, Counts::All))
    });
    for (label, ledger) in &ledgers {
        let ended = ledger.dropped.get(DropReason::Eos) + ledger.dropped.get(DropReason::Error);
        assert!(
            ended <= before,
            "{label} ended by an answer from before: {ledger:?}"
        );
    }
    stage.end(&ledgers);
}

/// A consumer is stopped and started while its thread has a frame.
fn restart() {
    let stage = Stage::new();
    stage.begin();
    let one = stage.consumer("one", depth(2), Answers::Takes);
    let mut two = stage.consumer("two", depth(2), Answers::Takes);
    let other = stage.clone();
    let restarts = thread::spawn(move || {
        *two.state.session.lock().unwrap() = None;
        if draw(2) == 0 {
            other.stream.deactivate(two.id, now());
            other.check();
        }
        let session = other.stream.activate(two.id, Link::Made, now());
        *two.state.session.lock().unwrap() = Some(session);
        let thread = other.serve(two.id, session, Answers::Takes, &two.state);
        two.threads.push(thread);
        two
    });
    for _ in 0..4 {
        assert_eq!(stage.publish(false), Answer::Ok);
    }
    let two = restarts.join().unwrap();
    stage.event(Kind::Eos);
    let ledgers = [
        (one.label, stage.part_with(one, Counts::All)),
        (two.label, stage.part_with(two, Counts::AllButOrphans)),
    ];
    stage.end(&ledgers);
}
