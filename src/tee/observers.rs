// SPDX-License-Identifier: MPL-2.0
//! Who in this process wants to hear the notices of an element.

use std::sync::{Arc, Mutex, Weak};

use super::lock;
use super::notice::Notice;

/// Hears the notices of one element, in order, from the thread that reports.
pub(crate) trait Observer: Send + Sync {
    fn note(&self, notice: &Notice);
    /// The element is gone.
    fn end(&self);
}

#[derive(Default)]
pub(super) struct Observers(Mutex<List>);

#[derive(Default)]
struct List {
    next_mark: u64,
    members: Vec<Member>,
}

struct Member {
    observer: Weak<dyn Observer>,
    /// It hears what is told after this number, which is among the notices.
    mark: u64,
    hears: bool,
}

impl Observers {
    /// It hears what is told after the mark that this returns.
    pub(super) fn add(&self, observer: Weak<dyn Observer>) -> u64 {
        let mut list = lock(&self.0);
        let mark = list.next_mark;
        list.next_mark += 1;
        list.members.push(Member {
            observer,
            mark,
            hears: false,
        });
        mark
    }

    /// Those that have gone are forgotten.
    pub(super) fn has_any(&self) -> bool {
        let mut list = lock(&self.0);
        list.members
            .retain(|member| member.observer.strong_count() > 0);
        !list.members.is_empty()
    }

    /// The mark was told.
    pub(super) fn begin(&self, mark: u64) {
        for member in &mut lock(&self.0).members {
            member.hears |= member.mark == mark;
        }
    }

    /// No lock is held over what observers do.
    pub(super) fn tell(&self, notice: impl FnOnce() -> Option<Notice>) {
        let hearing: Vec<Arc<dyn Observer>> = {
            let list = lock(&self.0);
            let hearing = list.members.iter().filter(|member| member.hears);
            hearing.filter_map(|one| one.observer.upgrade()).collect()
        };
        if !hearing.is_empty()
            && let Some(notice) = notice()
        {
            hearing.iter().for_each(|observer| observer.note(&notice));
        }
    }
}

impl Drop for Observers {
    fn drop(&mut self) {
        let members = std::mem::take(&mut lock(&self.0).members);
        for member in members {
            if let Some(observer) = member.observer.upgrade() {
                observer.end();
            }
        }
    }
}
