// SPDX-License-Identifier: MPL-2.0
//! `dronetee-zenoh`: coded frames and health of a drone's camera, over zenoh.
//!
//! The main thread waits on the bus and publishes health; the thread `connect` opens the sessions, again and again
//! until one is there; the thread `sender` takes frames and sends them. zenoh calls back in threads of its own, which
//! wait for nothing here.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod accounts;
mod flight;
mod ground;
mod message;
mod options;
mod sender;
mod window;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use accounts::{Accounts, Link};
use clap::Parser as _;
use flight::Flight;
use gstdronetee::FramePublisher;
use options::Options;
use sender::Sender;

use ground::Ground;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match fly(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dronetee-zenoh: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Until the stream ends or a signal comes; the last accounts go to stdout.
fn fly(options: &Options) -> Result<()> {
    let config = ground::config(options)?;
    gst::init()?;
    gstdronetee::plugin_register_static()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let (flight, frames) = Flight::prepare(options)?;
    let accounts = Arc::<Accounts>::default();
    let ground = Arc::<OnceLock<Ground>>::default();
    let connecting = connect(options, config, &flight, &ground, &accounts, &stop)?;
    let sender = Sender::new(
        frames,
        options,
        ground.clone(),
        accounts.clone(),
        stop.clone(),
    );
    flight.start();
    let sending = spawn("sender", move || sender.run())?;

    let outcome = watch(&flight, &ground, &accounts, &stop);
    stop.store(true, Ordering::Relaxed);
    // Its pad, and with it its accounts, are there as long as the receiver is.
    let frames = sending.join().map_err(|_| "the sender panicked")?;
    flight.stop();
    let json = account(&flight.publisher, ground.get(), &accounts)?;
    if let Some(ground) = ground.get() {
        ground.publish_health(json.clone());
    }
    println!("{json}");
    drop(frames);
    connecting
        .join()
        .map_err(|_| "the connecting thread panicked")?;
    outcome
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

/// Tries until a router or peer answers. A link that breaks later comes back by zenoh itself.
fn connect(
    options: &Options,
    config: zenoh::Config,
    flight: &Flight,
    ground: &Arc<OnceLock<Ground>>,
    accounts: &Arc<Accounts>,
    stop: &Arc<AtomicBool>,
) -> Result<std::thread::JoinHandle<()>> {
    let tell: ground::Tell = {
        let (publisher, accounts) = (flight.publisher.clone(), accounts.clone());
        Arc::new(move || accounts.json(&publisher.health()).unwrap_or_default())
    };
    let want_keyframe: ground::WantKeyframe = {
        let (keyframes, accounts) = (flight.keyframes(), accounts.clone());
        Arc::new(move || {
            keyframes.request();
            accounts.change(|sender| sender.keyframe_requests += 1);
        })
    };
    let (options, ground, stop) = (options.clone(), ground.clone(), stop.clone());
    let thread = spawn("connect", move || {
        let mut told = false;
        while !stop.load(Ordering::Relaxed) {
            match Ground::connect(&options, &config, tell.clone(), want_keyframe.clone()) {
                Ok(connected) => {
                    let _ = ground.set(connected);
                    return;
                }
                Err(error) if !told => {
                    eprintln!("dronetee-zenoh: no link yet, trying on: {error}");
                    told = true;
                }
                Err(_) => {}
            }
            let next = Instant::now() + RETRY;
            while Instant::now() < next && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    })?;
    Ok(thread)
}

/// Publishes health once a second, until the stream ends, fails, or is to stop.
fn watch(
    flight: &Flight,
    ground: &OnceLock<Ground>,
    accounts: &Accounts,
    stop: &AtomicBool,
) -> Result<()> {
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if flight.has_ended(Duration::from_millis(50))? {
            break;
        }
        if Instant::now() < next {
            continue;
        }
        next += HEALTH_INTERVAL;
        let json = account(&flight.publisher, ground.get(), accounts)?;
        if let Some(ground) = ground.get() {
            ground.publish_health(json);
        }
    }
    Ok(())
}

/// How all does, with what is known of the link now.
fn account(
    publisher: &FramePublisher,
    ground: Option<&Ground>,
    accounts: &Accounts,
) -> Result<String> {
    let link = ground.map_or_else(Link::default, Ground::link);
    accounts.change(|sender| sender.link = link);
    Ok(accounts.json(&publisher.health())?)
}
