// SPDX-License-Identifier: MPL-2.0
//! Random work on the fan-out and on the model of it, compared after each step.

use std::sync::Weak;

use proptest::collection::vec;
use proptest::prelude::*;

use super::model::{Got, Guest, Hands, Model};
use super::ops::{Op, ops};
use super::*;

/// The thread that serves a consumer.
struct Server {
    reader: Reader,
    flight: Option<Flight>,
    /// How often it had been woken when it was last told to wait.
    waits: Option<u64>,
}

impl Server {
    /// It waits, and was not woken.
    fn sleeps(&self) -> bool {
        self.waits == Some(self.reader.woken.load(Ordering::SeqCst))
    }
}

/// A frame that was taken.
struct Flight {
    stamp: Stamp,
    number: u64,
    /// Nothing when the application has freed it.
    frame: Option<Frame>,
}

/// A frame whose consumer was restarted or left.
struct Stray {
    reader: Reader,
    flight: Flight,
}

struct World {
    rig: Rig,
    model: Model,
    servers: Vec<Server>,
    strays: Vec<Stray>,
    /// Frames that the application keeps, with their numbers.
    kept: Vec<(u64, Frame)>,
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
            kept: Vec::new(),
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
            Op::MaxHeld(frames) => {
                self.rig.fan.set_max_held(|| frames, now);
                self.model.set_max_held(frames, &self.hands());
            }
            Op::Pool(size) => {
                self.rig.fan.set_pool(size, now);
                self.model.set_pool(size, &self.hands());
            }
            Op::Unkeep(which) => self.unkeep(which),
            Op::Close => {
                self.rig.events += 1;
                let (kind, id) = (Kind::Eos, self.rig.events);
                self.rig.fan.close(Ev::new(kind, id), now);
                self.model.close(kind, id);
            }
            Op::Dismiss => {
                let servers = &self.servers;
                self.model.dismiss(|index| servers[index].sleeps());
                self.rig.fan.dismiss();
            }
            Op::ForgetGop => {
                self.rig.fan.forget_gop();
                self.model.forget_gop();
            }
            Op::Reset => self.reset(),
            Op::Pause => {
                self.rig.fan.set_playing(false, now);
                self.model.pause();
            }
            Op::Pass(time) => self.rig.now += time,
            Op::FinishStray(which, outcome) => self.finish_stray(which, outcome),
            Op::Take(who)
            | Op::TakeAll(who)
            | Op::Finish(who, ..)
            | Op::Keep(who)
            | Op::Land(who)
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
                    self.finish(index, Outcome::Delivered, 0);
                }
            }
            Op::Finish(_, outcome, untold) => self.finish(index, outcome, untold),
            Op::Keep(_) => self.keep(index),
            Op::Land(_) => self.land(index),
            Op::Activate(_, linked) => self.activate(index, linked),
            Op::Deactivate(_) => {
                self.rig.fan.deactivate(id, now);
                self.model.unstaff(index);
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
        if !self.model.closing.is_closed() {
            self.frames.extend(self.rig.frames.last().cloned());
        }
        let asks = self.model.publish(info, self.rig.now, &self.hands());
        assert_eq!(published.request_keyframe, asks, "request for a keyframe");
        assert_eq!(published.answer == Answer::Ok, self.model.answers_ok());
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
        let session = match self.model.guests[index].unsaid.keeps_session {
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
        if let Some(flight) = server.flight {
            let reader = server.reader;
            self.strays.push(Stray { reader, flight });
        }
    }

    fn reset(&mut self) {
        self.rig.fan.reset();
        self.model.reset();
        self.frames.clear();
        for server in &mut self.servers {
            if let Some(flight) = server.flight.take() {
                let reader = server.reader.clone();
                self.strays.push(Stray { reader, flight });
            }
        }
    }

    /// Takes once; true if there was something.
    fn take(&mut self, index: usize) -> bool {
        let keeps_session = self.model.guests[index].unsaid.keeps_session;
        let server = &mut self.servers[index];
        // The thread of a branch has to bring the one before back first.
        if server.flight.is_some() && !keeps_session {
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
            (Taken::Evicted, Got::Evicted)
            | (Taken::Resumed, Got::Resumed)
            | (Taken::Cancelled, Got::Cancelled) => {}
            (Taken::Event(event, _), Got::Event(kind, id)) => {
                assert_eq!((event.kind, event.body.0), (kind, id));
            }
            (Taken::Frame(taken), Got::Frame(frame, discont, lost)) => {
                assert_eq!(taken.sequence, frame.sequence);
                assert_eq!((taken.discont, taken.lost_before), (discont, lost));
                assert_eq!(taken.waited, now - frame.arrived, "wait");
                assert_eq!(taken.number, self.model.origin + frame.sequence);
                server.flight = Some(Flight {
                    stamp: taken.stamp,
                    number: taken.number,
                    frame: Some(taken.frame),
                });
                let held = u64::from(self.model.holds(frame.sequence));
                let others = self.in_hand().filter(|(number, _)| *number == taken.number);
                let frame = self.servers[index].flight.as_ref();
                let frame = frame.and_then(|flight| flight.frame.as_ref()).unwrap();
                let owners = others.count() as u64 + held;
                assert_eq!(Arc::strong_count(frame) as u64, owners);
            }
            (taken, got) => panic!("got {taken:?} instead of {got:?}"),
        }
        true
    }

    fn finish(&mut self, index: usize, outcome: Outcome, untold: u64) {
        let server = &mut self.servers[index];
        let Some(flight) = server.flight.take() else {
            return;
        };
        let id = server.reader.id;
        self.finish_flight(id, flight, outcome, untold);
        let guest = &mut self.model.guests[index];
        match outcome {
            Outcome::Delivered => guest.hand_back(untold),
            Outcome::Lost(reason) => guest.toss_in_hand(reason, false, flow(reason), untold),
            Outcome::Ended(reason) => guest.toss_in_hand(reason, true, flow(reason), untold),
        }
    }

    fn finish_stray(&mut self, which: usize, outcome: Outcome) {
        if self.strays.is_empty() {
            return;
        }
        let Stray { reader, flight } = self.strays.remove(which % self.strays.len());
        self.finish_flight(reader.id, flight, outcome, 0);
    }

    fn finish_flight(&self, id: ConsumerId, flight: Flight, outcome: Outcome, untold: u64) {
        drop(flight.frame);
        let done = Done {
            stamp: flight.stamp,
            outcome,
            flow: match outcome {
                Outcome::Delivered => 0,
                Outcome::Lost(reason) | Outcome::Ended(reason) => flow(reason),
            },
            untold,
        };
        self.rig.fan.finish(id, done, self.rig.now);
    }

    // ---- what the application does with frames ---------------------------------------------

    fn keep(&mut self, index: usize) {
        let Some(flight) = &self.servers[index].flight else {
            return;
        };
        if let Some(frame) = &flight.frame {
            self.rig.fan.keep(flight.number);
            self.kept.push((flight.number, frame.clone()));
        }
    }

    fn unkeep(&mut self, which: usize) {
        if !self.kept.is_empty() {
            let (number, frame) = self.kept.remove(which % self.kept.len());
            drop(frame);
            self.rig.fan.unkeep(number, self.rig.now);
        }
    }

    fn land(&mut self, index: usize) {
        let Server { reader, flight, .. } = &mut self.servers[index];
        if let Some(flight) = flight
            && flight.frame.take().is_some()
        {
            let landed = self.rig.fan.landed(reader.id).unwrap();
            landed.store(flight.number, Ordering::SeqCst);
            self.model.guests[index].eat();
        }
    }

    /// The frames, with their numbers, that threads and the application have.
    fn in_hand(&self) -> impl Iterator<Item = (u64, &Frame)> {
        let servers = self.servers.iter();
        let flights = servers.filter_map(|server| server.flight.as_ref());
        let strays = self.strays.iter().map(|stray| &stray.flight);
        let flights = flights.chain(strays);
        let flights = flights.filter_map(|one| Some((one.number, one.frame.as_ref()?)));
        flights.chain(self.kept.iter().map(|(number, frame)| (*number, frame)))
    }

    fn hands(&self) -> Hands {
        self.in_hand().map(|(number, _)| number).collect()
    }

    // ---- what has to be so -----------------------------------------------------------------

    fn check(&self) {
        assert!(self.rig.lock_was_free(), "freed or woken under the lock");
        for (index, guest) in self.model.guests.iter().enumerate() {
            let server = &self.servers[index];
            self.check_accounts(index);
            let ready = guest.has_something(self.model.flushing);
            assert!(
                !server.sleeps() || !ready,
                "sleeps although there is something"
            );
        }
        self.check_frames();
        let totals = self.rig.fan.totals(self.rig.now);
        let living = self.model.guests.iter().flat_map(|guest| guest.bill.drops);
        let turned_away = self.model.closing.turned_away;
        assert_eq!(totals.published, self.model.end + turned_away);
        assert_eq!(totals.dropped, self.model.parted + living.sum::<u64>());
        assert_eq!(totals.keyframe_requests, self.model.asked.keyframes);
    }

    /// A frame lives as long as it is held, and no more are than may.
    fn check_frames(&self) {
        for (sequence, frame) in self.frames.iter().enumerate() {
            let held = self.model.holds(sequence as u64);
            let id = frame.upgrade().map(|body| body.0);
            let used = self.in_hand().any(|(_, frame)| Some(frame.0) == id);
            assert_eq!(id.is_some(), held || used, "frame {sequence}");
        }
        let hands = self.hands();
        let pool = self.rig.fan.totals(self.rig.now).pool;
        assert_eq!(pool.max_held, self.model.max_held());
        assert_eq!(pool.held, self.model.held(&hands), "frames out");
        let strays = self.rig.fan.strays() as usize;
        assert_eq!(strays, self.strays.len(), "frames of sessions before");
    }

    fn check_accounts(&self, index: usize) {
        let now = self.rig.now;
        let (server, Guest { seat, bill, .. }) = (&self.servers[index], &self.model.guests[index]);
        let snapshot = self.rig.fan.snapshot_of(server.reader.id, now).unwrap();
        let ledger = snapshot.ledger;
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!(ledger.frames_in, bill.frames_in, "in");
        assert_eq!(ledger.frames_out, bill.out, "out");
        assert_eq!(ledger.waiting, self.model.guests[index].level(), "waiting");
        assert_eq!(ledger.in_flight, u64::from(bill.in_hand.is_some()));
        let drops: Vec<u64> = ledger.dropped.iter().map(|(_, count)| count).collect();
        assert_eq!(drops, bill.drops, "drops");
        let levels = self.model.levels(index);
        assert_eq!((snapshot.bytes, snapshot.time), levels, "levels");
        assert_eq!(snapshot.events_dropped, bill.events_gone);
        assert_eq!(snapshot.requested_keyframes, bill.requested_keyframes);
        assert_eq!(snapshot.flow, seat.flow);
    }
}

fn flow(reason: DropReason) -> i32 {
    -(reason.index() as i32) - 1
}

proptest! {
    #![proptest_config(cases(512))]

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
