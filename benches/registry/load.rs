//! The load: a process of its own that registers peers and looks them up, as it is told
//! on a connection line by line, and times that.
//!
//! | Line | What it does | Answer |
//! |---|---|---|
//! | `register N` | connects and registers N more peers, 64 at once | seconds, CPU seconds |
//! | `leave` | resets all connections | |
//! | `check N` | looks up N peers over each of 100 connections, compares the answers | |
//! | `closed C D S` | keeps D lookups under way on each of C connections for S seconds | seconds, CPU seconds, lookups |
//! | `paced C R S` | sends R lookups a second over C connections for S seconds, each when it is due | p50 and p99 in seconds, CPU seconds, lookups |
//!
//! CPU seconds are those of the process that answers.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::sockopt;

use super::Outcome;
use bench_kit::crowd::take_all_descriptors;
use bench_kit::{Usage, percentile};
use kit::messages::{lookup_request, lookup_response, register_request, register_response};

pub(super) const LOOKUP_BYTES: usize = 6;
pub(super) const ANSWER_BYTES: usize = 70;
/// Registrations under way at once.
const AT_ONCE: usize = 64;
/// Connections over which answers are compared.
const CHECKED: usize = 100;
/// Nothing takes so long unless an answer is lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const EVENTS: usize = 1024;

pub(super) fn load(arguments: &[String]) -> Outcome<()> {
    let [address, pid] = arguments else { return Err("an address and a process".into()) };
    take_all_descriptors();
    let mut load = Load {
        address: address.parse()?,
        pid: pid.parse()?,
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        clients: Vec::new(),
        next_peer: 0,
        events: Vec::with_capacity(EVENTS),
        received: vec![0; 64 * 1024],
        random: fastrand::Rng::with_seed(1),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("listening {}", listener.local_addr()?);
    let (mut answers, _) = listener.accept()?;
    let orders = BufReader::new(answers.try_clone()?);
    for order in orders.lines() {
        let answer = match load.obey(&order?) {
            Ok(numbers) => numbers.iter().fold("done".to_owned(), |line, n| format!("{line} {n}")),
            Err(error) => error.to_string(),
        };
        writeln!(answers, "{answer}")?;
    }
    Ok(())
}

struct Load {
    address: SocketAddrV4,
    /// Of the process that answers.
    pid: u32,
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// The peers of the clients are numbered through; no number is used twice.
    next_peer: u32,
    events: Vec<Event>,
    received: Vec<u8>,
    random: fastrand::Rng,
}

struct Client {
    stream: TcpStream,
    peer: u32,
    /// Bytes of an answer of which more is to come.
    partial_bytes: usize,
    /// When each lookup under way was due, if that matters.
    due: VecDeque<Instant>,
}

impl Load {
    fn obey(&mut self, order: &str) -> Outcome<Vec<f64>> {
        let words: Vec<&str> = order.split_whitespace().collect();
        match words.as_slice() {
            ["register", count] => self.register(count.parse()?),
            ["leave"] => {
                self.clients.clear();
                Ok(Vec::new())
            }
            ["check", count] => self.check(count.parse()?),
            ["closed", clients, depth, seconds] => {
                self.touch()?;
                self.closed(clients.parse()?, depth.parse()?, seconds.parse()?)
            }
            ["paced", clients, rate, seconds] => {
                self.touch()?;
                self.paced(clients.parse()?, rate.parse()?, seconds.parse()?)
            }
            _ => Err("unknown order".into()),
        }
    }

    fn register(&mut self, count: usize) -> Outcome<Vec<f64>> {
        let (began, cpu_before) = (Instant::now(), self.cpu()?);
        let expected = register_response(1);
        let (mut sent, mut answered) = (0, 0);
        while answered < count {
            while sent < count && sent - answered < AT_ONCE {
                self.connect()?;
                sent += 1;
            }
            for at in self.ready(Some(ANSWER_TIMEOUT))? {
                let len = self.receive(at)?;
                if self.received[..len] != expected {
                    let answer = String::from_utf8_lossy(&self.received[..len]);
                    return Err(format!("a registration was refused: {answer:?}").into());
                }
                answered += 1;
            }
        }
        Ok(vec![began.elapsed().as_secs_f64(), self.cpu_since(cpu_before)?])
    }

    fn connect(&mut self) -> Outcome<()> {
        let peer = self.next_peer;
        self.next_peer += 1;
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        // When it is dropped, it is reset: no port stays in use.
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        let data = EventData::new_u64(self.clients.len() as u64);
        epoll::add(&self.epoll, &stream, data, EventFlags::IN)?;
        stream.write_all(&register_request(peer, port(peer)))?;
        self.clients.push(Client { stream, peer, partial_bytes: 0, due: VecDeque::new() });
        Ok(())
    }

    fn check(&mut self, count: usize) -> Outcome<Vec<f64>> {
        let step = self.clients.len().div_ceil(CHECKED).max(1);
        for at in (0..self.clients.len()).step_by(step) {
            let peers: Vec<u32> = (0..count).map(|_| self.any_peer()).collect();
            let requests: Vec<u8> = peers.iter().flat_map(|&peer| lookup_request(peer)).collect();
            let answer = |&peer: &u32| lookup_response("127.0.0.1", port(peer));
            let expected: Vec<u8> = peers.iter().flat_map(answer).collect();
            let stream = &mut self.clients[at].stream;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            stream.write_all(&requests)?;
            let mut answers = vec![0; expected.len()];
            stream.read_exact(&mut answers)?;
            stream.set_nonblocking(true)?;
            if answers != expected {
                return Err("a lookup was answered with the wrong bytes".into());
            }
        }
        Ok(Vec::new())
    }

    /// One lookup on each connection. Those that rest for 6 s are probed by the kernel, 16,000
    /// of them in one burst: more than the loopback's queue of 1,000 packets holds, and a
    /// connection whose probes are lost is given up.
    fn touch(&mut self) -> Outcome<()> {
        self.closed(self.clients.len(), 1, 0.0).map(|_| ())
    }

    fn closed(&mut self, clients: usize, depth: usize, seconds: f64) -> Outcome<Vec<f64>> {
        let (began, cpu_before) = (Instant::now(), self.cpu()?);
        let (mut sent, mut answered) = (0, 0);
        for at in 0..clients {
            self.look_up(at, depth)?;
            sent += depth;
        }
        let end = began + Duration::from_secs_f64(seconds);
        while answered < sent {
            let is_over = Instant::now() >= end;
            for at in self.ready(Some(ANSWER_TIMEOUT))? {
                let answers = self.answers(at)?;
                answered += answers;
                if answers > 0 && !is_over {
                    self.look_up(at, answers)?;
                    sent += answers;
                }
            }
        }
        let elapsed_s = began.elapsed().as_secs_f64();
        Ok(vec![elapsed_s, self.cpu_since(cpu_before)?, answered as f64])
    }

    fn paced(&mut self, clients: usize, rate: f64, seconds: f64) -> Outcome<Vec<f64>> {
        let count = (rate * seconds) as usize;
        let mut latencies_s = Vec::with_capacity(count);
        let (began, cpu_before) = (Instant::now(), self.cpu()?);
        let due = |number: usize| began + Duration::from_secs_f64(number as f64 / rate);
        let (mut sent, mut last) = (0, began);
        while latencies_s.len() < count {
            let now = Instant::now();
            while sent < count && due(sent) <= now {
                let at = sent % clients;
                self.look_up(at, 1)?;
                self.clients[at].due.push_back(due(sent));
                sent += 1;
            }
            // Asked without waiting: a sleep would come back too late for the next one.
            for at in self.ready(None)? {
                last = Instant::now();
                for _ in 0..self.answers(at)? {
                    let due = self.clients[at].due.pop_front().ok_or("an answer too many")?;
                    latencies_s.push(last.saturating_duration_since(due).as_secs_f64());
                }
            }
            if now.saturating_duration_since(last) > ANSWER_TIMEOUT {
                return Err("an answer is missing".into());
            }
        }
        let [p50_s, p99_s] = [0.5, 0.99].map(|share| percentile(&latencies_s, share));
        Ok(vec![p50_s, p99_s, self.cpu_since(cpu_before)?, count as f64])
    }

    /// Sends some lookups of any peers in one piece.
    fn look_up(&mut self, at: usize, count: usize) -> Outcome<()> {
        let requests: Vec<u8> = (0..count).flat_map(|_| lookup_request(self.any_peer())).collect();
        self.clients[at].stream.write_all(&requests)?;
        Ok(())
    }

    /// One of the peers that are registered.
    fn any_peer(&mut self) -> u32 {
        self.clients[self.random.usize(..self.clients.len())].peer
    }

    /// The clients for which something came; an error if that takes too long. `None`
    /// does not wait.
    fn ready(&mut self, timeout: Option<Duration>) -> Outcome<Vec<usize>> {
        self.events.clear();
        let wait = Timespec { tv_sec: timeout.map_or(0, |t| t.as_secs() as i64), tv_nsec: 0 };
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&wait))?;
        if self.events.is_empty() && timeout.is_some() {
            return Err("an answer is missing".into());
        }
        Ok(self.events.iter().map(|event| event.data.u64() as usize).collect())
    }

    /// How many answers to lookups have come in whole. That they are right is
    /// [`Self::check`]'s business; here, only that they are answers.
    fn answers(&mut self, at: usize) -> Outcome<usize> {
        let len = self.receive(at)?;
        let client = &mut self.clients[at];
        let begin = (ANSWER_BYTES - client.partial_bytes) % ANSWER_BYTES;
        for at in (begin..len.saturating_sub(1)).step_by(ANSWER_BYTES) {
            if self.received[at..at + 2] != *b"SL" {
                return Err("a lookup was answered with something else".into());
            }
        }
        let whole = (client.partial_bytes + len) / ANSWER_BYTES;
        client.partial_bytes = (client.partial_bytes + len) % ANSWER_BYTES;
        Ok(whole)
    }

    fn receive(&mut self, at: usize) -> Outcome<usize> {
        match self.clients[at].stream.read(&mut self.received) {
            Ok(0) => Err("a connection was closed".into()),
            Ok(len) => Ok(len),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn cpu(&self) -> Outcome<Duration> {
        Ok(Usage::of(self.pid)?.cpu)
    }

    fn cpu_since(&self, before: Duration) -> Outcome<f64> {
        Ok(self.cpu()?.saturating_sub(before).as_secs_f64())
    }
}

/// Each peer claims a port of its own, whatever its id.
fn port(peer: u32) -> u32 {
    1 + peer % u32::from(u16::MAX)
}
