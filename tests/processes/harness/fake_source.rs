//! A source that the test makes up, to fail in every way a source can.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Answer, RegistryClient, Server, Stop, World};
use crate::messages::{self, ACKNOWLEDGMENT_BYTES, Count, REQUEST_BYTES};

const OFFER_INTERVAL: Duration = Duration::from_millis(50);

/// A registered peer that offers one file and does with a request what the test
/// says.
pub(crate) struct FakeSource {
    requests: Arc<AtomicUsize>,
    _server: Server,
    _registration: RegistryClient,
    _offers: OfferRepeater,
}

impl FakeSource {
    /// `serve` is called for each request; the connection closes when it returns false.
    pub(crate) fn start(
        world: &World,
        registry: SocketAddrV4,
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
        let mut registration = RegistryClient::connect(registry);
        let answer = registration.register(id, server.address.port().into());
        assert_eq!(answer, Answer::Registered(1));
        let offers = OfferRepeater::start(world, id, name);
        Self { requests, _server: server, _registration: registration, _offers: offers }
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Sends chunks of these bytes and takes an acknowledgment for each. False if
    /// the other side left.
    pub(crate) fn send(mut stream: &TcpStream, content: &[u8]) -> bool {
        content.chunks(64 * 1024).all(|data| {
            stream.write_all(&messages::chunk(data)).is_ok()
                && stream.read_exact(&mut [0; ACKNOWLEDGMENT_BYTES]).is_ok()
        })
    }

    /// Sends the EOF. False if the other side left.
    pub(crate) fn send_eof(mut stream: &TcpStream, digest: &str) -> bool {
        stream.write_all(&messages::eof(digest)).is_ok()
    }

    /// Says nothing until the other side leaves.
    pub(crate) fn wait_for_close(mut stream: &TcpStream) {
        while stream.read(&mut [0; 64]).is_ok_and(|len| len > 0) {}
    }
}

/// Offers a file again and again, true or not.
pub(crate) struct OfferRepeater {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl OfferRepeater {
    pub(crate) fn start(world: &World, id: u32, name: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_broadcast(true).unwrap();
        let (to, offer) = (world.broadcast(), messages::offer(id, name, Count::Bytes));
        let stop = Arc::new(Stop::default());
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.sleep(OFFER_INTERVAL) {
                    socket.send_to(&offer, to).unwrap();
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
