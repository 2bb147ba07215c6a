// SPDX-License-Identifier: MPL-2.0
//! One life of the content: two threads, of which either may hang for ever in the content without
//! another thread noticing.
//!
//! - The *state thread* brings the content up, follows the state of the bin and tears the content
//!   down. It waits for orders.
//! - The *feeding thread* pushes what upstream hands over in the [`Slot`]. The state thread starts
//!   it when the content is up and joins it when the content is down.
//!
//! Both hold the life, and the life holds the content and the pad that feeds it: nothing is freed
//! under a thread that hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use gst::prelude::*;

use super::CAT;
use super::content::{self, now};
use super::contents::Stock;
use super::course::LifeId;
use super::feed::{self, Upstream};
use super::slot::Slot;

/// What upstream hands over.
pub(super) enum Item {
    Frame(gst::Buffer),
    Event(gst::Event),
    /// A copy of the query, which comes back with the answer.
    Query(gst::Query),
}

/// What came of it.
pub(super) enum Answer {
    Flow(Result<gst::FlowSuccess, gst::FlowError>),
    Event,
    Query(Option<gst::Query>),
}

/// Where the state thread should bring the content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) state: gst::State,
    pub(super) base_time: Option<gst::ClockTime>,
    pub(super) start_time: Option<gst::ClockTime>,
}

#[derive(Default)]
struct Orders {
    next: Option<Order>,
    /// Tear it down. Written once, by whichever thread ends the life.
    end: bool,
    /// When the state change under way began; written by the state thread.
    changing_since: Option<u64>,
    /// The content is down and both threads have left it.
    is_over: bool,
}

/// Told by the life's threads, with no lock held.
pub(super) trait Host: Upstream {
    /// The content to bring up, which is in the bin, and its sink pad. `None`: there is none, and
    /// the host knows.
    fn content(&self, life: LifeId) -> Option<Stock>;
    /// The content is up for the first time; what it gets first, or `None` if it is not wanted.
    fn is_up(&self, life: &Arc<Life>) -> Option<Vec<gst::Event>>;
    /// Frames go in from now on.
    fn is_fed(&self, life: &Arc<Life>);
    fn has_failed(&self, life: LifeId, error: glib::Error);
    /// The content, which can not say so itself, has come to its end of the stream.
    fn has_ended(&self, life: LifeId, seqnum: gst::Seqnum);
    /// The content is down.
    fn is_over(&self, life: &Arc<Life>);
}

pub(super) struct Life {
    pub(super) id: LifeId,
    pub(super) slot: Slot<Item, Answer>,
    /// Linked to the content's pad by the state thread.
    pub(super) feed: gst::Pad,
    /// Set by the state thread when it gets its first order.
    stock: OnceLock<Stock>,
    /// Set by each of the threads when it begins.
    state_thread: OnceLock<ThreadId>,
    feeder: OnceLock<ThreadId>,
    orders: Mutex<Orders>,
    changed: Condvar,
    /// When the first frame went in; 0 before. Written by the feeding thread.
    first_frame: AtomicU64,
    /// When something last came to a sink; 0 never. Written by the probes of [`watch_end`].
    ///
    /// [`watch_end`]: Self::watch_end
    seen_at: Arc<AtomicU64>,
}

impl Life {
    /// Begins a life: the state thread waits for its first order.
    pub(super) fn start<H: Host>(id: LifeId, host: &Weak<H>) -> std::io::Result<Arc<Self>> {
        let life = Arc::new(Self {
            id,
            slot: Slot::new(),
            feed: feed::pad(id, host).upcast(),
            stock: OnceLock::new(),
            state_thread: OnceLock::new(),
            feeder: OnceLock::new(),
            orders: Mutex::default(),
            changed: Condvar::new(),
            first_frame: AtomicU64::new(0),
            seen_at: Arc::default(),
        });
        let (own, host) = (life.clone(), host.clone());
        content::spawn("branch-state", move || own.run(&host))?;
        Ok(life)
    }

    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn content(&self) -> Option<gst::Bin> {
        self.stock.get().map(|stock| stock.content.clone())
    }

    // ---- orders, from any thread -----------------------------------------------------------

    pub(super) fn order(&self, order: Order) {
        self.lock().next = Some(order);
        self.changed.notify_all();
    }

    /// Releases upstream and has the content torn down; does not wait for that.
    pub(super) fn end(&self) {
        self.slot.close();
        self.lock().end = true;
        self.changed.notify_all();
    }

    /// Waits until the content is down, at most for `patience`; false if it is not.
    pub(super) fn wait_over(&self, patience: Duration) -> bool {
        let (orders, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |orders| !orders.is_over)
            .unwrap_or_else(PoisonError::into_inner);
        orders.is_over
    }

    // ---- signs ---------------------------------------------------------------------------------

    /// How much longer than others the content may take, ns.
    pub(super) fn grace(&self) -> u64 {
        self.stock.get().map_or(0, |stock| stock.grace)
    }

    /// The caller is a handler of what the content says: the content can not be waited for in it.
    pub(super) fn is_own_thread(&self) -> bool {
        let own = std::thread::current().id();
        [&self.state_thread, &self.feeder]
            .map(OnceLock::get)
            .contains(&Some(&own))
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    pub(super) fn changing_since(&self) -> Option<u64> {
        self.lock().changing_since
    }

    /// When the first frame went in, if no sink has prerolled since.
    pub(super) fn waits_since(&self) -> Option<u64> {
        let since = self.first_frame.load(Ordering::Relaxed);
        let waits = || {
            let (changed, _, _) = self.content()?.state(gst::ClockTime::ZERO);
            (changed == Ok(gst::StateChangeSuccess::Async)).then_some(since)
        };
        (since > 0).then(waits).flatten()
    }

    pub(super) fn active_at(&self) -> u64 {
        self.slot
            .returned_at()
            .max(self.seen_at.load(Ordering::Relaxed))
    }

    /// From now on [`active_at`](Self::active_at) knows of what comes to the sinks.
    pub(super) fn watch_end(&self) {
        if let Some(content) = self.content() {
            let seen_at = self.seen_at.clone();
            content::watch_sinks(&content, move || seen_at.store(now(), Ordering::Relaxed));
        }
    }

    // ---- the state thread ----------------------------------------------------------------------

    fn run<H: Host>(self: &Arc<Self>, host: &Weak<H>) {
        // Set once, by this thread.
        let _ = self.state_thread.set(std::thread::current().id());
        let mut feeder = None;
        let mut has_begun = false;
        while let Some(order) = self.next_order() {
            if !has_begun {
                has_begun = true;
                self.connect(host);
            }
            if self.obey(host, &order) && feeder.is_none() {
                feeder = self.start_feeding(host);
            }
        }
        self.tear_down(feeder);
        if let Some(host) = host.upgrade() {
            host.is_over(self);
        }
    }

    /// Waits for the next order; `None` is the end.
    fn next_order(&self) -> Option<Order> {
        let mut orders = self.lock();
        orders.changing_since = None;
        loop {
            if orders.end {
                return None;
            }
            if let Some(order) = orders.next.take() {
                orders.changing_since = Some(now());
                return Some(order);
            }
            orders = self
                .changed
                .wait(orders)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn connect<H: Host>(&self, host: &Weak<H>) {
        let stock = host.upgrade().and_then(|host| host.content(self.id));
        let Some(stock) = stock else { return };
        let entry = stock.entry.clone();
        // It connects once.
        let _ = self.stock.set(stock);
        let active = self.feed.set_active(true).is_ok();
        let check = gst::PadLinkCheck::empty();
        if !active || self.feed.link_full(&entry, check).is_err() {
            let text = "The content's sink pad can not be linked";
            fail(host, self.id, content::error(text));
        }
    }

    /// True if the content is up.
    fn obey<H: Host>(&self, host: &Weak<H>, order: &Order) -> bool {
        let Some(content) = self.content() else {
            return false;
        };
        if let Some(base_time) = order.base_time {
            content.set_base_time(base_time);
        }
        content.set_start_time(order.start_time);
        let changed = content.set_state(order.state);
        if changed.is_err() {
            let text = format!("The content can not change its state to {:?}", order.state);
            let error = glib::Error::new(gst::CoreError::StateChange, &text);
            fail(host, self.id, error);
        }
        changed.is_ok()
    }

    fn start_feeding<H: Host>(self: &Arc<Self>, host: &Weak<H>) -> Option<JoinHandle<()>> {
        let first = host.upgrade()?.is_up(self)?;
        let (life, own) = (self.clone(), host.clone());
        match content::spawn("branch-feed", move || life.feed(first, &own)) {
            Ok(feeder) => {
                host.upgrade()?.is_fed(self);
                Some(feeder)
            }
            Err(error) => {
                fail(host, self.id, content::error(&error.to_string()));
                None
            }
        }
    }

    fn tear_down(&self, feeder: Option<JoinHandle<()>>) {
        if let Some(stock) = self.stock.get() {
            stock.relinks.keep(&stock.content);
            // Elements refuse nothing on their way down that could be mended here.
            let _ = stock.content.set_state(gst::State::Null);
        }
        if feeder.is_some_and(|feeder| feeder.join().is_err()) {
            gst::error!(CAT, obj = self.feed, "The feeding thread panicked");
        }
        if let Some(peer) = self.feed.peer() {
            let _ = self.feed.unlink(&peer);
        }
        let _ = self.feed.set_active(false);
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    // ---- the feeding thread --------------------------------------------------------------------

    fn feed<H: Host>(&self, first: Vec<gst::Event>, host: &Weak<H>) {
        // Set once, by this thread.
        let _ = self.feeder.set(std::thread::current().id());
        for event in first {
            self.feed.push_event(event);
        }
        while let Some(item) = self.slot.take() {
            let answer = match item {
                Item::Frame(frame) => {
                    if self.first_frame.load(Ordering::Relaxed) == 0 {
                        self.first_frame.store(now(), Ordering::Relaxed);
                    }
                    Answer::Flow(self.feed.push(frame))
                }
                Item::Event(event) => {
                    self.feed_event(event, host);
                    Answer::Event
                }
                Item::Query(mut query) => {
                    let answered = query.get_mut().is_some_and(|q| self.feed.peer_query(q));
                    Answer::Query(answered.then_some(query))
                }
            };
            self.slot.answer(answer);
        }
    }

    /// Caps that are refused make the next push fail.
    fn feed_event<H: Host>(&self, event: gst::Event, host: &Weak<H>) {
        let (type_, seqnum) = (event.type_(), event.seqnum());
        match type_ {
            // The sinks preroll anew.
            gst::EventType::FlushStop => self.first_frame.store(0, Ordering::Relaxed),
            gst::EventType::Eos => self.end_sources(),
            _ => {}
        }
        self.feed.push_event(event);
        let can_tell =
            |content: gst::Bin| content.element_flags().contains(gst::ElementFlags::SINK);
        if type_ == gst::EventType::Eos
            && !self.content().is_some_and(can_tell)
            && let Some(host) = host.upgrade()
        {
            host.has_ended(self.id, seqnum);
        }
    }

    /// The stream has ended: sources in the content, whose frames are mixed with it, would go on.
    fn end_sources(&self) {
        let is_source = |bin: &gst::Bin| bin.element_flags().contains(gst::ElementFlags::SOURCE);
        if let Some(content) = self.content().filter(is_source) {
            content.send_event(gst::event::Eos::new());
        }
    }

    // ---- from upstream's thread --------------------------------------------------------------------

    /// Hands over an event in its place in the stream, and waits until the content has it.
    pub(super) fn pass_event(&self, event: gst::Event) {
        if self.is_own_thread() {
            // Upstream answers the content, which has asked for a seek while it had a frame.
            self.feed.push_event(event);
            return;
        }
        let is_kept = event.is_sticky() && event.type_() != gst::EventType::Eos;
        let passed = self.slot.pass(Item::Event(event.clone()));
        if passed.is_none() && is_kept {
            // A flush came between: the next push delivers it, as that of any pad.
            let _ = self.feed.store_sticky_event(&event);
        }
    }

    /// Delivers an event around the feeding thread, by a helper thread, as a handler may wait for a
    /// thread that hangs. Waits for it for so long.
    pub(super) fn pass_around(&self, event: gst::Event, patience: Duration) {
        let feed = self.feed.clone();
        let type_ = event.type_();
        let (delivered, wait) = std::sync::mpsc::channel();
        let started = content::spawn("branch-around", move || {
            feed.push_event(event);
            // Upstream may have left.
            let _ = delivered.send(());
        });
        if started.is_err() || wait.recv_timeout(patience).is_err() {
            gst::warning!(CAT, obj = self.feed, "The content does not take {type_:?}");
        }
    }
}

fn fail<H: Host>(host: &Weak<H>, life: LifeId, error: glib::Error) {
    if let Some(host) = host.upgrade() {
        host.has_failed(life, error);
    }
}
