// SPDX-License-Identifier: MPL-2.0
//! How many frames may be out, and who says so.

/// What is kept back for upstream of a pool: the buffer that it fills, and the one that comes next.
const SPARE: u64 = 2;

/// What is told of the limit in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PoolFigures {
    /// Frames that are out.
    pub(crate) held: u64,
    /// 0: no limit.
    pub(crate) max_held: u64,
    /// Frames of upstream's pool; 0: unknown.
    pub(crate) pool_size: u64,
    /// The size is known by a starvation.
    pub(crate) learned: bool,
}

/// The limit on the frames that are out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// By the application; 0: it has to be found out.
    configured: u64,
    /// By the frames' pool; 0: it does not tell.
    told: u64,
    learned: Option<Learned>,
    in_force: u64,
    /// The application was warned of this limit.
    warned: bool,
}

#[derive(Debug, Clone, Copy)]
struct Learned {
    size: u64,
    limit: u64,
}

impl Limit {
    pub(super) const NONE: u64 = u64::MAX;
    /// The application says that there is none.
    const NO_LIMIT: u64 = u32::MAX as u64;

    pub(super) fn new() -> Self {
        Self {
            configured: 0,
            told: 0,
            learned: None,
            in_force: Self::NONE,
            warned: false,
        }
    }

    #[inline]
    pub(super) fn in_force(&self) -> u64 {
        self.in_force
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.in_force != Self::NONE
    }

    /// Nothing says how large the pool is, but perhaps what was learned.
    pub(super) fn has_to_be_learned(&self) -> bool {
        self.configured == 0 && self.told == 0
    }

    /// By the application; 0: it has to be found out, anew. True if that is new.
    pub(super) fn configure(&mut self, frames: u64) -> bool {
        let is_new = std::mem::replace(&mut self.configured, frames) != frames;
        if is_new {
            self.forget();
        }
        is_new
    }

    /// Frames come from another pool; 0: it does not tell how large it is. True if that changed the
    /// limit.
    pub(super) fn set_pool(&mut self, size: u64) -> bool {
        let before = self.in_force;
        self.told = size;
        self.forget();
        self.in_force != before
    }

    /// Upstream starved with `held` frames out. True if that changed the limit.
    pub(super) fn learn(&mut self, held: u64) -> bool {
        let before = self.in_force;
        let lower = before.saturating_sub(1);
        self.learned = Some(Learned {
            size: held,
            limit: held.saturating_sub(SPARE).min(lower).max(1),
        });
        self.update();
        self.in_force != before
    }

    /// What was learned counts no longer.
    pub(super) fn forget(&mut self) {
        self.learned = None;
        self.update();
    }

    /// Another life of the stream: what the application said stays.
    pub(super) fn reset(&mut self) {
        let configured = self.configured;
        *self = Self::new();
        self.configure(configured);
    }

    /// True once for each limit that was found out.
    pub(super) fn may_warn(&mut self) -> bool {
        self.configured == 0 && self.is_set() && !std::mem::replace(&mut self.warned, true)
    }

    fn update(&mut self) {
        let before = self.in_force;
        self.in_force = match (self.configured, self.told, self.learned) {
            (0, 0, learned) => learned.map_or(Self::NONE, |learned| learned.limit),
            (0, size, _) => size.saturating_sub(SPARE).max(1),
            (Self::NO_LIMIT.., ..) => Self::NONE,
            (configured, ..) => configured,
        };
        self.warned &= self.in_force == before;
    }

    pub(super) fn figures(&self, held: u64) -> PoolFigures {
        let learned = self.learned.filter(|_| self.has_to_be_learned());
        let pool_size = learned.map_or(self.told, |learned| learned.size);
        PoolFigures {
            held,
            max_held: if self.is_set() { self.in_force } else { 0 },
            pool_size,
            learned: learned.is_some(),
        }
    }
}
