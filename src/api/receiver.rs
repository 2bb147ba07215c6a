// SPDX-License-Identifier: MPL-2.0
//! A consumer in this process: it takes from the same queue as a src pad's thread would.

use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::drive::{self, Driven, FrameSink, Stop};
use super::error::{Error, RecvError};
use super::frame::{Context as FrameContext, Frame};
use super::limits;
use super::waiting::{Iter, Next, TryIter};
use crate::facts::{CloseReason, ConsumerHealth, Ledger, State};
use crate::fanout::{Done, Outcome, Stamp, Taken, TakenFrame};
use crate::park::with_thread_waker;
use crate::tee::{Handle, Item, Place, now, reason_of};

/// Gets the frames of one consumer.
///
/// A frame counts as in flight until the next call, or until the receiver is dropped: a consumer
/// that does not come back shows as `stalled`. Dropping the receiver releases its pad, which calls
/// the application's handlers for that and waits for no consumer. It may be used from any thread, by
/// one at a time, and keeps the element alive.
///
/// From the first receiver until it is stopped the element is a sink of its pipeline: an EOS message
/// comes on the bus when each receiver was handed the end. A receiver that has not called for the
/// element's `stall-timeout` (2 s where that is off) is not waited for, nor one that was evicted.
///
/// It is a [`Stream`](futures_core::Stream) too, which works on any runtime and without one: what
/// it is polled with is woken by the thread that publishes. A wait may be given up at any time
/// without losing a frame. [`next()`](Self::next) needs no further crate.
#[must_use = "dropping it releases the consumer"]
#[derive(Debug)]
pub struct FrameReceiver {
    place: Place,
    in_flight: Option<InFlight>,
    context: Arc<FrameContext>,
    /// The session that frames are taken in.
    session: Stamp,
    /// Something came since the last `None`, which tells once that a session is over.
    begun: bool,
    /// EOS, or evicted: closed until the stream begins anew.
    ended: Option<CloseReason>,
    /// What was told last, until a call waits again.
    closed: Option<CloseReason>,
}

#[derive(Debug)]
struct InFlight {
    stamp: Stamp,
    waited: u64,
    since: u64,
    handle: Weak<Handle>,
}

impl FrameReceiver {
    pub(super) fn new(place: Place) -> Self {
        Self {
            session: place.joined(),
            begun: false,
            place,
            in_flight: None,
            context: Arc::default(),
            ended: None,
            closed: None,
        }
    }

    /// The consumer's name, as its pad's property `consumer` says. Does not block.
    pub fn consumer(&self) -> String {
        self.place.consumer()
    }

    /// Gives each frame to `sink`, in the calling thread, until the stream is over, the sink fails or
    /// `stop` is set off; then tells the sink that it was the last.
    ///
    /// A receiver that has just joined begins with what the element keeps for late joiners
    /// (`gop-cache`), then come live frames, in order and none twice. Blocks meanwhile. The receiver may
    /// be used on afterwards. A stop of the element ends it with
    /// [`CloseReason::Stopped`].
    ///
    /// ```no_run
    /// # fn example(mut frames: gstdronetee::FrameReceiver) -> Result<(), std::io::Error> {
    /// use std::io::Write as _;
    /// let mut file = std::fs::File::create("frames.h264")?;
    /// let mut write = |frame: gstdronetee::Frame| {
    ///     let pixels = frame.pixels().map_err(std::io::Error::other)?;
    ///     file.write_all(&pixels)
    /// };
    /// let stop = gstdronetee::Stop::new();
    /// frames.drive_to(&mut write, &stop)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The sink's own.
    pub fn drive_to<S: FrameSink>(
        &mut self,
        sink: &mut S,
        stop: &Stop,
    ) -> Result<Driven, S::Error> {
        let poll = |waker: &Waker| self.poll_frame(&mut Some(waker.clone()));
        drive::drive_to(poll, sink, stop)
    }

    // ---- itself ----------------------------------------------------------------------------

    /// What became of this consumer's frames, at one moment. Does not block.
    ///
    /// It stays readable when the stream or the consumer has ended.
    pub fn ledger(&self) -> Ledger {
        self.health().ledger
    }

    /// How this consumer does. Does not block.
    pub fn state(&self) -> State {
        self.health().state
    }

    /// How this consumer does in detail, as [`FramePublisher::health`](crate::FramePublisher::health) has
    /// it of all. Does not block.
    pub fn health(&self) -> ConsumerHealth {
        self.place.health()
    }

    /// How many frames may wait, 1 to 4096; 0 for the element's `depth`. Takes effect at once: what is
    /// too much is dropped as `slow`. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidLimit`].
    pub fn set_depth(&self, depth: u32) -> Result<(), Error> {
        self.place.set("depth", limits::depth(depth)?);
        Ok(())
    }

    /// How many bytes may wait; one frame may always. 0 for no such limit. Takes effect at once. Does not
    /// block.
    pub fn set_max_size_bytes(&self, bytes: u32) {
        self.place.set("max-size-bytes", bytes);
    }

    /// How much running time may wait; one frame may always. Zero for no such limit. Takes effect at
    /// once. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidLimit`].
    pub fn set_max_size_time(&self, time: Duration) -> Result<(), Error> {
        self.place
            .set("max-size-time", limits::max_size_time(time)?);
        Ok(())
    }

    /// Drops frames that waited longer; zero for never. Takes effect at once. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidLimit`].
    pub fn set_max_age(&self, age: Duration) -> Result<(), Error> {
        self.place.set("max-age", limits::max_age(age)?);
        Ok(())
    }

    /// Evicts the consumer once it lost more frames than this by slowness; 0 for never. Takes effect at
    /// once. Does not block.
    pub fn set_max_lag(&self, frames: u64) {
        self.place.set("max-lag", frames);
    }

    /// Closes the consumer's gate, or opens it: while it is closed, its frames are dropped as
    /// [`DropReason::Disabled`](crate::DropReason::Disabled), and what waits at once. Opened again, it
    /// goes on with the next frame; in a coded stream with the newest keyframe that is kept, else the
    /// next one. Does not block; the receiver may go on waiting meanwhile.
    pub fn set_enabled(&self, enabled: bool) {
        self.place.set("enabled", enabled);
    }

    /// Why the last call gave no frame, if that is because the stream is over; `None` once a call waits
    /// for a frame again, after a restart. Does not block.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.closed
    }

    /// Waits for the next frame; `None` when the stream ended or stopped, the consumer was evicted
    /// or its pad released: [`close_reason()`](Self::close_reason) tells which. Waits for the stream to
    /// start if it has not.
    ///
    /// This and [`recv_timeout`](Self::recv_timeout) park the thread: in a task of a runtime, use
    /// the `Stream`.
    pub fn recv(&mut self) -> Option<Frame> {
        self.recv_until(None).ok()
    }

    /// Waits for the next frame no longer than `timeout`; as long as it takes if that is beyond what
    /// the clock can tell.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] when none came in time, [`RecvError::Closed`] with the reason when
    /// [`recv`](Self::recv) would return `None`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Frame, RecvError> {
        // A time that cannot be reached is as good as none.
        self.recv_until(Instant::now().checked_add(timeout))
    }

    /// Waits for the next frame no longer than until `deadline`; a frame that is there is returned
    /// although the deadline has passed.
    ///
    /// # Errors
    ///
    /// Those of [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Frame, RecvError> {
        self.recv_until(Some(deadline))
    }

    /// Waits for the next frame in an async task, of any runtime; `None` when [`recv`](Self::recv)
    /// would return that.
    ///
    /// Cancel-safe: a `next()` that is dropped before it is ready, for example by a branch of
    /// `tokio::select!`, has taken no frame.
    ///
    /// ```no_run
    /// # async fn example(mut frames: gstdronetee::FrameReceiver) {
    /// while let Some(frame) = frames.next().await {
    ///     println!("frame {}", frame.seq());
    /// }
    /// # }
    /// ```
    #[expect(
        clippy::should_implement_trait,
        reason = "a future, as StreamExt's; iter() is the iterator"
    )]
    pub fn next(&mut self) -> Next<'_> {
        Next { frames: self }
    }

    /// The frames one after the other, as [`recv`](Self::recv) gives them: blocks for each, until that
    /// returns `None`. `for frame in &mut frames` is the same.
    pub fn iter(&mut self) -> Iter<'_> {
        Iter { frames: self }
    }

    /// The frames that are there now, as [`try_recv`](Self::try_recv) gives them. Does not block; it
    /// ends when no frame is there, and may go on later.
    pub fn try_iter(&mut self) -> TryIter<'_> {
        TryIter { frames: self }
    }

    /// The next frame if there is one now. Does not block.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] when there is none now, [`RecvError::Closed`] with the reason when
    /// [`recv`](Self::recv) would return `None`.
    pub fn try_recv(&mut self) -> Result<Frame, RecvError> {
        match self.poll_frame(&mut None) {
            Poll::Ready(frame) => frame.map_err(RecvError::Closed),
            Poll::Pending => Err(RecvError::Empty),
        }
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<Frame, RecvError> {
        with_thread_waker(|waker| {
            loop {
                if let Poll::Ready(frame) = self.poll_frame(&mut Some(waker.clone())) {
                    return frame.map_err(RecvError::Closed);
                }
                let Some(deadline) = deadline else {
                    std::thread::park();
                    continue;
                };
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(RecvError::Empty);
                }
                std::thread::park_timeout(left);
            }
        })
    }

    /// The next frame, or why there is none any more.
    pub(super) fn poll_frame(
        &mut self,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<Frame, CloseReason>> {
        let next = self.poll_next_frame(waker);
        self.closed = match &next {
            Poll::Ready(frame) => frame.as_ref().err().copied(),
            Poll::Pending => None,
        };
        next
    }

    fn poll_next_frame(&mut self, waker: &mut Option<Waker>) -> Poll<Result<Frame, CloseReason>> {
        let mut at = now();
        let mut done = self.give_back(at);
        loop {
            match self.place.take(done.take(), self.session, at, waker) {
                Taken::Frame(taken) => return Poll::Ready(Ok(self.hand_out(taken))),
                Taken::Event(Item::Event(event), _) => {
                    self.begun = true;
                    self.note(&event);
                    at = now();
                }
                // Only branches are asked.
                Taken::Event(Item::Query(_), _) => {}
                Taken::Evicted => self.ended = Some(CloseReason::Evicted),
                Taken::Resumed => self.ended = None,
                Taken::Closed(next) | Taken::Superseded(next) => {
                    if self.leave_for(next) {
                        return Poll::Ready(Err(self.place.why_closed()));
                    }
                }
                Taken::Cancelled => return Poll::Ready(Err(CloseReason::Failed)),
                Taken::Released => return Poll::Ready(Err(CloseReason::Released)),
                Taken::Wait => match self.ended {
                    None => return Poll::Pending,
                    Some(reason) => {
                        self.begun = false;
                        return Poll::Ready(Err(reason));
                    }
                },
            }
        }
    }

    fn hand_out(&mut self, taken: TakenFrame<gst::Buffer>) -> Frame {
        self.begun = true;
        let handle = self.place.handle(taken.number);
        self.in_flight = Some(InFlight {
            stamp: taken.stamp,
            waited: taken.waited,
            since: taken.at,
            handle: Arc::downgrade(&handle),
        });
        Frame {
            buffer: taken.frame,
            context: self.context.clone(),
            seq: taken.sequence,
            run: taken.run,
            lost_before: taken.lost_before,
            arrived: taken.arrived,
            own_info: OnceLock::new(),
            handle,
        }
    }

    /// The session is over. True if that is still to be told, or there is no `next` one yet.
    fn leave_for(&mut self, next: Stamp) -> bool {
        let is_last = std::mem::replace(&mut self.session, next) == next;
        self.context = Arc::default();
        self.ended = None;
        std::mem::take(&mut self.begun) || is_last
    }

    fn note(&mut self, event: &gst::Event) {
        match event.view() {
            gst::EventView::Eos(_) => self.ended = Some(reason_of(event)),
            gst::EventView::StreamStart(_) | gst::EventView::Segment(_) => self.ended = None,
            _ => {}
        }
        Arc::make_mut(&mut self.context).note(event);
    }

    /// The frame that was handed out last is done with, which has to be told.
    fn give_back(&mut self, at: u64) -> Option<Done> {
        let frame = self.in_flight.take()?;
        // Before it lands, so that it is counted as out all the time.
        Handle::finish(&frame.handle);
        let service = at.saturating_sub(frame.since);
        self.place.record(frame.stamp, frame.waited, service);
        Some(Done {
            stamp: frame.stamp,
            outcome: Outcome::Delivered,
            flow: 0,
            untold: 0,
        })
    }
}

impl futures_core::Stream for FrameReceiver {
    type Item = Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let next = self.get_mut().poll_frame(&mut Some(cx.waker().clone()));
        next.map(Result::ok)
    }
}

/// True from a `None` until the stream begins anew: `select!` of `futures` leaves it out meanwhile.
impl futures_core::FusedStream for FrameReceiver {
    fn is_terminated(&self) -> bool {
        self.closed.is_some() && !self.place.has_news(self.session)
    }
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        if let Some(done) = self.give_back(now()) {
            self.place.finish(done);
        }
        self.place.leave();
    }
}
