// SPDX-License-Identifier: MPL-2.0
//! Random work on the fan-out and on the model of it, compared after each step.

use std::sync::Weak;

use proptest::collection::vec;
use proptest::prelude::*;

use super::model::{Got, Guest, Mood};
use super::ops::{Op, ops};
use super::stream::Model;
use super::*;

/// The thread that serves a consumer.
struct Server {
    reader: Reader,
    flight: Option<(Stamp, Frame)>,
    /// How often it had been woken when it was last told to wait.
    waits: Option<u64>,
}

/// A frame whose consumer was restarted or left.
struct Stray {
    reader: Reader,
    stamp: Stamp,
}

struct World {
    rig: Rig,
    model: Model,
    servers: Vec<Server>,
    strays: Vec<Stray>,
    /// The frames of the current life of the stream.
    frames: Vec<Weak<Body>>,
}

impl World {
    fn new() -> Self {
        Self {
            rig: Rig::new(),
            model: Model::default(),
            servers: Vec::new(),
            strays: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// The consumer that is meant, if there is one.
    fn who(&self, who: usize) -> Option<usize> {
        (!self.servers.is_empty()).then(|| who % self.servers.len())
    }

    fn apply(&mut self, op: &Op) {
        self.rig.now += 1;
        let now = self.rig.now;
        match *op {
            Op::Publish {
                delta,
                bytes,
                timed,
                header,
                earlier,
            } => {
                let start = timed.then_some(self.model.end * 10 * MS);
                self.publish(FrameInfo {
                    bytes,
                    delta,
                    header,
                    pts: start.map(|start| start.saturating_sub(earlier * 10 * MS)),
                    start,
                    end: start.map(|start| start + 10 * MS),
                });
            }
            Op::Events(kind, count) => {
                for _ in 0..count {
                    let id = self.rig.event(kind);
                    self.model.event(kind, id);
                }
            }
            Op::FlushStart => {
                self.rig.fan.flush_start(now);
                self.model.flush_start();
            }
            Op::FlushStop => {
                self.rig.fan.flush_stop(now);
                self.model.flush_stop();
            }
            Op::Join(limits, keeps) => self.join(limits, keeps),
            Op::SetCapacity(capacity) => {
                self.rig.fan.set_gop_capacity(|| capacity);
                self.model.larder.set_capacity(capacity);
            }
            Op::ForgetGop => {
                self.rig.fan.forget_gop();
                self.model.larder.gop = None;
                self.model.header = None;
            }
            Op::Reset => self.reset(),
            Op::Pause => {
                self.rig.fan.set_playing(false, now);
                let guests = self.model.guests.iter_mut();
                guests.for_each(|guest| guest.wants_stand_in = true);
            }
            Op::Pass(time) => self.rig.now += time,
            Op::FinishStray(which, outcome) => self.finish_stray(which, outcome),
            Op::Take(who)
            | Op::TakeAll(who)
            | Op::Finish(who, _)
            | Op::Activate(who, _)
            | Op::Deactivate(who)
            | Op::Leave(who)
            | Op::Readmit(who)
            | Op::Enable(who, _)
            | Op::SetLimits(who, _) => {
                if let Some(index) = self.who(who) {
                    self.apply_to(index, op);
                }
            }
        }
    }

    fn apply_to(&mut self, index: usize, op: &Op) {
        let now = self.rig.now;
        let id = self.servers[index].reader.id;
        match *op {
            Op::Take(_) => {
                self.take(index);
            }
            Op::TakeAll(_) => {
                while self.take(index) {
                    self.finish(index, Outcome::Delivered);
                }
            }
            Op::Finish(_, outcome) => self.finish(index, outcome),
            Op::Activate(_, linked) => self.activate(index, linked),
            Op::Deactivate(_) => {
                self.rig.fan.deactivate(id, now);
                self.model.guests[index].put_to_sleep();
            }
            Op::Leave(_) => {
                let server = self.servers.remove(index);
                self.rig.fan.leave(id, label("some"), now, drop);
                self.model.leave(index);
                self.stray(server);
            }
            Op::Readmit(_) => {
                self.rig.fan.readmit(id, true, now);
                self.model.welcome_back(index, now);
            }
            Op::Enable(_, enabled) => {
                self.rig.fan.set_enabled(id, || enabled, now);
                self.model.enable(index, enabled, now);
            }
            Op::SetLimits(_, limits) => {
                self.rig.fan.set_limits(id, || limits, now);
                self.model.set_limits(index, limits, now);
            }
            _ => unreachable!(),
        }
    }

    fn publish(&mut self, info: FrameInfo) {
        let published = self.rig.publish_info(info);
        self.frames.extend(self.rig.frames.last().cloned());
        let asks = self.model.publish(info, self.rig.now);
        assert_eq!(published.request_keyframe, asks, "request for a keyframe");
        assert_eq!(published.answer == Answer::Ok, self.answers_ok());
    }

    fn answers_ok(&self) -> bool {
        let is = |guest: &Guest, reasons: &[DropReason]| match guest.mood {
            Mood::Shut(reason) => reasons.contains(&reason),
            _ => false,
        };
        let guests = &self.model.guests;
        let ended = |guest| is(guest, &[DropReason::Eos, DropReason::Error]);
        let spared = [
            DropReason::Evicted,
            DropReason::Flushing,
            DropReason::Disabled,
        ];
        let spared = |guest| is(guest, &spared);
        self.model.served() || !guests.iter().any(ended) && guests.iter().any(spared)
    }

    fn join(&mut self, limits: Limits, keeps_session: bool) {
        if self.servers.len() == 4 {
            return;
        }
        let id = self.rig.fan.join(label("some"), limits);
        let (session, woken) = (id.joined(), Arc::default());
        self.servers.push(Server {
            reader: Reader { id, session, woken },
            flight: None,
            waits: None,
        });
        let guest = Guest::new(limits, keeps_session);
        self.model.guests.push(guest);
    }

    fn activate(&mut self, index: usize, linked: bool) {
        let reader = self.servers[index].reader.clone();
        let link = match linked {
            true => Link::Made,
            false => Link::Missing(-7),
        };
        let session = self.rig.fan.activate(reader.id, link, self.rig.now);
        self.model.staff(index, linked, self.rig.now);
        // A receiver goes on with the session that it knows until it is told of the next one.
        let session = match self.model.guests[index].keeps_session {
            true => reader.session,
            false => session,
        };
        let started = Server {
            reader: Reader { session, ..reader },
            flight: None,
            waits: None,
        };
        let old = std::mem::replace(&mut self.servers[index], started);
        self.stray(old);
    }

    fn stray(&mut self, server: Server) {
        if let Some(waits) = server.waits {
            let woken = server.reader.woken.load(Ordering::SeqCst);
            assert!(woken > waits, "the thread of an ended run sleeps on");
        }
        if let Some((stamp, _)) = server.flight {
            let reader = server.reader;
            self.strays.push(Stray { reader, stamp });
        }
    }

    fn reset(&mut self) {
        self.rig.fan.reset();
        self.model.reset();
        self.frames.clear();
        for server in &mut self.servers {
            if let Some((stamp, _)) = server.flight.take() {
                let reader = server.reader.clone();
                self.strays.push(Stray { reader, stamp });
            }
        }
    }

    /// Takes once; true if there was something.
    fn take(&mut self, index: usize) -> bool {
        let flights: Vec<u64> = self.in_flight().collect();
        let server = &mut self.servers[index];
        if server.flight.is_some() {
            return false;
        }
        let now = self.rig.now;
        let taken = self.rig.take(&server.reader);
        let got = self.model.take(index, now);
        server.waits = None;
        match (taken, got) {
            (Taken::Wait, Got::Wait) => {
                server.waits = Some(server.reader.woken.load(Ordering::SeqCst));
                return false;
            }
            (Taken::Closed(session), Got::Closed) => {
                server.reader.session = session;
                return false;
            }
            (Taken::Superseded(session), Got::Superseded) => server.reader.session = session,
            (Taken::Evicted, Got::Evicted) | (Taken::Resumed, Got::Resumed) => {}
            (Taken::Event(event, _), Got::Event(kind, id)) => {
                assert_eq!((event.kind, event.body.0), (kind, id));
            }
            (Taken::Frame(taken), Got::Frame(frame, discont, lost)) => {
                assert_eq!(taken.sequence, frame.sequence);
                assert_eq!((taken.discont, taken.lost_before), (discont, lost));
                assert_eq!(taken.waited, now - frame.arrived, "wait");
                let same = |id: &&u64| **id == taken.frame.0;
                let others = flights.iter().filter(same).count();
                let held = usize::from(self.model.holds(frame.sequence));
                assert_eq!(Arc::strong_count(&taken.frame), 1 + others + held);
                server.flight = Some((taken.stamp, taken.frame));
            }
            (taken, got) => panic!("got {taken:?} instead of {got:?}"),
        }
        true
    }

    fn finish(&mut self, index: usize, outcome: Outcome) {
        let server = &mut self.servers[index];
        let Some((stamp, frame)) = server.flight.take() else {
            return;
        };
        drop(frame);
        self.rig.finish(&server.reader, stamp, outcome);
        let guest = &mut self.model.guests[index];
        match outcome {
            Outcome::Delivered => guest.hand_back(),
            Outcome::Lost(reason) => guest.toss_in_hand(reason, false, flow(reason)),
            Outcome::Ended(reason) => guest.toss_in_hand(reason, true, flow(reason)),
        }
    }

    fn finish_stray(&mut self, which: usize, outcome: Outcome) {
        if self.strays.is_empty() {
            return;
        }
        let stray = self.strays.remove(which % self.strays.len());
        self.rig.finish(&stray.reader, stray.stamp, outcome);
    }

    /// The frames that consumers have in hand.
    fn in_flight(&self) -> impl Iterator<Item = u64> {
        let flights = self
            .servers
            .iter()
            .filter_map(|server| server.flight.as_ref());
        flights.map(|(_, frame)| frame.0)
    }

    fn check(&self) {
        assert!(self.rig.lock_was_free(), "freed or woken under the lock");
        for (server, guest) in self.servers.iter().zip(&self.model.guests) {
            self.check_accounts(server, guest);
            if let Some(waits) = server.waits {
                let something = !guest.tray.is_empty() || guest.resumption_unsaid;
                let ready = !self.model.flushing && something;
                let stopped = !guest.staffed && guest.mood != Mood::Asleep;
                let ready = ready || guest.expulsion_unsaid || stopped;
                let woken = server.reader.woken.load(Ordering::SeqCst) > waits;
                assert!(woken || !ready, "sleeps although there is something");
            }
        }
        for (sequence, frame) in self.frames.iter().enumerate() {
            let held = self.model.holds(sequence as u64);
            let id = frame.upgrade().map(|body| body.0);
            let used = self.in_flight().any(|flight| Some(flight) == id);
            assert_eq!(id.is_some(), held || used, "frame {sequence}");
        }
        let totals = self.rig.fan.totals(self.rig.now);
        let living = self.model.guests.iter().flat_map(|guest| guest.drops);
        assert_eq!(totals.published, self.model.end);
        assert_eq!(totals.dropped, self.model.parted + living.sum::<u64>());
        assert_eq!(totals.keyframe_requests, self.model.keyframe_requests);
    }

    fn check_accounts(&self, server: &Server, guest: &Guest) {
        let now = self.rig.now;
        let snapshot = self.rig.fan.snapshot_of(server.reader.id, now).unwrap();
        let ledger = snapshot.ledger;
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!(ledger.frames_in, guest.frames_in, "in");
        assert_eq!(ledger.frames_out, guest.out, "out");
        assert_eq!(ledger.waiting, guest.level() as u64, "waiting");
        assert_eq!(ledger.in_flight, u64::from(guest.in_hand.is_some()));
        let drops: Vec<u64> = ledger.dropped.iter().map(|(_, count)| count).collect();
        assert_eq!(drops, guest.drops, "drops");
        let bytes: u64 = guest.frames().map(|frame| frame.info.bytes).sum();
        let start = guest.frames().next().and_then(|frame| frame.info.start);
        let time = start.map_or(0, |start| self.model.end_time.saturating_sub(start));
        assert_eq!((snapshot.bytes, snapshot.time), (bytes, time), "levels");
        assert_eq!(snapshot.events_dropped, guest.events_gone);
        assert_eq!(snapshot.requested_keyframes, guest.requested_keyframes);
        assert_eq!(snapshot.flow, guest.flow);
    }
}

fn flow(reason: DropReason) -> i32 {
    -(reason.index() as i32) - 1
}

impl Model {
    /// Some queue or the cache holds the frame.
    fn holds(&self, sequence: u64) -> bool {
        let waits = self.guests.iter().flat_map(Guest::frames);
        let cached = self.larder.gop.iter().flat_map(|(_, items)| items);
        waits
            .chain(cached.filter_map(super::model::Item::frame))
            .any(|frame| frame.sequence == sequence)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_does_what_the_model_does(ops in vec(ops(), 1..150)) {
        let mut world = World::new();
        world.apply(&Op::Join(depth(2), false));
        world.apply(&Op::Activate(0, true));
        for op in ops {
            world.apply(&op);
            world.check();
        }
    }
}
