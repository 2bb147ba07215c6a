// SPDX-License-Identifier: MPL-2.0
//! What is kept, then live, into anything that takes frames.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use super::error::Error;
use super::frame::Frame;
use crate::facts::CloseReason;
use crate::park::with_thread_waker;

/// Takes the frames of a stream, see [`FrameReceiver::drive_to`](crate::FrameReceiver::drive_to).
///
/// A closure `FnMut(Frame) -> Result<(), E>` is one.
pub trait FrameSink {
    /// Why a frame can not be taken. It ends the driving.
    type Error;

    /// Takes a frame. It may block: meanwhile frames wait for this consumer, and are dropped beyond its
    /// limits; [`Frame::lost_before`] tells of that.
    ///
    /// # Errors
    ///
    /// The sink takes no more.
    fn frame(&mut self, frame: Frame) -> Result<(), Self::Error>;

    /// No more frames come: writes what is left to be written. Called once, unless a frame was refused.
    ///
    /// # Errors
    ///
    /// What is left could not be written.
    fn end(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl<F, E> FrameSink for F
where
    F: FnMut(Frame) -> Result<(), E>,
{
    type Error = E;

    fn frame(&mut self, frame: Frame) -> Result<(), E> {
        self(frame)
    }
}

/// Why driving came to its end, other than by the sink's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driven {
    /// The stream is over for the receiver.
    Closed(CloseReason),
    /// [`Stop::stop`] was called.
    Stopped,
}

/// Why driving failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriveError<E> {
    /// The consumer could not join.
    Subscribe(Error),
    /// The sink said so.
    Sink(E),
}

impl<E: std::fmt::Display> std::fmt::Display for DriveError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Subscribe(error) => error.fmt(f),
            Self::Sink(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for DriveError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Subscribe(error) => Some(error),
            Self::Sink(error) => Some(error),
        }
    }
}

/// Stops what drives frames, from any thread. A clone stops the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Stopping>);

#[derive(Debug, Default)]
struct Stopping {
    stopped: AtomicBool,
    /// The threads that wait for a frame, or for this.
    waiting: Mutex<Vec<Waker>>,
}

impl Stop {
    /// One that was not set off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the driving before its next frame; one that begins later ends at once. Does not block.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// True once [`stop()`](Self::stop) was called. Does not block.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Parks the thread until its `waker` is woken, also by [`stop()`](Self::stop). Only meanwhile the
    /// waker is known here: a sink may drive by the same `Stop` itself, or panic.
    fn park(&self, waker: &Waker) {
        self.waiting().push(waker.clone());
        if !self.is_stopped() {
            std::thread::park();
        }
        self.waiting().retain(|known| !known.will_wake(waker));
    }
}

/// Gives what `poll` gives to `sink`; `poll` has the waker woken when there is more.
pub(super) fn drive_to<S: FrameSink>(
    poll: impl FnMut(&Waker) -> Poll<Result<Frame, CloseReason>>,
    sink: &mut S,
    stop: &Stop,
) -> Result<Driven, S::Error> {
    let driven = with_thread_waker(|waker| drive(poll, sink, stop, waker))?;
    sink.end()?;
    Ok(driven)
}

fn drive<S: FrameSink>(
    mut poll: impl FnMut(&Waker) -> Poll<Result<Frame, CloseReason>>,
    sink: &mut S,
    stop: &Stop,
    waker: &Waker,
) -> Result<Driven, S::Error> {
    while !stop.is_stopped() {
        match poll(waker) {
            Poll::Ready(Ok(frame)) => sink.frame(frame)?,
            Poll::Ready(Err(reason)) => return Ok(Driven::Closed(reason)),
            Poll::Pending => stop.park(waker),
        }
    }
    Ok(Driven::Stopped)
}
