// SPDX-License-Identifier: MPL-2.0
//! Decoding against a toy decoder, for every group of pictures up to ten frames.

use crate::fanout::consumer::decoding::{Decoding, Verdict};
use crate::fanout::types::FrameInfo;

/// Can show a picture only if it has its references.
#[derive(Clone, Default)]
struct Toy {
    /// Pictures since the last keyframe came without a gap.
    chain: bool,
    /// And those before that keyframe, which its leading pictures need.
    chain_before: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Picture {
    Key,
    Delta,
    /// Is shown before the keyframe that it follows, and needs what is before that, too.
    Leading,
}

impl Toy {
    /// What comes next in the stream; true if it can be shown, given that `comes`.
    fn see(&mut self, picture: Picture, comes: bool) -> bool {
        match picture {
            Picture::Key => {
                self.chain_before = self.chain;
                self.chain = comes;
                comes
            }
            Picture::Delta => {
                self.chain &= comes;
                self.chain
            }
            // No other picture needs it: its loss breaks no chain.
            Picture::Leading => comes && self.chain && self.chain_before,
        }
    }
}

/// A stream on its way through the part, and through the toy.
#[derive(Clone)]
struct Course {
    decoding: Decoding,
    toy: Toy,
    /// Pictures that wait, those that were lost, and those that came, a bit each.
    waiting: u32,
    lost: u32,
    got: u32,
    /// Where the consumer takes next.
    due: usize,
    first: bool,
    gap: bool,
}

impl Course {
    fn new() -> Self {
        Self {
            decoding: Decoding::new(),
            toy: Toy::default(),
            waiting: 0,
            lost: 0,
            got: 0,
            due: 0,
            first: true,
            gap: false,
        }
    }

    /// The last picture of `stream` comes, and is lost while it waits if `lost`.
    fn come(&mut self, stream: &[FrameInfo], lost: bool) {
        let number = stream.len() - 1;
        self.lost |= u32::from(lost) << number;
        let delta = stream[number].delta;
        match !self.decoding.needs_keyframe() || self.decoding.admit(delta) {
            true => self.waiting |= 1 << number,
            false => self.gap = true,
        }
    }

    /// The next picture is taken, if it waits; true if it comes.
    fn take(&mut self, stream: &[FrameInfo]) -> bool {
        let number = self.due;
        self.due += 1;
        let bit = 1 << number;
        if self.waiting & bit == 0 {
            return false;
        }
        self.waiting ^= bit;
        let info = &stream[number];
        let verdict = self.decoding.judge(info.delta, info.pts);
        if verdict == Verdict::Take && self.lost & bit == 0 {
            self.decoding
                .take(info.delta, info.pts, false, self.first || self.gap);
            (self.first, self.gap) = (false, false);
            self.got |= bit;
            return true;
        }
        self.gap = true;
        if self.lost & bit != 0 || verdict == Verdict::Lost {
            let waits = |number: &usize| self.waiting & (1 << number) != 0;
            let waiting = (self.due..stream.len()).filter(waits);
            let aftermath = self
                .decoding
                .after_loss(waiting.map(|one| stream[one].delta));
            for _ in 0..aftermath.useless {
                self.waiting &= self.waiting - 1;
            }
        }
        false
    }
}

fn info(picture: Picture, number: u64, key: u64) -> FrameInfo {
    let shown = match picture {
        Picture::Key | Picture::Delta => 10 * number + 5,
        Picture::Leading => 10 * key,
    };
    FrameInfo {
        delta: picture != Picture::Key,
        pts: Some(shown),
        ..FrameInfo::default()
    }
}

/// Looks at a picture of the stream when it is its turn; the last argument: whether it comes.
type Check<'a> = &'a dyn Fn(&mut Course, &[Picture], usize, bool);

/// Goes through every stream of up to `length` pictures of `kinds`, each lost or not, and has
/// `check` look at each picture when it is its turn, `lag` pictures after it came.
struct Tree<'a> {
    kinds: &'a [Picture],
    length: usize,
    lag: usize,
    pictures: Vec<Picture>,
    infos: Vec<FrameInfo>,
    check: Check<'a>,
}

impl Tree<'_> {
    fn grow(&mut self, course: &Course) {
        let number = self.infos.len();
        if number == self.length {
            let mut course = course.clone();
            return (0..self.lag).for_each(|_| self.look(&mut course));
        }
        for picture in self.kinds {
            // Leading pictures come before all others of their keyframe.
            let is_stray = matches!(self.pictures.last(), None | Some(Picture::Delta));
            if *picture == Picture::Leading && is_stray {
                continue;
            }
            self.pictures.push(*picture);
            let key = self.pictures.iter().rposition(|one| *one == Picture::Key);
            let key = key.unwrap_or(0) as u64;
            self.infos.push(info(*picture, number as u64, key));
            for lost in [false, true] {
                let mut course = course.clone();
                course.come(&self.infos, lost);
                if number >= self.lag {
                    self.look(&mut course);
                }
                self.grow(&course);
            }
            self.pictures.pop();
            self.infos.pop();
        }
    }

    fn look(&self, course: &mut Course) {
        let number = course.due;
        let comes = course.take(&self.infos);
        (self.check)(course, &self.pictures, number, comes);
    }
}

fn every_stream(kinds: &[Picture], length: usize, lag: usize, check: Check<'_>) {
    let mut tree = Tree {
        kinds,
        length,
        lag,
        pictures: Vec::new(),
        infos: Vec::new(),
        check,
    };
    tree.grow(&Course::new());
}

#[test]
fn what_comes_can_be_shown_and_all_that_can_be_shown_comes() {
    for lag in [0, 3] {
        every_stream(
            &[Picture::Key, Picture::Delta],
            10,
            lag,
            &|course, stream, number, comes| {
                let is_lost = course.lost & (1 << number) != 0;
                let shows = course.toy.see(stream[number], !is_lost);
                let lost = course.lost;
                assert_eq!(comes, shows, "{number} of {stream:?} less {lost:b}");
            },
        );
    }
}

/// Where leading pictures are is known only by their time, so that some are kept from a consumer
/// although it could show them. None comes that it can not.
#[test]
fn no_leading_picture_comes_without_its_references() {
    let kinds = [Picture::Key, Picture::Delta, Picture::Leading];
    for lag in [0, 2] {
        every_stream(&kinds, 8, lag, &|course, stream, number, comes| {
            let (lost, got) = (course.lost, course.got);
            let shows = course.toy.see(stream[number], comes);
            assert!(!comes || shows, "{number} of {stream:?} less {lost:b}");
            // Nothing is lost but the leading pictures behind the keyframes that the consumer starts
            // at, and so at each that follows a loss.
            let key = stream[..=number]
                .iter()
                .rposition(|one| *one == Picture::Key);
            let comes_before = key.is_some_and(|key| key > 0 && got & (1 << (key - 1)) != 0);
            let wanted = stream[number] != Picture::Leading || comes_before;
            if lost == 0 {
                assert_eq!(comes, wanted && key.is_some(), "{number} of {stream:?}");
            }
        });
    }
}
