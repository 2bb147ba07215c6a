// SPDX-License-Identifier: MPL-2.0
//! The zenoh sessions: one sends, the other listens for what comes back.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zenoh::bytes::{Encoding, ZBytes};
use zenoh::liveliness::LivelinessToken;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::{CongestionControl, Priority};
use zenoh::query::Queryable;
use zenoh::{Config, Session, Wait as _};

use crate::Result;
use crate::accounts::Link;
use crate::message::{Attachment, SCHEMA};
use crate::options::{HEALTH, Options};
use crate::window::Window;

/// Frames may wait for health, and health for no frame.
const FRAMES: Priority = Priority::DataLow;
const ACCOUNTS: Priority = Priority::InteractiveHigh;
/// So long a picture waits in `put` for a place in zenoh's queue before zenoh drops it.
const WAIT_BEFORE_DROP: Duration = Duration::from_millis(400);

/// zenoh's configuration, from the options. Wrong endpoints and files are told here.
pub(crate) fn config(options: &Options) -> Result<Config> {
    let mut config = match &options.config {
        Some(file) => {
            Config::from_file(file).map_err(|error| format!("{}: {error}", file.display()))?
        }
        None => Config::default(),
    };
    let endpoints = serde_json::to_string(&options.connect)?;
    let wait = WAIT_BEFORE_DROP.as_micros().to_string();
    for (key, value) in [
        ("mode", "\"client\""),
        ("connect/endpoints", &endpoints),
        // The program itself tries again: it flies without a ground.
        ("connect/timeout_ms", "0"),
        ("connect/exit_on_failure", "true"),
        (
            "connect/retry",
            r#"{"period_init_ms": 200, "period_max_ms": 1000, "period_increase_factor": 1.5}"#,
        ),
        ("scouting/multicast/enabled", "false"),
        // For its counter of what it dropped.
        ("adminspace/enabled", "true"),
        ("transport/link/tx/queue/size/data_low", "16"),
        (
            "transport/link/tx/queue/congestion_control/drop/wait_before_drop",
            &wait,
        ),
        (
            "transport/link/tx/queue/congestion_control/drop/max_wait_before_drop_fragments",
            &wait,
        ),
    ] {
        config
            .insert_json5(key, value)
            .map_err(|error| format!("zenoh does not take {key} {value}: {error}"))?;
    }
    Ok(config)
}

/// What is on its way, which the sender adds to and the echo takes from.
pub(crate) struct OnWay {
    window: Mutex<Window>,
    came_back: Condvar,
}

impl OnWay {
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn echo(&self, payload: &ZBytes) {
        if let Ok(number) = <[u8; 8]>::try_from(&*payload.to_bytes()) {
            self.lock()
                .came_back(u64::from_le_bytes(number), Instant::now());
            self.came_back.notify_all();
        }
    }
}

/// What answers who asks for the accounts: JSON.
pub(crate) type Tell = Arc<dyn Fn() -> String + Send + Sync>;
/// Asks the camera for a keyframe.
pub(crate) type WantKeyframe = Arc<dyn Fn() + Send + Sync>;

/// Connected, or connecting again by itself.
pub(crate) struct Ground {
    frames: Publisher<'static>,
    probes: Publisher<'static>,
    health: Publisher<'static>,
    on_way: Arc<OnWay>,
    want_keyframe: WantKeyframe,
    admin: String,
    _alive: LivelinessToken,
    _queryables: [Queryable<()>; 2],
    _echo: Subscriber<()>,
    // Closed last, in this order.
    session: Session,
    _echo_session: Session,
}

/// A result of zenoh's as one of this program's.
macro_rules! wait {
    ($builder:expr) => {
        $builder.wait().map_err(|error| error.to_string())
    };
}

impl Ground {
    /// Connects once.
    pub(crate) fn connect(
        options: &Options,
        config: &Config,
        tell: Tell,
        want_keyframe: WantKeyframe,
    ) -> Result<Self> {
        let [session, echo_session] = [
            wait!(zenoh::open(config.clone()))?,
            wait!(zenoh::open(config.clone()))?,
        ];
        let key = |name: &str| format!("{}/{name}", options.prefix);
        let on_way = Arc::new(OnWay {
            window: Mutex::new(Window::new(options.max_age * 2 / 5)),
            came_back: Condvar::new(),
        });

        // A chunk with @ is not of prefix/**: who subscribes to all of a drone gets no echoes.
        let echo_key = key(&format!("@echo/{}", session.zid()));
        let heard = on_way.clone();
        let echo = wait!(
            echo_session
                .declare_subscriber(echo_key.clone())
                .callback(move |sample| heard.echo(sample.payload()))
        )?;
        let publisher = |key: String, priority, encoding| {
            wait!(
                session
                    .declare_publisher(key)
                    .priority(priority)
                    .congestion_control(CongestionControl::Drop)
                    .encoding(encoding)
                    .express(true)
            )
        };
        let frames = publisher(
            key(&options.consumer),
            FRAMES,
            Encoding::APPLICATION_CDR.with_schema(SCHEMA),
        )?;
        let (health_key, told) = (key(HEALTH), tell);
        let health = publisher(health_key.clone(), ACCOUNTS, Encoding::APPLICATION_JSON)?;
        let probes = publisher(echo_key, FRAMES, Encoding::ZENOH_BYTES)?;

        let answered = health_key.clone();
        let accounts = wait!(
            session
                .declare_queryable(health_key)
                .callback(move |query| {
                    let answer = query
                        .reply(&answered, told())
                        .encoding(Encoding::APPLICATION_JSON);
                    // Who asked may be gone.
                    let _ = answer.wait();
                })
        )?;
        let keyframe_key = key(&format!("{}/keyframe", options.consumer));
        let (answered, wanted) = (keyframe_key.clone(), want_keyframe.clone());
        let keyframe = wait!(
            session
                .declare_queryable(keyframe_key)
                .callback(move |query| {
                    wanted();
                    let _ = query.reply(&answered, "requested").wait();
                })
        )?;
        let alive = wait!(session.liveliness().declare_token(key(&options.consumer)))?;
        Ok(Self {
            frames,
            probes,
            health,
            on_way,
            want_keyframe,
            admin: format!("@/{}/client/metrics", session.zid()),
            _alive: alive,
            _queryables: [accounts, keyframe],
            _echo: echo,
            session,
            _echo_session: echo_session,
        })
    }

    pub(crate) fn want_keyframe(&self) {
        (self.want_keyframe)();
    }

    /// A subscriber is there for frames.
    pub(crate) fn is_subscribed(&self) -> bool {
        matches(&self.frames)
    }

    /// What is sent comes back: the bound can be kept.
    pub(crate) fn has_echo(&self) -> bool {
        matches(&self.probes)
    }

    /// Sends a picture. That it went says nothing of whether it arrives.
    pub(crate) fn send(&self, message: Vec<u8>, attachment: Attachment) -> Result<()> {
        let bytes = message.len() as u64;
        // In the window first: it may be back before this returns.
        let number = self.on_way.lock().sent(bytes, Instant::now());
        wait!(
            self.frames
                .put(message)
                .attachment(&attachment.to_bytes()[..])
        )?;
        self.probe(number);
        Ok(())
    }

    /// What comes back when all before it has gone through.
    fn probe(&self, number: u64) {
        // One that fails is followed by others.
        let _ = self.probes.put(&number.to_le_bytes()[..]).wait();
    }

    /// Waits until more may be on its way, no longer than `patience`; whether it may.
    pub(crate) fn wait_open(&self, patience: Duration) -> bool {
        let window = self.on_way.lock();
        let closed = |window: &mut Window| !window.is_open(Instant::now());
        let waited = self
            .on_way
            .came_back
            .wait_timeout_while(window, patience, closed);
        let (window, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let newest = window.newest();
        drop(window);
        if !timeout.timed_out() {
            return true;
        }
        // The one before may have been dropped.
        if let Some(number) = newest {
            self.probe(number);
        }
        false
    }

    /// The link is gone, and what was on its way with it.
    pub(crate) fn forget_way(&self) {
        self.on_way.lock().forget();
    }

    pub(crate) fn publish_health(&self, json: String) {
        // The next one comes in a second.
        let _ = self.health.put(json).wait();
    }

    /// What is known of the link now.
    pub(crate) fn link(&self) -> Link {
        let link = Link {
            connected: self.is_connected(),
            subscribed: self.is_subscribed(),
            bounded: self.has_echo(),
            dropped_by_zenoh: self.dropped_by_zenoh(),
            ..Link::default()
        };
        let window = self.on_way.lock();
        Link {
            on_way: window.messages(),
            bytes_on_way: window.bytes(),
            way_ms: window.way().as_millis() as u64,
            rate: window.rate(),
            ..link
        }
    }

    fn is_connected(&self) -> bool {
        let info = self.session.info();
        info.routers_zid().wait().next().is_some() || info.peers_zid().wait().next().is_some()
    }

    /// Messages with frames or echoes that zenoh's own queue on board had no place for, on the link that is.
    fn dropped_by_zenoh(&self) -> u64 {
        let selector = format!(
            "{}?compression=false;descriptors=false;per_key=false",
            self.admin
        );
        let Ok(replies) = self.session.get(selector).wait() else {
            return 0;
        };
        let replies = replies.into_iter();
        let texts = replies.filter_map(|reply| {
            let text = reply
                .result()
                .ok()?
                .payload()
                .try_to_string()
                .ok()?
                .into_owned();
            Some(congestion_drops(&text))
        });
        texts.sum()
    }
}

fn matches(publisher: &Publisher<'_>) -> bool {
    publisher
        .matching_status()
        .wait()
        .is_ok_and(|status| status.matching())
}

/// The sum over the samples of zenoh's metrics that count puts of the frames' priority dropped by congestion.
fn congestion_drops(metrics: &str) -> u64 {
    let of_frames = |line: &&str| {
        line.contains("dropped_payload_bytes_count{")
            && line.contains("reason=\"congestion\"")
            && line.contains("priority=\"data-low\"")
    };
    let counts = metrics.lines().filter(of_frames);
    counts
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}
