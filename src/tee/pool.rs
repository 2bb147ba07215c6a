// SPDX-License-Identifier: MPL-2.0
//! Upstream's buffer pool: how large it is, where that is known, and the thread that watches where it
//! is not.

use std::sync::{Arc, Weak};
use std::time::Duration;

use glib::translate::FromGlibPtrNone;
use gst::prelude::*;

use super::negotiation::latency;
use super::{CAT, DroneTee, Stream, now, saturated};
use crate::fanout::{PoolFigures, Watch};
use crate::park::thread_waker;

/// The pool that the last frame came from, by its address; `None`: it has to be looked at.
#[derive(Debug, Default)]
pub(super) struct SeenPool(Option<usize>);

impl SeenPool {
    /// True if the frame's pool is not the last one's.
    #[inline]
    pub(super) fn changes(&mut self, buffer: &gst::BufferRef) -> bool {
        let address = Some(pool_of(buffer) as usize);
        let changes = self.0 != address;
        if changes {
            self.0 = address;
        }
        changes
    }

    /// The pool may have another size, or another pool the same address.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

/// The bindings have no accessor.
#[allow(unsafe_code)]
#[inline]
fn pool_of(buffer: &gst::BufferRef) -> *mut gst::ffi::GstBufferPool {
    // SAFETY: the buffer is borrowed, and so lives; its pool is set and taken only while no other
    // reference to the buffer exists.
    unsafe { (*buffer.as_ptr()).pool }
}

/// How many buffers the frame's pool has; 0: it does not tell. A pool without a maximum may be any:
/// some sources' can not be configured, and so say nothing of their size.
#[allow(unsafe_code)]
fn size_of_pool(buffer: &gst::BufferRef) -> u64 {
    let pool = pool_of(buffer);
    if pool.is_null() {
        // A part of a pool's buffer, which goes back when the part is freed.
        let part = buffer.meta::<gst::ParentBufferMeta>();
        return part.map_or(0, |part| size_of_pool(part.parent()));
    }
    // SAFETY: it is a pool, which the buffer holds a reference to while it is out.
    let pool = unsafe { gst::BufferPool::from_glib_none(pool) };
    let params = pool.config().params();
    params.map_or(0, |(_, _, _, most)| most.into())
}

/// Frames come from another pool than before.
#[cold]
pub(super) fn note(stream: &Stream, pad: &gst::Pad, buffer: &gst::BufferRef) {
    let size = size_of_pool(buffer);
    gst::debug!(CAT, obj = pad, "Frames come from a pool: {size:?}");
    stream.set_pool(size, now());
}

/// Frames of these caps come, and no longer those of before.
pub(super) fn note_format(stream: &Stream, caps: &gst::CapsRef) {
    let duration = latency::frame_duration(caps);
    stream.new_format(duration.map_or(0, gst::ClockTime::nseconds));
}

/// Begins to watch upstream's silence.
#[cold]
pub(super) fn watch(stream: &Arc<Stream>, pad: &gst::Pad, watch: u64) {
    let stream = Arc::downgrade(stream);
    let thread = std::thread::Builder::new().name("dronetee:pool".into());
    if let Err(error) = thread.spawn(move || watch_silence(&stream, watch)) {
        gst::warning!(CAT, obj = pad, "No thread to watch upstream: {error}");
    }
}

pub(super) fn message(pool: PoolFigures) -> gst::Structure {
    gst::Structure::builder("dronetee-pool")
        .field("held", saturated(pool.held))
        .field("max-held", saturated(pool.max_held))
        .field("pool-size", saturated(pool.pool_size))
        .field("learned", pool.learned)
        .build()
}

pub(super) fn warn(element: &DroneTee, pool: PoolFigures) {
    let PoolFigures {
        held,
        max_held,
        pool_size,
        learned,
    } = pool;
    let how = match learned {
        true => "stopped for want of a buffer: it has no more than",
        false => "has a pool of",
    };
    gst::element_warning!(
        element,
        gst::ResourceError::NoSpaceLeft,
        ("Upstream {how} {pool_size} buffers. Consumers that keep them lose frames (pool), \
             so that upstream goes on: no more than {max_held} are out at once. Set more \
             buffers upstream (num-extra-surfaces of a decoder, for example), a smaller depth \
             here, or max-held={max_held} to have this from the start"),
        ["{held} frames were out"]
    );
}

/// What the thread does. It holds the stream only while it looks, and the element never.
fn watch_silence(stream: &Weak<Stream>, watch: u64) {
    let waker = thread_waker();
    let mut spare = None;
    loop {
        spare.get_or_insert_with(|| waker.clone());
        let Some(stream) = stream.upgrade() else {
            return;
        };
        let next = stream.look_at_silence(watch, now(), &mut spare);
        drop(stream);
        match next {
            Watch::For(time) => std::thread::park_timeout(Duration::from_nanos(time)),
            Watch::UntilWoken => std::thread::park(),
            Watch::Over => return,
        }
    }
}
