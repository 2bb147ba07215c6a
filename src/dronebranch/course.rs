// SPDX-License-Identifier: MPL-2.0
//! The course that a branch takes: runs, fails, waits, restarts, gives up. Plain logic; times are
//! monotonic ns and come in as arguments.

/// A restart is due after `delay`, doubled with each failure in a row up to `delay_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) restart: bool,
    pub(super) delay: u64,
    pub(super) delay_max: u64,
    /// The branch gives up at this many failures in a row; 0: never.
    pub(super) max_restarts: u32,
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Row {
    failures: u32,
    /// Since when the content has been up; `None` while it is not.
    up_since: Option<u64>,
}

impl Row {
    /// How long to wait for the restart; `None` gives up.
    fn add(&mut self, rules: &Rules, now: u64) -> Option<u64> {
        let up_since = self.up_since.take();
        if up_since.is_some_and(|since| now.saturating_sub(since) >= rules.delay_max) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let gives_up = rules.max_restarts > 0 && self.failures >= rules.max_restarts;
        if !rules.restart || gives_up {
            return None;
        }
        let doubled = 1_u64.checked_shl(self.failures - 1).unwrap_or(u64::MAX);
        Some(rules.delay.saturating_mul(doubled).min(rules.delay_max))
    }
}

/// The number of a life of the content. What is reported of another life than the current one is
/// void.
pub(super) type LifeId = u64;

/// Where the branch is.
///
/// | from | what happens | to |
/// | --- | --- | --- |
/// | `Stopped` | [`start`](Course::start): READY→PAUSED | `Running`, the content comes up |
/// | `Running` | [`up`](Course::up) | `Running`, up |
/// | `Running` | [`fail`](Course::fail) | `Waiting`, or `Failed` when it gives up |
/// | `Waiting` | [`cleared`](Course::cleared): the old content is down or left behind | `Waiting`, cleared |
/// | `Waiting` | [`restart`](Course::restart): cleared and due | `Waiting`, the content comes up |
/// | `Waiting` | [`up`](Course::up) | `Running` |
/// | `Waiting` | [`fail`](Course::fail) of the content that comes up | `Waiting`, or `Failed` |
/// | `Waiting` | [`lose`](Course::lose): left behind, and there is no other | `Failed` |
/// | any | [`stop`](Course::stop): PAUSED→READY | `Stopped` |
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Stopped,
    Running {
        life: LifeId,
    },
    Waiting {
        /// When the restart is due.
        due: u64,
        stage: Stage,
    },
    Failed,
}

/// How far a restart has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The content that failed is being torn down.
    Clearing,
    /// It is down, the restart waits for its time.
    Cleared,
    /// The content of this life is coming up.
    Rising(LifeId),
}

/// What the property `state` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Stopped,
    Running,
    Waiting,
    Failed,
}

/// What became of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// Failures since NULL→READY.
    pub(super) failures: u64,
    /// `None`: the branch has given up.
    pub(super) restart_in: Option<u64>,
}

/// Since NULL→READY.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) failures: u64,
    pub(super) restarts: u64,
    pub(super) abandoned: u64,
}

#[derive(Debug, Default)]
pub(super) struct Course {
    place: Place,
    row: Row,
    lives: LifeId,
    pub(super) counts: Counts,
}

impl Course {
    pub(super) fn state(&self) -> State {
        match self.place {
            Place::Stopped => State::Stopped,
            Place::Running { .. } => State::Running,
            Place::Waiting { .. } => State::Waiting,
            Place::Failed => State::Failed,
        }
    }

    fn next_life(&mut self) -> LifeId {
        self.lives += 1;
        self.lives
    }

    /// The first life, which takes frames at once: they wait for it to come up.
    pub(super) fn start(&mut self) -> LifeId {
        let life = self.next_life();
        self.row = Row::default();
        self.place = Place::Running { life };
        life
    }

    pub(super) fn stop(&mut self) {
        self.place = Place::Stopped;
    }

    /// The content of `life` is up; true if the branch runs with it from now on.
    pub(super) fn up(&mut self, life: LifeId, now: u64) -> bool {
        let is_current = self.current() == Some(life);
        if is_current {
            self.row.up_since.get_or_insert(now);
            self.place = Place::Running { life };
        }
        is_current
    }

    /// The life that runs or comes up.
    pub(super) fn current(&self) -> Option<LifeId> {
        match self.place {
            Place::Running { life } => Some(life),
            Place::Waiting {
                stage: Stage::Rising(life),
                ..
            } => Some(life),
            _ => None,
        }
    }

    /// The content of `life` failed; `None` if that is no news.
    pub(super) fn fail(&mut self, life: LifeId, rules: &Rules, now: u64) -> Option<Failure> {
        if self.current() != Some(life) {
            return None;
        }
        self.counts.failures += 1;
        let restart_in = self.row.add(rules, now);
        self.place = match restart_in {
            Some(delay) => Place::Waiting {
                due: now.saturating_add(delay),
                stage: Stage::Clearing,
            },
            None => Place::Failed,
        };
        Some(Failure {
            failures: self.counts.failures,
            restart_in,
        })
    }

    /// The content that failed is out of the way.
    pub(super) fn cleared(&mut self) {
        if let Place::Waiting { stage, .. } = &mut self.place
            && *stage == Stage::Clearing
        {
            *stage = Stage::Cleared;
        }
    }

    /// There is no content any more: a failure for good.
    pub(super) fn lose(&mut self) -> Option<Failure> {
        if matches!(self.place, Place::Stopped | Place::Failed) {
            return None;
        }
        self.place = Place::Failed;
        self.counts.failures += 1;
        Some(Failure {
            failures: self.counts.failures,
            restart_in: None,
        })
    }

    /// When the next restart is due, if nothing else holds it up.
    pub(super) fn due(&self) -> Option<u64> {
        match self.place {
            Place::Waiting {
                due,
                stage: Stage::Cleared,
            } => Some(due),
            _ => None,
        }
    }

    /// Begins the restart that is due.
    pub(super) fn restart(&mut self, now: u64) -> Option<LifeId> {
        let due = self.due().filter(|due| *due <= now)?;
        let life = self.next_life();
        self.counts.restarts += 1;
        let stage = Stage::Rising(life);
        self.place = Place::Waiting { due, stage };
        Some(life)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        restart: true,
        delay: 10,
        delay_max: 35,
        max_restarts: 0,
    };

    /// Fails the current life and restarts it when that is due; the delay.
    fn failed(course: &mut Course, rules: &Rules, now: &mut u64) -> Option<u64> {
        let life = course.current().unwrap();
        let delay = course.fail(life, rules, *now).unwrap().restart_in?;
        course.cleared();
        assert_eq!(course.restart(*now + delay - 1), None, "too early");
        *now += delay;
        let next = course.restart(*now).unwrap();
        assert_eq!(course.state(), State::Waiting);
        assert!(course.up(next, *now));
        assert_eq!(course.state(), State::Running);
        Some(delay)
    }

    #[test]
    fn delays_double_up_to_the_maximum() {
        let mut course = Course::default();
        let mut now = 100;
        let life = course.start();
        assert!(course.up(life, now));
        let delays = [(); 5].map(|()| failed(&mut course, &RULES, &mut now).unwrap());
        assert_eq!(delays, [10, 20, 35, 35, 35]);
        assert_eq!((course.counts.failures, course.counts.restarts), (5, 5));
    }

    #[test]
    fn having_run_for_the_maximum_ends_the_row() {
        let mut course = Course::default();
        let mut now = 100;
        let life = course.start();
        assert!(course.up(life, now));
        assert_eq!(failed(&mut course, &RULES, &mut now), Some(10));
        now += RULES.delay_max - 1;
        assert_eq!(failed(&mut course, &RULES, &mut now), Some(20));
        now += RULES.delay_max;
        assert_eq!(failed(&mut course, &RULES, &mut now), Some(10));
    }

    #[test]
    fn time_in_coming_up_does_not_end_the_row() {
        let mut course = Course::default();
        let first = course.start();
        assert_eq!(
            course.fail(first, &RULES, 1000).unwrap().restart_in,
            Some(10)
        );
        course.cleared();
        let second = course.restart(1010).unwrap();
        assert_eq!(
            course.fail(second, &RULES, 5000).unwrap().restart_in,
            Some(20)
        );
    }

    #[test]
    fn gives_up_after_so_many_failures_in_a_row() {
        let rules = Rules {
            max_restarts: 3,
            ..RULES
        };
        let mut course = Course::default();
        let mut now = 0;
        let life = course.start();
        assert!(course.up(life, now));
        assert_eq!(failed(&mut course, &rules, &mut now), Some(10));
        assert_eq!(failed(&mut course, &rules, &mut now), Some(20));
        assert_eq!(failed(&mut course, &rules, &mut now), None);
        assert_eq!(course.state(), State::Failed);
        assert_eq!((course.counts.failures, course.counts.restarts), (3, 2));
    }

    #[test]
    fn without_restart_the_first_failure_is_the_last() {
        let rules = Rules {
            restart: false,
            ..RULES
        };
        let mut course = Course::default();
        let life = course.start();
        assert_eq!(course.fail(life, &rules, 5).unwrap().restart_in, None);
        assert_eq!(course.state(), State::Failed);
        assert_eq!(course.due(), None);
    }

    #[test]
    fn a_life_fails_once_and_old_lives_are_not_heard() {
        let mut course = Course::default();
        let first = course.start();
        assert!(course.fail(first, &RULES, 0).is_some());
        assert!(course.fail(first, &RULES, 0).is_none());
        assert_eq!(course.restart(1000), None, "the old content is not down");
        course.cleared();
        let second = course.restart(1000).unwrap();
        assert!(!course.up(first, 1000));
        assert!(course.fail(first, &RULES, 1000).is_none());
        assert!(course.up(second, 1000));
        course.stop();
        assert!(!course.up(second, 1000));
        assert!(course.fail(second, &RULES, 1000).is_none());
        assert_eq!(course.state(), State::Stopped);
    }

    #[test]
    fn content_that_is_lost_is_a_failure_for_good() {
        let mut course = Course::default();
        let life = course.start();
        course.fail(life, &RULES, 0).unwrap();
        assert_eq!(course.lose().unwrap().failures, 2);
        assert_eq!(course.state(), State::Failed);
        assert!(course.lose().is_none());
        course.cleared();
        assert_eq!(course.restart(u64::MAX), None);
    }

    #[test]
    fn the_longest_row_does_not_overflow() {
        let rules = Rules {
            delay: u64::MAX,
            delay_max: u64::MAX,
            ..RULES
        };
        let mut row = Row {
            failures: u32::MAX,
            up_since: None,
        };
        assert_eq!(row.add(&rules, 0), Some(u64::MAX));
    }
}
