//! Generators of trouble: one thread each, at a rate that does not depend on the victim.

use std::io::ErrorKind;
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kit::messages::{self, Count};
use kit::{Stop, content, reset_on_close};

use crate::crowd::connect_as;

const PAUSE: Duration = Duration::from_micros(200);
/// What a generator that fell behind makes up for at once.
const BURST: u64 = 2048;

/// A generator that runs until it is dropped.
pub(crate) struct Flood {
    stop: Arc<Stop>,
    count: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Sends junk of every kind from one socket; nothing may ever come back to it.
    pub(crate) fn of_datagrams(to: SocketAddrV4, per_second: usize) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let junk = junk();
        Self::start(per_second, move |number| {
            // Full buffers are the point of it.
            let _ = socket.send_to(&junk[number as usize % junk.len()], to);
            if number % 64 == 0 {
                let answer = socket.recv_from(&mut [0; 2048]);
                let error = answer.expect_err("junk was answered");
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
            }
        })
    }

    /// Makes connections from many addresses and resets each at once.
    pub(crate) fn of_connections(to: SocketAddrV4, per_second: usize) -> Self {
        Self::start(per_second, move |number| {
            if let Ok(stream) = connect_as(number as usize, to) {
                reset_on_close(&stream);
            }
        })
    }

    pub(crate) fn start(per_second: usize, mut act: impl FnMut(u64) + Send + 'static) -> Self {
        let (stop, count) = (Arc::new(Stop::default()), Arc::new(AtomicU64::new(0)));
        let began = Instant::now();
        let thread = thread::spawn({
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            move || {
                let (mut number, mut skipped) = (0, 0);
                while !stop.sleep(PAUSE) {
                    let due = (began.elapsed().as_secs_f64() * per_second as f64) as u64;
                    while number + skipped < due {
                        skipped = skipped.max(due.saturating_sub(number + BURST));
                        act(number);
                        number += 1;
                        count.store(number, Ordering::Relaxed);
                    }
                }
            }
        });
        Self { stop, count, thread: Some(thread) }
    }

    /// How much it achieved so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends it. Panics if it found anything wrong.
    pub(crate) fn end(mut self) {
        self.stop.set();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Datagrams of every length, offers with something wrong, and offers of nobody.
fn junk() -> Vec<Vec<u8>> {
    let mut junk: Vec<_> = [0, 1, 8, 72, 73, 73, 74, 512, 1400]
        .iter()
        .map(|&len| content(len, len as usize))
        .collect();
    let mut bad_name = messages::offer(1, "aaaaaaa", Count::Bytes);
    bad_name[9..12].copy_from_slice(b"../");
    let mut bad_length = messages::offer(2, "name", Count::Bytes);
    bad_length[5] = 0xff;
    junk.extend([bad_name, bad_length, content(9, 73)]);
    junk.extend((0..20).map(|id| messages::offer(id, &format!("of nobody {id}"), Count::Bytes)));
    junk
}
