// SPDX-License-Identifier: MPL-2.0
//! A pool of a source's own kind, which can not be configured, and so says nothing of its size.

use std::sync::atomic::{AtomicU64, Ordering};

use glib::subclass::prelude::*;
use gst::subclass::prelude::*;

#[derive(Default)]
pub(super) struct Pool {
    out: AtomicU64,
}

#[glib::object_subclass]
impl ObjectSubclass for Pool {
    const NAME: &'static str = "DroneTeeTestUntoldPool";
    type Type = UntoldPool;
    type ParentType = gst::BufferPool;
}

impl ObjectImpl for Pool {}
impl GstObjectImpl for Pool {}

impl BufferPoolImpl for Pool {
    fn acquire_buffer(
        &self,
        params: Option<&gst::BufferPoolAcquireParams>,
    ) -> Result<gst::Buffer, gst::FlowError> {
        if self.out.load(Ordering::SeqCst) >= 4 {
            return Err(gst::FlowError::Eos);
        }
        self.out.fetch_add(1, Ordering::SeqCst);
        self.parent_acquire_buffer(params)
    }

    fn release_buffer(&self, buffer: gst::Buffer) {
        self.parent_release_buffer(buffer);
        self.out.fetch_sub(1, Ordering::SeqCst);
    }
}

glib::wrapper! {
    pub(super) struct UntoldPool(ObjectSubclass<Pool>) @extends gst::BufferPool, gst::Object;
}
