// SPDX-License-Identifier: MPL-2.0
//! ALLOCATION: what all branches can do, and how many frames can be out at once.

use glib::translate::IntoGlib;
use gst::prelude::*;

/// A kind of metadata, and what the branch says of it.
type Meta = (glib::Type, Option<gst::Structure>);

/// What a branch offers for frames of these caps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    caps: Option<gst::Caps>,
    metas: Vec<Meta>,
    params: Option<gst::AllocationParams>,
    /// Bytes of a buffer; 0 where the branch does not know.
    size: u32,
    min_buffers: u32,
}

impl Offer {
    pub(in crate::tee) fn new(allocation: &gst::query::Allocation, answered: bool) -> Self {
        let mut offer = Self {
            caps: allocation.get_owned().0,
            ..Self::default()
        };
        if !answered {
            return offer;
        }
        offer.metas = allocation
            .allocation_metas()
            .map(|(api, params)| (api, params.map(|params| params.to_owned())))
            .collect();
        offer.params = allocation
            .allocation_params()
            .map(|(_, params)| params)
            .reduce(merge_params);
        for (_, size, min, _) in allocation.allocation_pools() {
            offer.size = offer.size.max(size);
            offer.min_buffers = offer.min_buffers.max(min);
        }
        offer
    }

    /// What a consumer in this process offers: it reads planes and strides from the metadata.
    pub(in crate::tee) fn of_receiver(caps: Option<&gst::Caps>) -> Self {
        Self {
            caps: caps.cloned(),
            metas: vec![(gst_video::VideoMeta::meta_api(), None)],
            ..Self::default()
        }
    }

    /// An offer for other caps says nothing of these.
    pub(in crate::tee) fn is_for(&self, caps: Option<&gst::Caps>) -> bool {
        self.caps.as_ref() == caps
    }

    /// Frames that the branch keeps: one is in flight at least.
    pub(in crate::tee) fn keeps(&self) -> u32 {
        self.min_buffers.max(1)
    }
}

/// What upstream is told to make buffers of.
#[derive(Debug)]
pub(in crate::tee) struct Agreement {
    metas: Vec<Meta>,
    params: Option<gst::AllocationParams>,
    /// Bytes of a buffer, where that is known.
    size: Option<u32>,
}

/// What all branches can do: the kinds of metadata that all of them take, in the first one's order,
/// and alignments that satisfy all.
pub(in crate::tee) fn agree(caps: Option<&gst::Caps>, offers: &[Offer]) -> Agreement {
    let metas = match offers.split_first() {
        None => Vec::new(),
        Some((first, others)) => {
            let is_common = |meta: &&Meta| others.iter().all(|offer| offer.metas.contains(meta));
            first.metas.iter().filter(is_common).cloned().collect()
        }
    };
    let params = offers.iter().filter_map(|offer| offer.params);
    Agreement {
        metas,
        params: params.reduce(merge_params),
        size: frame_size(caps, offers),
    }
}

impl Agreement {
    /// Puts it into the answer, with a pool of `buffers`. Without a size there is no pool: upstream
    /// would make buffers without memory.
    pub(in crate::tee) fn write(
        &self,
        query: &mut gst::query::Allocation,
        buffers: u32,
    ) -> Promised {
        for (api, params) in &self.metas {
            add_meta(query, *api, params.as_deref());
        }
        if let Some(params) = self.params {
            query.add_allocation_param(None::<&gst::Allocator>, params);
        }
        let Some(size) = self.size else {
            return Promised::NoPool;
        };
        query.add_allocation_pool(None::<&gst::BufferPool>, size, buffers, 0);
        Promised::Buffers(buffers)
    }
}

/// Alignment, prefix and padding that satisfy both.
fn merge_params(a: gst::AllocationParams, b: gst::AllocationParams) -> gst::AllocationParams {
    gst::AllocationParams::new(
        a.flags() | b.flags(),
        // Alignments are masks of low bits: the larger holds the smaller.
        a.align().max(b.align()),
        a.prefix().max(b.prefix()),
        a.padding().max(b.padding()),
    )
}

/// How large buffers have to be: as raw video is, or as a branch says.
fn frame_size(caps: Option<&gst::Caps>, offers: &[Offer]) -> Option<u32> {
    let raw = caps
        .filter(|caps| caps.is_fixed())
        .and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok())
        .and_then(|info| u32::try_from(info.size()).ok());
    let sizes = offers.iter().map(|offer| offer.size).chain(raw);
    sizes.max().filter(|size| *size > 0)
}

/// What the last answer promised upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::tee) enum Promised {
    #[default]
    NotAsked,
    NoPool,
    Buffers(u32),
}

impl Promised {
    pub(in crate::tee) fn was_asked(self) -> bool {
        self != Self::NotAsked
    }

    /// True when upstream's pool may be too small for so many buffers.
    pub(in crate::tee) fn is_too_small(self, buffers: u32) -> bool {
        matches!(self, Self::Buffers(promised) if promised < buffers)
    }
}

/// What can be out at once.
pub(in crate::tee) struct Out<Depths, Kept> {
    /// Of all queues. They hold the same frames, so that depths do not add up.
    pub(in crate::tee) depths: Depths,
    /// Frames kept for late joiners, which may all wait before those of the deepest queue.
    pub(in crate::tee) cached: u32,
    /// What each branch keeps; one that is not served may hang with a frame, or recover.
    pub(in crate::tee) kept: Kept,
    /// Frames in flight from sessions before.
    pub(in crate::tee) orphans: u32,
}

impl<Depths, Kept> Out<Depths, Kept>
where
    Depths: IntoIterator<Item = u32>,
    Kept: IntoIterator<Item = u32>,
{
    /// With the buffer that upstream works on. With `max_held`, if it is not 0, no more than that are
    /// out, but for one that a consumer takes at once.
    pub(in crate::tee) fn buffers(self, max_held: u32) -> u32 {
        let deepest = self.depths.into_iter().max().unwrap_or(0);
        let kept = self.kept.into_iter();
        let sums = [deepest, self.cached, self.orphans, 1].into_iter();
        let all = sums.chain(kept).fold(0, u32::saturating_add);
        match max_held {
            0 => all,
            limit => all.min(limit.saturating_add(2)),
        }
    }
}

/// The bindings add only meta types known when compiling; a branch may offer any.
#[allow(unsafe_code)]
fn add_meta(
    query: &mut gst::query::Allocation,
    api: glib::Type,
    params: Option<&gst::StructureRef>,
) {
    let params = params.map_or(std::ptr::null(), gst::StructureRef::as_ptr);
    // SAFETY: the query is an ALLOCATION query that is borrowed mutably, so it is writable; the
    // type came from such a query; the structure is null or borrowed for the call and copied.
    unsafe {
        gst::ffi::gst_query_add_allocation_meta(query.as_mut_ptr(), api.into_glib(), params);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn meta(api: glib::Type, width: Option<i32>) -> Meta {
        let params = width.map(|width| gst::Structure::builder("p").field("width", width).build());
        (api, params)
    }

    fn video() -> glib::Type {
        gst_video::VideoMeta::meta_api()
    }

    fn crop() -> glib::Type {
        gst_video::VideoCropMeta::meta_api()
    }

    fn offer(metas: Vec<Meta>, align: usize, size: u32) -> Offer {
        let params =
            gst::AllocationParams::new(gst::MemoryFlags::empty(), align, align / 2, align * 2);
        Offer {
            metas,
            params: Some(params),
            size,
            ..Offer::default()
        }
    }

    fn raw(format: &str) -> gst::Caps {
        let size = [("width", 8), ("height", 2)];
        let mut caps = gst::Caps::builder("video/x-raw")
            .field("format", format)
            .build();
        for (name, value) in size {
            caps.make_mut().set(name, value);
        }
        caps
    }

    #[test]
    fn metas_are_those_that_all_take_the_same_way() {
        gst::init().unwrap();
        let small = || meta(crop(), Some(8));
        for (offers, expected) in [
            (vec![], vec![]),
            (
                vec![vec![small(), meta(video(), None)]],
                vec![small(), meta(video(), None)],
            ),
            (
                vec![
                    vec![small(), meta(video(), None)],
                    vec![meta(video(), None), small()],
                ],
                vec![small(), meta(video(), None)],
            ),
            (vec![vec![small()], vec![meta(crop(), Some(16))]], vec![]),
            (vec![vec![small()], vec![meta(crop(), None)]], vec![]),
            (vec![vec![meta(video(), None)], vec![]], vec![]),
            (vec![vec![], vec![meta(video(), None)]], vec![]),
        ] {
            let offers: Vec<_> = offers.into_iter().map(|metas| offer(metas, 0, 0)).collect();
            assert_eq!(agree(None, &offers).metas, expected);
        }
    }

    #[test]
    fn the_strictest_alignment_is_for_all() {
        gst::init().unwrap();
        let mut silent = offer(vec![], 0, 0);
        silent.params = None;
        let offers = [
            offer(vec![], 15, 0),
            silent.clone(),
            offer(vec![], 63, 0),
            offer(vec![], 7, 0),
        ];
        let params = agree(None, &offers).params.unwrap();
        assert_eq!(
            (params.align(), params.prefix(), params.padding()),
            (63, 31, 126)
        );
        assert!(agree(None, &[silent]).params.is_none());
    }

    #[test]
    fn there_is_a_pool_where_a_size_is_known() {
        gst::init().unwrap();
        let mut ranges = raw("GRAY8");
        ranges.make_mut().set("width", gst::IntRange::new(1, 8));
        let coded = gst::Caps::builder("video/x-h264").build();
        for (caps, offered, expected) in [
            (None, 0, None),
            (None, 32, Some(32)),
            (Some(raw("GRAY8")), 0, Some(16)),
            (Some(raw("GRAY8")), 8, Some(16)),
            (Some(raw("GRAY8")), 32, Some(32)),
            (Some(raw("ENCODED")), 0, None),
            (Some(ranges), 0, None),
            (Some(gst::Caps::new_any()), 0, None),
            (Some(gst::Caps::new_empty()), 0, None),
            (Some(coded.clone()), 0, None),
            (Some(coded), 4096, Some(4096)),
        ] {
            let agreement = agree(caps.as_ref(), &[offer(vec![], 0, offered)]);
            assert_eq!(agreement.size, expected, "{caps:?}");
            let mut query = gst::query::Allocation::new(caps.as_ref(), true);
            let promised = agreement.write(&mut query, 7);
            let pools = query.allocation_pools();
            let pools: Vec<_> = pools.map(|(_, size, min, max)| (size, min, max)).collect();
            match expected {
                Some(size) => {
                    assert_eq!(
                        (promised, pools),
                        (Promised::Buffers(7), vec![(size, 7, 0)])
                    );
                }
                None => assert_eq!((promised, pools), (Promised::NoPool, vec![])),
            }
        }
    }

    #[test]
    fn only_a_pool_that_was_promised_can_be_too_small() {
        for (promised, too_small) in [
            (Promised::NotAsked, false),
            (Promised::NoPool, false),
            (Promised::Buffers(7), false),
            (Promised::Buffers(6), true),
        ] {
            assert_eq!(promised.is_too_small(7), too_small, "{promised:?}");
        }
    }

    #[test]
    fn depths_do_not_add_up_and_what_branches_keep_does() {
        let limited = |depths: &[u32], cached, kept: &[u32], orphans, max_held| {
            let (depths, kept) = (depths.to_vec(), kept.to_vec());
            Out {
                depths,
                cached,
                kept,
                orphans,
            }
            .buffers(max_held)
        };
        let out = |depths: &[u32], cached, kept: &[u32], orphans| {
            limited(depths, cached, kept, orphans, 0)
        };
        assert_eq!(limited(&[4], 0, &[1, 1], 0, 2), 4);
        assert_eq!(limited(&[4], 0, &[1, 1], 0, 100), 4 + 2 + 1);
        assert_eq!(limited(&[4], 0, &[1, 1], 0, u32::MAX), 4 + 2 + 1);
        assert_eq!(out(&[], 0, &[], 0), 1);
        assert_eq!(out(&[4, 9, 1], 0, &[1, 3, 1], 0), 9 + 5 + 1);
        assert_eq!(out(&[4], 10, &[1], 2), 4 + 10 + 1 + 2 + 1);
        assert_eq!(out(&[u32::MAX], 10, &[u32::MAX], 2), u32::MAX);
    }
}
