// SPDX-License-Identifier: MPL-2.0
//! Upstream that has starved gets frames back, and what that shows holds from then on.

use super::*;

use DropReason::Pool;

const FRAME: u64 = 33 * MS;

/// A source with so many buffers, and the thread that watches it.
struct Starving {
    rig: Rig,
    buffers: usize,
    watch: Option<u64>,
    /// When the watcher looks next.
    due: Option<u64>,
    rung: Arc<AtomicU64>,
    seen: u64,
}

impl Starving {
    fn new(buffers: usize) -> Self {
        let rig = Rig::new();
        rig.fan.new_format(FRAME);
        rig.fan.set_playing(true, rig.now);
        Self {
            rig,
            buffers,
            watch: None,
            due: None,
            rung: Arc::default(),
            seen: 0,
        }
    }

    /// Publishes a frame if there is a buffer for it.
    fn publish(&mut self) -> bool {
        if self.rig.alive().len() >= self.buffers {
            return false;
        }
        let published = self.rig.publish_info(FrameInfo::default());
        if let Some(watch) = published.watch {
            assert_eq!(self.watch.replace(watch), None, "one watches already");
            self.look();
        }
        true
    }

    fn look(&mut self) {
        let Some(watch) = self.watch else { return };
        let mut waker = Some(bell(&self.rung));
        self.due = match self
            .rig
            .fan
            .look_at_silence(watch, self.rig.now, &mut waker)
        {
            Watch::For(time) => Some(self.rig.now + time),
            Watch::UntilWoken => None,
            Watch::Over => panic!("over"),
        };
    }

    /// Time passes, ns, and the watcher looks when it wants to.
    fn pass(&mut self, time: u64) {
        let end = self.rig.now + time;
        let rung = self.rung.load(Ordering::SeqCst);
        if rung > self.seen {
            self.seen = rung;
            self.look();
        }
        while let Some(due) = self.due.filter(|due| *due <= end) {
            self.rig.now = due;
            self.look();
        }
        self.rig.now = end;
    }

    /// Comes to `frames` more of them; for how long it waited for buffers, each time that it did.
    fn run(&mut self, frames: u64) -> Vec<u64> {
        let mut waits = Vec::new();
        for _ in 0..frames {
            self.pass(FRAME);
            let begin = self.rig.now;
            while !self.publish() {
                assert!(self.rig.now - begin < 2_000 * MS, "stopped for good");
                self.pass(MS);
            }
            if self.rig.now > begin {
                waits.push((self.rig.now - begin) / MS);
            }
        }
        waits
    }

    fn learned(&self) -> (u64, u64) {
        let pool = self.rig.fan.totals(self.rig.now).pool;
        (pool.pool_size, pool.max_held)
    }

    fn lost(&self, reader: &Reader) -> u64 {
        self.rig.dropped(reader, Pool)
    }
}

#[test]
fn two_stops_teach_how_large_the_pool_is() {
    for buffers in 2..7 {
        let mut source = Starving::new(buffers);
        let stuck = source.rig.join(depth(8));
        source.run(1);
        let _zero = source.rig.frame(&stuck);
        let waits = source.run(40);
        assert!(
            waits.len() == 2 && waits.iter().all(|wait| *wait <= 100),
            "{buffers}: {waits:?}"
        );
        let size = buffers as u64;
        assert_eq!(source.learned(), (size, size.saturating_sub(2).max(1)));
        assert_eq!(source.run(100), [0; 0]);
    }
}

/// A receiver that never calls, or a branch that hangs in an event.
#[test]
fn a_consumer_that_takes_no_frame_at_all_stops_nothing() {
    let mut source = Starving::new(4);
    let _never = source.rig.join(depth(8));
    assert_eq!(source.run(40).len(), 2);
    assert_eq!(source.learned(), (4, 2));
}

/// The frame comes into flight when upstream has stopped already.
#[test]
fn a_frame_that_is_taken_late_is_seen() {
    let mut source = Starving::new(4);
    let [late, fast] = [(); 2].map(|()| source.rig.join(depth(8)));
    let mut none = None;
    for reader in [&late, &fast] {
        let mut waker = Some(bell(&reader.woken));
        source
            .rig
            .fan
            .take(reader.id, reader.session, source.rig.now, &mut waker);
    }
    for _ in 0..4 {
        assert!(source.publish());
    }
    source.rig.drain(&fast);
    none.replace(source.rig.frame(&late));
    assert_eq!(source.run(20).len(), 2);
}

#[test]
fn a_silence_of_upstream_s_own_costs_two_frames_and_teaches_nothing() {
    let mut source = Starving::new(1_000);
    let stuck = source.rig.join(depth(4));
    source.run(1);
    let _zero = source.rig.frame(&stuck);
    for silence in 0..10 {
        source.run(20);
        source.pass(900 * MS);
        assert_eq!(source.lost(&stuck), 2 * (silence + 1));
        source.pass(5_000 * MS);
        assert_eq!(
            source.lost(&stuck),
            2 * (silence + 1),
            "no more in this silence"
        );
    }
    assert_eq!(source.learned(), (0, 0));
    // With a limit that is set, or a pool that is known, it costs nothing.
    for known in [true, false] {
        match known {
            true => source.rig.fan.set_pool(50, source.rig.now),
            false => source.rig.fan.set_max_held(|| 50, source.rig.now),
        }
        source.run(20);
        let before = source.lost(&stuck);
        source.pass(5_000 * MS);
        assert_eq!(source.lost(&stuck), before);
    }
}

/// Frames in bursts, and a source that pauses until a frame was given back, by chance.
#[test]
fn what_a_pause_of_upstream_s_own_seems_to_show_is_not_learned() {
    let mut source = Starving::new(1_000);
    let stuck = source.rig.join(depth(4));
    source.run(20);
    let _one = source.rig.frame(&stuck);
    // What is out is counted now and then.
    source.run(40);
    for pause in [110, 150, 190, 240, 310, 350, 390] {
        for _ in 0..6 {
            source.pass(pause * MS);
            source.run(6);
        }
        assert_eq!(source.learned(), (0, 0), "{pause}");
    }
}

/// A branch that keeps its frames after it has returned: the pool is smaller than it was.
#[test]
fn a_pool_that_shrinks_is_learned_too() {
    let mut source = Starving::new(7);
    let stuck = source.rig.join(depth(4));
    source.run(1);
    let _zero = source.rig.frame(&stuck);
    assert_eq!(source.run(40), [0; 0], "there is room");
    source.buffers = 4;
    let waits = source.run(40);
    assert!(waits.iter().all(|wait| *wait < 400), "{waits:?}");
    assert!(waits.iter().sum::<u64>() < 1_000, "{waits:?}");
    assert_ne!(source.learned(), (0, 0));
    // It shrinks further.
    source.buffers = 3;
    let waits = source.run(40);
    assert!(waits.iter().sum::<u64>() < 1_000, "{waits:?}");
    assert_eq!(source.run(40), [0; 0]);
}

#[test]
fn what_is_kept_for_joiners_stops_upstream_no_longer() {
    let mut source = Starving::new(4);
    source.rig.fan.set_gop_capacity(|| 30);
    let fast = source.rig.join(depth(4));
    let published = source.rig.publish_info(FrameInfo::default());
    source.watch = published.watch;
    source.look();
    for _ in 0..3 {
        source.rig.drain(&fast);
        source.pass(FRAME);
        source.rig.publish("d");
    }
    source.rig.drain(&fast);
    assert_eq!(source.rig.alive().len(), 4);
    source.look();
    // The cache goes, and the next keyframe is long in coming.
    let begin = source.rig.now;
    while source.rig.alive().len() == 4 {
        assert!(source.rig.now - begin < 2_000 * MS, "stopped for good");
        source.pass(MS);
    }
    source.rig.publish("d");
    assert_eq!(source.rig.alive().len(), 1);
    assert_eq!(source.lost(&fast), 0);
}

#[test]
fn nothing_is_suspected_while_upstream_has_a_reason() {
    let mut source = Starving::new(1_000);
    let stuck = source.rig.join(depth(8));
    source.run(1);
    let _zero = source.rig.frame(&stuck);
    source.run(4);
    source.rig.fan.set_playing(false, source.rig.now);
    source.pass(900 * MS);
    assert_eq!(source.lost(&stuck), 0, "it does not play");
    source.rig.fan.set_playing(true, source.rig.now);
    source.pass(90 * MS);
    assert_eq!(source.lost(&stuck), 0, "it plays since then only");
    source.rig.event(Kind::Gap);
    source.pass(90 * MS);
    assert_eq!(source.lost(&stuck), 0, "an event is no silence");
    source.pass(15 * MS);
    assert_eq!(source.lost(&stuck), 1);
    source.pass(900 * MS);
    source.run(4);
    let before = source.lost(&stuck);
    assert_eq!((before, source.learned()), (2, (0, 0)));
    source.rig.event(Kind::Eos);
    source.pass(900 * MS);
    assert_eq!(source.lost(&stuck), before, "the stream is over");
    source.rig.fan.end_watch();
    let mut waker = Some(bell(&source.rung));
    let ended = source
        .rig
        .fan
        .look_at_silence(0, source.rig.now, &mut waker);
    assert_eq!(ended, Watch::Over);
    assert!(source.rig.lock_was_free());
}

/// One frame in 400 ms is no silence between any two of them.
#[test]
fn few_frames_a_second_are_no_silence() {
    let mut source = Starving::new(1_000);
    source.rig.fan.new_format(400 * MS);
    let stuck = source.rig.join(depth(8));
    source.publish();
    let _zero = source.rig.frame(&stuck);
    for _ in 0..8 {
        source.pass(400 * MS);
        source.publish();
    }
    assert_eq!(source.lost(&stuck), 0);
}
