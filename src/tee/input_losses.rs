// SPDX-License-Identifier: MPL-2.0
//! What was lost before the frames came here: jumps of time, and flags on frames.
//!
//! A frame is expected where the one before it ends. If the next one comes more than half a frame
//! duration later, that is a gap, and the frames that fit into it are missing. Only a fixed frame rate
//! is judged, and only within a segment: after a seek, a flush or new caps the judgement begins anew.
//!
//! Coded frames come in the order in which they are decoded. Their times are sorted in a window as
//! long as any codec reorders, and are judged when they leave it.

use smallvec::SmallVec;

use crate::facts::InputLosses;

/// No codec reorders frames by more.
const REORDERED: usize = 16;
/// A time that no frame comes after: nothing is expected.
const NEVER: u64 = u64::MAX;

/// How the frames of the stream that comes now are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// How long a frame lasts, ns; 0: nothing is judged by time.
    pub(super) frame: u64,
    /// Frames may come in another order than that of their times.
    pub(super) reordered: bool,
}

/// What there is to judge of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// ns
    pub(super) time: Option<u64>,
    /// ns; 0 unknown
    pub(super) duration: u64,
    pub(super) discont: bool,
    pub(super) corrupted: bool,
    /// Codec headers may come without a time.
    pub(super) header: bool,
}

/// A frame in the window.
#[derive(Debug, Clone, Copy)]
struct Timed {
    time: u64,
    end: u64,
    /// How many without a time came before it.
    untimed: u64,
}

#[derive(Debug)]
pub(super) struct LossJudge {
    losses: InputLosses,
    rule: Rule,
    /// How much later than expected a frame may come, ns. Longer than any time if nothing is judged.
    slack: u64,
    /// Where the last judged frame ends.
    expected: u64,
    /// No frame has come since the judgement began: its DISCONT tells of no loss.
    begins: bool,
    /// Frames without a time since the last one with.
    untimed: u64,
    /// Sorted; only where frames are reordered.
    window: SmallVec<[Timed; REORDERED + 1]>,
    /// Time of the last frame that left the window.
    passed: u64,
}

impl Default for LossJudge {
    fn default() -> Self {
        Self {
            losses: InputLosses::default(),
            rule: Rule {
                frame: 0,
                reordered: false,
            },
            slack: NEVER,
            expected: NEVER,
            begins: true,
            untimed: 0,
            window: SmallVec::new(),
            passed: 0,
        }
    }
}

impl LossJudge {
    pub(super) fn losses(&self) -> InputLosses {
        self.losses
    }

    /// The judgement begins anew, with what holds from now on.
    pub(super) fn begin(&mut self, rule: Rule) {
        self.pass_all();
        self.rule = rule;
        self.slack = match rule.frame {
            0 => NEVER,
            // Rounded times are no gap.
            frame => frame / 2 + frame / 32,
        };
        self.begins = true;
    }

    /// The stream has ended: what waits to be judged is.
    pub(super) fn end(&mut self) {
        self.begin(self.rule);
    }

    #[inline]
    pub(super) fn note(&mut self, seen: Seen) {
        if seen.discont | seen.corrupted {
            self.note_flags(seen);
        }
        self.begins = false;
        match seen.time {
            Some(time) if !self.rule.reordered & (self.untimed == 0) => {
                let end = time.saturating_add(seen.duration.max(self.rule.frame));
                self.judge(time, end, 0);
            }
            time => self.note_later(time, seen),
        }
    }

    #[cold]
    fn note_flags(&mut self, seen: Seen) {
        self.losses.disconts += u64::from(seen.discont && !self.begins);
        self.losses.corrupted += u64::from(seen.corrupted);
    }

    /// A frame without a time, after one, or of a stream that is reordered.
    #[inline(never)]
    fn note_later(&mut self, time: Option<u64>, seen: Seen) {
        let Some(time) = time else {
            self.untimed += u64::from(!seen.header);
            return;
        };
        let timed = Timed {
            time,
            end: time.saturating_add(seen.duration.max(self.rule.frame)),
            untimed: std::mem::take(&mut self.untimed),
        };
        if !self.rule.reordered {
            return self.judge(time, timed.end, timed.untimed);
        }
        if time < self.passed {
            // No reordering: the source's time went back.
            self.pass_all();
        }
        self.insert(timed);
        if self.window.len() > REORDERED {
            let first = self.window.remove(0);
            self.pass(first);
        }
    }

    /// Parts of one frame have one time.
    fn insert(&mut self, timed: Timed) {
        let after = self.window.iter().rposition(|own| own.time <= timed.time);
        match after {
            Some(index) if self.window[index].time == timed.time => {
                let own = &mut self.window[index];
                own.end = own.end.max(timed.end);
            }
            Some(index) => self.window.insert(index + 1, timed),
            None => self.window.insert(0, timed),
        }
    }

    fn pass(&mut self, timed: Timed) {
        self.passed = timed.time;
        self.judge(timed.time, timed.end, timed.untimed);
    }

    fn pass_all(&mut self) {
        for timed in std::mem::take(&mut self.window) {
            self.pass(timed);
        }
        self.expected = NEVER;
        self.passed = 0;
        self.untimed = 0;
    }

    /// A frame from `time` to `end`, the next one in order of time.
    #[inline]
    fn judge(&mut self, time: u64, end: u64, untimed: u64) {
        let jump = time.saturating_sub(self.expected);
        if jump > self.slack {
            self.note_gap(jump, untimed);
        }
        self.expected = end;
    }

    #[cold]
    fn note_gap(&mut self, jump: u64, untimed: u64) {
        let frame = self.rule.frame;
        // To the nearest whole number of frames.
        let fit = jump.saturating_add(frame / 2) / frame.max(1);
        let missing = fit.max(1).saturating_sub(untimed);
        if missing > 0 {
            self.losses.gaps += 1;
            self.losses.missing = self.losses.missing.saturating_add(missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 33_333_333;

    fn judge(rule: Rule) -> LossJudge {
        let mut judge = LossJudge::default();
        judge.begin(rule);
        judge
    }

    fn raw() -> LossJudge {
        judge(Rule {
            frame: FRAME,
            reordered: false,
        })
    }

    fn coded() -> LossJudge {
        judge(Rule {
            frame: FRAME,
            reordered: true,
        })
    }

    fn at(time: u64) -> Seen {
        Seen {
            time: Some(time),
            duration: FRAME,
            discont: false,
            corrupted: false,
            header: false,
        }
    }

    fn note_all(judge: &mut LossJudge, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            judge.note(at(number * FRAME));
        }
    }

    /// Gaps and missing frames, once the stream has ended.
    fn verdict(mut judge: LossJudge) -> (u64, u64) {
        judge.end();
        (judge.losses().gaps, judge.losses().missing)
    }

    #[test]
    fn what_is_missing_is_counted() {
        for mut judge in [raw(), coded()] {
            note_all(
                &mut judge,
                (0..30).filter(|n| ![3, 4, 5, 9, 20].contains(n)),
            );
            assert_eq!(verdict(judge), (3, 5));
        }
    }

    #[test]
    fn eighteen_of_thirty_a_second() {
        for mut judge in [raw(), coded()] {
            note_all(&mut judge, (0..300).filter(|n| n * 18 % 30 < 18));
            let (gaps, missing) = verdict(judge);
            assert!(gaps > 0);
            assert_eq!(missing, 120);
        }
    }

    #[test]
    fn jitter_and_rounding_are_no_gap() {
        let mut judge = raw();
        for n in 0..1_000u64 {
            let jitter = (n * 7_919 % 17) * FRAME / 34;
            judge.note(at(n * FRAME + jitter));
        }
        assert_eq!(verdict(judge), (0, 0));
        // Times in whole milliseconds, at 240 a second.
        let frame = 4_166_666;
        let mut judge = super::tests::judge(Rule {
            frame,
            reordered: false,
        });
        for n in 0..1_000u64 {
            judge.note(Seen {
                duration: frame,
                ..at(n * frame / 1_000_000 * 1_000_000)
            });
        }
        assert_eq!(verdict(judge), (0, 0));
    }

    #[test]
    fn a_jump_of_one_and_a_half_is_none() {
        for (percent, expected) in [(150, (0, 0)), (160, (1, 1)), (240, (1, 1)), (260, (1, 2))] {
            let mut judge = raw();
            judge.note(at(0));
            judge.note(at(FRAME * percent / 100));
            assert_eq!(verdict(judge), expected, "{percent} %");
        }
    }

    #[test]
    fn a_frame_lasts_as_long_as_it_says() {
        let mut judge = raw();
        judge.note(Seen {
            duration: 10 * FRAME,
            ..at(0)
        });
        note_all(&mut judge, [10, 11, 13]);
        assert_eq!(verdict(judge), (1, 1));
    }

    #[test]
    fn without_a_frame_rate_nothing_is_judged() {
        let mut judge = judge(Rule {
            frame: 0,
            reordered: false,
        });
        for n in [0, 1, 5, 100, 101] {
            judge.note(Seen {
                duration: 0,
                ..at(n * FRAME)
            });
        }
        assert_eq!(verdict(judge), (0, 0));
    }

    #[test]
    fn reordered_frames_are_no_gap() {
        // I P B B, and a pyramid of eight.
        for pattern in [&[0u64, 3, 1, 2][..], &[0, 8, 4, 2, 1, 3, 6, 5, 7]] {
            let mut own = coded();
            let length = pattern.len() as u64;
            let numbers = |gop: u64| pattern.iter().map(move |n| gop * length + n);
            note_all(&mut own, (0..20).flat_map(numbers));
            assert_eq!(verdict(own), (0, 0), "{pattern:?}");
            let mut own = coded();
            let lost = 7 * length + 1;
            note_all(&mut own, (0..20).flat_map(numbers).filter(|n| *n != lost));
            assert_eq!(verdict(own), (1, 1), "{pattern:?}");
        }
    }

    #[test]
    fn parts_of_a_frame_and_fields_are_no_gap() {
        for mut judge in [raw(), coded()] {
            // Forty parts each: more than the window is long.
            let parts = (0..50).flat_map(|n| std::iter::repeat_n(n, 40));
            note_all(&mut judge, parts.filter(|n| *n != 20));
            assert_eq!(verdict(judge), (1, 1));
        }
    }

    #[test]
    fn frames_without_a_time_are_no_gap() {
        for mut judge in [raw(), coded()] {
            for n in 0..90 {
                let time = (n % 15 == 0).then_some(n * FRAME);
                if n != 37 && n != 40 {
                    judge.note(Seen { time, ..at(0) });
                }
            }
            assert_eq!(verdict(judge), (1, 2));
        }
    }

    #[test]
    fn headers_are_no_frames() {
        let mut judge = coded();
        for n in (0..10).filter(|n| *n != 5) {
            judge.note(Seen {
                time: None,
                header: true,
                ..at(0)
            });
            judge.note(at(n * FRAME));
        }
        assert_eq!(verdict(judge), (1, 1));
    }

    #[test]
    fn a_new_beginning_is_no_gap() {
        for mut judge in [raw(), coded()] {
            let rule = judge.rule;
            note_all(&mut judge, 0..5);
            judge.begin(rule);
            note_all(&mut judge, 100..105);
            judge.begin(rule);
            note_all(&mut judge, 0..5);
            assert_eq!(verdict(judge), (0, 0));
        }
    }

    #[test]
    fn a_source_whose_time_goes_back_is_followed() {
        for mut judge in [raw(), coded()] {
            note_all(&mut judge, 1_000..1_100);
            note_all(&mut judge, (0..100).filter(|n| *n != 50));
            assert_eq!(verdict(judge), (1, 1));
        }
    }

    #[test]
    fn flags_count_but_for_the_first_discont() {
        let mut judge = raw();
        let rule = judge.rule;
        let flagged = |discont, corrupted| Seen {
            discont,
            corrupted,
            time: None,
            ..at(0)
        };
        for _ in 0..2 {
            judge.begin(rule);
            judge.note(flagged(true, false));
            judge.note(flagged(true, false));
            judge.note(flagged(true, true));
            judge.note(flagged(false, true));
        }
        let losses = judge.losses();
        assert_eq!((losses.disconts, losses.corrupted), (4, 4));
    }

    #[test]
    fn the_largest_times_overflow_nothing() {
        for mut judge in [raw(), coded()] {
            for time in [0, NEVER - 1, NEVER, 0, NEVER] {
                judge.note(Seen {
                    duration: NEVER,
                    ..at(time)
                });
                judge.note(at(time));
            }
            let _ = verdict(judge);
        }
    }
}
