//! Reports become log lines, at a bounded rate: nobody on the network fills a disk
//! or drowns a terminal, and what others offer hides nothing of our own.

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
use crate::node::Report;
use crate::wire::Malformed;

/// Logs reports under the name of the program. The counts begin anew each second.
pub(super) struct ReportLog {
    name: String,
    /// Of lines about what others offer, and of the loop's own.
    details_level: Level,
    began: Instant,
    /// Lines of our own.
    own: Lines,
    /// Lines about what others offer.
    offers: Lines,
    /// Lines about what one other address did.
    others: Lines,
    by_address: BTreeMap<Ipv4Addr, u32>,
    /// What was told of datagrams that were dropped, and since when.
    complaints: HashSet<Complaint, BuildHasherDefault<DefaultHasher>>,
    complaints_since: Instant,
}

/// Whose datagram, and what was wrong with it. In a set without random keys, as to ask the
/// system for them may fail, and that would end the program; the set is small.
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

    pub(super) fn log(&mut self, now: Instant, report: &Report) {
        let level = match report.is_about_offers() {
            true => self.details_level,
            false if self.was_told(now, report) => Level::Debug,
            false => report.level(),
        };
        if level > log::max_level() {
            return;
        }
        self.begin_second_if_due(now);
        if level == Level::Error || self.has_room(report) {
            log::log!(target: &self.name, level, "{report}");
        }
    }

    /// Whether the same was told of an address a while ago: that a datagram was dropped.
    fn was_told(&mut self, now: Instant, report: &Report) -> bool {
        let Report::DatagramDropped { from, malformed } = report else { return false };
        if now.saturating_duration_since(self.complaints_since) >= LOG_COMPLAINT_INTERVAL {
            self.complaints.clear();
            self.complaints_since = now;
        }
        self.complaints.len() >= LOG_COMPLAINTS_MAX
            || !self.complaints.insert((*from.ip(), discriminant(malformed)))
    }

    /// Logs a line of the loop's own.
    pub(super) fn note(&self, level: Level, line: impl Display) {
        log::log!(target: &self.name, level.max(self.details_level), "{line}");
    }

    /// Logs a warning of the loop's own, of which there may be very many.
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
    /// Takes one of `lines_max` lines; false if they are used up.
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
        let name = FileName::new("file").unwrap();
        let offer = Report::OfferSeen { name, peer: PeerId(1) };
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
        assert!(log.has_room(&Report::WaitingForOffer { name }));
        log.begin_second(Instant::now());
        assert!(log.has_room(&offer) && log.has_room(&junk(1)));
    }

    #[test]
    fn the_same_complaint_about_an_address_is_told_once_in_a_while() {
        let mut log = ReportLog::new("test".into(), Level::Info);
        let start = Instant::now();
        let junk = |ip: u32, malformed| Report::DatagramDropped {
            from: std::net::SocketAddrV4::new(ip.into(), 1),
            malformed,
        };
        let [short, long] = [1, 99].map(|got_bytes| Malformed::DatagramLength { got_bytes });
        assert!(!log.was_told(start, &junk(1, short)));
        assert!(log.was_told(start, &junk(1, long)));
        assert!(!log.was_told(start, &junk(2, short)));
        assert!(!log.was_told(start, &junk(1, Malformed::NotUtf8)));
        for ip in 0..2 * LOG_COMPLAINTS_MAX as u32 {
            log.was_told(start, &junk(ip, Malformed::Host));
        }
        assert_eq!(log.complaints.len(), LOG_COMPLAINTS_MAX);
        assert!(!log.was_told(start + LOG_COMPLAINT_INTERVAL, &junk(1, short)));
    }
}
