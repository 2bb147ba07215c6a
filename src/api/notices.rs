// SPDX-License-Identifier: MPL-2.0
//! A receiver for what is told of a stream.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::facts::{DropReason, Dropped, Transition};
use crate::park::{wake, with_thread_waker};
use crate::tee::{Notice, Observer};

/// More than this, and notices of the same kind and consumer are joined.
const MAX_WAITING: usize = 256;
/// If more than this are left of so many consumers, those of the first ones are summed up.
const MAX_JOINED: usize = 2048;

/// Gets the notices of one element: what its messages on the bus say, as typed values.
///
/// Made by [`FramePublisher::notices`](crate::FramePublisher::notices). What happened after that call
/// comes, in order, as often as `drop-messages-interval` has it; drops come also with
/// `post-drop-messages=false`.
///
/// It is bounded: if 256 notices wait, those of the same kind and consumer are joined into one. Counts of
/// drops are added, so that their sum is exact however long this is not read; a joined change of state
/// goes from the first state to the last; of summaries the last one stays. If that leaves more than 2048,
/// as hundreds of consumers came and went unread, the oldest make room: their drops are added up by reason
/// in notices with an empty consumer, and their changes of state and summaries go.
///
/// It does not keep the element alive, and ends when that is gone: a stop and a restart do not end it. It
/// may be used from any thread, by one at a time, and is a [`Stream`](futures_core::Stream) too. A wait may
/// be given up at any time without losing a notice.
#[must_use = "dropping it ends the notices"]
#[derive(Debug)]
pub struct Notices {
    inbox: Arc<Inbox>,
}

/// Why there is no notice now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeError {
    /// None came (in time).
    Empty,
    /// The element is gone.
    Ended,
}

impl std::fmt::Display for NoticeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "no notice is waiting",
            Self::Ended => "the dronetee is gone",
        })
    }
}

impl std::error::Error for NoticeError {}

impl Notices {
    pub(super) fn new(observe: impl FnOnce(Weak<dyn Observer>)) -> Self {
        let inbox = Arc::<Inbox>::default();
        let weak = Arc::downgrade(&inbox);
        observe(weak);
        Self { inbox }
    }

    /// Waits for the next notice; `None` when the element is gone. Parks the thread: in a task of a
    /// runtime, use [`next()`](Self::next).
    pub fn recv(&mut self) -> Option<Notice> {
        self.recv_until(None).ok()
    }

    /// Waits for the next notice no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// [`NoticeError::Empty`] when none came in time, [`NoticeError::Ended`] when the element is gone.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Notice, NoticeError> {
        self.recv_until(Instant::now().checked_add(timeout))
    }

    /// The next notice if there is one now. Does not block.
    ///
    /// # Errors
    ///
    /// [`NoticeError::Empty`] when there is none now, [`NoticeError::Ended`] when the element is gone.
    pub fn try_recv(&mut self) -> Result<Notice, NoticeError> {
        match self.inbox.poll(None) {
            Poll::Ready(notice) => notice.ok_or(NoticeError::Ended),
            Poll::Pending => Err(NoticeError::Empty),
        }
    }

    /// Waits for the next notice in an async task, of any runtime; `None` when the element is gone.
    /// Cancel-safe: one that is dropped before it is ready has taken no notice.
    #[expect(clippy::should_implement_trait, reason = "a future, as StreamExt's")]
    pub fn next(&mut self) -> NextNotice<'_> {
        NextNotice { notices: self }
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<Notice, NoticeError> {
        with_thread_waker(|waker| {
            loop {
                if let Poll::Ready(notice) = self.inbox.poll(Some(waker)) {
                    return notice.ok_or(NoticeError::Ended);
                }
                let Some(deadline) = deadline else {
                    std::thread::park();
                    continue;
                };
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(NoticeError::Empty);
                }
                std::thread::park_timeout(left);
            }
        })
    }
}

impl futures_core::Stream for Notices {
    type Item = Notice;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        self.inbox.poll(Some(cx.waker()))
    }
}

/// Waits for the next notice, see [`Notices::next`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct NextNotice<'a> {
    notices: &'a mut Notices,
}

impl Future for NextNotice<'_> {
    type Output = Option<Notice>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        self.notices.inbox.poll(Some(cx.waker()))
    }
}

/// What waits to be read. The thread that reports writes it.
#[derive(Debug, Default)]
struct Inbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    notices: VecDeque<Notice>,
    /// What the last joining left.
    joined: usize,
    waker: Option<Waker>,
    ended: bool,
}

impl Waiting {
    fn push(&mut self, notice: Notice) {
        self.notices.push_back(notice);
        // Joining looks at all of them: not before they are twice as many again.
        if self.notices.len() > MAX_WAITING.max(2 * self.joined) {
            self.notices = joined(std::mem::take(&mut self.notices));
            if self.notices.len() > MAX_JOINED {
                let rest = self.notices.split_off(self.notices.len() - MAX_JOINED / 2);
                let first = std::mem::replace(&mut self.notices, rest);
                summed_up(first).for_each(|sum| self.notices.push_front(sum));
            }
            self.joined = self.notices.len();
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that can panic leaves it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, waker: Option<&Waker>) -> Poll<Option<Notice>> {
        // A clone may run code of the application, which must not run under the lock.
        let waker = waker.cloned();
        let (next, old) = {
            let mut waiting = self.lock();
            let next = match waiting.notices.pop_front() {
                Some(notice) => Poll::Ready(Some(notice)),
                None if waiting.ended => Poll::Ready(None),
                None => Poll::Pending,
            };
            waiting.joined = waiting.joined.min(waiting.notices.len());
            let old = match waker {
                Some(waker) if next.is_pending() => waiting.waker.replace(waker),
                _ => waiting.waker.take(),
            };
            (next, old)
        };
        drop(old);
        next
    }
}

impl Observer for Inbox {
    fn note(&self, notice: &Notice) {
        let waker = {
            let mut waiting = self.lock();
            waiting.push(notice.clone());
            waiting.waker.take()
        };
        waker.into_iter().for_each(wake);
    }

    fn end(&self) {
        let waker = {
            let mut waiting = self.lock();
            waiting.ended = true;
            waiting.waker.take()
        };
        waker.into_iter().for_each(wake);
    }
}

/// What notices have in common that are joined.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    Dropped(String, String, DropReason),
    State(String, String),
    Summary(String, String),
    GopTruncated,
    Pool,
}

impl Kind {
    fn of(notice: &Notice) -> Self {
        match notice {
            Notice::Dropped(one) => {
                Self::Dropped(one.consumer.clone(), one.pad.clone(), one.reason)
            }
            Notice::State(one) | Notice::Evicted(one) => {
                Self::State(one.consumer.clone(), one.pad.clone())
            }
            Notice::Summary(one) => Self::Summary(one.consumer.clone(), one.pad.clone()),
            Notice::GopTruncated(_) => Self::GopTruncated,
            Notice::Pool(_) => Self::Pool,
        }
    }
}

/// The same, with one of each kind and consumer, in the place of the last of them.
fn joined(notices: VecDeque<Notice>) -> VecDeque<Notice> {
    let mut kept: Vec<Option<Notice>> = Vec::new();
    let mut places = HashMap::new();
    for notice in notices {
        let older = places.insert(Kind::of(&notice), kept.len());
        let older = older.and_then(|place: usize| kept[place].take());
        kept.push(Some(join(older, notice)));
    }
    kept.into_iter().flatten().collect()
}

/// What was dropped in all, for each reason; the rest goes.
fn summed_up(notices: VecDeque<Notice>) -> impl Iterator<Item = Notice> {
    let mut sums = BTreeMap::<usize, Dropped>::new();
    for notice in notices {
        let Notice::Dropped(dropped) = notice else {
            continue;
        };
        let sum = sums.entry(dropped.reason.index());
        let sum = sum.or_insert_with(|| Dropped::of_several(dropped.reason));
        sum.count = sum.count.saturating_add(dropped.count);
        sum.total = sum.count;
    }
    sums.into_values().map(Notice::Dropped)
}

fn join(older: Option<Notice>, newer: Notice) -> Notice {
    match (older, newer) {
        (Some(Notice::Dropped(older)), Notice::Dropped(newer)) => Notice::Dropped(Dropped {
            count: older.count.saturating_add(newer.count),
            ..newer
        }),
        (Some(Notice::GopTruncated(older)), Notice::GopTruncated(mut newer)) => {
            newer.count += older.count;
            Notice::GopTruncated(newer)
        }
        (Some(Notice::State(older) | Notice::Evicted(older)), Notice::State(newer)) => {
            Notice::State(Transition {
                previous: older.previous,
                ..newer
            })
        }
        (Some(Notice::State(older) | Notice::Evicted(older)), Notice::Evicted(newer)) => {
            Notice::Evicted(Transition {
                previous: older.previous,
                ..newer
            })
        }
        (_, newer) => newer,
    }
}
