// SPDX-License-Identifier: MPL-2.0
//! Upstream that is silent because it has no buffer left gets some back, and what that shows is known
//! from then on.
//!
//! ```text
//!   a frame      three frame durations      one more            one more
//!   ───┬──────────────────┬────────────────────┬───────────────────┬──────────────►
//!      │ silence          │ a frame is         │ another one is    │ no starvation: nothing
//!      │                  │ given back         │ given back        │ more in this silence
//!                         ╰── a frame comes in one of these: ──────╯
//!                             upstream had starved
//! ```
//!
//! A source that pauses for its own reasons may go on just then. So it has to happen twice: a source that
//! has starved does so again after the few frames that it could make, or as soon as so many are out.

use std::task::Waker;

/// How long upstream is silent before that is a suspicion, in frame durations.
const DURATIONS: u64 = 3;
const SHORTEST: u64 = 50_000_000;
const LONGEST: u64 = 250_000_000;
/// Where nothing tells how long a frame lasts, ns.
const USUAL_DURATION: u64 = 33_000_000;
/// Longer than this between two frames is a pause, where the caps tell no frame rate.
const SLOWEST: u64 = 500_000_000;
/// What is out is counted with one frame of so many.
const COUNTED: u64 = 32;
/// So many frames are given back in a silence.
const ATTEMPTS: u32 = 2;
/// A source that has starved does so again after this many frames at most.
const IN_A_ROW: u64 = 4;

/// What upstream's silence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// Nothing before this time, ns.
    WaitUntil(u64),
    GiveBack,
    /// It is no starvation.
    Nothing,
}

/// A silence in which frames were given back.
#[derive(Debug, Clone, Copy)]
struct Attempts {
    count: u32,
    /// When the last one was made, ns.
    at: u64,
    span: u64,
    /// How many frames were out when upstream fell silent.
    held: u64,
}

/// A frame that came when one had been given back.
#[derive(Debug, Clone, Copy)]
struct Hit {
    number: u64,
    /// How many frames were out before.
    held: u64,
}

/// How it was before a frame was given back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// Frames that were out.
    pub(super) held: u64,
    /// The number of the last frame that had come.
    pub(super) newest: u64,
}

/// The thread that watches.
#[derive(Debug, Default)]
enum Watcher {
    #[default]
    None,
    Watching,
    /// It has nothing to watch, and waits until it is woken.
    Idle(Waker),
}

#[derive(Debug, Default)]
pub(super) struct Silence {
    /// Since when a silence counts: the element plays, ns.
    playing_since: Option<u64>,
    /// When upstream's last event came, ns.
    last_event: u64,
    /// When the stream ended, ns.
    ended_at: u64,
    /// By the caps, ns; 0 where they do not tell.
    frame_duration: u64,
    /// The most frames that were out when one came: so many buffers upstream has at least.
    most: u64,
    /// The longest that the log was then.
    longest: u64,
    attempts: Option<Attempts>,
    /// The last silence that seemed to be a starvation.
    hit: Option<Hit>,
    watcher: Watcher,
    /// Which watcher it is: one from before ends.
    watch: u64,
}

impl Silence {
    // ---- what upstream does ----------------------------------------------------------------

    /// The frame `position` was appended, which made the log that long. True if there is more to do.
    #[inline]
    pub(super) fn note_frame(&self, position: u64, length: u64) -> bool {
        // To count what is out takes its time.
        let counts = length > self.longest || position.is_multiple_of(COUNTED);
        counts || !matches!(self.watcher, Watcher::Watching) || self.attempts.is_some()
    }

    /// So many are out with the new one, and the log is that long.
    pub(super) fn note_held(&mut self, held: u64, length: u64) {
        self.most = self.most.max(held);
        self.longest = self.longest.max(length);
    }

    pub(super) fn note_event(&mut self, now: u64, ends_stream: bool) {
        self.last_event = now;
        if ends_stream {
            self.ended_at = now;
        }
    }

    /// With the caps' frame duration, 0 where they do not tell: nothing from before counts.
    pub(super) fn new_format(&mut self, frame_duration: u64) {
        self.frame_duration = frame_duration;
        self.forget();
    }

    /// What was seen of upstream's buffers counts no longer.
    pub(super) fn forget(&mut self) {
        self.most = 0;
        self.longest = 0;
        self.attempts = None;
        self.hit = None;
    }

    pub(super) fn set_playing(&mut self, since: Option<u64>) {
        self.playing_since = since;
    }

    /// All of a life of the stream that is over. Returns the watcher if it has to be woken.
    pub(super) fn reset(&mut self) -> Option<Waker> {
        let watcher = self.end_watch();
        *self = Self {
            watch: self.watch,
            ..Self::default()
        };
        watcher
    }

    // ---- what it means ---------------------------------------------------------------------

    /// Upstream's last frame came at `last`, and `held` are out; `interval` is what lay between two, if that is known.
    pub(super) fn look(&self, last: u64, held: u64, interval: Option<u64>, now: u64) -> Says {
        let Some(playing_since) = self.playing_since else {
            return Says::Nothing;
        };
        if self.ended_at >= last {
            return Says::Nothing;
        }
        let since = match self.attempts {
            Some(attempts) if attempts.count >= ATTEMPTS => return Says::Nothing,
            Some(attempts) => attempts.at,
            None => last.max(self.last_event).max(playing_since),
        };
        let span = self.span(interval);
        let is_unlikely = self.had_more_than(held) && self.hit.is_none();
        let patience = match self.attempts {
            // Consumers that keep their frames after they have returned may have taken them since.
            None if is_unlikely => span.max(LONGEST),
            _ => span,
        };
        let due = since.saturating_add(patience);
        match now >= due {
            true => Says::GiveBack,
            false => Says::WaitUntil(due),
        }
    }

    /// How long upstream may be silent, ns.
    fn span(&self, interval: Option<u64>) -> u64 {
        let interval = interval.unwrap_or(0);
        let duration = match self.frame_duration {
            0 => interval.clamp(USUAL_DURATION, SLOWEST),
            // Caps may promise more frames than come.
            told => told.max(interval.min(LONGEST * 2 / 3)),
        };
        let span = (DURATIONS * duration).clamp(SHORTEST, LONGEST);
        // A stream of few frames is silent for longer between any two of them.
        span.max(duration + duration / 2)
    }

    /// It had more buffers before: those that are out do not keep it from its next frame.
    pub(super) fn had_more_than(&self, held: u64) -> bool {
        held < self.most
    }

    /// A frame was given back.
    pub(super) fn gave_back(&mut self, before: Before, interval: Option<u64>, now: u64) {
        let Before { held, newest } = before;
        let span = self.span(interval);
        // Upstream stops again, or as often as so many are out.
        let is_again = |hit: Hit| {
            newest - hit.number <= IN_A_ROW || held == hit.held && !self.had_more_than(held)
        };
        self.hit = self.hit.filter(|hit| is_again(*hit));
        let attempts = self.attempts.get_or_insert(Attempts {
            count: 0,
            at: now,
            span,
            held,
        });
        attempts.count += 1;
        attempts.at = now;
    }

    /// The silence is over with the frame of this number. How many frames were out when upstream
    /// fell silent, if it was because of them.
    pub(super) fn end(&mut self, number: u64, now: u64) -> Option<u64> {
        let attempts = self.attempts.take()?;
        let is_hit = now.saturating_sub(attempts.at) <= attempts.span;
        let was_hit = self.hit.take().is_some();
        if is_hit && !was_hit {
            let held = attempts.held;
            self.hit = Some(Hit { number, held });
        }
        (is_hit && was_hit).then_some(attempts.held)
    }

    /// Nothing that was begun in this silence counts.
    pub(super) fn break_off(&mut self) {
        self.attempts = None;
        self.hit = None;
    }

    // ---- who watches -----------------------------------------------------------------------

    /// What a thread that watches from now on has to [look](crate::fanout::Fanout::look_at_silence) with;
    /// `None` if there is one.
    pub(super) fn begin_watch(&mut self) -> Option<u64> {
        if !matches!(self.watcher, Watcher::None) {
            return None;
        }
        self.watcher = Watcher::Watching;
        Some(self.watch)
    }

    pub(super) fn is_watch(&self, watch: u64) -> bool {
        !matches!(self.watcher, Watcher::None) && self.watch == watch
    }

    /// The watcher ends. Returns it if it has to be woken for that.
    pub(super) fn end_watch(&mut self) -> Option<Waker> {
        self.watch += 1;
        self.replace_watcher(Watcher::None)
    }

    /// The watcher, if it waits for something to watch.
    pub(super) fn take_watcher(&mut self) -> Option<Waker> {
        match self.watcher {
            Watcher::Idle(_) => self.replace_watcher(Watcher::Watching),
            Watcher::None | Watcher::Watching => None,
        }
    }

    /// The watcher has nothing to watch for now. Returns the one before.
    pub(super) fn idle(&mut self, watcher: Waker) -> Option<Waker> {
        self.replace_watcher(Watcher::Idle(watcher))
    }

    /// Returns the one before, if it was idle.
    fn replace_watcher(&mut self, next: Watcher) -> Option<Waker> {
        match std::mem::replace(&mut self.watcher, next) {
            Watcher::Idle(waker) => Some(waker),
            Watcher::None | Watcher::Watching => None,
        }
    }
}
