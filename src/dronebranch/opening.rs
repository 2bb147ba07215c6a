// SPDX-License-Identifier: MPL-2.0
//! Which frames a new life of the content begins with. Plain logic.

/// What must be known of a frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Frame {
    /// Needs every frame back to the last keyframe.
    pub(super) delta: bool,
    /// Holds what a decoder must know, and perhaps nothing else.
    pub(super) header: bool,
    pub(super) pts: Option<u64>,
}

/// A life begins with a keyframe. Leading pictures, which come after that keyframe and are shown
/// before it, need the group of pictures before: they are left out, too.
#[derive(Debug, Default)]
pub(super) enum Opening {
    #[default]
    WaitsForKeyframe,
    /// Pictures shown before this time are leading ones; until the next keyframe.
    After(u64),
    Done,
}

impl Opening {
    /// True if the content can make use of the frame.
    pub(super) fn admits(&mut self, frame: &Frame) -> bool {
        match self {
            Self::Done => true,
            Self::WaitsForKeyframe if frame.delta => frame.header,
            Self::WaitsForKeyframe => {
                *self = frame.pts.map_or(Self::Done, Self::After);
                true
            }
            Self::After(start) if frame.delta => frame.pts.is_none_or(|pts| pts >= *start),
            Self::After(_) => {
                *self = Self::Done;
                true
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(pts: u64) -> Frame {
        Frame {
            pts: Some(pts),
            ..Frame::default()
        }
    }

    fn delta(pts: u64) -> Frame {
        Frame {
            delta: true,
            ..key(pts)
        }
    }

    fn admitted(frames: &[Frame]) -> Vec<u64> {
        let mut opening = Opening::default();
        let admitted = frames.iter().filter(|frame| opening.admits(frame));
        admitted.map(|frame| frame.pts.unwrap()).collect()
    }

    #[test]
    fn raw_frames_pass_from_the_first_one() {
        assert_eq!(admitted(&[key(0), key(1), key(2)]), [0, 1, 2]);
    }

    #[test]
    fn a_coded_stream_begins_with_a_keyframe() {
        assert_eq!(admitted(&[delta(1), delta(2), key(3), delta(4)]), [3, 4]);
    }

    #[test]
    fn leading_pictures_are_left_out() {
        let frames = [
            key(5),
            delta(3),
            delta(4),
            delta(8),
            delta(6),
            key(9),
            delta(7),
        ];
        assert_eq!(admitted(&frames), [5, 8, 6, 9, 7]);
    }

    #[test]
    fn headers_pass_and_end_nothing() {
        let header = Frame {
            header: true,
            ..delta(1)
        };
        assert_eq!(admitted(&[header, delta(2), key(3)]), [1, 3]);
    }
}
