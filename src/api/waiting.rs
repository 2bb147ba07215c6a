// SPDX-License-Identifier: MPL-2.0
//! The ways to wait for frames one after the other: a future, and iterators.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::frame::Frame;
use super::receiver::FrameReceiver;

/// Waits for the next frame, see [`FrameReceiver::next`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Next<'a> {
    pub(super) frames: &'a mut FrameReceiver,
}

impl Future for Next<'_> {
    type Output = Option<Frame>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let next = self.frames.poll_frame(&mut Some(cx.waker().clone()));
        next.map(Result::ok)
    }
}

/// Blocks for each frame as [`FrameReceiver::recv`] does, until that returns `None`. Made by
/// [`FrameReceiver::iter`].
#[must_use = "iterators are lazy"]
#[derive(Debug)]
pub struct Iter<'a> {
    pub(super) frames: &'a mut FrameReceiver,
}

impl Iterator for Iter<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        self.frames.recv()
    }
}

/// Gives the frames that are there as [`FrameReceiver::try_recv`] does, and never blocks. Made by
/// [`FrameReceiver::try_iter`].
#[must_use = "iterators are lazy"]
#[derive(Debug)]
pub struct TryIter<'a> {
    pub(super) frames: &'a mut FrameReceiver,
}

impl Iterator for TryIter<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        self.frames.try_recv().ok()
    }
}

/// Blocks for each frame, and releases the consumer when it is dropped. Made by
/// `for frame in frames`.
#[must_use = "iterators are lazy"]
#[derive(Debug)]
pub struct IntoIter {
    frames: FrameReceiver,
}

impl Iterator for IntoIter {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        self.frames.recv()
    }
}

impl<'a> IntoIterator for &'a mut FrameReceiver {
    type Item = Frame;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl IntoIterator for FrameReceiver {
    type Item = Frame;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter { frames: self }
    }
}
