// SPDX-License-Identifier: MPL-2.0
//! The bytes of a frame: whose memory they are, when it is mapped and how long it lives.

use std::os::fd::IntoRawFd;

use crate::source::{DEADLINE, Source};
use gst::prelude::*;
use gst_allocators::prelude::*;
use gstdronetee::{Error, Frame};

/// The buffer as a consumer gets it.
fn taken(source: &Source, buffer: gst::Buffer) -> Frame {
    let mut frames = source.publisher.subscribe("only").unwrap();
    source.publish_buffer(buffer);
    frames.recv_timeout(DEADLINE).unwrap()
}

fn info(format: gst_video::VideoFormat, width: u32, height: u32) -> gst_video::VideoInfo {
    gst::init().unwrap();
    gst_video::VideoInfo::builder(format, width, height)
        .fps(gst::Fraction::new(30, 1))
        .build()
        .unwrap()
}

fn i420() -> gst_video::VideoInfo {
    info(gst_video::VideoFormat::I420, 64, 48)
}

fn through(info: &gst_video::VideoInfo, buffer: gst::Buffer) -> Frame {
    taken(&Source::started(Some(&info.to_caps().unwrap())), buffer)
}

/// A buffer with a memory of each of these sizes, filled with its number.
fn in_memories(sizes: &[usize]) -> gst::Buffer {
    gst::init().unwrap();
    let mut buffer = gst::Buffer::new();
    let own = buffer.get_mut().unwrap();
    for (n, size) in sizes.iter().enumerate() {
        own.append_memory(gst::Memory::from_slice(vec![n as u8; *size]));
    }
    buffer
}

/// Where the memory is when it is mapped.
fn address(buffer: &gst::BufferRef, memory: usize) -> usize {
    let map = buffer.peek_memory(memory).map_readable().unwrap();
    map.as_ptr() as usize
}

fn with_layout(buffer: gst::Buffer, offsets: &[usize], strides: &[i32]) -> gst::Buffer {
    with_layout_of(&i420(), buffer, offsets, strides)
}

fn with_layout_of(
    info: &gst_video::VideoInfo,
    mut buffer: gst::Buffer,
    offsets: &[usize],
    strides: &[i32],
) -> gst::Buffer {
    gst_video::VideoMeta::add_full(
        buffer.get_mut().unwrap(),
        gst_video::VideoFrameFlags::empty(),
        info.format(),
        info.width(),
        info.height(),
        offsets,
        strides,
    )
    .unwrap();
    buffer
}

#[test]
fn planes_are_the_memories_that_they_are_in() {
    let buffer = in_memories(&[64 * 48, 32 * 24, 32 * 24]);
    let addresses = [0, 1, 2].map(|n| address(&buffer, n));
    let frame = through(&i420(), buffer);
    assert_eq!(frame.pixels().unwrap_err(), Error::SeveralMemories);
    for (n, length) in [64 * 48, 32 * 24, 32 * 24].into_iter().enumerate() {
        let plane = frame.plane(n).unwrap();
        assert_eq!(plane.data().as_ptr() as usize, addresses[n]);
        assert_eq!(*plane.data(), vec![n as u8; length]);
    }
    assert_eq!(frame.plane(3).unwrap_err(), Error::NoSuchPlane(3));
    assert_eq!(
        frame.plane(usize::MAX).unwrap_err(),
        Error::NoSuchPlane(usize::MAX)
    );
}

#[test]
fn planes_lie_where_the_video_meta_says() {
    // Odd offsets and strides; the last row of the last plane ends early.
    let size = 5 + 71 * 48 + 9 + 39 * 24 + 39 * 24 - 7;
    let offsets = [5, 5 + 71 * 48 + 9, 5 + 71 * 48 + 9 + 39 * 24];
    let buffer = with_layout(in_memories(&[size]), &offsets, &[71, 39, 39]);
    let base = address(&buffer, 0);
    let frame = through(&i420(), buffer);
    let lengths = [71 * 48, 39 * 24, 39 * 24 - 7];
    for ((n, offset), length) in offsets.into_iter().enumerate().zip(lengths) {
        let plane = frame.plane(n).unwrap();
        assert_eq!(plane.data().as_ptr() as usize, base + offset);
        assert_eq!(plane.data().len(), length);
        assert_eq!(plane.stride(), [71, 39, 39][n]);
    }
    assert_eq!(frame.pixels().unwrap().len(), size);
}

#[test]
fn the_last_row_of_a_memory_may_end_early() {
    let sizes = [71 * 48 - 7, 39 * 24 - 7, 39 * 24 - 7];
    let offsets = [0, sizes[0], sizes[0] + sizes[1]];
    let buffer = with_layout(in_memories(&sizes), &offsets, &[71, 39, 39]);
    let frame = through(&i420(), buffer);
    for (n, size) in sizes.into_iter().enumerate() {
        assert_eq!(*frame.plane(n).unwrap().data(), vec![n as u8; size]);
    }
}

#[test]
fn a_plane_in_pieces_or_out_of_bounds_is_an_error() {
    let whole = 64 * 48 * 3 / 2;
    let plane = |buffer, n| {
        let plane = through(&i420(), buffer).plane(n);
        plane.map(|plane| plane.data().len())
    };
    // In the middle of a plane, and of its last row.
    for cut in [64 * 20, 64 * 47 + 10] {
        let buffer = in_memories(&[cut, whole - cut]);
        assert_eq!(plane(buffer.clone(), 0), Err(Error::SeveralMemories));
        assert_eq!(plane(buffer, 1), Ok(32 * 24));
    }
    let short = in_memories(&[64 * 48 + 100]);
    assert_eq!(plane(short.clone(), 0), Ok(64 * 48));
    assert_eq!(plane(short.clone(), 1), Err(Error::Layout));
    assert_eq!(plane(short, 2), Err(Error::Layout));
    assert_eq!(plane(gst::Buffer::new(), 0), Err(Error::Layout));
    // The last row may lack what is behind its pixels, and no pixel.
    for (size, ends) in [(64 * 47 + 33, true), (64 * 47 + 32, false)] {
        let gray = info(gst_video::VideoFormat::Gray8, 33, 48);
        let padded = with_layout_of(&gray, in_memories(&[size]), &[0], &[64]);
        let plane = through(&gray, padded).plane(0);
        assert_eq!(plane.is_ok(), ends, "{plane:?}");
    }
    let impossible = [
        (usize::MAX, 64),
        (usize::MAX - 64 * 48, 64),
        (0, -64),
        (0, 0),
        (0, i32::MAX),
    ];
    for (offset, stride) in impossible {
        let offsets = [offset, 64 * 48, 64 * 48 + 32 * 24];
        let buffer = with_layout(in_memories(&[whole]), &offsets, &[stride, 32, 32]);
        assert_eq!(plane(buffer, 0), Err(Error::Layout), "{offset} {stride}");
    }
}

#[test]
fn planes_are_those_of_a_video_frame() {
    use gst_video::VideoFormat as F;
    let formats = [
        F::I420,
        F::Nv12,
        F::Yuy2,
        F::Rgb,
        F::Rgba,
        F::Gray8,
        F::I42010le,
        F::Y444,
        F::Yuv9,
        F::Rgb8p,
    ];
    for format in formats {
        for (width, height) in [(64, 48), (33, 17), (1, 1)] {
            let info = info(format, width, height);
            let buffer = in_memories(&[info.size()]);
            let frame = through(&info, buffer.clone());
            let mapped = gst_video::VideoFrame::from_buffer_readable(buffer, &info).unwrap();
            for n in 0..info.n_planes() {
                let (own, theirs) = (frame.plane(n as usize).unwrap(), mapped.plane_data(n));
                let theirs = theirs.unwrap();
                assert_eq!(own.data().as_ptr(), theirs.as_ptr(), "{info:?}");
                if !info.format_info().has_palette() {
                    assert_eq!(own.data().len(), theirs.len(), "{info:?}");
                } else if n == 1 {
                    assert_eq!((own.data().len(), own.height()), (1024, 256));
                }
            }
        }
    }
    let tiled = info(F::Nv1264z32, 128, 64);
    let frame = through(&tiled, in_memories(&[tiled.size()]));
    assert_eq!(frame.plane(0).unwrap_err(), Error::Layout);
    assert_eq!(frame.pixels().unwrap().len(), tiled.size());
}

#[test]
fn frames_that_are_no_raw_video_have_bytes_and_no_planes() {
    gst::init().unwrap();
    let coded = gst::Caps::builder("video/x-h264")
        .field("stream-format", "byte-stream")
        .field("alignment", "au")
        .build();
    for caps in [Some(&coded), None] {
        let frame = taken(&Source::started(caps), in_memories(&[100]));
        assert_eq!(frame.caps(), caps);
        assert_eq!(frame.video_info(), None);
        assert_eq!(frame.plane(0).unwrap_err(), Error::NotRawVideo);
        assert_eq!(frame.pixels().unwrap().len(), 100);
    }
    let empty = taken(&Source::started(Some(&coded)), gst::Buffer::new());
    assert_eq!(empty.pixels().unwrap().len(), 0);
}

#[test]
fn bytes_outlive_frame_receiver_and_pipeline() {
    let source = Source::started(Some(&i420().to_caps().unwrap()));
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.publish_buffer(in_memories(&[64 * 48, 32 * 24, 32 * 24]));
    let frame = frames.recv_timeout(DEADLINE).unwrap();
    let luma = frame.plane(0).unwrap().into_data();
    let address = luma.as_ptr();
    drop(frame);
    drop(frames);
    drop(source);
    let (other, part) = (luma.clone(), luma.slice(64..128));
    drop(luma);
    assert_eq!(other.as_ptr(), address);
    drop(other);
    assert_eq!(part, vec![0; 64]);
}

#[test]
fn a_buffer_returns_to_its_pool_with_the_last_bytes_of_it() {
    let info = i420();
    let caps = info.to_caps().unwrap();
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    config.set_params(Some(&caps), info.size() as u32, 1, 1);
    pool.set_config(config).unwrap();
    pool.set_active(true).unwrap();
    let at_once = gst::BufferPoolAcquireParams::with_flags(gst::BufferPoolAcquireFlags::DONTWAIT);
    let acquire = || pool.acquire_buffer(Some(&at_once));
    let source = Source::started(Some(&caps));
    let mut receivers = ["a", "b", "c"].map(|name| source.publisher.subscribe(name).unwrap());
    for _ in 0..3 {
        source.publish_buffer(acquire().unwrap());
        let mut bytes = Vec::new();
        for frames in &mut receivers {
            let frame = frames.recv_timeout(DEADLINE).unwrap();
            let plane = frame.plane(1).unwrap();
            bytes.extend([frame.pixels().unwrap(), plane.into_data()]);
        }
        while let Some(last) = bytes.pop() {
            // Also a part of it is it.
            let part = last.slice(3..5);
            drop(last);
            assert_eq!(acquire().unwrap_err(), gst::FlowError::Eos);
            drop(part);
        }
        drop(acquire().expect("it is back"));
    }
    pool.set_active(false).unwrap();
}

/// Memory of a device, of which the kernel says whether it is mapped.
struct Device {
    path: std::path::PathBuf,
}

impl Device {
    fn new(name: &str) -> Self {
        let name = format!("dronetee-test-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, vec![7; i420().size()]).unwrap();
        Self { path }
    }

    fn buffer(&self, options: &std::fs::OpenOptions) -> gst::Buffer {
        let fd = options.open(&self.path).unwrap().into_raw_fd();
        let size = i420().size();
        let allocator = gst_allocators::FdAllocator::new();
        // SAFETY: the descriptor is open, of that size, and the memory's from here on.
        #[allow(unsafe_code)]
        let memory = unsafe { allocator.alloc_fd(fd, size, gst_allocators::FdMemoryFlags::NONE) };
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().append_memory(memory.unwrap());
        buffer
    }

    fn is_mapped(&self) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(self.path.to_str().unwrap())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

fn device_caps() -> gst::Caps {
    let mut caps = i420().to_caps().unwrap();
    let features = gst::CapsFeatures::new(["memory:DMABuf"]);
    caps.get_mut().unwrap().set_features_simple(Some(features));
    caps
}

#[test]
fn device_memory_is_mapped_only_when_asked_for() {
    let device = Device::new("mapped");
    let source = Source::started(Some(&device_caps()));
    let mut receivers = ["a", "b"].map(|name| source.publisher.subscribe(name).unwrap());
    // More than fit, so that frames give way and carry DISCONT, which must not map either.
    for _ in 0..10 {
        source.publish_buffer(device.buffer(std::fs::OpenOptions::new().read(true)));
    }
    assert!(!device.is_mapped());
    for frames in &mut receivers {
        let frame = frames.recv_timeout(DEADLINE).unwrap();
        assert_eq!((frame.seq(), frame.lost_before()), (6, 6));
        assert_eq!(frame.caps(), Some(&device_caps()));
        assert_eq!(frame.video_info().unwrap().width(), 64);
        assert!(!device.is_mapped());
        let bytes = frame.pixels().unwrap();
        assert!(device.is_mapped());
        assert_eq!(*frame.plane(2).unwrap().data(), vec![7; 32 * 24]);
        assert_eq!(frame.plane(3).unwrap_err(), Error::NoSuchPlane(3));
        drop(frame);
        assert!(device.is_mapped(), "the bytes are still there");
        assert_eq!(bytes, vec![7; i420().size()]);
        drop(bytes);
        assert!(!device.is_mapped());
    }
}

#[test]
fn memory_that_can_not_be_mapped_is_an_error() {
    let device = Device::new("unmappable");
    let source = Source::started(Some(&device_caps()));
    let frame = taken(
        &source,
        device.buffer(std::fs::OpenOptions::new().write(true)),
    );
    assert_eq!(frame.pixels().unwrap_err(), Error::Map);
    assert_eq!(frame.plane(0).unwrap_err(), Error::Map);
    assert_eq!(frame.buffer().size(), i420().size());
    assert!(!device.is_mapped());
}
