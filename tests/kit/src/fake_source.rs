use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::messages::{self, ACKNOWLEDGMENT_BYTES, Count, REQUEST_BYTES, digest_of};
use crate::{RegistryClient, Server, Stop, World};

const OFFER_INTERVAL: Duration = Duration::from_millis(50);

/// A registered peer that offers one file and does with a request what the test says, to fail in
/// every way a source can.
pub struct FakeSource {
    requests: Arc<AtomicUsize>,
    _server: Server,
    _registration: RegistryClient,
    _offers: OfferRepeater,
}

impl FakeSource {
    /// `serve` is called for each request; the connection closes when it returns false.
    pub fn start(
        world: &World,
        id: u32,
        name: &str,
        serve: impl Fn(&TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let server = Server::start({
            let (requests, name) = (Arc::clone(&requests), name.to_owned());
            move |mut stream, _| {
                let mut request = [0; REQUEST_BYTES];
                while stream.read_exact(&mut request).is_ok() {
                    assert_eq!(request[..], messages::request(&name, Count::Bytes));
                    requests.fetch_add(1, Ordering::SeqCst);
                    if !serve(stream) {
                        return;
                    }
                }
            }
        });
        let registration = world.registered(id, server.address.port());
        let offers = OfferRepeater::start(world, id, &[name]);
        Self { requests, _server: server, _registration: registration, _offers: offers }
    }

    /// One that sends this much and then nothing more.
    pub fn stalling(world: &World, id: u32, name: &str, part: Vec<u8>) -> Self {
        Self::start(world, id, name, move |stream| {
            Self::send(stream, &part);
            Self::stall(stream)
        })
    }

    /// One that sends the file with the digest of another one.
    pub fn lying(world: &World, id: u32, name: &str, file: Vec<u8>) -> Self {
        Self::start(world, id, name, move |stream| {
            Self::send(stream, &file) && Self::send_eof(stream, &digest_of(b"other"))
        })
    }

    /// Returns how many requests came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Sends chunks of these bytes and takes an acknowledgment for each. False if
    /// the other side left.
    pub fn send(mut stream: &TcpStream, content: &[u8]) -> bool {
        content.chunks(64 * 1024).all(|data| {
            stream.write_all(&messages::chunk(data)).is_ok()
                && stream.read_exact(&mut [0; ACKNOWLEDGMENT_BYTES]).is_ok()
        })
    }

    /// Sends the EOF. False if the other side left.
    pub fn send_eof(mut stream: &TcpStream, digest: &str) -> bool {
        stream.write_all(&messages::eof(digest)).is_ok()
    }

    /// Says nothing until the other side leaves; then there is nothing more to serve.
    pub fn stall(mut stream: &TcpStream) -> bool {
        while stream.read(&mut [0; 64]).is_ok_and(|len| len > 0) {}
        false
    }
}

/// Offers files again and again, true or not.
pub struct OfferRepeater {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl OfferRepeater {
    pub fn start<S: AsRef<str>>(world: &World, id: u32, names: &[S]) -> Self {
        Self::start_to(world.broadcast(), id, names)
    }

    pub fn start_to<S: AsRef<str>>(to: SocketAddrV4, id: u32, names: &[S]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_broadcast(true).unwrap();
        let offer = |name: &S| messages::offer(id, name.as_ref(), Count::Bytes);
        let offers: Vec<_> = names.iter().map(offer).collect();
        let stop = Arc::new(Stop::default());
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.sleep(OFFER_INTERVAL) {
                    for offer in &offers {
                        socket.send_to(offer, to).unwrap();
                    }
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for OfferRepeater {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
