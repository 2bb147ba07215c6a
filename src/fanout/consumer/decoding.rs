// SPDX-License-Identifier: MPL-2.0
//! What the consumer gets can be decoded, and no frame that could be is kept from it.
//!
//! One exception: after a loss, leading pictures are known only by their time, and those of the
//! keyframe that follows go in any case.
//!
//! A delta frame needs every frame back to the last keyframe. A frame that comes after a keyframe
//! but is shown before it (a leading picture of an open group) needs frames from before the
//! keyframe, too.

/// More frames than this are not shown before the keyframe that they follow.
const MAX_LEADING: u64 = 32;

/// What the loss of the frames before those that wait costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fanout) struct Aftermath {
    /// So many of the oldest waiting frames are useless.
    pub(in crate::fanout) useless: u64,
    /// There is no keyframe behind them: one should be asked for.
    pub(in crate::fanout) want_keyframe: bool,
}

/// What [`Decoding::judge`] says of the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fanout) enum Verdict {
    Take,
    /// It is a leading picture, whose references the consumer did not get.
    Leading,
    /// It looks like one, but there were too many: time went back, and the consumer did not get
    /// references. It goes, and so do all up to the next keyframe.
    Lost,
}

/// What a consumer's decoder is able to decode next.
#[derive(Debug, Clone)]
pub(in crate::fanout) struct Decoding {
    /// No frame but a keyframe.
    needs_keyframe: bool,
    nothing_taken_since_flush: bool,
    /// PTS of the keyframe that the consumer started at, ns, while leading pictures may follow.
    leading_until: Option<u64>,
    /// So many leading pictures in a row were lost.
    leading_lost: u64,
}

impl Decoding {
    pub(in crate::fanout) fn new() -> Self {
        Self {
            needs_keyframe: true,
            nothing_taken_since_flush: true,
            leading_until: None,
            leading_lost: 0,
        }
    }

    #[inline]
    pub(in crate::fanout) fn needs_keyframe(&self) -> bool {
        self.needs_keyframe
    }

    /// A frame comes: true if it is of use.
    #[inline]
    pub(in crate::fanout) fn admit(&mut self, delta: bool) -> bool {
        let admits = !(self.needs_keyframe && delta);
        self.needs_keyframe &= !admits;
        admits
    }

    /// A frame came that is lost.
    #[inline]
    pub(in crate::fanout) fn miss(&mut self) {
        self.needs_keyframe = true;
    }

    /// The next frame that comes has to be a keyframe if none `waits`.
    pub(in crate::fanout) fn begin(&mut self, waits: bool) {
        self.needs_keyframe = !waits;
    }

    pub(in crate::fanout) fn flush(&mut self) {
        self.nothing_taken_since_flush = true;
    }

    /// Frames were lost; those that are `waiting` are delta frames or not.
    pub(in crate::fanout) fn after_loss(
        &mut self,
        waiting: impl Iterator<Item = bool>,
    ) -> Aftermath {
        let mut useless = 0;
        for delta in waiting {
            if !delta {
                self.needs_keyframe = false;
                let want_keyframe = false;
                return Aftermath {
                    useless,
                    want_keyframe,
                };
            }
            useless += 1;
        }
        self.needs_keyframe = true;
        let want_keyframe = useless > 0;
        Aftermath {
            useless,
            want_keyframe,
        }
    }

    /// Whether the next frame is of use; one that is not is lost by the caller.
    pub(in crate::fanout) fn judge(&mut self, delta: bool, pts: Option<u64>) -> Verdict {
        let is_earlier = |until| pts.is_some_and(|pts| pts < until);
        if !delta || !self.leading_until.is_some_and(is_earlier) {
            return Verdict::Take;
        }
        self.leading_lost += 1;
        match self.leading_lost > MAX_LEADING {
            true => Verdict::Lost,
            false => Verdict::Leading,
        }
    }

    /// The next frame is taken, `after_loss` if anything was lost since the last one, or it is the
    /// first. `follows_header`: it is a keyframe whose headers are the frame before it.
    pub(in crate::fanout) fn take(
        &mut self,
        delta: bool,
        pts: Option<u64>,
        follows_header: bool,
        after_loss: bool,
    ) {
        let starts = std::mem::take(&mut self.nothing_taken_since_flush) || after_loss;
        self.leading_lost = 0;
        self.leading_until = if follows_header {
            // The consumer started at the headers before it, or not here.
            self.leading_until.and(pts)
        } else {
            (starts && !delta).then_some(pts.unwrap_or(0))
        };
    }
}
