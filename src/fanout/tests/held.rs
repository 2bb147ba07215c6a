// SPDX-License-Identifier: MPL-2.0
//! What is out and how much may be, over random operations: the figure is to the frame, the limit
//! holds, and the accounts balance.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Publish(bool),
    /// A consumer takes a frame, if it has none in flight.
    Take(usize),
    Finish(usize),
    Join(u64),
    Leave(usize),
    MaxHeld(u64),
    Pool(u64),
    Replay(u64),
    Flush,
    Caps,
    Silence,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        12 => proptest::bool::weighted(0.7).prop_map(Op::Publish),
        8 => (0..4_usize).prop_map(Op::Take),
        6 => (0..4_usize).prop_map(Op::Finish),
        1 => (1..6_u64).prop_map(Op::Join),
        1 => (0..4_usize).prop_map(Op::Leave),
        1 => (0..6_u64).prop_map(Op::MaxHeld),
        1 => (0..8_u64).prop_map(Op::Pool),
        1 => (0..6_u64).prop_map(Op::Replay),
        1 => Just(Op::Flush),
        1 => Just(Op::Caps),
        1 => Just(Op::Silence),
    ];
    vec(op, 1..200)
}

/// A consumer, and the frame that it has in flight.
type Held = (Reader, Option<TakenFrame<Frame>>);

struct Source {
    rig: Rig,
    readers: Vec<Held>,
    watch: Option<u64>,
}

impl Source {
    fn new() -> Self {
        let mut rig = Rig::new();
        rig.fan.new_format(33 * MS);
        rig.fan.set_playing(true, rig.now);
        let readers = (1..4).map(|n| (rig.join(depth(n)), None)).collect();
        Self {
            rig,
            readers,
            watch: None,
        }
    }

    fn take(&mut self, which: usize) {
        let Some((reader, flight @ None)) = self.readers.get_mut(which) else {
            return;
        };
        loop {
            match self.rig.take(reader) {
                Taken::Frame(frame) => break *flight = Some(frame),
                Taken::Event(..) | Taken::Resumed => {}
                _ => break,
            }
        }
    }

    fn finish(&mut self, which: usize) {
        if let Some((reader, flight)) = self.readers.get_mut(which)
            && let Some(frame) = flight.take()
        {
            let stamp = frame.stamp;
            drop(frame);
            self.rig.finish(reader, stamp, Outcome::Delivered);
        }
    }

    fn run(&mut self, op: &Op) {
        let now = self.rig.now;
        match *op {
            Op::Publish(delta) => {
                let published = self.rig.publish_info(FrameInfo {
                    bytes: 1,
                    delta,
                    ..FrameInfo::default()
                });
                self.watch = self.watch.or(published.watch);
            }
            Op::Take(which) => self.take(which),
            Op::Finish(which) => self.finish(which),
            Op::Join(depth) if self.readers.len() < 4 => {
                let reader = self.rig.join(super::depth(depth));
                self.readers.push((reader, None));
            }
            Op::Leave(which) if which < self.readers.len() => {
                self.finish(which);
                let (reader, _) = self.readers.swap_remove(which);
                assert!(self.rig.leave(&reader).ledger.balances());
            }
            Op::MaxHeld(frames) => self.rig.fan.set_max_held(|| frames, now),
            Op::Pool(size) => self.rig.fan.set_pool(size, now),
            Op::Replay(frames) => self.rig.fan.set_gop_capacity(|| frames),
            Op::Flush => {
                self.rig.fan.flush_start(now);
                self.rig.fan.flush_stop(now);
            }
            Op::Caps => {
                self.rig.event(Kind::Caps);
                self.rig.fan.new_format(33 * MS);
            }
            Op::Silence => {
                self.rig.now += 400 * MS;
                if let Some(watch) = self.watch {
                    let mut waker = Some(bell(&Arc::default()));
                    let (fan, now) = (self.rig.fan.clone(), self.rig.now);
                    fan.look_at_silence(watch, now, &mut waker);
                }
            }
            Op::Join(_) | Op::Leave(_) => {}
        }
        self.rig.now += 10 * MS;
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let pool = self.rig.fan.totals(self.rig.now).pool;
        prop_assert_eq!(pool.held, self.rig.alive().len() as u64);
        let in_flight = self
            .readers
            .iter()
            .filter_map(|(_, flight)| flight.as_ref());
        let in_flight: BTreeSet<u64> = in_flight.map(|frame| frame.number).collect();
        // One more may wait for a consumer that is about to take it.
        let most = pool.max_held.max(in_flight.len() as u64 + 1);
        prop_assert!(pool.max_held == 0 || pool.held <= most, "{:?}", pool);
        for (reader, _) in &self.readers {
            self.rig.ledger(reader);
        }
        prop_assert!(self.rig.lock_was_free());
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn no_more_is_out_than_is_told_and_allowed(ops in ops()) {
        let mut source = Source::new();
        for op in &ops {
            source.run(op);
            source.check()?;
        }
    }
}
