// SPDX-License-Identifier: MPL-2.0
//! What became of the frames that the sender took, and all of it as JSON.

use std::sync::{Mutex, PoisonError};

use gstdronetee::Health;
use serde::Serialize;

/// The sender's own account: `taken == sent + no_subscriber + failed + held`.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sender {
    /// Frames that the sender took from its queue.
    pub(crate) taken: u64,
    /// Messages that were given to zenoh.
    pub(crate) sent: u64,
    /// Bytes of these, without what zenoh adds.
    pub(crate) bytes: u64,
    /// Frames that came while nothing subscribed, or no link was there.
    pub(crate) no_subscriber: u64,
    /// Frames that could not be made a message, or that zenoh refused.
    pub(crate) failed: u64,
    /// Sequence numbers of the first and the last frame that was sent.
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
    /// Keyframes asked for because a subscriber came.
    pub(crate) keyframe_requests: u64,
    #[serde(flatten)]
    pub(crate) link: Link,
}

/// What is known of the link.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Link {
    pub(crate) connected: bool,
    pub(crate) subscribed: bool,
    /// False: nothing comes back, and what is on its way is not known.
    pub(crate) bounded: bool,
    /// Messages, and bytes, that have not come back.
    pub(crate) on_way: usize,
    pub(crate) bytes_on_way: u64,
    /// How long the last one took, there and back, in ms.
    pub(crate) way_ms: u64,
    /// Bytes a second, as far as it was seen.
    pub(crate) rate: Option<u64>,
    /// Messages that zenoh itself dropped on board, on the present link.
    pub(crate) dropped_by_zenoh: u64,
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    health: &'a Health,
    zenoh: &'a Sender,
}

/// The sender's account, which several threads write.
#[derive(Debug, Default)]
pub(crate) struct Accounts(Mutex<Sender>);

impl Accounts {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Sender)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn read(&self) -> Sender {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// `Health`, with `zenoh` beside its fields.
    pub(crate) fn json(&self, health: &Health) -> serde_json::Result<String> {
        let zenoh = &self.read();
        serde_json::to_string(&Whole { health, zenoh })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_stays_health_with_the_sender_beside_it() {
        let accounts = Accounts::default();
        accounts.change(|sender| sender.sent = 7);
        let json = accounts.json(&Health::default()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["published"], 0);
        assert_eq!(value["zenoh"]["sent"], 7);
        assert_eq!(value["zenoh"]["bounded"], false);
        let health: Health = serde_json::from_str(&json).unwrap();
        assert_eq!(health, Health::default());
    }
}
