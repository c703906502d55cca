//! The events of `--json`, each with its documentation: its name, when it is printed, and its
//! fields in their order.
//!
//! To add an event: write it here, make it where it happens, and give it a line in the tests.

use std::net::SocketAddrV4;
use std::time::Instant;

use serde::Serialize;

use super::json::{Counter, Gauge, Seconds, Text, text};
use super::schema::{Field, FieldType, Kind, Metric};
use crate::exit::ExitCode;
use crate::node::HeardOffer;
use crate::wire::v0::Offer;

/// Defines the events as an enum that serde serializes, and their documentation as
/// [`EVENTS`].
macro_rules! events {
    (
        $(#[doc = $about:literal])+
        pub enum Event {$(
            #[doc = $when:literal]
            $name:literal => $Event:ident {$($field:ident: $Type:ty = $meaning:literal,)*}
        )+}
    ) => {
        $(#[doc = $about])+
        #[derive(Serialize)]
        #[serde(tag = "event")]
        pub enum Event {$(
            #[doc = $when]
            #[serde(rename = $name)]
            $Event {$(#[doc = $meaning] $field: $Type,)*},
        )+}

        impl Event {
            /// Returns the value of each field that can be a metric, in the order of the fields.
            pub(super) fn metrics(&self) -> Vec<Option<Metric>> {
                match self {$(
                    Self::$Event {$($field,)*} => vec![$(FieldType::metric($field),)*],
                )+}
            }
        }

        pub const EVENTS: &[Kind] = &[$(Kind {
            name: $name,
            when: $when.trim_ascii(),
            fields: &[$(Field {
                name: stringify!($field),
                kind: <$Type as FieldType>::KIND,
                meaning: $meaning,
            },)*],
        },)+];
    };
}

impl Event {
    /// Returns the event of an offer that was heard, and of where its peer listens.
    pub fn of_offer(heard: &HeardOffer, listens_at: Option<SocketAddrV4>, now: Instant) -> Self {
        Self::Offer {
            name: text(heard.offer.name),
            peer: heard.offer.peer.0,
            address: text(heard.from),
            heard_ago: Seconds(now.saturating_duration_since(heard.heard_at)),
            listens_at: listens_at.map(text),
        }
    }

    pub fn of_offer_gone(offer: &Offer) -> Self {
        Self::OfferGone { name: text(offer.name), peer: offer.peer.0 }
    }

    pub fn of_exit(code: ExitCode, error: Option<&str>, ending: Ending) -> Self {
        let Ending { skipped, kept_bytes } = ending;
        Self::Exit { code: code as u8, error: error.map(text), skipped, kept_bytes }
    }
}

/// What the last event tells besides the exit code.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    pub skipped: Option<u64>,
    pub kept_bytes: Option<u64>,
}

events! {
    /// Something that a program is told by `--json`.
    pub enum Event {
        /// The program is ready.
        "listening" => Listening {
            address: Text = "ADDRESS:PORT that it listens on",
        }
        /// share, peer: what the paths hold at the start; `file_skipped` events follow.
        "sharing" => Sharing {
            folder: Text = "the folder, or the paths with blanks between them",
            files: usize = "files that are shared",
            skipped: usize = "other entries, which are not shared",
        }
        /// The registry has entered us.
        "registered" => Registered {
            registry: Text = "ADDRESS:PORT of the registry",
            address: Option<Text> = "ADDRESS:PORT where it tells others that we listen, if known",
        }
        /// An address of ours that is used is gone, or is there.
        "interface_changed" => InterfaceChanged {
            name: Text = "the interface",
            address: Text = "the address",
            change: Text = "lost, got, went down or came up",
        }
        /// The registry cannot be reached, or refuses us for now.
        "registry_unreachable" => RegistryUnreachable {
            registry: Text = "HOST:PORT of the registry",
            reason: Text = "why, for people",
            retry_in: Seconds = "seconds until the next attempt",
        }
        /// A peer offers a file that it did not offer before.
        "offer_seen" => OfferSeen {
            name: Text = "the file",
            peer: u32 = "id of the other peer",
        }
        /// A peer has not repeated an offer for three intervals.
        "offer_gone" => OfferGone {
            name: Text = "the file",
            peer: u32 = "id of the other peer",
        }
        /// list, status: a file is on offer; of list, when its offer is first heard.
        "offer" => Offer {
            name: Text = "the file",
            peer: u32 = "id of the other peer",
            address: Text = "ADDRESS:PORT that the offer came from",
            heard_ago: Seconds = "seconds since the offer was last heard",
            listens_at: Option<Text> = "ADDRESS:PORT where the peer listens, if --registry was asked",
        }
        /// list: what peers of version 1 list under a path; once for each content.
        "entry" => Entry {
            name: Text = "its path",
            folder: bool = "whether it is a folder with nothing in it",
            bytes: u64 = "size of the file",
            modified: Option<Text> = "when it was changed, as in 2001-02-03T04:05:06Z",
            executable: bool = "whether it can be run",
            blake3: Option<Text> = "its BLAKE3, in hexadecimal, if a peer has hashed it",
            hashed: Option<u64> = "bytes hashed so far, if it is not hashed yet",
            sources: Vec<Text> = "the names of the peers that list it so, or their ids",
        }
        /// list --watch: a path is listed no more, or not with this content.
        "entry_gone" => EntryGone {
            name: Text = "its path",
        }
        /// list: it has listened for long enough. An offer that was lost is missing.
        "listened" => Listened {
            seconds: Seconds = "seconds for which it listened",
            files: usize = "names that were offered",
            peers: usize = "peers that offered them",
            is_full: bool = "whether more is on offer than can be remembered",
        }
        /// A wanted file is in the folder already.
        "already_there" => AlreadyThere {
            name: Text = "the file",
            skipped: bool = "whether it is skipped because of --on-conflict, and not compared",
        }
        /// No peer offers a wanted file yet, though each had the time to.
        "waiting" => Waiting {
            name: Text = "the file",
        }
        /// No peer offers a file that matches a pattern yet, though each had the time to.
        "waiting_for_match" => WaitingForMatch {
            pattern: Text = "the pattern",
            nearly: Option<Text> = "a file on offer that matches but for case or Unicode form",
        }
        /// A wanted file is on offer, but the registry is missing; once until it is there.
        "waiting_for_registry" => WaitingForRegistry {
            name: Text = "the file",
            peer: u32 = "id of the other peer",
            from: Text = "address that the offer came from",
            registry: Text = "ADDRESS:PORT of the registry",
        }
        /// No peer offers a wanted file yet, but one under nearly its name.
        "nearly_offered" => NearlyOffered {
            name: Text = "the file",
            offered: Text = "the file on offer: its name differs only in case or Unicode form",
        }
        /// An attempt to fetch a file begins.
        "download_started" => DownloadStarted {
            name: Text = "the file",
            peer: u32 = "id of the other peer",
            address: Text = "ADDRESS:PORT of the other side",
        }
        /// Every second for each running download.
        "progress" => Progress {
            name: Text = "the file",
            peer: u32 = "id of the other peer, or of one of them",
            bytes: u64 = "bytes received",
            bytes_per_second: u64 = "rate over the last seconds",
            seconds: Seconds = "seconds since its start",
            still_for: Seconds = "seconds since bytes last moved",
            limited_by: Text =
                "what limited it most in the last seconds: our disk; hashing; network \
                (bytes move, and we wait for more); other side (we wait, and for a second no byte \
                has moved)",
            size: Option<u64> = "size of the file, if it is known: by version 1",
            sources: u32 = "peers that it comes from now",
        }
        /// Every second while files come whose sizes are known: how far all have come.
        "job" => Job {
            bytes: u64 = "bytes that are there",
            size: u64 = "bytes of all wanted files whose size is known",
            bytes_per_second: u64 = "rate over the last seconds",
            seconds_left: Option<u64> = "seconds until all is there, at this rate",
        }
        /// A source did not deliver a file; another one, or later the same, is tried.
        "source_failed" => SourceFailed {
            name: Text = "the file",
            peer: u32 = "id of the other peer",
            reason: Text = "why, for people",
        }
        /// A file did not match its checksum and was deleted; it is fetched again.
        "checksum_failed" => ChecksumFailed {
            name: Text = "the file",
            peer: u32 = "id of the other peer",
            simulated: bool = "whether the failure is simulated",
        }
        /// Every source of a file has failed.
        "retrying" => Retrying {
            name: Text = "the file",
            retry_in: Seconds = "seconds until the next attempt",
        }
        /// A wanted file is verified and has its final name.
        "verified" => Verified {
            name: Text = "the file",
            peer: u32 = "id of the other peer",
            bytes: u64 = "size of the file",
            seconds: Seconds = "seconds that the download took",
            sha256: Option<Text> =
                "its SHA-256, in hexadecimal; null for a file that came by version 1",
            blake3: Option<Text> =
                "its BLAKE3, in hexadecimal; null for a file that came by version 0",
            sources: usize = "peers that gave some of it",
        }
        /// It is known which files something that is wanted means, by version 1.
        "listed" => Listed {
            name: Text = "what is wanted, as it was written",
            files: usize = "files that it means",
            bytes: u64 = "their sizes together",
            sources: usize = "peers that list some of them",
            hidden: usize = "files left out because a component of their path begins with a dot",
        }
        /// With --dry-run: a file would be fetched.
        "would_fetch" => WouldFetch {
            name: Text = "the file",
            bytes: u64 = "size of the file",
            blake3: Option<Text> = "its BLAKE3, in hexadecimal, once its source has hashed it",
        }
        /// A source hashes a wanted file, which is fetched then.
        "hashing_at_source" => HashingAtSource {
            name: Text = "the file",
            hashed_bytes: u64 = "bytes hashed so far",
            bytes: u64 = "size of the file",
        }
        /// Something that is wanted may be one of several; `candidate` events follow.
        "ambiguous" => Ambiguous {
            name: Text = "what is wanted, as it was written",
            candidates: usize = "number of the candidates",
        }
        /// Something that is wanted may be this.
        "candidate" => Candidate {
            name: Text = "what is wanted, as it was written",
            path: Text = "the path of the candidate",
            peer: u32 = "id of the other peer",
            peer_name: Text = "name of the other peer; empty if it has none",
            address: Text = "ADDRESS:PORT of the other side",
            bytes: Option<u64> = "size of the file; null for a folder",
            modified: Option<Text> = "when it was modified; null for a folder",
            blake3: Option<Text> = "its BLAKE3, in hexadecimal; null for a folder, or not yet known",
        }
        /// A wanted file will not be fetched.
        "failed" => Failed {
            name: Text = "the file",
            reason: Text = "why, for people",
        }
        /// A verified file has another name than the wanted one, which is taken.
        "saved_as" => SavedAs {
            name: Text = "its final name",
            wanted: Text = "the name that was wanted",
        }
        /// A file that was fetched is already there, with the same content.
        "identical" => Identical {
            name: Text = "the file",
        }
        /// peer: the programs that asked for a file have ended, so it is not fetched.
        "withdrawn" => Withdrawn {
            name: Text = "the file",
        }
        /// No peer offered a file that matches a pattern in time.
        "nothing_matched" => NothingMatched {
            pattern: Text = "the pattern",
        }
        /// Another peer begins to fetch a file from us.
        "upload_started" => UploadStarted {
            name: Text = "the file",
            address: Text = "ADDRESS:PORT of the other side",
            bytes: u64 = "size of the file",
        }
        /// Every second for each running upload.
        "upload_progress" => UploadProgress {
            name: Text = "the file",
            address: Text = "ADDRESS:PORT of the other side",
            bytes: u64 = "bytes sent",
            bytes_per_second: u64 = "rate over the last seconds",
            seconds: Seconds = "seconds since its start",
            still_for: Seconds = "seconds since bytes last moved",
            limited_by: Text =
                "what limited it most in the last seconds: our disk; hashing; network \
                (bytes move, and we wait for more); other side (we wait, and for a second no byte \
                has moved)",
        }
        /// The other side has acknowledged all of a file.
        "upload_done" => UploadDone {
            name: Text = "the file",
            address: Text = "ADDRESS:PORT of the other side",
            bytes: u64 = "size of the file",
            seconds: Seconds = "seconds that the upload took",
        }
        /// An upload ended before the other side had acknowledged all of it.
        "upload_failed" => UploadFailed {
            name: Text = "the file",
            address: Text = "ADDRESS:PORT of the other side",
            reason: Text = "why, for people",
        }
        /// Another peer tells what became of a file of which it has bytes from us; by version 1.
        "peer_verdict" => PeerVerdict {
            name: Text = "the file",
            peer: u32 = "id of the other peer",
            peer_name: Text = "its name, empty if it has none",
            verdict: Text = "verified; wrong bytes; given up",
        }
        /// A file of the folder is offered from now on.
        "file_shared" => FileShared {
            name: Text = "the file",
        }
        /// A file of the folder is changing; it is offered again once it has settled.
        "file_changing" => FileChanging {
            name: Text = "the file",
        }
        /// A file of the folder is not offered: there are too many.
        "file_refused" => FileRefused {
            name: Text = "the file",
        }
        /// A file of the folder is no longer offered.
        "file_lost" => FileLost {
            name: Text = "the file",
            reason: Text = "why, for people",
        }
        /// An entry of the folder is not offered; at the start, for the first 100 of them.
        "file_skipped" => FileSkipped {
            name: Text = "the entry",
            reason: Text = "why, for people",
        }
        /// The shared folder is gone; nothing is offered.
        "folder_lost" => FolderLost {
            reason: Text = "why, for people",
        }
        /// registry: a peer has registered.
        "peer_entered" => PeerEntered {
            peer: u32 = "id of the other peer",
            address: Text = "ADDRESS:PORT of the other side",
        }
        /// registry: the connection of a peer has ended.
        "peer_left" => PeerLeft {
            peer: u32 = "id of the other peer",
            reason: Text = "why, for people",
        }
        /// status: the state of a program; its transfers, files and offers follow.
        "status" => Status {
            name: Text = "what the program calls itself",
            pid: u32 = "its process id",
            uptime_seconds: Seconds = "seconds since its start",
            files_shared: Gauge = "files that it shares",
            offers_known: Gauge = "offers of other peers that it knows",
            peers_known: Gauge = "peers that these offers are from",
            connections: Gauge = "open connections",
            downloads_running: Gauge = "files that it receives",
            uploads_running: Gauge = "files that it sends",
            wishes_open: Gauge = "files that it wants and does not have",
            files_fetched: Counter = "files fetched and verified",
            bytes_fetched: Counter = "bytes of the files fetched",
            files_sent: Counter = "files sent and acknowledged",
            bytes_sent: Counter = "bytes of the files sent",
            retries: Counter = "downloads that failed and were tried again",
            turns: Counter = "turns of its loop",
            longest_turn_seconds: Seconds = "the longest turn, without waits for the disk",
            syncs: Counter = "waits for the disk, to make files durable",
            longest_sync_seconds: Seconds = "the longest of these waits",
        }
        /// status: a running transfer.
        "transfer" => Transfer {
            name: Text = "the file",
            upload: bool = "whether it is an upload",
            address: Text = "ADDRESS:PORT of the other side",
            bytes: u64 = "bytes received or sent",
            bytes_per_second: u64 = "average rate since its start",
            seconds: Seconds = "seconds since its start",
            size: Option<u64> = "size of the file, if it is known",
        }
        /// status: a file that is wanted and not there; for the first thousand.
        "wanted_file" => WantedFile {
            name: Text = "the file",
            programs: usize = "`get --via` that wait for it",
        }
        /// status: a pattern that may bring more files that are wanted.
        "wanted_pattern" => WantedPattern {
            pattern: Text = "the pattern",
            programs: usize = "`get --via` that wait for it",
        }
        /// status: a file that is shared; for the first thousand.
        "shared_file" => SharedFile {
            name: Text = "the file",
            bytes: u64 = "size of the file",
        }
        /// paths: something that the program uses.
        "place" => Place {
            kind: Text = "file, folder or port",
            place: Text = "its path, or protocol and number",
            meaning: Text = "what it is for",
        }
        /// stdout was full: events are missing here.
        "dropped" => Dropped {
            events: u64 = "how many",
        }
        /// doctor: whether the offer port can be shared with other programs.
        "offer_port" => OfferPort {
            port: u16 = "UDP port",
            ok: bool = "whether it works",
            error: Option<Text> = "why it does not, for people",
        }
        /// doctor: whether the registry answers.
        "registry" => Registry {
            registry: Text = "HOST:PORT",
            ok: bool = "whether it works",
            connected_us: Option<u64> = "microseconds until the connection was there",
            answered_us: Option<u64> = "microseconds until a lookup was answered",
            error: Option<Text> = "why it does not, for people",
        }
        /// doctor: an address of this machine; ok if our own broadcast came back.
        "interface" => Interface {
            name: Text = "the interface",
            address: Text = "its address",
            prefix_length: u8 = "length of the prefix of its network, in bits",
            broadcast: Option<Text> = "its broadcast address",
            up: bool = "whether it is up and connected",
            offers_to: Option<Text> = "ADDRESS:PORT that offers are sent to",
            ok: bool = "whether our own broadcast came back",
            error: Option<Text> = "why offers cannot be sent, for people",
            offers: u64 = "offers heard",
            peers: usize = "peers that these offers are from",
        }
        /// doctor: a peer whose offers were heard; ok if its port could be connected to.
        "peer" => Peer {
            peer: u32 = "its id",
            from: Text = "address that its first offer came from",
            offers: u64 = "offers heard",
            address: Option<Text> = "ADDRESS:PORT, as the registry knows it",
            ok: bool = "whether it works",
            connected_us: Option<u64> = "microseconds until the connection was there",
            error: Option<Text> = "why it does not, for people",
            interface: Option<Text> = "interface in whose network it was heard, if in any",
        }
        /// doctor: whether the beacon port can be shared with other programs.
        "beacon_port" => BeaconPort {
            port: u16 = "UDP port",
            ok: bool = "whether it works",
            error: Option<Text> = "why it does not, for people",
        }
        /// doctor: beacons on an address of this machine; ok if our own came back.
        "beacons" => Beacons {
            name: Text = "the interface",
            address: Text = "its address",
            beacons_to: Option<Text> = "ADDRESS:PORT that beacons are sent to",
            ok: bool = "whether our own beacon came back",
            error: Option<Text> = "why beacons cannot be sent, for people",
            beacons: u64 = "beacons heard",
            peers: usize = "peers that these beacons are from",
        }
        /// doctor: a peer of version 1 whose beacons were heard; ok if it could be dialed.
        "beaconing_peer" => BeaconingPeer {
            peer: u32 = "its id",
            peer_name: Text = "its name, empty if it has none",
            from: Text = "address that its first beacon came from",
            beacons: u64 = "beacons heard",
            files: u32 = "files that it shares",
            address: Option<Text> = "ADDRESS:PORT of its sessions; null if it is not dialed",
            ok: bool = "whether it works",
            session_us: Option<u64> = "microseconds until it had said who it is",
            error: Option<Text> = "why it does not, for people",
            interface: Option<Text> = "interface in whose network it was heard, if in any",
        }
        /// doctor: whether the registry lists peers of version 1, some beyond this network.
        "registry_list" => RegistryList {
            ok: bool = "whether it does",
            peers: Option<u64> = "how many it lists; null if it does not",
            error: Option<Text> = "why it does not, for people",
        }
        /// doctor: a peer of version 1 that the registry lists and of which no beacon was heard.
        "listed_peer" => ListedPeer {
            peer: u32 = "its id",
            peer_name: Text = "its name, empty if it has none or was not reached",
            address: Text = "ADDRESS:PORT of its sessions",
            ok: bool = "whether it could be dialed",
            session_us: Option<u64> = "microseconds until it had said who it is",
            error: Option<Text> = "why it could not, for people",
        }
        /// doctor: the conclusion.
        "verdict" => Verdict {
            code: u8 = "exit code",
            text: Text = "what it means and what to do, for people",
        }
        /// The program ends; always the last event.
        "exit" => Exit {
            code: u8 = "exit code",
            error: Option<Text> = "the error, as it is printed on stderr",
            skipped: Option<u64> = "get --on-conflict skip: files that were skipped, not compared",
            kept_bytes: Option<u64> = "get: what is kept, for a later run, of files that are not whole",
        }
    }
}

#[cfg(test)]
mod tests;
