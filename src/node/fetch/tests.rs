//! A peer that wants files, and sources of every manner around it, in virtual time. Whatever
//! others do, an honest source that is on offer and answers is asked within a bounded time.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::content::{Digest, FileError, Lack, OnConflict, Room};
use crate::limits::{
    DOWNLOADS_MAX, HEDGE_TRIAL, HEDGES_MAX, PACE_WINDOW, PROGRESS_TIMEOUT,
    RATE_BYTES_PER_SECOND_MIN, RATE_WINDOW,
};
use crate::node::scene::{REGISTRY, actions, answer, dialed, hear, name, sent, settings, version};
use crate::node::{
    Action, ConnectionId, GuestSettings, Input, Node, Outcome, PeerKind, PeerNode, PeerSettings,
    Report,
};
use crate::proto::FileId;
use crate::wire::v0::{PeerMessage, RegistryRequest, RegistryResponse};
use crate::wire::{Deframer, FieldText, Frame, PeerId};

/// A step of time: datagrams come and bytes move once in one.
const STEP: Duration = Duration::from_millis(100);
const CONTENT: &[u8] = b"content";
const FULL: FileError = FileError::Full(Room {
    folder: "here",
    free_bytes: 0,
    kept_bytes: 0,
    needed_bytes: 1,
    lack: Lack::Space,
    failed: None,
});

/// How a source behaves to a downloader.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Serves what it is asked for.
    Good,
    /// Serves, but refuses so many connections before.
    RefusesFirst(u32),
    /// Takes the request and says nothing.
    Stalls,
    /// Sends so many bytes in each step, without end.
    Drips(u32),
    /// The same, but the file has an end, and is right.
    Slow { bytes: u32, steps: u32 },
    /// Serves so many files well before it drips.
    GoodThenDrips(u32, u32),
    /// Sends what does not have the digest that it announces.
    Lies,
}

struct Source {
    address: SocketAddrV4,
    manner: Manner,
    /// Connections to it, and requests on them.
    asked: u32,
    requests: u32,
}

/// The peer and what is around it.
struct Play {
    start: Instant,
    now: Instant,
    node: PeerNode,
    registry: ConnectionId,
    /// Since when nothing was asked of the registry; `None` while it is dialed, or gone.
    idle_since: Option<Instant>,
    is_registry_dialed: bool,
    /// The registry closes a connection on which nothing is asked for so long.
    idle_timeout: Duration,
    lookups: Deframer<RegistryRequest>,
    sources: BTreeMap<u32, Source>,
    /// Who offers what, in each step.
    offers: Vec<(u32, &'static str)>,
    /// Offers under ids that nobody has, in each step, and the next such id.
    fresh: (u32, u32),
    open: BTreeMap<ConnectionId, Open>,
    files: BTreeMap<FileId, &'static str>,
    /// No more than so many partial files fit on the disk.
    full_at: Option<usize>,
    /// Nothing of this file fits.
    does_not_fit: Option<&'static str>,
    /// There is no room for a second partial file of one name.
    is_full_for_second: bool,
    /// The addresses that were dialed.
    dials: Vec<SocketAddrV4>,
    verified: Vec<&'static str>,
    reports: Vec<Report>,
    outcome: Option<Outcome>,
}

struct Open {
    source: u32,
    /// Once it is made: for how many steps a file has been sent, from 1 on; 0 for none.
    steps: Option<u32>,
    said: Deframer<PeerMessage>,
}

impl Play {
    fn new(retries_max: u32, names: &[&str]) -> Self {
        let guest = GuestSettings {
            timeout: None,
            retries_max,
            on_conflict: OnConflict::Compare,
            gives: false,
        };
        Self::of(settings(PeerKind::Guest(guest)), names)
    }

    fn with_seed(seed: u64, names: &[&str]) -> Self {
        let guest = GuestSettings {
            timeout: None,
            retries_max: 5,
            on_conflict: OnConflict::Compare,
            gives: false,
        };
        Self::of(PeerSettings { seed, ..settings(PeerKind::Guest(guest)) }, names)
    }

    fn of(settings: PeerSettings, names: &[&str]) -> Self {
        let now = Instant::now();
        let mut node = PeerNode::new(now, settings);
        let registry = dialed(&actions(&mut node), REGISTRY);
        let mut play = Self {
            start: now,
            now,
            node,
            registry,
            idle_since: Some(now),
            is_registry_dialed: false,
            idle_timeout: Duration::MAX,
            lookups: Deframer::default(),
            sources: BTreeMap::new(),
            offers: Vec::new(),
            fresh: (0, 1 << 20),
            open: BTreeMap::new(),
            files: BTreeMap::new(),
            full_at: None,
            does_not_fit: None,
            is_full_for_second: false,
            dials: Vec::new(),
            verified: Vec::new(),
            reports: Vec::new(),
            outcome: None,
        };
        play.tell(Input::Connected(registry));
        play.answer_lookups();
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        play.tell(Input::Want(&names));
        play
    }

    /// Sources with these ids are at this address and offer a file.
    fn at(mut self, host: u8, ids: Range<u32>, manner: Manner, file: &'static str) -> Self {
        for id in ids {
            let ip = Ipv4Addr::new(192, 0, 2, host);
            let address = SocketAddrV4::new(ip, 1000 + id as u16);
            let known = self.sources.remove(&id);
            let (asked, requests) = known.map_or((0, 0), |it| (it.asked, it.requests));
            self.sources.insert(id, Source { address, manner, asked, requests });
            self.offers.push((id, file));
        }
        self
    }

    /// Gives the node an input and does what it wants done.
    fn tell(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.node.poll_action() {
            match action {
                // It is of version 0, and asked for peers on a connection of its own.
                Action::Dial { connection, to: REGISTRY } if self.idle_since.is_some() => {
                    self.node.handle(self.now, Input::Connected(connection));
                    self.node.handle(self.now, Input::ReadClosed(connection));
                }
                Action::Dial { connection, to: REGISTRY } => {
                    (self.registry, self.is_registry_dialed) = (connection, true);
                    self.lookups = Deframer::default();
                }
                Action::Dial { connection, to } => {
                    let source = self.sources.iter().find(|(_, source)| source.address == to);
                    let source = *source.expect("it is registered").0;
                    self.dials.push(to);
                    self.open.insert(
                        connection,
                        Open { source, steps: None, said: Deframer::default() },
                    );
                }
                Action::Close { connection, .. } => _ = self.open.remove(&connection),
                Action::CreatePartial { file, path } => {
                    let path = self.node.paths().get(path).unwrap().to_string();
                    let offers = self.offers.iter().map(|(_, file)| *file);
                    let name = offers.into_iter().find(|name| *name == path).unwrap();
                    let is_second = self.files.values().any(|other| *other == name);
                    if is_second && self.is_full_for_second {
                        self.node.handle(self.now, Input::FileFailed { file, error: FULL });
                        continue;
                    }
                    self.files.insert(file, name);
                }
                Action::Write { file, range, .. } => {
                    let len_bytes = range.len();
                    let is_full = self.full_at.is_some_and(|fits| self.files.len() > fits)
                        || self.does_not_fit.is_some_and(|it| self.files.get(&file) == Some(&it));
                    if is_full && self.files.remove(&file).is_some() {
                        let error = FULL;
                        self.node.handle(self.now, Input::FileFailed { file, error });
                    } else if self.files.contains_key(&file) {
                        self.node.handle(self.now, Input::Written { file, len_bytes });
                    }
                }
                Action::Commit(file) => {
                    let text = self.files.remove(&file).expect("it is open");
                    let (path, version) = (name(text).into(), version(CONTENT.len() as u64));
                    self.node.handle(self.now, Input::Committed { file, path, version });
                    self.verified.push(text);
                }
                Action::Discard(file) => _ = self.files.remove(&file),
                Action::Report(report) => self.reports.push(report),
                Action::Exit(outcome) => self.outcome = Some(outcome),
                _ => {}
            }
        }
    }

    /// One step of time.
    fn step(&mut self) {
        self.now += STEP;
        self.node.handle_timeout(self.now);
        self.carry_out();
        self.make_or_close_idle_link();
        for (id, file) in self.offers.clone() {
            hear(&mut self.node, self.now, REGISTRY, id, file);
            self.carry_out();
            self.answer_lookups();
        }
        for _ in 0..self.fresh.0 {
            let file = self.offers.first().map_or("x", |(_, file)| file);
            hear(&mut self.node, self.now, REGISTRY, self.fresh.1, file);
            self.fresh.1 += 1;
            self.carry_out();
            self.answer_lookups();
        }
        for connection in self.open.keys().copied().collect::<Vec<_>>() {
            self.go_on(connection);
            self.answer_lookups();
        }
    }

    fn make_or_close_idle_link(&mut self) {
        let connection = self.registry;
        if std::mem::take(&mut self.is_registry_dialed) {
            self.idle_since = Some(self.now);
            self.tell(Input::Connected(connection));
            self.answer_lookups();
        }
        if self.idle_since.is_some_and(|since| self.now - since >= self.idle_timeout) {
            self.idle_since = None;
            self.tell(Input::ReadClosed(connection));
        }
    }

    fn answer_lookups(&mut self) {
        loop {
            let bytes = sent(&mut self.node, self.now, self.registry);
            let mut at = 0;
            let Ok(Some(Frame::Message(request))) = self.lookups.next(&bytes, &mut at) else {
                return;
            };
            self.idle_since = Some(self.now);
            let response = match request {
                RegistryRequest::Register { .. } => RegistryResponse::Registered(true),
                RegistryRequest::Peers { .. } => RegistryResponse::Peers { count: 0 },
                RegistryRequest::Lookup(PeerId(id)) => match self.sources.get(&id) {
                    Some(source) => RegistryResponse::Address(source.address),
                    None => RegistryResponse::Error(FieldText::new("Target peer not found.")),
                },
            };
            answer(&mut self.node, self.now, self.registry, response);
            self.carry_out();
        }
    }

    /// What a source does in one step on one connection.
    fn go_on(&mut self, connection: ConnectionId) {
        let Some(open) = self.open.get_mut(&connection) else { return };
        let source = self.sources.get_mut(&open.source).unwrap();
        let Some(steps) = &mut open.steps else {
            source.asked += 1;
            if let Manner::RefusesFirst(times) = source.manner
                && source.asked <= times
            {
                self.open.remove(&connection);
                let kind = ErrorKind::ConnectionRefused;
                return self.tell(Input::Broken { connection, kind });
            }
            open.steps = Some(0);
            return self.tell(Input::Connected(connection));
        };
        let bytes = sent(&mut self.node, self.now, connection);
        let mut at = 0;
        while let Ok(Some(Frame::Message(message))) = open.said.next(&bytes, &mut at) {
            if let PeerMessage::Request(_) = message {
                source.requests += 1;
                *steps = 1;
            }
        }
        if *steps == 0 {
            return;
        }
        let manner = match source.manner {
            Manner::GoodThenDrips(times, _) if source.requests <= times => Manner::Good,
            Manner::GoodThenDrips(_, bytes) => Manner::Drips(bytes),
            manner => manner,
        };
        let mut bytes = Vec::new();
        let chunk = |bytes: &mut Vec<u8>, data: &[u8]| {
            PeerMessage::Chunk { data_bytes: data.len() as u32 }.encode(bytes);
            bytes.extend(data);
        };
        let eof = |bytes: &mut Vec<u8>, data: &[u8]| {
            PeerMessage::Eof(Digest(Sha256::digest(data).into())).encode(bytes);
        };
        match manner {
            Manner::Stalls => return,
            Manner::Drips(count) => chunk(&mut bytes, &vec![b'd'; count as usize]),
            Manner::Slow { bytes: count, steps: longest } => {
                chunk(&mut bytes, &vec![b'd'; count as usize]);
                if *steps >= longest {
                    eof(&mut bytes, &vec![b'd'; (count * *steps) as usize]);
                }
            }
            _ => {
                chunk(&mut bytes, CONTENT);
                eof(&mut bytes, if manner == Manner::Lies { b"other" } else { CONTENT });
            }
        }
        let is_over = !matches!(manner, Manner::Drips(_))
            && !matches!(manner, Manner::Slow { steps: longest, .. } if *steps < longest);
        *steps = if is_over { 0 } else { *steps + 1 };
        self.tell(Input::Received { connection, bytes: &bytes });
    }

    /// Goes on until something is so; returns how long that took.
    #[track_caller]
    fn until(&mut self, longest: Duration, is_so: impl Fn(&Self) -> bool) -> Duration {
        let began = self.now;
        while !is_so(self) {
            let waited = self.now - began;
            assert!(waited <= longest, "in vain; {} dials: {:?}", self.dials.len(), self.dials);
            self.step();
        }
        self.now - began
    }

    #[track_caller]
    fn until_all_done(&mut self, longest: Duration) -> Duration {
        self.until(longest, |play| play.outcome.is_some());
        assert_eq!(self.outcome, Some(Outcome::AllDone));
        assert!(self.files.is_empty(), "partial files are left");
        self.now - self.start
    }

    fn asked(&self, id: u32) -> u32 {
        self.sources[&id].asked
    }

    fn dials_of(&self, host: u8) -> usize {
        self.dials.iter().filter(|address| address.ip().octets()[3] == host).count()
    }
}

#[test]
fn offers_under_ever_new_ids_neither_restart_a_retry_nor_use_it_up() {
    for fresh in [1, 10] {
        for retries_max in [0, 5] {
            let good = Manner::RefusesFirst(retries_max);
            let mut play = Play::new(retries_max, &["x"]).at(1, 55..56, good, "x");
            play.fresh.0 = fresh;
            // The delays of five retries, and their jitter.
            play.until_all_done(Duration::from_secs(20));
            assert_eq!(play.asked(55), retries_max + 1);
        }
    }
}

#[test]
fn a_source_that_fails_is_asked_as_often_as_told_and_then_given_up() {
    for retries_max in [0, 1, 5] {
        let mut play = Play::new(retries_max, &["x"])
            .at(1, 55..56, Manner::RefusesFirst(u32::MAX), "x")
            .at(2, 56..57, Manner::RefusesFirst(u32::MAX), "x");
        play.until(Duration::from_secs(30), |play| play.outcome.is_some());
        assert_eq!([play.asked(55), play.asked(56)], [retries_max + 1; 2]);
    }
}

#[test]
fn many_stalling_ids_of_one_host_cost_two_tries_before_another_host_has_one() {
    for seed in 0..10 {
        for fails in 0..3 {
            let mut play = Play::with_seed(seed, &["x"]).at(1, 1..64, Manner::Stalls, "x").at(
                2,
                100..101,
                Manner::RefusesFirst(fails),
                "x",
            );
            let tries = fails + 1;
            play.until_all_done(2 * tries * (PROGRESS_TIMEOUT + STEP));
            assert!(play.dials_of(1) as u32 <= 2 * tries, "{:?}", play.dials);
        }
    }
}

#[test]
fn what_one_host_fails_with_makes_the_others_of_its_kind_last_for_the_next_file_too() {
    let mut play = Play::of(settings(PeerKind::Fixed), &["x"])
        .at(1, 1..32, Manner::Stalls, "x")
        .at(1, 1..32, Manner::Stalls, "y")
        .at(2, 100..101, Manner::Good, "x")
        .at(2, 100..101, Manner::Good, "y");
    play.until(2 * PROGRESS_TIMEOUT, |play| play.verified == ["x"]);
    if play.dials_of(1) == 0 {
        // The other host was asked by chance. Now this one fails, too.
        play.offers.retain(|(id, file)| *id != 100 || *file == "x");
        play.tell(Input::Want(&[name("y")]));
        play.until(PROGRESS_TIMEOUT, |play| play.dials_of(1) == 1);
        play.offers.push((100, "y"));
    } else {
        play.tell(Input::Want(&[name("y")]));
    }
    play.until(2 * PROGRESS_TIMEOUT, |play| play.verified == ["x", "y"]);
    assert_eq!(play.dials_of(1), 1, "{:?}", play.dials);
}

#[test]
fn an_address_orders_and_never_leaves_out() {
    // All are behind one address, and most of them fail.
    let mut play = Play::new(5, &["x"]).at(1, 1..20, Manner::RefusesFirst(u32::MAX), "x").at(
        1,
        100..101,
        Manner::Good,
        "x",
    );
    play.until_all_done(Duration::from_secs(10));
    let others = (1..20).map(|id| play.asked(id)).max();
    assert!(others <= Some(1), "one was asked twice before another one was asked");
}

#[test]
fn a_source_that_lies_is_asked_after_those_that_do_not_and_less_and_less_often() {
    let mut play = Play::new(u32::MAX, &["x"]).at(1, 1..2, Manner::Lies, "x");
    play.until(Duration::from_secs(300), |play| play.now - play.start > Duration::from_secs(200));
    let asked = play.asked(1);
    assert!((8..=16).contains(&asked), "{asked} times in 200 s");
    let mut play = play.at(2, 2..3, Manner::Good, "x");
    play.until_all_done(Duration::from_secs(1) + 200 * STEP);
    assert_eq!(play.asked(1), asked);
}

#[test]
fn the_user_is_told_of_failed_sources_no_more_often_than_they_may_be_asked_again() {
    let mut play = Play::of(settings(PeerKind::Fixed), &["x"]).at(
        1,
        55..56,
        Manner::RefusesFirst(u32::MAX),
        "x",
    );
    play.fresh.0 = 5;
    let mut told = 0;
    for _ in 0..200 {
        let before = play.now;
        play.now += STEP;
        play.node.handle_timeout(play.now);
        assert!(play.now > before);
        for id in [55, play.fresh.1] {
            hear(&mut play.node, play.now, REGISTRY, id, "x");
        }
        play.fresh.1 += 1;
        let reports = actions(&mut play.node);
        let is_told =
            |action: &&Action| matches!(action, Action::Report(Report::AllSourcesFailed { .. }));
        told += reports.iter().filter(is_told).count();
        play.answer_lookups();
    }
    assert!(told <= 20, "{told} times in 20 s");
}

#[test]
fn a_source_that_the_registry_does_not_know_is_told_once_while_nothing_changes() {
    let mut play = Play::of(settings(PeerKind::Fixed), &["x"]);
    play.offers.push((9, "x"));
    (0..600).for_each(|_| play.step());
    let tries = |report: &&Report| matches!(report, Report::SourceFailed { reason: None, .. });
    let waits = |report: &&Report| matches!(report, Report::AllSourcesFailed { .. });
    let told = || play.reports.iter().filter(|report| report.level() < log::Level::Debug);
    assert_eq!((told().filter(tries).count(), told().filter(waits).count()), (1, 1));
    assert!(play.reports.iter().filter(tries).count() > 3);
}

#[test]
fn a_drip_below_the_minimum_rate_is_left_for_another_source() {
    let bytes = RATE_BYTES_PER_SECOND_MIN as u32 / 20;
    let mut play = Play::new(0, &["x"]).at(1, 1..2, Manner::Drips(bytes), "x");
    play.until(Duration::from_secs(1), |play| play.asked(1) == 1);
    let mut play = play.at(2, 2..3, Manner::Good, "x");
    let waited = play.until_all_done(RATE_WINDOW + Duration::from_secs(1));
    assert!(waited >= RATE_WINDOW, "{waited:?}");
}

/// A drip just above the minimum rate, in bytes for each step.
const DRIP: Manner = Manner::Drips(120);

#[test]
fn a_drip_is_left_for_a_source_that_is_faster_and_what_comes_first_is_kept() {
    for seed in 0..10 {
        let mut play = Play::with_seed(seed, &["x"]).at(1, 1..2, DRIP, "x");
        play.until(STEP * 3, |play| play.asked(1) == 1);
        let mut play = play.at(2, 2..3, Manner::Good, "x");
        let waited = play.until_all_done(PACE_WINDOW + Duration::from_secs(2));
        assert!(waited >= PACE_WINDOW, "it was asked too soon: {waited:?}");
        assert_eq!((play.asked(1), play.asked(2)), (1, 1));
    }
}

/// Registries that close an idle connection sooner and later than a rate is measured.
const IDLE_TIMEOUTS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

#[test]
fn a_registry_that_closed_an_idle_connection_is_dialed_for_a_source_beside_a_drip() {
    for idle_timeout in IDLE_TIMEOUTS {
        let mut play = Play::new(5, &["x"]).at(1, 1..2, DRIP, "x");
        play.idle_timeout = idle_timeout;
        play.until(STEP * 3, |play| play.asked(1) == 1);
        play.until(idle_timeout + STEP * 3, |play| play.idle_since.is_none());
        let mut play = play.at(2, 2..3, Manner::Good, "x");
        let waited = play.until_all_done(idle_timeout + PACE_WINDOW + Duration::from_secs(2));
        assert!(waited >= idle_timeout.min(PACE_WINDOW), "the drip was not used: {waited:?}");
    }
}

#[test]
fn a_registry_that_closed_an_idle_connection_is_dialed_for_a_file_that_gets_the_place_of_a_drip() {
    let names: Vec<&str> =
        (0..DOWNLOADS_MAX).map(|number| &*format!("drip {number}").leak()).collect();
    for idle_timeout in IDLE_TIMEOUTS {
        let mut play = Play::new(5, &[&names[..], &["good"]].concat());
        play.idle_timeout = idle_timeout;
        for (id, name) in (10..).zip(&names) {
            play = play.at(1, id..id + 1, DRIP, name);
        }
        play.until(Duration::from_secs(2), |play| play.open.len() == DOWNLOADS_MAX);
        // It is offered, and waits; the connection that this leads to is closed again.
        let mut play = play.at(2, 5000..5001, Manner::Drips(100_000), "good");
        play.until(2 * PACE_WINDOW + idle_timeout, |play| play.asked(5000) == 1);
    }
}

#[test]
fn of_many_drips_at_one_address_none_holds_up_the_source_beside_them_for_long() {
    for seed in 0..20 {
        let mut play = Play::with_seed(seed, &["x"]).at(1, 1..16, DRIP, "x");
        play.until(STEP * 3, |play| play.dials.len() == 1);
        play.at(1, 100..101, Manner::Good, "x").until_all_done(Duration::from_secs(70));
    }
}

#[test]
fn drips_each_twice_as_fast_as_the_one_before_do_not_keep_a_file_among_themselves() {
    let mut play = Play::new(5, &["x"]);
    for (id, bytes) in [(1, 120), (2, 300), (3, 700), (4, 1500)] {
        play = play.at(1, id..id + 1, Manner::Drips(bytes), "x");
        play.until(Duration::from_secs(62), |play| play.asked(id) == 1);
    }
    play.at(1, 100..101, Manner::Good, "x").until_all_done(Duration::from_secs(300));
}

#[test]
fn a_second_download_that_is_no_faster_ends_and_is_not_begun_again() {
    let slow = Manner::Slow { bytes: 200, steps: 1500 };
    let mut play = Play::new(5, &["x"]).at(1, 1..2, slow, "x");
    play.until(STEP * 3, |play| play.asked(1) == 1);
    let mut play = play.at(2, 2..3, slow, "x");
    play.until(PACE_WINDOW + Duration::from_secs(1), |play| play.open.len() == 2);
    play.until(HEDGE_TRIAL + Duration::from_secs(1), |play| play.open.len() == 1);
    play.until_all_done(Duration::from_secs(151));
    assert_eq!((play.asked(1), play.asked(2)), (1, 1));
}

#[test]
fn if_the_first_of_two_downloads_fails_the_second_goes_on() {
    let mut play = Play::new(0, &["x"]).at(1, 1..2, DRIP, "x");
    play.until(STEP * 3, |play| play.asked(1) == 1);
    let slow = Manner::Slow { bytes: 1000, steps: 300 };
    let mut play = play.at(2, 2..3, slow, "x");
    play.until(PACE_WINDOW + Duration::from_secs(1), |play| play.open.len() == 2);
    play.step();
    let first = *play.open.iter().find(|(_, open)| open.source == 1).unwrap().0;
    play.open.remove(&first);
    play.tell(Input::Broken { connection: first, kind: ErrorKind::ConnectionReset });
    play.until_all_done(Duration::from_secs(120));
    assert_eq!((play.asked(1), play.asked(2)), (1, 1));
}

#[test]
fn a_source_that_serves_well_and_then_drips_is_not_taken_for_a_fast_one() {
    let names = ["a", "b", "c", "d"];
    let turns = Manner::GoodThenDrips(3, 120);
    let mut play = Play::new(5, &names);
    for name in names {
        play = play.at(1, 1..2, turns, name);
    }
    play.until(Duration::from_secs(5), |play| play.verified.len() == 3);
    for name in names {
        play = play.at(2, 2..3, Manner::Good, name);
    }
    play.until_all_done(PACE_WINDOW + Duration::from_secs(3));
}

#[test]
fn no_number_of_drips_takes_all_places_from_a_file_that_would_come_fast() {
    for count in [DOWNLOADS_MAX as u32, 3 * DOWNLOADS_MAX as u32] {
        let names: Vec<&str> = (0..count).map(|number| &*format!("drip {number}").leak()).collect();
        let mut play = Play::of(settings(PeerKind::Fixed), &names);
        for (id, name) in (10..).zip(&names) {
            play = play.at(1, id..id + 1, DRIP, name);
        }
        play.until(Duration::from_secs(2), |play| play.open.len() == DOWNLOADS_MAX);
        let mut play = play.at(2, 5000..5001, Manner::Good, "good");
        play.tell(Input::Want(&[name("good")]));
        // Each of those that came before may have had its turn.
        let turns = count.div_ceil(DOWNLOADS_MAX as u32) + 1;
        play.until(turns * PACE_WINDOW, |play| play.verified == ["good"]);
    }
}

#[test]
fn on_a_slow_network_files_do_not_push_each_other_out() {
    let count = DOWNLOADS_MAX + 20;
    let names: Vec<&str> = (0..count).map(|number| &*format!("file {number}").leak()).collect();
    let mut play = Play::new(0, &names);
    // The registry is not there any more when the first places come free.
    play.idle_timeout = Duration::from_secs(5);
    for name in &names {
        play = play.at(1, 1..2, Manner::Slow { bytes: 1000, steps: 400 }, name);
    }
    play.until_all_done(Duration::from_secs(100));
    assert_eq!(play.sources[&1].requests, count as u32, "each file came once");
}

#[test]
fn a_second_copy_that_does_not_fit_on_the_disk_ends_no_job() {
    let slow = Manner::Slow { bytes: 200, steps: 1000 };
    for seed in 0..10 {
        let mut play = Play::with_seed(seed, &["x"]).at(1, 1..2, slow, "x");
        play.full_at = Some(1);
        play.until(STEP * 3, |play| play.asked(1) == 1);
        let mut play = play.at(2, 2..3, slow, "x");
        play.until(PACE_WINDOW + Duration::from_secs(1), |play| play.asked(2) == 1);
        play.until_all_done(Duration::from_secs(300));
    }
}

#[test]
fn a_second_copy_that_does_not_fit_on_the_disk_is_not_begun_again_beside_the_first() {
    let slow = Manner::Slow { bytes: 200, steps: 1000 };
    let mut play = Play::new(5, &["x"]).at(1, 1..2, slow, "x");
    play.is_full_for_second = true;
    play.until(STEP * 3, |play| play.asked(1) == 1);
    let mut play = play.at(2, 2..3, slow, "x");
    play.until_all_done(Duration::from_secs(101));
    assert_eq!((play.asked(1), play.asked(2)), (1, 1));
}

#[test]
fn a_file_that_does_not_fit_beside_a_larger_one_is_tried_once_more_however_many_offer_it() {
    for (retries_max, refuses) in [(0, 0), (5, 0), (5, 2)] {
        let mut play =
            Play::new(retries_max, &["large", "small"]).at(1, 1..2, Manner::Drips(20_000), "large");
        play.does_not_fit = Some("small");
        play.until(STEP * 9, |play| play.files.len() == 1);
        let mut play = play.at(2, 10..20, Manner::Drips(1000), "small");
        play.until(Duration::from_secs(1), |play| play.dials_of(2) == 1);
        // Failures of another kind in between do not bring a further try.
        let mut play = play.at(3, 20..20 + refuses, Manner::RefusesFirst(1), "small");
        play.until(Duration::from_secs(30), |play| play.node.snapshot().jobs_open == 1);
        let requests: u32 = (10..20).map(|id| play.sources[&id].requests).sum();
        assert_eq!(requests, 2, "{:?}", play.dials);
    }
}

#[test]
fn second_downloads_that_are_needed_least_make_room_for_those_of_other_files() {
    // Each of these files has two sources that drip, one twice as fast as the other.
    let names: Vec<&str> =
        (0..HEDGES_MAX).map(|number| &*format!("pair {number}").leak()).collect();
    let mut play = Play::of(settings(PeerKind::Fixed), &names);
    for (id, name) in (10..).step_by(2).zip(&names) {
        play = play.at(1, id..id + 1, DRIP, name);
    }
    play.until(STEP * 9, |play| play.open.len() == HEDGES_MAX);
    for (id, name) in (11..).step_by(2).zip(&names) {
        play = play.at(1, id..id + 1, Manner::Drips(300), name);
    }
    play.until(PACE_WINDOW * 2, |play| play.open.len() == 2 * HEDGES_MAX);
    let mut play = play.at(1, 1000..1001, DRIP, "x");
    play.tell(Input::Want(&[name("x")]));
    play.until(STEP * 9, |play| play.asked(1000) == 1);
    let mut play = play.at(2, 2000..2001, Manner::Good, "x");
    play.until(PACE_WINDOW * 2 + HEDGE_TRIAL, |play| play.verified == ["x"]);
}

#[test]
fn a_fast_source_that_begins_to_drip_does_not_cost_what_came_from_an_honest_slow_one() {
    let slow = Manner::Slow { bytes: 5_000, steps: 4_000 };
    let mut play = Play::new(5, &["x"]).at(1, 1..2, slow, "x");
    play.until(STEP * 3, |play| play.asked(1) == 1);
    for id in 10..14 {
        play = play.at(2, id..id + 1, Manner::Drips(200_000), "x");
        play.until(PACE_WINDOW * 3, |play| play.asked(id) == 1);
        play.until(HEDGE_TRIAL * 2, |play| play.now > play.start + HEDGE_TRIAL);
        // It has shown what it can, and goes on with less.
        for _ in 0..400 {
            play.step();
        }
        play = play.at(2, id..id + 1, DRIP, "x");
    }
    play.until_all_done(Duration::from_secs(500));
    assert_eq!(play.asked(1), 1, "the honest one was begun anew");
}
