// SPDX-License-Identifier: MPL-2.0
//! Events that wait for a consumer that does not come back must not grow without bound.

use super::Event;

/// The most events that wait for one consumer before they are thinned out.
pub(super) const MAX_EVENTS: usize = 256;

/// Thins out `events`, each with the position of the frame that it precedes.
///
/// Sticky events that a newer one of the same kind replaced, with no frame between them, are
/// merged. If that leaves more than `max`, the oldest expendable ones go. Returns what stays and
/// how many expendable ones went.
pub(super) fn shed<E: Event>(events: Vec<(u64, E)>, max: usize) -> (Vec<(u64, E)>, u64) {
    let mut kept: Vec<(u64, E)> = Vec::with_capacity(events.len());
    for (position, event) in events {
        if event.is_sticky() {
            kept.retain(|(other, older)| *other != position || !event.replaces(older));
        }
        let at = place(&kept, position, &event);
        kept.insert(at, (position, event));
    }
    let mut excess = kept.len().saturating_sub(max);
    let before = kept.len();
    kept.retain(|(_, event)| {
        let goes = excess > 0 && event.is_expendable();
        excess -= usize::from(goes);
        !goes
    });
    let dropped = before - kept.len();
    (kept, dropped as u64)
}

/// Where `event` goes: last, but with no frame between, before those that must follow its kind.
///
/// A merged stream-start, caps or segment leaves its old place, so that a later one could come to
/// stand after what it has to precede.
fn place<E: Event>(kept: &[(u64, E)], position: u64, event: &E) -> usize {
    let mut at = kept.len();
    if !event.must_precede_later_kinds() {
        return at;
    }
    for (index, (other_position, other)) in kept.iter().enumerate().rev() {
        if *other_position != position || other.ends_stream() {
            break;
        }
        if other.must_precede_later_kinds() && other.order() > event.order() {
            at = index;
        }
    }
    at
}
