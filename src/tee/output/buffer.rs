// SPDX-License-Identifier: MPL-2.0
//! DISCONT on a frame without a copy of its memory.

/// The same memory, with DISCONT set if that can be had without a copy.
pub(in crate::tee) fn flagged(mut buffer: gst::Buffer, discont: bool) -> gst::Buffer {
    if !discont || buffer.flags().contains(gst::BufferFlags::DISCONT) {
        return buffer;
    }
    if let Some(own) = buffer.get_mut() {
        own.set_flags(gst::BufferFlags::DISCONT);
        return buffer;
    }
    let no_share = |memory: &gst::MemoryRef| memory.flags().contains(gst::MemoryFlags::NO_SHARE);
    if buffer.iter_memories().any(no_share) {
        return buffer;
    }
    // Shares the memories; a pool gets the original back only when this one is gone.
    let mut flagged = buffer.copy();
    let shares = buffer
        .iter_memories()
        .map(gst::MemoryRef::as_ptr)
        .eq(flagged.iter_memories().map(gst::MemoryRef::as_ptr));
    match flagged.get_mut() {
        Some(own) if shares => own.set_flags(gst::BufferFlags::DISCONT),
        // GStreamer copies memory that is mapped for writing.
        _ => return buffer,
    }
    flagged
}
