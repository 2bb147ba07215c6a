// SPDX-License-Identifier: MPL-2.0
//! Decoding against a toy decoder, for every group of pictures up to ten frames.

use smallvec::SmallVec;

use crate::fanout::consumer::decoding::{Decoding, Verdict};
use crate::fanout::types::FrameInfo;

/// Can show a picture only if it has its references.
#[derive(Default)]
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

/// What the core knows of the pictures.
fn infos(stream: &[Picture]) -> Vec<FrameInfo> {
    let mut key = 0;
    let info = |(number, picture): (usize, &Picture)| {
        let number = number as u64;
        if *picture == Picture::Key {
            key = number;
        }
        let shown = match picture {
            Picture::Key | Picture::Delta => 10 * number + 5,
            Picture::Leading => 10 * key,
        };
        FrameInfo {
            delta: *picture != Picture::Key,
            pts: Some(shown),
            ..FrameInfo::default()
        }
    };
    stream.iter().enumerate().map(info).collect()
}

/// The pictures that come, a bit each, when those of `lost` are lost while they wait, `lag` pictures
/// after they came.
fn serve(stream: &[FrameInfo], lost: u32, lag: usize) -> u32 {
    let mut decoding = Decoding::new();
    let mut queue: SmallVec<[usize; 16]> = SmallVec::new();
    let mut got = 0;
    let (mut first, mut gap) = (true, false);
    for step in 0..stream.len() + lag {
        if let Some(info) = stream.get(step) {
            match !decoding.needs_keyframe() || decoding.admit(info.delta) {
                true => queue.push(step),
                false => gap = true,
            }
        }
        let Some(due) = step.checked_sub(lag) else {
            continue;
        };
        while let Some(number) = queue.first().copied().filter(|number| *number <= due) {
            queue.remove(0);
            let info = &stream[number];
            let verdict = decoding.judge(info);
            let is_lost = lost & (1 << number) != 0;
            if verdict == Verdict::Take && !is_lost {
                decoding.take(info, false, first || gap);
                got |= 1 << number;
                (first, gap) = (false, false);
                continue;
            }
            gap = true;
            if is_lost || verdict == Verdict::Lost {
                let waiting = queue.iter().map(|number| stream[*number].delta);
                let aftermath = decoding.after_loss(waiting);
                queue.drain(..aftermath.useless as usize);
            }
        }
    }
    got
}

/// All of `length` pictures of these kinds.
fn streams(kinds: &[Picture], length: u32) -> impl Iterator<Item = Vec<Picture>> {
    let kinds = kinds.to_vec();
    let count = kinds.len().pow(length);
    (0..count).map(move |mut number| {
        let pick = |_| {
            let kind = kinds[number % kinds.len()];
            number /= kinds.len();
            kind
        };
        (0..length).map(pick).collect()
    })
}

#[test]
fn what_comes_can_be_shown_and_all_that_can_be_shown_comes() {
    for length in 1..=10 {
        for stream in streams(&[Picture::Key, Picture::Delta], length) {
            let infos = infos(&stream);
            for lost in 0..1 << length {
                let got = serve(&infos, lost, (lost % 4) as usize);
                let mut toy = Toy::default();
                for (number, picture) in stream.iter().enumerate() {
                    let is_lost = lost & (1 << number) != 0;
                    let shows = toy.see(*picture, !is_lost);
                    assert_eq!(
                        (got & (1 << number) != 0),
                        shows,
                        "{number} of {stream:?} less {lost:b}"
                    );
                }
            }
        }
    }
}

/// Where leading pictures are is known only by their time, so that some are kept from a consumer
/// although it could show them. None comes that it can not.
#[test]
fn no_leading_picture_comes_without_its_references() {
    for length in 1..=7 {
        for stream in streams(&[Picture::Key, Picture::Delta, Picture::Leading], length) {
            // Leading pictures come before all others of their keyframe.
            let follows = |pair: &[Picture]| pair[0] == Picture::Delta;
            let is_stray = |pair: &[Picture]| pair[1] == Picture::Leading && follows(pair);
            if stream[0] == Picture::Leading || stream.windows(2).any(is_stray) {
                continue;
            }
            let infos = infos(&stream);
            for lost in 0..1 << length {
                let got = serve(&infos, lost, (lost % 3) as usize);
                let mut toy = Toy::default();
                for (number, picture) in stream.iter().enumerate() {
                    let shows = toy.see(*picture, got & (1 << number) != 0);
                    assert!(
                        got & (1 << number) == 0 || shows,
                        "{number} of {stream:?} less {lost:b}"
                    );
                }
                // Nothing is lost but the leading pictures behind the keyframes that the consumer
                // starts at, and so at each that follows a loss.
                let mut comes_before = false;
                for (number, picture) in stream.iter().enumerate().filter(|_| lost == 0) {
                    let comes = got & (1 << number) != 0;
                    let key = stream[..=number]
                        .iter()
                        .rposition(|one| *one == Picture::Key);
                    comes_before = match picture {
                        Picture::Key => number > 0 && got & (1 << (number - 1)) != 0,
                        _ => comes_before,
                    };
                    let wanted = *picture != Picture::Leading || comes_before;
                    let wanted = wanted && key.is_some();
                    assert_eq!(comes, wanted, "{number} of {stream:?}");
                }
            }
        }
    }
}
