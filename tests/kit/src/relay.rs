//! A relay before a real uploader that lets only the beginning of its answers
//! through, so that a transfer between two real peers stays in the middle until
//! one of them is gone.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::thread;

use crate::{RegistryClient, Server, World, reset_on_close};

/// A relay that is registered in the place of the uploader.
pub struct Relay {
    _server: Server,
    _registration: RegistryClient,
}

impl Relay {
    /// Registers as `id` and passes `pass_bytes` of what the uploader sends on each
    /// connection; the rest is swallowed. The uploader has to be registered elsewhere.
    pub fn start(world: &World, id: u32, uploader: SocketAddrV4, pass_bytes: usize) -> Self {
        let server = Server::start(move |downloader, _| {
            let Ok(uploader) = TcpStream::connect(uploader) else { return };
            thread::scope(|scope| {
                scope.spawn(|| {
                    copy(downloader, &uploader, usize::MAX);
                    let _ = uploader.shutdown(Shutdown::Both);
                });
                copy(&uploader, downloader, pass_bytes);
                reset_on_close(downloader);
                // Wakes the other thread; the reset follows when the stream is closed.
                let _ = downloader.shutdown(Shutdown::Read);
            });
        });
        let registration = world.registered(id, server.address.port());
        Self { _server: server, _registration: registration }
    }
}

/// Copies until either side is gone.
fn copy(mut from: &TcpStream, mut to: &TcpStream, pass_bytes: usize) {
    let mut buffer = [0; 64 * 1024];
    let mut left_bytes = pass_bytes;
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let len = len.min(left_bytes);
        if to.write_all(&buffer[..len]).is_err() {
            return;
        }
        left_bytes -= len;
    }
}
