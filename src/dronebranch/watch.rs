// SPDX-License-Identifier: MPL-2.0
//! When content counts as hung. Plain logic; times are monotonic ns and come in as arguments.

/// The least time after which content that does not get on has failed: shorter pauses are no news.
const LEAST_PATIENCE: u64 = 5_000_000_000;

#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) stop_timeout: u64,
    pub(super) delay_max: u64,
    /// For branches in the content, which find out by themselves what hangs in them.
    pub(super) grace: u64,
}

impl Patience {
    /// For content of which nothing is known but that it does not get on.
    fn long(&self) -> u64 {
        self.delay_max
            .max(LEAST_PATIENCE)
            .saturating_add(self.grace)
    }
}

/// What can be seen of the content from outside.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signs {
    /// Its state change has been going on since then.
    pub(super) rising_since: Option<u64>,
    /// The pipeline has been PLAYING since then; in PAUSED content may wait as long as it likes.
    pub(super) playing_since: Option<u64>,
    /// A frame, event or query that it got has not returned since then.
    pub(super) busy_since: Option<u64>,
    /// It was flushed then and has not returned from what it had.
    pub(super) flushed_since: Option<u64>,
    /// It got its first frame then and has not prerolled.
    pub(super) waits_since: Option<u64>,
    /// The end of the stream is known since then, and the content has not ended.
    pub(super) end_since: Option<u64>,
    /// When something last came to one of its sinks, or returned from it; 0 never.
    pub(super) active_at: u64,
}

/// What content hangs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hang {
    StateChange,
    Flush,
    Push,
    Preroll,
    End,
}

impl Hang {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::StateChange => "The state change does not return",
            Self::Flush => "A flush does not pass",
            Self::Push => "A frame does not return",
            Self::Preroll => "Frames come in, and no sink prerolls",
            Self::End => "The stream has ended, and the content does not",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All is well; look again at this time.
    Fine(u64),
    /// A frame is stuck for long enough to ask whether the stream has ended upstream.
    LookUpstream,
    Hangs(Hang),
}

/// How the content does.
pub(super) fn look(signs: &Signs, patience: &Patience, now: u64) -> Verdict {
    let mut next = now.saturating_add(patience.stop_timeout.max(1));
    let mut is_over = |since: u64, limit: u64| {
        let end = since.saturating_add(limit);
        next = next.min(end.max(now + 1));
        end <= now
    };
    if let Some(since) = signs.rising_since
        && is_over(since, patience.long())
    {
        return Verdict::Hangs(Hang::StateChange);
    }
    if let Some(since) = signs.flushed_since
        && is_over(since, patience.stop_timeout)
    {
        return Verdict::Hangs(Hang::Flush);
    }
    let Some(playing) = signs.playing_since else {
        return Verdict::Fine(next);
    };
    if let Some(since) = signs.end_since
        && is_over(
            since.max(signs.active_at).max(playing),
            patience.stop_timeout,
        )
    {
        return Verdict::Hangs(Hang::End);
    }
    if let Some(since) = signs.waits_since
        && is_over(since.max(playing), patience.long())
    {
        return Verdict::Hangs(Hang::Preroll);
    }
    if let Some(since) = signs.busy_since {
        if is_over(since.max(playing), patience.long()) {
            return Verdict::Hangs(Hang::Push);
        }
        if signs.end_since.is_none() && is_over(since.max(playing), patience.stop_timeout) {
            return Verdict::LookUpstream;
        }
    }
    Verdict::Fine(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const PATIENCE: Patience = Patience {
        stop_timeout: SECOND,
        delay_max: 30 * SECOND,
        grace: 0,
    };

    fn playing() -> Signs {
        Signs {
            playing_since: Some(10 * SECOND),
            ..Signs::default()
        }
    }

    #[test]
    fn idle_content_is_looked_at_now_and_then() {
        let now = 100 * SECOND;
        assert_eq!(
            look(&playing(), &PATIENCE, now),
            Verdict::Fine(101 * SECOND)
        );
    }

    #[test]
    fn content_may_wait_in_paused() {
        let signs = Signs {
            busy_since: Some(1),
            waits_since: Some(1),
            end_since: Some(1),
            ..Signs::default()
        };
        assert!(matches!(
            look(&signs, &PATIENCE, 1000 * SECOND),
            Verdict::Fine(_)
        ));
        let signs = Signs {
            playing_since: Some(1000 * SECOND),
            ..signs
        };
        assert_eq!(
            look(&signs, &PATIENCE, 1000 * SECOND),
            Verdict::Fine(1001 * SECOND),
            "time in PAUSED does not count"
        );
    }

    #[test]
    fn a_state_change_may_take_long_but_not_for_ever() {
        let signs = Signs {
            rising_since: Some(0),
            ..Signs::default()
        };
        assert!(matches!(
            look(&signs, &PATIENCE, 29 * SECOND),
            Verdict::Fine(_)
        ));
        assert_eq!(
            look(&signs, &PATIENCE, 30 * SECOND),
            Verdict::Hangs(Hang::StateChange)
        );
    }

    #[test]
    fn a_stuck_frame_makes_look_upstream_and_hangs_at_last() {
        let signs = Signs {
            busy_since: Some(20 * SECOND),
            ..playing()
        };
        assert_eq!(
            look(&signs, &PATIENCE, 20 * SECOND + 1),
            Verdict::Fine(21 * SECOND)
        );
        assert_eq!(look(&signs, &PATIENCE, 21 * SECOND), Verdict::LookUpstream);
        assert_eq!(
            look(&signs, &PATIENCE, 50 * SECOND),
            Verdict::Hangs(Hang::Push)
        );
    }

    #[test]
    fn a_flush_passes_in_paused_too() {
        let signs = Signs {
            flushed_since: Some(20 * SECOND),
            ..Signs::default()
        };
        assert_eq!(
            look(&signs, &PATIENCE, 20 * SECOND),
            Verdict::Fine(21 * SECOND)
        );
        assert_eq!(
            look(&signs, &PATIENCE, 21 * SECOND),
            Verdict::Hangs(Hang::Flush)
        );
    }

    #[test]
    fn small_delays_do_not_make_impatient() {
        let patience = Patience {
            delay_max: 1,
            ..PATIENCE
        };
        let signs = Signs {
            waits_since: Some(20 * SECOND),
            ..playing()
        };
        assert!(matches!(
            look(&signs, &patience, 24 * SECOND),
            Verdict::Fine(_)
        ));
        assert_eq!(
            look(&signs, &patience, 25 * SECOND),
            Verdict::Hangs(Hang::Preroll)
        );
    }

    #[test]
    fn the_end_may_take_as_long_as_something_moves() {
        let signs = Signs {
            busy_since: Some(20 * SECOND),
            end_since: Some(20 * SECOND),
            active_at: 25 * SECOND,
            ..playing()
        };
        assert_eq!(
            look(&signs, &PATIENCE, 25 * SECOND + 1),
            Verdict::Fine(26 * SECOND)
        );
        assert_eq!(
            look(&signs, &PATIENCE, 26 * SECOND),
            Verdict::Hangs(Hang::End)
        );
    }
}
