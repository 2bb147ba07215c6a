// SPDX-License-Identifier: MPL-2.0
//! What came into a `dronetee`, and whether what arrives at a branch may be so.
//!
//! A probe at the sink pad numbers the frames and notes what belongs to each. A probe at the first pad
//! of each branch compares: order, caps, segment, DISCONT, keyframes, the place of custom events.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use crate::fault::fault;

/// Frames that arrived at branches, in all rounds.
pub(crate) static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// The custom event that carries a number.
pub(crate) const MARKED: &str = "stress-marked";

#[derive(Clone)]
pub(crate) struct Mark {
    pub(crate) caps: Option<gst::Caps>,
    segment: Option<gst::Seqnum>,
    pub(crate) delta: bool,
}

/// What came into one `dronetee`: frames by their number, and for each marked event the frame that it
/// precedes.
#[derive(Default)]
pub(crate) struct Marks {
    frames: Mutex<Vec<Mark>>,
    events: Mutex<HashMap<u64, u64>>,
}

impl Marks {
    pub(crate) fn count(&self) -> u64 {
        self.frames.lock().unwrap().len() as u64
    }

    pub(crate) fn get(&self, number: u64) -> Option<Mark> {
        self.frames.lock().unwrap().get(number as usize).cloned()
    }

    /// Numbers what goes into `sink`.
    pub(crate) fn install(self: &Arc<Self>, sink: &gst::Pad) {
        let marks = self.clone();
        let kinds = gst::PadProbeType::BUFFER
            | gst::PadProbeType::BUFFER_LIST
            | gst::PadProbeType::EVENT_DOWNSTREAM;
        sink.add_probe(kinds, move |pad, info| {
            match &mut info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => marks.mark(pad, buffer),
                Some(gst::PadProbeData::BufferList(list)) => {
                    let mut marked = gst::BufferList::new();
                    for mut buffer in list.iter_owned() {
                        marks.mark(pad, &mut buffer);
                        marked.get_mut().unwrap().add(buffer);
                    }
                    *list = marked;
                }
                Some(gst::PadProbeData::Event(event)) => {
                    if let Some(number) = mark_of(event) {
                        let next = marks.count();
                        marks.events.lock().unwrap().insert(number, next);
                    }
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn mark(&self, pad: &gst::Pad, buffer: &mut gst::Buffer) {
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        let mark = Mark {
            caps: pad.current_caps(),
            segment: segment.map(|event| event.seqnum()),
            delta: buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
        };
        let mut frames = self.frames.lock().unwrap();
        buffer.make_mut().set_offset(frames.len() as u64);
        frames.push(mark);
    }
}

fn mark_of(event: &gst::EventRef) -> Option<u64> {
    let structure = event.structure()?;
    structure
        .has_name(MARKED)
        .then(|| structure.get("n").ok())?
}

/// One src pad of a `dronetee`.
#[derive(Default)]
pub(crate) struct Passage {
    pub(crate) name: String,
    pub(crate) marks: Arc<Marks>,
    /// Which link of this pad's it is; set by the driver before it links.
    pub(crate) link: AtomicU64,
    /// Frames that were pushed.
    pub(crate) pushes: AtomicU64,
    /// Those of before the element started.
    pub(crate) pushes_before: AtomicU64,
    /// Frames that were published and did not come in, at the last look.
    pub(crate) missed: Mutex<Option<i64>>,
    /// The last frame that reached a branch, if no flush has come since.
    pub(crate) delivered: Mutex<Option<u64>>,
}

thread_local! {
    /// What this thread pushes, and by which link.
    static PUSHING: RefCell<Option<(Arc<Passage>, u64)>> = const { RefCell::new(None) };
}

impl Passage {
    /// Frames that it saw in this life of the stream.
    pub(crate) fn own_pushes(&self) -> u64 {
        let before = self.pushes_before.load(Ordering::SeqCst);
        self.pushes.load(Ordering::SeqCst) - before
    }

    /// Counts what `pad` pushes.
    pub(crate) fn install(self: &Arc<Self>, pad: &gst::Pad) {
        let passage = self.clone();
        let kinds = gst::PadProbeType::BUFFER
            | gst::PadProbeType::BUFFER_LIST
            | gst::PadProbeType::EVENT_DOWNSTREAM
            | gst::PadProbeType::EVENT_FLUSH;
        pad.add_probe(kinds, move |_, info| {
            match &info.data {
                Some(gst::PadProbeData::Buffer(_)) => {
                    passage.pushes.fetch_add(1, Ordering::SeqCst);
                }
                Some(gst::PadProbeData::BufferList(_)) => fault("a list came out of dronetee"),
                Some(gst::PadProbeData::Event(event))
                    if event.type_() == gst::EventType::FlushStop =>
                {
                    *passage.delivered.lock().unwrap() = None;
                }
                _ => {}
            }
            let link = passage.link.load(Ordering::SeqCst);
            PUSHING.with_borrow_mut(|pushing| *pushing = Some((passage.clone(), link)));
            gst::PadProbeReturn::Ok
        });
    }
}

/// What one link has brought so far.
#[derive(Default)]
struct Seen {
    link: u64,
    last: Option<u64>,
    /// The last marked event, and the frame that it precedes.
    event: Option<(u64, u64)>,
}

/// The first pad of a branch.
#[derive(Default)]
pub(crate) struct Witness {
    /// The link that counts; set by the driver before it links.
    pub(crate) link: AtomicU64,
    seen: Mutex<Seen>,
}

impl Witness {
    pub(crate) fn install(self: &Arc<Self>, head: &gst::Pad) {
        let witness = self.clone();
        let kinds = gst::PadProbeType::BUFFER
            | gst::PadProbeType::EVENT_DOWNSTREAM
            | gst::PadProbeType::EVENT_FLUSH;
        head.add_probe(kinds, move |pad, info| {
            let pushing = PUSHING.with_borrow(Clone::clone);
            let Some((passage, link)) = pushing else {
                return gst::PadProbeReturn::Ok;
            };
            // What was on its way when this branch was linked is checked for its consumer alone.
            let counts = link == witness.link.load(Ordering::SeqCst);
            match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) if counts => {
                    witness.frame(pad, buffer, &passage, link);
                }
                Some(gst::PadProbeData::Buffer(buffer)) => {
                    *passage.delivered.lock().unwrap() = Some(buffer.offset());
                }
                Some(gst::PadProbeData::Event(event)) if counts => {
                    witness.event(event, &passage, link);
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn frame(&self, pad: &gst::Pad, buffer: &gst::BufferRef, passage: &Passage, link: u64) {
        let number = buffer.offset();
        let complain = |what: String| -> ! {
            fault(format!(
                "{} to {}: frame {number} ({buffer:?}): {what}",
                passage.name,
                pad.name()
            ))
        };
        let Some(mark) = passage.marks.get(number) else {
            complain("it never came in".into());
        };
        if pad.sticky_event::<gst::event::StreamStart>(0).is_none() {
            complain("no stream-start before it".into());
        }
        let caps = pad.current_caps();
        if caps != mark.caps {
            complain(format!("came in as {:?}, goes out as {caps:?}", mark.caps));
        }
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        if segment.as_ref().map(|event| event.seqnum()) != mark.segment {
            complain(format!(
                "came in with segment {:?}, goes out with {segment:?}",
                mark.segment
            ));
        }
        let mut seen = self.seen.lock().unwrap();
        if seen.link != link {
            *seen = Seen {
                link,
                ..Seen::default()
            };
        }
        if let Some(last) = seen.last {
            // A branch that was not linked further gets all again when it is.
            let has_taken = || pad.peer().is_none_or(|tee| tee.property::<u64>("out") > 0);
            if number <= last && has_taken() {
                complain(format!("comes after {last}"));
            }
            let is_flagged = buffer.flags().contains(gst::BufferFlags::DISCONT);
            if number > last + 1 && !is_flagged {
                complain(format!("no DISCONT although {last} was the last one"));
            }
        }
        // A branch that replaces another between two frames goes on where that one was.
        let reference = passage.delivered.lock().unwrap().replace(number);
        if mark.delta && reference.is_none_or(|last| last + 1 != number) {
            complain(format!("a delta frame, and {reference:?} was the last one"));
        }
        if let Some((event, next)) = seen.event
            && number < next
        {
            complain(format!("event {event} precedes {next} and came before"));
        }
        seen.last = Some(number);
        drop(seen);
        ARRIVED.fetch_add(1, Ordering::Relaxed);
    }

    fn event(&self, event: &gst::EventRef, passage: &Passage, link: u64) {
        let Some(number) = mark_of(event) else { return };
        let next = passage.marks.events.lock().unwrap().get(&number).copied();
        let Some(next) = next else {
            fault(format!("{}: event {number} never came in", passage.name));
        };
        let mut seen = self.seen.lock().unwrap();
        if seen.link != link {
            *seen = Seen {
                link,
                ..Seen::default()
            };
        }
        if let Some(last) = seen.last
            && last >= next
        {
            fault(format!(
                "{}: event {number} precedes frame {next} and comes after {last}",
                passage.name
            ));
        }
        if let Some((last, _)) = seen.event
            && last >= number
        {
            fault(format!(
                "{}: event {number} comes after event {last}",
                passage.name
            ));
        }
        seen.event = Some((number, next));
    }
}
