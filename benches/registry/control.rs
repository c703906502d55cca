//! The control: a bare epoll program that answers each request with canned bytes.
//!
//! One thread, one read and one write for each event, no state but the sockets. It
//! takes for granted that requests come whole and that answers fit the socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use p2pfs::limits::LISTEN_BACKLOG;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::Outcome;
use super::load::{ANSWER_BYTES, LOOKUP_BYTES};
use bench_kit::crowd::take_all_descriptors;
use kit::messages;

/// What is read in one call: whole lookups, many more than are ever under way.
const READ_BYTES: usize = 1024 * LOOKUP_BYTES;
/// Events of one wait, as in the registry.
const EVENTS: usize = 1024;

pub(super) fn control(_: &[String]) -> Outcome<()> {
    take_all_descriptors();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    // Again, for a longer queue than std asks for.
    rustix::net::listen(&listener, LISTEN_BACKLOG)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let listener_fd = listener.as_raw_fd() as u64;
    epoll::add(&epoll, &listener, EventData::new_u64(listener_fd), EventFlags::IN)?;
    println!("listening {}", listener.local_addr()?);

    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS);
    let mut requests = vec![0; READ_BYTES];
    let registered = messages::register_response(1);
    let answers = messages::lookup_response("127.0.0.1", 1).repeat(READ_BYTES / LOOKUP_BYTES);
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let fd = event.data.u64();
            if fd == listener_fd {
                accept(&listener, &epoll, &mut streams)?;
                continue;
            }
            let slot = &mut streams[fd as usize];
            let Some(stream) = slot else { continue };
            match stream.read(&mut requests) {
                Ok(0) | Err(_) => *slot = None,
                Ok(_) if requests.starts_with(b"SR") => stream.write_all(&registered)?,
                Ok(len) => stream.write_all(&answers[..len / LOOKUP_BYTES * ANSWER_BYTES])?,
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &OwnedFd,
    streams: &mut Vec<Option<TcpStream>>,
) -> Outcome<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let fd = stream.as_raw_fd() as usize;
        epoll::add(epoll, &stream, EventData::new_u64(fd as u64), EventFlags::IN)?;
        if streams.len() <= fd {
            streams.resize_with(fd + 1, || None);
        }
        streams[fd] = Some(stream);
    }
}
