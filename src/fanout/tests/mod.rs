// SPDX-License-Identifier: MPL-2.0
//! Tests of the core, and what they share: plain frames and events that watch the lock.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod coded;
mod events;
mod gate;
mod held;
mod joiners;
mod model;
mod ops;
mod parts;
mod pool;
mod report;
mod sessions;
mod silence;
mod telling;
mod threads;
mod window;
mod world;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, TryLockError, Weak};
use std::task::{Wake, Waker};

use proptest::prelude::ProptestConfig;

use super::*;
use crate::facts::{DropReason, Drops, Ledger, State};

pub(super) type Fan = Fanout<Frame, Ev, Label>;
pub(super) type Frame = Arc<Body>;

pub(super) const MS: u64 = 1_000_000;

thread_local! {
    static WATCHED: RefCell<Weak<Fan>> = RefCell::default();
    static UNDER_LOCK: Cell<u32> = const { Cell::new(0) };
}

/// Called by whatever must not happen under the lock.
fn probe() {
    let _ = WATCHED.try_with(|watched| {
        let fan = watched.borrow().upgrade();
        if let Some(fan) = fan
            && matches!(fan.core.try_lock(), Err(TryLockError::WouldBlock))
        {
            UNDER_LOCK.with(|count| count.set(count.get() + 1));
        }
    });
}

/// What a frame or an event consists of.
#[derive(Debug)]
pub(super) struct Body(pub(super) u64);

impl Drop for Body {
    fn drop(&mut self) {
        probe();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Start,
    Caps,
    Segment,
    Tag,
    Eos,
    Gap,
    Custom,
}

#[derive(Debug, Clone)]
pub(super) struct Ev {
    pub(super) kind: Kind,
    pub(super) body: Arc<Body>,
}

impl Ev {
    pub(super) fn new(kind: Kind, id: u64) -> Self {
        let body = Arc::new(Body(id));
        Self { kind, body }
    }
}

impl Kind {
    pub(super) fn sticky(self) -> bool {
        self <= Self::Eos
    }

    pub(super) fn survives_flush(self) -> bool {
        matches!(self, Self::Start | Self::Caps | Self::Tag)
    }

    pub(super) fn readmits(self, reason: DropReason) -> bool {
        match self {
            Self::Segment => reason == DropReason::Eos,
            Self::Caps => reason == DropReason::Error,
            _ => false,
        }
    }

    pub(super) fn voids(self, older: Self) -> bool {
        self == Self::Start && older == Self::Tag
    }

    pub(super) fn replaces(self, older: Self) -> bool {
        self.sticky() && self == older || self == Self::Segment && older == Self::Eos
    }
}

impl Event for Ev {
    fn is_sticky(&self) -> bool {
        self.kind.sticky()
    }

    fn replaces(&self, older: &Self) -> bool {
        self.kind.replaces(older.kind)
    }

    fn order(&self) -> u32 {
        self.kind as u32
    }

    fn must_precede_later_kinds(&self) -> bool {
        self.kind <= Kind::Segment
    }

    fn voids(&self, older: &Self) -> bool {
        self.kind.voids(older.kind)
    }

    fn ends_stream(&self) -> bool {
        self.kind == Kind::Eos
    }

    fn is_expendable(&self) -> bool {
        matches!(self.kind, Kind::Gap | Kind::Custom)
    }

    fn survives_flush(&self) -> bool {
        self.kind.survives_flush()
    }

    fn readmits(&self, reason: DropReason) -> bool {
        self.kind.readmits(reason)
    }

    fn starts_format(&self) -> bool {
        self.kind <= Kind::Caps
    }

    fn in_place_of(pts: u64, _duration: u64) -> Self {
        Self::new(Kind::Gap, stand_in_id(pts))
    }
}

/// Which event stands in for the frame of that time.
pub(super) fn stand_in_id(pts: u64) -> u64 {
    1 << 60 | pts
}

/// Counts wake-ups; neither they nor its end may come under the lock.
struct Bell(Arc<AtomicU64>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        probe();
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        probe();
    }
}

/// A new waker that counts into `count`.
pub(super) fn bell(count: &Arc<AtomicU64>) -> Waker {
    Arc::new(Bell(count.clone())).into()
}

/// So many random cases. One that fails is printed, and kept in no file.
pub(super) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub(super) fn depth(depth: u64) -> Limits {
    Limits {
        depth,
        bytes: 0,
        time: 0,
        max_age: 0,
        max_lag: 0,
    }
}

/// Its name is all that is told of a consumer.
pub(super) type Label = String;

pub(super) fn label(name: &str) -> Label {
    name.into()
}

/// A consumer as its thread sees it.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) id: ConsumerId,
    pub(super) session: Stamp,
    pub(super) woken: Arc<AtomicU64>,
}

/// What upstream hears.
pub(super) struct Heard {
    pub(super) answer: Answer,
    pub(super) request_keyframe: bool,
}

/// A fan-out, the time, and short names for what is done to it.
pub(super) struct Rig {
    pub(super) fan: Arc<Fan>,
    pub(super) now: u64,
    pub(super) frames: Vec<Weak<Body>>,
    pub(super) events: u64,
}

impl Rig {
    pub(super) fn new() -> Self {
        let fan = Arc::new(Fan::new());
        WATCHED.with(|watched| *watched.borrow_mut() = Arc::downgrade(&fan));
        UNDER_LOCK.with(|count| count.set(0));
        Self {
            fan,
            now: 1_000 * MS,
            frames: Vec::new(),
            events: 0,
        }
    }

    /// Nothing was freed or woken under the lock so far.
    pub(super) fn lock_was_free(&self) -> bool {
        UNDER_LOCK.with(Cell::get) == 0
    }

    pub(super) fn publish_info(&mut self, info: FrameInfo) -> Published {
        let frame = Arc::new(Body(self.frames.len() as u64));
        self.frames.push(Arc::downgrade(&frame));
        self.fan.publish(frame, info, self.now)
    }

    /// Publishes frames: `k` is a keyframe, `d` one that needs those before it.
    pub(super) fn publish(&mut self, kinds: &str) -> Heard {
        let mut published = None;
        for kind in kinds.chars() {
            let start = Some(self.frames.len() as u64 * 10 * MS);
            published = Some(self.publish_info(FrameInfo {
                bytes: 100,
                delta: kind == 'd',
                header: false,
                pts: start,
                start,
                end: start.map(|start| start + 10 * MS),
            }));
        }
        let published = published.unwrap();
        Heard {
            answer: published.answer,
            request_keyframe: published.request_keyframe,
        }
    }

    pub(super) fn event(&mut self, kind: Kind) -> u64 {
        self.events += 1;
        let event = Ev::new(kind, self.events);
        self.fan.publish_event(event, self.now);
        self.events
    }

    pub(super) fn join(&mut self, limits: Limits) -> Reader {
        let id = self.fan.join(label("one"), limits);
        let session = self.fan.activate(id, Link::Made, self.now);
        let woken = Arc::default();
        Reader { id, session, woken }
    }

    pub(super) fn enable(&self, reader: &Reader, enabled: bool) {
        self.fan.set_enabled(reader.id, || enabled, self.now);
    }

    pub(super) fn take(&self, reader: &Reader) -> Taken<Frame, Ev> {
        let mut waker = Some(bell(&reader.woken));
        self.fan
            .take(reader.id, reader.session, self.now, &mut waker)
    }

    pub(super) fn frame(&self, reader: &Reader) -> TakenFrame<Frame> {
        match self.take(reader) {
            Taken::Frame(taken) => taken,
            other => panic!("no frame but {other:?}"),
        }
    }

    pub(super) fn finish(&self, reader: &Reader, stamp: Stamp, outcome: Outcome) {
        let flow = match outcome {
            Outcome::Delivered => 0,
            Outcome::Lost(reason) | Outcome::Ended(reason) => -(reason.index() as i32) - 1,
        };
        let done = Done {
            stamp,
            outcome,
            flow,
            untold: 0,
        };
        self.fan.finish(reader.id, done, self.now);
    }

    /// Takes all there is: frames by number, with `!` if DISCONT, events by their initial.
    pub(super) fn drain(&self, reader: &Reader) -> String {
        let mut all = Vec::new();
        loop {
            all.push(match self.take(reader) {
                Taken::Event(event, _) => initial(event.kind).to_string(),
                Taken::Evicted => "evicted".to_string(),
                Taken::Resumed => "resumed".to_string(),
                Taken::Closed(_) | Taken::Superseded(_) | Taken::Cancelled | Taken::Released => {
                    "closed".to_string()
                }
                Taken::Wait => return all.join(" "),
                Taken::Frame(taken) => {
                    self.finish(reader, taken.stamp, Outcome::Delivered);
                    let mark = if taken.discont { "!" } else { "" };
                    format!("{}{mark}", taken.sequence)
                }
            });
            if all.last().is_some_and(|last| last == "closed") {
                return all.join(" ");
            }
        }
    }

    /// The consumer leaves; its last accounts.
    pub(super) fn leave(&self, reader: &Reader) -> Snapshot<Label> {
        let mut last = None;
        self.fan
            .leave(reader.id, label("one"), self.now, |snapshot| {
                last = Some(snapshot)
            });
        last.unwrap()
    }

    pub(super) fn ledger(&self, reader: &Reader) -> Ledger {
        let snapshot = self.fan.snapshot_of(reader.id, self.now).unwrap();
        assert!(snapshot.ledger.balances(), "{:?}", snapshot.ledger);
        snapshot.ledger
    }

    pub(super) fn dropped(&self, reader: &Reader, reason: DropReason) -> u64 {
        self.ledger(reader).dropped.get(reason)
    }

    /// The numbers of the frames that are not freed.
    pub(super) fn alive(&self) -> Vec<u64> {
        let alive = self.frames.iter().filter_map(Weak::upgrade);
        alive.map(|body| body.0).collect()
    }
}

fn initial(kind: Kind) -> char {
    match kind {
        Kind::Start => 'S',
        Kind::Caps => 'C',
        Kind::Segment => 'G',
        Kind::Tag => 'T',
        Kind::Eos => 'E',
        Kind::Gap => 'g',
        Kind::Custom => 'c',
    }
}
