//! Every wait has a deadline: no connection may rest longer than the limits allow,
//! and no offer is remembered for longer.

use std::time::Duration;

use p2pfs::limits::{
    HEAD_TIMEOUT, Limits, OFFER_EXPIRY_INTERVALS, OFFER_EXPIRY_MAX, RATE_BYTES_PER_SECOND_MIN,
    RATE_WINDOW, RETRY_DELAY_MAX,
};

use crate::conversation::Conversation;

/// How late a deadline may be noticed, by a loop that wakes up late.
const LATE: Duration = Duration::from_millis(500);

/// When something last happened on a connection.
pub(crate) struct Patience {
    opened_us: u64,
    connected_us: Option<u64>,
    first_read_us: Option<u64>,
    read_us: u64,
    sent_us: u64,
    message_us: u64,
    /// When the head that is coming in began.
    head_us: Option<u64>,
    /// When its process last hashed something, or the socket was full.
    busy_us: u64,
    read_bytes: u64,
    /// A moment, and how much was read before it.
    mark: (u64, u64),
}

/// What time it is for a process.
pub(crate) struct Clock {
    /// Now.
    pub(crate) now_us: u64,
    /// It has not stood still since then.
    pub(crate) awake_since_us: u64,
}

impl Clock {
    fn check(&self, since_us: u64, limit: Duration, wait: &str) {
        let limit_us = (limit + LATE).as_micros() as u64;
        let is_within = self.now_us <= since_us.max(self.awake_since_us) + limit_us;
        assert!(is_within, "waits for {wait} for ever");
    }

    /// Offers from before this moment are forgotten. Old ones are looked for when new
    /// ones go out.
    pub(crate) fn memory_begins_us(&self, offer_interval: Duration) -> u64 {
        let expiry = OFFER_EXPIRY_MAX.max(offer_interval * OFFER_EXPIRY_INTERVALS);
        let memory_us = (expiry + offer_interval + LATE).as_micros() as u64;
        // After a freeze the old ones are still to be looked for.
        if self.now_us < self.awake_since_us + memory_us { 0 } else { self.now_us - memory_us }
    }
}

impl Patience {
    /// A connection was asked for, or accepted.
    pub(crate) fn new(now_us: u64) -> Self {
        Self {
            opened_us: now_us,
            connected_us: None,
            first_read_us: None,
            read_us: now_us,
            sent_us: now_us,
            message_us: now_us,
            head_us: None,
            busy_us: now_us,
            read_bytes: 0,
            mark: (now_us, 0),
        }
    }

    /// The connection is made.
    pub(crate) fn connected(&mut self, now_us: u64) {
        self.connected_us = Some(now_us);
        self.mark.0 = now_us;
    }

    /// Bytes were read, and perhaps a message came to its end.
    pub(crate) fn read(
        &mut self,
        now_us: u64,
        len_bytes: usize,
        has_message: bool,
        is_in_head: bool,
    ) {
        let head_us = self.head_us.filter(|_| !has_message).unwrap_or(now_us);
        self.head_us = is_in_head.then_some(head_us);
        // The first bytes end one wait and begin another.
        if self.first_read_us.is_none() {
            (self.first_read_us, self.message_us) = (Some(now_us), now_us);
        }
        self.read_us = now_us;
        self.read_bytes += len_bytes as u64;
        if has_message {
            self.message_us = now_us;
        }
    }

    /// The socket took bytes.
    pub(crate) fn sent(&mut self, now_us: u64) {
        self.sent_us = now_us;
    }

    /// Nothing is overdue.
    pub(crate) fn check(
        &mut self,
        clock: &Clock,
        limits: &Limits,
        talk: &Conversation,
        is_busy: bool,
    ) {
        let Some(connected_us) = self.connected_us else {
            return clock.check(self.opened_us, limits.connect_timeout, "a connection");
        };
        if is_busy {
            self.busy_us = clock.now_us;
        }
        if let Some(head_us) = self.head_us {
            clock.check(head_us, HEAD_TIMEOUT, "the rest of a message");
        }
        let moved_us = self.sent_us.max(self.message_us);
        match talk {
            Conversation::Unchecked => {}
            Conversation::Silent => {
                clock.check(connected_us, limits.progress_timeout, "room for a request");
            }
            Conversation::Client(client) if client.expects_answer() => {
                clock.check(self.sent_us, limits.answer_timeout, "an answer");
            }
            // A registered client may rest for ever, and the registry lets it.
            Conversation::Client(_) => {}
            Conversation::Registry(session) if session.has_registered() => {}
            Conversation::Registry(_) | Conversation::Upload(_) if self.first_read_us.is_none() => {
                clock.check(self.opened_us, limits.first_byte_timeout, "a first byte");
            }
            Conversation::Registry(_) => {
                clock.check(self.message_us, limits.idle_timeout, "a request");
            }
            Conversation::Upload(upload) if upload.expects_acknowledgment() => {
                clock.check(moved_us, limits.upload_timeout(), "an acknowledgment");
            }
            Conversation::Upload(upload) if upload.expects_request() => {
                clock.check(moved_us, limits.idle_timeout, "the next request");
            }
            // A hash that failed is begun anew after a delay with jitter.
            Conversation::Upload(_) => {
                let since_us = moved_us.max(self.busy_us);
                clock.check(since_us, RETRY_DELAY_MAX.mul_f64(1.25), "its own disk");
            }
            // A connection that was kept; or the last acknowledgments have no room.
            Conversation::Download(download) if !download.expects_data() => {
                clock.check(moved_us, limits.progress_timeout, "the next file");
                self.mark = (clock.now_us, self.read_bytes);
            }
            Conversation::Download(_) => {
                // Acknowledgments follow what was read; a request begins the wait anew.
                let since_us = self.read_us.max(self.sent_us).max(connected_us);
                clock.check(since_us, limits.progress_timeout, "data");
                self.check_rate(clock);
            }
        }
    }

    /// Any two windows hold a whole one of the node's.
    fn check_rate(&mut self, clock: &Clock) {
        let (mark_us, mark_bytes) = self.mark;
        if clock.now_us > mark_us + (2 * RATE_WINDOW + LATE).as_micros() as u64 {
            let moved_bytes = self.read_bytes - mark_bytes;
            let is_fast = moved_bytes >= RATE_BYTES_PER_SECOND_MIN * RATE_WINDOW.as_secs();
            assert!(is_fast || clock.awake_since_us > mark_us, "{moved_bytes} bytes in a minute");
            self.mark = (clock.now_us, self.read_bytes);
        }
    }
}
