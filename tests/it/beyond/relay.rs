// SPDX-License-Identifier: MPL-2.0
//! A slow link: a UDP relay on loopback that lets so many bytes a second through.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a modem keeps for a link that is too slow; more is lost.
const BUFFER: usize = 64 * 1024;

/// What became of the bytes of one direction.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) passed: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// The longest that a datagram waited here, in ms.
    pub(crate) longest_wait: AtomicU64,
}

/// Passes datagrams on between a client, which is the last that sent one, and a server.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    /// Towards the client.
    pub(crate) down: Arc<Traffic>,
    /// Towards the server.
    pub(crate) up: Arc<Traffic>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// To a server on loopback, in both directions at so many bytes a second.
    pub(crate) fn start(server: SocketAddr, bytes_per_second: u64) -> Self {
        assert!(server.ip().is_loopback());
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = front.local_addr().unwrap();
        let stop = Arc::<AtomicBool>::default();
        let client = Arc::<Mutex<Option<SocketAddr>>>::default();
        let [down, up] = [(); 2].map(|()| Arc::<Traffic>::default());
        let clones = |socket: &UdpSocket| socket.try_clone().unwrap();

        let (to, last) = (clones(&back), client.clone());
        let upwards = Direction::new(clones(&front), bytes_per_second, &up, &stop);
        let (out, to_client) = (front, client);
        let downwards = Direction::new(back, bytes_per_second, &down, &stop);
        let threads = vec![
            std::thread::spawn(move || {
                upwards.run(|from, data| {
                    *last.lock().unwrap() = Some(from);
                    // A server that is not there is as good as a link that loses.
                    let _ = to.send_to(data, server);
                });
            }),
            std::thread::spawn(move || {
                downwards.run(|_, data| {
                    let client = *to_client.lock().unwrap();
                    if let Some(client) = client {
                        let _ = out.send_to(data, client);
                    }
                });
            }),
        ];
        Self {
            address,
            down,
            up,
            stop,
            threads,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Datagram {
    from: SocketAddr,
    data: Vec<u8>,
    came: Instant,
}

struct Direction {
    socket: UdpSocket,
    bytes_per_second: u64,
    traffic: Arc<Traffic>,
    stop: Arc<AtomicBool>,
    waiting: VecDeque<Datagram>,
    /// When the link is free for the next datagram.
    free: Instant,
}

impl Direction {
    fn new(
        socket: UdpSocket,
        bytes_per_second: u64,
        traffic: &Arc<Traffic>,
        stop: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            socket,
            bytes_per_second,
            traffic: traffic.clone(),
            stop: stop.clone(),
            waiting: VecDeque::new(),
            free: Instant::now(),
        }
    }

    fn run(mut self, mut send: impl FnMut(SocketAddr, &[u8])) {
        let mut buffer = vec![0; 65536];
        while !self.stop.load(Ordering::Relaxed) {
            self.pass(&mut send);
            let idle = Duration::from_millis(20);
            let due = self.waiting.front().map_or(idle, |_| {
                let left = self.free.saturating_duration_since(Instant::now());
                left.clamp(Duration::from_millis(1), idle)
            });
            self.socket.set_read_timeout(Some(due)).unwrap();
            if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                self.keep(from, &buffer[..length]);
            }
        }
    }

    fn keep(&mut self, from: SocketAddr, data: &[u8]) {
        let kept: usize = self.waiting.iter().map(|one| one.data.len()).sum();
        if kept + data.len() > BUFFER {
            let lost = data.len() as u64;
            self.traffic.lost.fetch_add(lost, Ordering::Relaxed);
            return;
        }
        self.waiting.push_back(Datagram {
            from,
            data: data.to_vec(),
            came: Instant::now(),
        });
    }

    /// All whose time has come.
    fn pass(&mut self, send: &mut impl FnMut(SocketAddr, &[u8])) {
        while self.free <= Instant::now()
            && let Some(next) = self.waiting.pop_front()
        {
            let length = next.data.len() as u64;
            let takes = Duration::from_micros(length * 1_000_000 / self.bytes_per_second);
            self.free = self.free.max(next.came) + takes;
            send(next.from, &next.data);
            let waited = next.came.elapsed().as_millis() as u64;
            self.traffic.passed.fetch_add(length, Ordering::Relaxed);
            self.traffic
                .longest_wait
                .fetch_max(waited, Ordering::Relaxed);
        }
    }
}
