//! A link made in user space: bytes go through at a rate and arrive after a delay, in
//! each direction; what does not fit waits at the sender, and nothing is lost.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Outcome, Process, part};

pub const RELAY: &str = "relay";

/// Taken in at once: 0.5 ms of 125 MB/s.
const PIECE_BYTES: usize = 64 * 1024;
/// What may wait for the link, in time.
const QUEUE: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub bytes_per_s: u64,
    pub delay_us: u64,
}

/// Starts a relay to this address.
pub fn start(address: &str, link: Link) -> (Process, SocketAddrV4) {
    let [rate, delay] = [link.bytes_per_s, link.delay_us].map(|number| number.to_string());
    let process = part(RELAY, &[address, &rate, &delay]);
    let address = process.await_listening();
    (process, address)
}

/// Arguments: the address, the rate, the delay.
pub fn relay(arguments: &[String]) -> Outcome<()> {
    let [address, bytes_per_s, delay_us] = arguments else { return Err("three arguments".into()) };
    let link = Link { bytes_per_s: bytes_per_s.parse()?, delay_us: delay_us.parse()? };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let (here, _) = listener.accept()?;
        let there = TcpStream::connect(address)?;
        for stream in [&here, &there] {
            stream.set_nodelay(true)?;
        }
        for (from, to) in [(here.try_clone()?, there.try_clone()?), (there, here)] {
            thread::spawn(move || link.pass(&from, to));
        }
    }
}

impl Link {
    /// Passes on until the sender ends.
    fn pass(self, mut from: &TcpStream, mut to: TcpStream) {
        let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>();
        let delivery = thread::spawn(move || {
            for (due, piece) in pieces {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if to.write_all(&piece).is_err() {
                    break;
                }
            }
            // The other direction ends with it: no half-closed connections here.
            let _ = to.shutdown(Shutdown::Both);
        });
        let mut free = Instant::now();
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            let took = Duration::from_secs_f64(len as f64 / self.bytes_per_s as f64);
            free = free.max(Instant::now()) + took;
            let due = free + Duration::from_micros(self.delay_us);
            if sender.send((due, buffer[..len].to_vec())).is_err() {
                break;
            }
            let queue = free.saturating_duration_since(Instant::now());
            thread::sleep(queue.saturating_sub(QUEUE));
        }
        drop(sender);
        let _ = delivery.join();
    }
}
