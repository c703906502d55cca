//! Logs reports at a bounded rate, so that no peer can fill a disk or flood a terminal. Lines
//! about the offers of others and about each address have their own bounds: they hide no line
//! about ourselves.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::mem::{Discriminant, discriminant};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use log::Level;

use crate::count::Count;
use crate::limits::{
    LOG_ADDRESSES_MAX, LOG_COMPLAINT_INTERVAL, LOG_COMPLAINTS_MAX,
    LOG_LINES_PER_ADDRESS_PER_SECOND, LOG_LINES_PER_SECOND, LOG_OFFER_LINES_PER_SECOND,
};
use crate::node::{Paths, Report};
use crate::wire::Malformed;

/// Logs reports under the name of the program. The counts start again each second.
pub(super) struct ReportLog {
    name: String,
    /// The level of lines about offers and about the loop itself.
    details_level: Level,
    began: Instant,
    /// Lines about ourselves.
    own: Lines,
    /// Lines about the offers of others.
    offers: Lines,
    /// Lines about what other addresses did, and how many about each.
    others: Lines,
    by_address: BTreeMap<Ipv4Addr, u32>,
    /// The dropped datagrams that were logged since `complaints_since`.
    complaints: HashSet<Complaint, BuildHasherDefault<DefaultHasher>>,
    complaints_since: Instant,
}

/// The sender of a datagram, and what was wrong with it. Its set has no random keys: asking the
/// system for them may fail, which would end the program, and the set is small.
type Complaint = (Ipv4Addr, Discriminant<Malformed>);

#[derive(Clone, Copy, Default)]
struct Lines {
    shown: u32,
    hidden: u32,
}

impl ReportLog {
    pub(super) fn new(name: String, details_level: Level) -> Self {
        let [own, offers, others] = [Lines::default(); 3];
        let began = Instant::now();
        Self {
            name,
            details_level,
            began,
            own,
            offers,
            others,
            by_address: BTreeMap::new(),
            complaints: HashSet::default(),
            complaints_since: began,
        }
    }

    pub(super) fn log(&mut self, now: Instant, report: &Report, paths: &Paths) {
        let level = match report.is_about_offers() {
            true => self.details_level,
            false if self.was_logged(now, report) => Level::Debug,
            false => report.level(),
        };
        if level > log::max_level() {
            return;
        }
        self.begin_second_if_due(now);
        if level == Level::Error || self.has_room(report) {
            log::log!(target: &self.name, level, "{}", report.shown(paths));
        }
    }

    /// Returns whether the report is about a dropped datagram of which the like was logged a
    /// short while ago, and remembers it.
    fn was_logged(&mut self, now: Instant, report: &Report) -> bool {
        let Report::DatagramDropped { from, malformed } = report else { return false };
        if now.saturating_duration_since(self.complaints_since) >= LOG_COMPLAINT_INTERVAL {
            self.complaints.clear();
            self.complaints_since = now;
        }
        self.complaints.len() >= LOG_COMPLAINTS_MAX
            || !self.complaints.insert((*from.ip(), discriminant(malformed)))
    }

    pub(super) fn note(&self, level: Level, line: impl Display) {
        log::log!(target: &self.name, level.max(self.details_level), "{line}");
    }

    /// Logs a warning about ourselves, of which there may be very many.
    pub(super) fn warn(&mut self, now: Instant, line: impl Display) {
        self.begin_second_if_due(now);
        if self.own.take(LOG_LINES_PER_SECOND) {
            log::warn!(target: &self.name, "{line}");
        }
    }

    fn begin_second_if_due(&mut self, now: Instant) {
        if now.saturating_duration_since(self.began) >= Duration::from_secs(1) {
            self.begin_second(now);
        }
    }

    fn begin_second(&mut self, now: Instant) {
        let counts = [
            (self.own, "more line", ""),
            (self.offers, "more offer", ""),
            (self.others, "more line", " about others"),
        ];
        for (count, what, which) in counts.into_iter().filter(|(count, ..)| count.hidden > 0) {
            let hidden = Count(count.hidden, what);
            log::info!(target: &self.name, "... and {hidden}{which}");
        }
        [self.own, self.offers, self.others] = [Lines::default(); 3];
        self.began = now;
        self.by_address.clear();
    }

    fn has_room(&mut self, report: &Report) -> bool {
        if let Some(address) = report.about() {
            let is_room = self.by_address.len() < LOG_ADDRESSES_MAX;
            let lines = match self.by_address.get_mut(address.ip()) {
                Some(lines) => lines,
                None if is_room => self.by_address.entry(*address.ip()).or_default(),
                None => return self.others.take(0),
            };
            *lines += 1;
            let is_allowed = *lines <= LOG_LINES_PER_ADDRESS_PER_SECOND;
            return self.others.take(if is_allowed { LOG_LINES_PER_SECOND } else { 0 });
        }
        match report.is_about_offers() {
            true => self.offers.take(LOG_OFFER_LINES_PER_SECOND),
            false => self.own.take(LOG_LINES_PER_SECOND),
        }
    }
}

impl Lines {
    /// Takes one of `lines_max` lines. Returns false if they are used up.
    fn take(&mut self, lines_max: u32) -> bool {
        let has_room = self.shown < lines_max;
        if has_room {
            self.shown += 1;
        } else {
            self.hidden += 1;
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PeerId;
    use crate::wire::v0::FileName;

    #[test]
    fn a_flood_of_one_kind_leaves_room_for_the_others() {
        let mut log = ReportLog::new("test".into(), Level::Info);
        let path = Paths::default().intern_name(FileName::new("file").unwrap());
        let offer = Report::OfferSeen { path, peer: PeerId(1) };
        let junk = |ip: u32| Report::DatagramDropped {
            from: std::net::SocketAddrV4::new(ip.into(), 1),
            malformed: Malformed::DatagramLength { got_bytes: 0 },
        };
        let shown = (0..1000).filter(|_| log.has_room(&offer)).count();
        assert_eq!(shown, LOG_OFFER_LINES_PER_SECOND as usize);
        let shown = (0..1000).filter(|_| log.has_room(&junk(1))).count();
        assert_eq!(shown, LOG_LINES_PER_ADDRESS_PER_SECOND as usize);
        let shown = (0..10_000).filter(|ip| log.has_room(&junk(*ip))).count();
        assert!(shown <= LOG_LINES_PER_SECOND as usize, "{shown} lines from many addresses");
        assert!(log.by_address.len() <= LOG_ADDRESSES_MAX);
        assert!(log.has_room(&Report::WaitingForOffer { path }));
        log.begin_second(Instant::now());
        assert!(log.has_room(&offer) && log.has_room(&junk(1)));
    }

    #[test]
    fn the_same_complaint_about_an_address_is_logged_once_in_a_while() {
        let mut log = ReportLog::new("test".into(), Level::Info);
        let start = Instant::now();
        let junk = |ip: u32, malformed| Report::DatagramDropped {
            from: std::net::SocketAddrV4::new(ip.into(), 1),
            malformed,
        };
        let [short, long] = [1, 99].map(|got_bytes| Malformed::DatagramLength { got_bytes });
        assert!(!log.was_logged(start, &junk(1, short)));
        assert!(log.was_logged(start, &junk(1, long)));
        assert!(!log.was_logged(start, &junk(2, short)));
        assert!(!log.was_logged(start, &junk(1, Malformed::NotUtf8)));
        for ip in 0..2 * LOG_COMPLAINTS_MAX as u32 {
            log.was_logged(start, &junk(ip, Malformed::Host));
        }
        assert_eq!(log.complaints.len(), LOG_COMPLAINTS_MAX);
        assert!(!log.was_logged(start + LOG_COMPLAINT_INTERVAL, &junk(1, short)));
    }
}
