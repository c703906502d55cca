//! The reference's peer: it offers whatever is in its folder, and fetches what it
//! wants from whoever offered it first.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::downloader::Downloader;
use super::uploader::Uploader;
use super::{Note, Notes, Part, RECEIVE_BYTES};
use crate::messages::{self, Count, OFFER_BYTES};
use crate::{Server, Stop, World, is_timeout, offer_socket};

/// How often a thread that listens for offers looks whether the program ends.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How a peer of the reference runs.
#[derive(Clone)]
pub struct Settings {
    pub id: u32,
    pub registry: SocketAddrV4,
    pub folder: PathBuf,
    pub broadcast: SocketAddrV4,
    pub wants: Vec<String>,
    /// One offer for each file this often.
    pub offer_interval: Duration,
    /// The sleep after an answer of the registry.
    pub pause: Duration,
    /// How long an acknowledgment is waited for.
    pub resend_after: Duration,
}

impl Settings {
    /// As the reference has them.
    pub fn new(world: &World, id: u32, registry: SocketAddrV4) -> Self {
        let folder = world.shared_folder(id);
        fs::create_dir_all(&folder).unwrap();
        Self {
            id,
            registry,
            folder,
            broadcast: world.broadcast(),
            wants: Vec::new(),
            offer_interval: Duration::from_secs(5),
            pause: Duration::from_secs(3),
            resend_after: Duration::from_secs(10),
        }
    }

    /// The same without the long sleeps, for tests that are not about them.
    pub fn quick(self) -> Self {
        let (offer_interval, pause) = (Duration::from_millis(100), Duration::from_millis(30));
        Self { offer_interval, pause, ..self }
    }

    pub fn has(self, name: &str, content: &[u8]) -> Self {
        fs::write(self.folder.join(name), content).unwrap();
        self
    }

    pub fn wants(mut self, name: &str) -> Self {
        self.wants.push(name.to_owned());
        self
    }

    pub fn start(self) -> ReferencePeer {
        ReferencePeer::start(self)
    }
}

/// A peer that runs until it is dropped.
pub struct ReferencePeer {
    pub address: SocketAddrV4,
    pub notes: Notes,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    _uploads: Server,
}

/// What the threads of a peer share.
struct Shared {
    settings: Settings,
    known: Mutex<BTreeMap<String, u32>>,
    registry: Mutex<TcpStream>,
    downloads: Mutex<Vec<TcpStream>>,
    notes: Notes,
    stop: Stop,
}

impl ReferencePeer {
    fn start(settings: Settings) -> Self {
        let notes = Notes::default();
        let uploads = Server::start({
            let (settings, notes) = (settings.clone(), notes.clone());
            move |stream, _| {
                let (folder, resend_after) = (&settings.folder, settings.resend_after);
                Uploader { folder, resend_after, notes: &notes }.serve(stream);
            }
        });
        let shared = Arc::new(Shared {
            registry: Mutex::new(register(&settings, uploads.address.port(), &notes)),
            settings,
            known: Mutex::default(),
            downloads: Mutex::default(),
            notes: notes.clone(),
            stop: Stop::default(),
        });
        let mut threads = vec![run(&shared, Shared::listen), run(&shared, Shared::offer)];
        for name in shared.settings.wants.clone() {
            threads.push(run(&shared, move |shared| shared.download(&name)));
        }
        Self { address: uploads.address, notes, shared, threads, _uploads: uploads }
    }

    /// Waits until the file is verified; it has to be right.
    #[track_caller]
    pub fn await_file(&self, name: &str, content: &[u8]) {
        self.notes.await_note(&Note::Verified(name.to_owned()));
        assert!(fs::read(self.shared.settings.folder.join(name)).unwrap() == content);
    }
}

impl Drop for ReferencePeer {
    fn drop(&mut self) {
        self.shared.stop.set();
        for stream in self.shared.downloads.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Arc<Shared>, part: impl FnOnce(&Shared) + Send + 'static) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || part(&shared))
}

/// Takes any register response for success, and carries on when refused.
fn register(settings: &Settings, port: u16, notes: &Notes) -> TcpStream {
    let mut stream = TcpStream::connect(settings.registry).unwrap();
    stream.write_all(&messages::register_request(settings.id, port.into())).unwrap();
    let mut received = [0; RECEIVE_BYTES];
    let len = stream.read(&mut received).unwrap_or(0);
    match (received[..len].get(..2), len) {
        (Some(b"SR"), 6) => {}
        (Some(b"SE"), 66) => notes.add(Note::Refused(messages::text(&received, 2))),
        _ => notes.add(Note::Died(Part::Lookups, "not one answer in one receive")),
    }
    stream
}

impl Shared {
    /// Hears offers; the first that offers a name is remembered for ever. Dies of a
    /// datagram that is not an offer.
    fn listen(&self) {
        let socket = offer_socket(self.settings.broadcast.port(), STOP_POLL_INTERVAL);
        let mut datagram = [0; RECEIVE_BYTES];
        while !self.stop.is_set() {
            match socket.recv(&mut datagram) {
                Ok(OFFER_BYTES) if datagram[0] == b'O' => {
                    let (peer, name) = (messages::int(&datagram, 1), messages::text(&datagram, 9));
                    if peer != self.settings.id {
                        self.known.lock().unwrap().entry(name).or_insert(peer);
                    }
                }
                Ok(_) => return self.notes.add(Note::Died(Part::Listener, "not an offer")),
                Err(error) if is_timeout(&error) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Offers every file of the folder, also those that are not complete.
    fn offer(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_broadcast(true).unwrap();
        while !self.stop.sleep(self.settings.offer_interval) {
            for entry in fs::read_dir(&self.settings.folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let offer = messages::offer(self.settings.id, &name, Count::Characters);
                socket.send_to(&offer, self.settings.broadcast).unwrap();
            }
        }
    }

    fn download(&self, name: &str) {
        let downloader = Downloader {
            id: self.settings.id,
            name,
            path: self.settings.folder.join(name),
            pause: self.settings.pause,
            registry: &self.registry,
            known: &self.known,
            notes: &self.notes,
            stop: &self.stop,
        };
        downloader.run(|stream| {
            self.downloads.lock().unwrap().push(stream.try_clone().unwrap());
        });
    }
}
