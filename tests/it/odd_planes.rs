// SPDX-License-Identifier: MPL-2.0
//! Planes of every format, of buffers that are laid out in odd ways, and of parts of pictures.

use crate::source::{DEADLINE, Source};
use gst_video::prelude::*;
use gst_video::{VideoFormat, VideoFrameFlags, VideoInfo, VideoInterlaceMode, VideoMeta};
use gstdronetee::{Error, Frame, FrameReceiver};

struct Pictures {
    source: Source,
    frames: FrameReceiver,
}

impl Pictures {
    fn new() -> Self {
        let source = Source::idle();
        source.set(gst::State::Playing);
        source.send(gst::event::StreamStart::new("camera"));
        let frames = source.publisher.subscribe("only").unwrap();
        Self { source, frames }
    }

    fn through(&mut self, info: &VideoInfo, buffer: gst::Buffer) -> Frame {
        let caps = info.to_caps().unwrap();
        self.source.send(gst::event::Caps::new(&caps));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        self.source.send(gst::event::Segment::new(&segment));
        self.source.publish_buffer(buffer);
        self.frames.recv_timeout(DEADLINE).unwrap()
    }
}

/// What `gstreamer-video` says of the same frame.
fn compare(frame: &Frame, info: &VideoInfo) {
    let (planes, theirs) = (frame.planes().unwrap(), frame.video_frame().unwrap());
    assert_eq!(planes.len(), theirs.n_planes() as usize);
    for (n, plane) in planes.iter().enumerate() {
        let data = theirs.plane_data(n as u32).unwrap();
        assert_eq!(plane.data().as_ptr(), data.as_ptr(), "{info:?} {n}");
        assert_eq!(plane.stride() as i32, theirs.plane_stride()[n], "{info:?}");
        assert_eq!(plane.rows().count(), plane.height());
        assert_eq!(plane.packed().len(), plane.height() * plane.row_bytes());
    }
    let format = info.format_info();
    for component in 0..info.n_components() as usize {
        if format.has_palette() && component > 0 {
            continue;
        }
        let plane = &planes[format.plane()[component] as usize];
        let rows = format.scale_height(component as u8, info.field_height()) as usize;
        assert_eq!(plane.height(), rows, "{info:?}");
        let apart = format.pixel_stride()[component] as usize;
        if apart > 0 {
            // The last sample of the row is in it.
            let samples = format.scale_width(component as u8, info.width()) as usize;
            let last = format.poffset()[component] as usize + (samples - 1) * apart;
            assert!(last < plane.row_bytes(), "{info:?} {component}");
        }
    }
}

#[test]
fn every_format_is_read_as_gstreamer_video_reads_it() {
    let mut pictures = Pictures::new();
    let mut compared = 0;
    for format in VideoFormat::iter_raw() {
        for (width, height) in [(1, 1), (2, 3), (15, 2), (33, 17), (1366, 768)] {
            for mode in [
                VideoInterlaceMode::Progressive,
                VideoInterlaceMode::Interleaved,
                VideoInterlaceMode::Alternate,
            ] {
                let info = VideoInfo::builder(format, width, height).interlace_mode(mode);
                let Ok(info) = info.build() else { continue };
                let pixels = gst::Buffer::from_slice(vec![1; info.size()]);
                let frame = pictures.through(&info, pixels);
                if info.format_info().is_tiled() {
                    assert_eq!(frame.plane(0).unwrap_err(), Error::Layout);
                    continue;
                }
                compare(&frame, &info);
                compared += 1;
            }
        }
    }
    assert!(compared > 1000, "{compared}");
}

/// Numbers that look random, the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Whatever the metadata say and however the bytes are split: an error, or rows that are there.
#[test]
fn no_layout_makes_it_panic() {
    let mut pictures = Pictures::new();
    let mut draw = Draw(12345);
    let mut read = 0;
    for _ in 0..3000 {
        let formats = [
            VideoFormat::I420,
            VideoFormat::Nv12,
            VideoFormat::Rgb,
            VideoFormat::V210,
            VideoFormat::Gray8,
            VideoFormat::Yuy2,
            VideoFormat::A420,
        ];
        let format = formats[draw.below(formats.len())];
        let (width, height) = (1 + draw.below(40) as u32, 1 + draw.below(30) as u32);
        let info = VideoInfo::builder(format, width, height).build().unwrap();
        let mut buffer = gst::Buffer::new();
        let own = buffer.get_mut().unwrap();
        for _ in 0..draw.below(5) {
            let size = [0, info.size(), draw.below(2 * info.size())][draw.below(3)];
            own.append_memory(gst::Memory::from_mut_slice(vec![0; size]));
        }
        if draw.below(4) != 0 {
            let mut some = |all: [usize; 3]| -> Vec<usize> {
                let mut any = || match draw.below(8) {
                    n if n < 3 => all[n],
                    _ => draw.below(2 * info.size()),
                };
                (0..info.n_planes()).map(|_| any()).collect()
            };
            let offsets = some([usize::MAX, usize::MAX / 2, 0]);
            let strides = some([i32::MAX as usize, i32::MIN as usize, usize::MAX]);
            let strides: Vec<i32> = strides.iter().map(|stride| *stride as i32).collect();
            let flags = VideoFrameFlags::empty();
            let _ = VideoMeta::add_full(own, flags, format, width, height, &offsets, &strides);
            if draw.below(3) == 0 {
                let mut any = || draw.below(50) as u32;
                gst_video::VideoCropMeta::add(own, (any(), any(), any(), any()));
            }
        }
        let frame = pictures.through(&info, buffer);
        let _ = (frame.pixels(), frame.video_info());
        for plane in (0..5).filter_map(|n| frame.plane(n).ok()) {
            read += 1;
            assert_eq!(plane.rows().count(), plane.height());
            assert_eq!(plane.packed().len(), plane.height() * plane.row_bytes());
        }
    }
    assert!(read > 500, "{read}");
}

/// A picture of 64×32 in memory, each byte of which is its place modulo 251.
fn in_memory(format: VideoFormat, crop: (u32, u32, u32, u32)) -> (VideoInfo, gst::Buffer) {
    let whole = VideoInfo::builder(format, 64, 32).build().unwrap();
    let bytes: Vec<u8> = (0..whole.size()).map(|n| (n % 251) as u8).collect();
    let mut buffer = gst::Buffer::from_slice(bytes);
    let own = buffer.get_mut().unwrap();
    let flags = VideoFrameFlags::empty();
    VideoMeta::add_full(own, flags, format, 64, 32, whole.offset(), whole.stride()).unwrap();
    gst_video::VideoCropMeta::add(own, crop);
    (whole, buffer)
}

#[test]
fn a_crop_is_applied() {
    let mut pictures = Pictures::new();
    // The caps are those of what is shown.
    for (format, across) in [
        (VideoFormat::I420, [1, 1, 1]),
        (VideoFormat::Nv12, [1, 2, 0]),
        (VideoFormat::Bgrx, [4, 0, 0]),
        (VideoFormat::Yuy2, [2, 0, 0]),
    ] {
        let (whole, buffer) = in_memory(format, (16, 8, 32, 16));
        let caps = VideoInfo::builder(format, 32, 16).build().unwrap();
        let frame = pictures.through(&caps, buffer);
        for (n, plane) in frame.planes().unwrap().iter().enumerate() {
            // The planes of chroma are half as wide and high.
            let half = 1 + usize::from(n > 0);
            assert_eq!((plane.width(), plane.height()), (32 / half, 16 / half));
            assert_eq!(plane.row_bytes(), 32 / half * across[n]);
            for (y, row) in plane.rows().enumerate() {
                let below = (8 / half + y) * whole.stride()[n] as usize;
                let start = whole.offset()[n] + below + 16 / half * across[n];
                let bytes = (start..start + plane.row_bytes()).map(|n| (n % 251) as u8);
                assert!(row.iter().copied().eq(bytes), "{format:?} {n} {y}");
            }
        }
    }
    // Within a chroma sample, out of the picture, of nothing, and where rows are no whole bytes.
    for (format, crop) in [
        (VideoFormat::I420, (1, 0, 16, 16)),
        (VideoFormat::I420, (0, 1, 16, 16)),
        (VideoFormat::I420, (48, 0, 32, 16)),
        (VideoFormat::I420, (0, 0, 0, 16)),
        (VideoFormat::I420, (u32::MAX - 1, 0, 32, 16)),
        (VideoFormat::V210, (6, 0, 16, 16)),
    ] {
        let (_, buffer) = in_memory(format, crop);
        let caps = VideoInfo::builder(format, 32, 16).build().unwrap();
        let error = pictures.through(&caps, buffer).plane(0).unwrap_err();
        assert_eq!(error, Error::Layout, "{format:?} {crop:?}");
    }
}

/// Each frame keeps the format that it came with.
#[test]
fn a_change_of_caps_is_no_matter_to_frames_before_it() {
    let mut pictures = Pictures::new();
    pictures.frames.set_depth(8).unwrap();
    let infos = [(64, 48), (66, 50), (1366, 768)].map(|(width, height)| {
        VideoInfo::builder(VideoFormat::I420, width, height)
            .build()
            .unwrap()
    });
    let frames = infos.each_ref().map(|info| {
        let pixels = gst::Buffer::from_slice(vec![0; info.size()]);
        pictures.through(info, pixels)
    });
    for (info, frame) in infos.iter().zip(&frames) {
        let chroma = frame.plane(1).unwrap();
        assert_eq!(chroma.stride(), info.stride()[1] as usize);
        assert_eq!(chroma.width(), info.comp_width(1) as usize);
        assert_eq!(chroma.height(), info.comp_height(1) as usize);
    }
}
