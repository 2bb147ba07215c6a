// SPDX-License-Identifier: MPL-2.0
//! All integration tests in one program: one link, and as many tests at a time as there are cores.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/autopilot.rs"]
mod autopilot;
mod common;
#[path = "common/ends.rs"]
mod ends;
#[path = "../../examples/common/rtsp_server.rs"]
mod rtsp_server;
#[path = "common/scrape.rs"]
mod scrape;
#[path = "common/source.rs"]
mod source;
#[path = "common/video.rs"]
mod video;

mod acceptance;
mod accounting;
mod arcly;
mod beyond;
mod busy_handler;
mod closing;
mod coded;
mod coded_streams;
mod dashboard;
mod demo;
mod docs;
mod driven_sinks;
mod driving;
mod dronebranch;
mod endings;
mod events;
mod examples;
mod figures;
mod flushing;
mod frame_facts;
mod frames;
mod gate;
mod gop_cache;
mod handlers;
mod imports;
mod input_losses;
mod isolation;
mod latency;
mod lifetimes;
mod loss_events;
mod losses_log;
mod messages;
mod metrics;
mod names;
mod negotiation;
mod notices;
mod odd_planes;
mod pads;
mod pipelines;
mod plain_data;
mod planes;
mod publisher;
mod queries;
mod real_allocation;
mod real_keyframes;
mod real_links;
mod real_rates;
mod real_sources;
mod receiver_pads;
mod receivers;
mod recovery;
mod reentrance;
mod registration;
mod repository;
mod rtsp_start;
mod seeking;
mod setup_script;
mod small_pools;
mod starting;
mod states;
mod stream;
mod summaries;
mod tracer;
mod waiting;
mod wakers;
mod zero_copy;
