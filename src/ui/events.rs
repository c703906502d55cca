//! The events of `--json`, each with its documentation.

use std::fmt::{Display, Write};
use std::net::SocketAddrV4;
use std::time::Instant;

use super::doctor;
use super::facts::FACTS;
use super::json::{COMMON, Field, FieldKind, Kind, Value, line};
use super::meter::Running;
use crate::exit::ExitCode;
use crate::node::{Direction, HeardOffer, Report, Transfer};
use crate::wire::v0::{FileName, Offer};

pub(super) const fn field(name: &'static str, kind: FieldKind, what: &'static str) -> Field {
    Field { name, kind, what }
}

const NAME: Field = field("name", FieldKind::Text, "the file");
const PEER: Field = field("peer", FieldKind::Number, "the id of the other peer");
const ADDRESS: Field = field("address", FieldKind::Text, "ADDRESS:PORT of the other side");
const REASON: Field = field("reason", FieldKind::Text, "why, for people");
const BYTES: Field = field("bytes", FieldKind::Number, "the size of the file");
const SECONDS: Field = field("seconds", FieldKind::Decimal, "how long it took");
const RETRY_IN: Field = field("retry_in", FieldKind::Decimal, "seconds until it is tried again");
const REGISTRY: Field = field("registry", FieldKind::Text, "ADDRESS:PORT of the registry");

const LISTENING: Kind = Kind {
    name: "listening",
    what: "the program is ready",
    fields: &[field("address", FieldKind::Text, "ADDRESS:PORT where it listens")],
};
const SHARING: Kind = Kind {
    name: "sharing",
    what: "share, peer: what the folder holds at the start; the first of what is skipped follows",
    fields: &[
        field("folder", FieldKind::Text, "the folder"),
        field("files", FieldKind::Number, "how many files are offered"),
        field("skipped", FieldKind::Number, "how much else is in it, and is not offered"),
    ],
};
const REGISTERED: Kind =
    Kind { name: "registered", what: "the registry has entered us", fields: &[REGISTRY] };
const REGISTRY_UNREACHABLE: Kind = Kind {
    name: "registry_unreachable",
    what: "no connection to the registry, or it refuses us for now",
    fields: &[REGISTRY, REASON, RETRY_IN],
};
const OFFER_SEEN: Kind = Kind {
    name: "offer_seen",
    what: "a peer offers a file, for the first time or again",
    fields: &[NAME, PEER],
};
const OFFER_GONE: Kind = Kind {
    name: "offer_gone",
    what: "a peer has not repeated its offer for three intervals",
    fields: &[NAME, PEER],
};
const ALREADY_THERE: Kind =
    Kind { name: "already_there", what: "a wanted file is in the folder", fields: &[NAME] };
const WAITING: Kind =
    Kind { name: "waiting", what: "nobody offers a wanted file yet", fields: &[NAME] };
const DOWNLOAD_STARTED: Kind = Kind {
    name: "download_started",
    what: "a file is asked for; every attempt begins with one",
    fields: &[NAME, PEER, ADDRESS],
};
const RATE: Field = field("bytes_per_second", FieldKind::Number, "over the last seconds");
const RUNNING_FOR: Field = field("seconds", FieldKind::Decimal, "since it was started");
const STILL_FOR: Field =
    field("still_for", FieldKind::Decimal, "seconds in which nothing came or went");
const LIMITED_BY: Field = field(
    "limited_by",
    FieldKind::Text,
    "what held it up most in the last seconds: our disk, hashing, network (bytes move, \
     and we wait for more: the way, or how fast the other side is), or other side (we \
     wait, and for a second nothing moved at all)",
);
const PROGRESS: Kind = Kind {
    name: "progress",
    what: "once a second for each running download",
    fields: &[
        NAME,
        PEER,
        field("bytes", FieldKind::Number, "what has come of it; its size is not known"),
        RATE,
        RUNNING_FOR,
        STILL_FOR,
        LIMITED_BY,
    ],
};
const SOURCE_FAILED: Kind = Kind {
    name: "source_failed",
    what: "a file could not be taken from a peer; another, or the same later, is asked",
    fields: &[NAME, PEER, REASON],
};
const CHECKSUM_FAILED: Kind = Kind {
    name: "checksum_failed",
    what: "what came did not fit its checksum and was wiped; it is asked for again",
    fields: &[NAME, PEER, field("simulated", FieldKind::Flag, "whether this is only pretended")],
};
const RETRYING: Kind =
    Kind { name: "retrying", what: "all who offer a file have failed", fields: &[NAME, RETRY_IN] };
const VERIFIED: Kind = Kind {
    name: "verified",
    what: "a wanted file is there, safe and verified",
    fields: &[
        NAME,
        PEER,
        BYTES,
        SECONDS,
        field("sha256", FieldKind::Text, "its digest, in hexadecimal"),
    ],
};
const FAILED: Kind =
    Kind { name: "failed", what: "a wanted file will not come", fields: &[NAME, REASON] };
const SAVED_AS: Kind = Kind {
    name: "saved_as",
    what: "a verified file has another name than that wanted: something stands there",
    fields: &[NAME, field("wanted", FieldKind::Text, "the name wanted")],
};
const IDENTICAL: Kind = Kind {
    name: "identical",
    what: "what was fetched stood there already, with the same content",
    fields: &[NAME],
};
const NOTHING_MATCHED: Kind = Kind {
    name: "nothing_matched",
    what: "nobody offered a file with such a name in time",
    fields: &[field("pattern", FieldKind::Text, "the pattern")],
};
const OFFER: Kind = Kind {
    name: "offer",
    what: "list: something is on offer; with --watch, once it is heard of",
    fields: &[
        NAME,
        PEER,
        ADDRESS,
        field("heard_ago", FieldKind::Decimal, "seconds since it was last heard"),
        field(
            "listens_at",
            FieldKind::TextOrNull,
            "ADDRESS:PORT where the peer listens, if list --registry was told that",
        ),
    ],
};
const UPLOAD_STARTED: Kind = Kind {
    name: "upload_started",
    what: "someone began to fetch a file",
    fields: &[NAME, ADDRESS, BYTES],
};
const UPLOAD_PROGRESS: Kind = Kind {
    name: "upload_progress",
    what: "once a second for each running upload",
    fields: &[
        NAME,
        ADDRESS,
        field("bytes", FieldKind::Number, "what was sent of it"),
        RATE,
        RUNNING_FOR,
        STILL_FOR,
        LIMITED_BY,
    ],
};
const UPLOAD_DONE: Kind = Kind {
    name: "upload_done",
    what: "the other side has acknowledged all of a file",
    fields: &[NAME, ADDRESS, BYTES, SECONDS],
};
const UPLOAD_FAILED: Kind = Kind {
    name: "upload_failed",
    what: "an upload ended before that",
    fields: &[NAME, ADDRESS, REASON],
};
const FILE_LOST: Kind =
    Kind { name: "file_lost", what: "a file of ours is no longer shared", fields: &[NAME, REASON] };
const FILE_SHARED: Kind = Kind {
    name: "file_shared",
    what: "a file of the folder is offered from now on",
    fields: &[NAME],
};
const FILE_CHANGING: Kind = Kind {
    name: "file_changing",
    what: "a file of the folder changes, and is offered again once it rests",
    fields: &[NAME],
};
const FILE_REFUSED: Kind = Kind {
    name: "file_refused",
    what: "a file of the folder is not offered: there are too many",
    fields: &[NAME],
};
const FILE_SKIPPED: Kind = Kind {
    name: "file_skipped",
    what: "something in the folder is not offered; of what is there at the start, the first 100",
    fields: &[NAME, REASON],
};
const FOLDER_LOST: Kind = Kind {
    name: "folder_lost",
    what: "the shared folder was removed, moved or unmounted: nothing is offered",
    fields: &[],
};
const PEER_ENTERED: Kind = Kind {
    name: "peer_entered",
    what: "registry: a peer has registered",
    fields: &[PEER, ADDRESS],
};
const PEER_LEFT: Kind =
    Kind { name: "peer_left", what: "registry: a peer is gone", fields: &[PEER, REASON] };
const STATUS: Kind = Kind {
    name: "status",
    what: "status: how a program does; its transfers, files and offers follow",
    fields: &status_fields(),
};
const TRANSFER: Kind = Kind {
    name: "transfer",
    what: "status: a file that is coming in or going out",
    fields: &[
        NAME,
        field("upload", FieldKind::Flag, "whether it is going out"),
        ADDRESS,
        field("bytes", FieldKind::Number, "what has come of it, or was sent"),
        field("bytes_per_second", FieldKind::Number, "since it was started"),
        field("seconds", FieldKind::Decimal, "since it was started"),
    ],
};
const SHARED_FILE: Kind = Kind {
    name: "shared_file",
    what: "status: a file that is shared, of the first thousand",
    fields: &[NAME, BYTES],
};
const DROPPED: Kind = Kind {
    name: "dropped",
    what: "stdout was full: events are missing here",
    fields: &[field("events", FieldKind::Number, "how many")],
};
const EXIT: Kind = Kind {
    name: "exit",
    what: "the program ends; always the last event",
    fields: &[
        field("code", FieldKind::Number, "the exit code"),
        field("error", FieldKind::TextOrNull, "what is also said on stderr"),
    ],
};

/// Every event there is.
pub const EVENTS: &[&Kind] = &[
    &LISTENING,
    &SHARING,
    &REGISTERED,
    &REGISTRY_UNREACHABLE,
    &OFFER_SEEN,
    &OFFER_GONE,
    &OFFER,
    &ALREADY_THERE,
    &WAITING,
    &DOWNLOAD_STARTED,
    &PROGRESS,
    &SOURCE_FAILED,
    &CHECKSUM_FAILED,
    &RETRYING,
    &VERIFIED,
    &FAILED,
    &SAVED_AS,
    &IDENTICAL,
    &NOTHING_MATCHED,
    &UPLOAD_STARTED,
    &UPLOAD_PROGRESS,
    &UPLOAD_DONE,
    &UPLOAD_FAILED,
    &FILE_SHARED,
    &FILE_CHANGING,
    &FILE_REFUSED,
    &FILE_LOST,
    &FILE_SKIPPED,
    &FOLDER_LOST,
    &PEER_ENTERED,
    &PEER_LEFT,
    &STATUS,
    &TRANSFER,
    &SHARED_FILE,
    &DROPPED,
    &doctor::OFFER_PORT,
    &doctor::REGISTRY,
    &doctor::INTERFACE,
    &doctor::PEER,
    &doctor::VERDICT,
    &EXIT,
];

const fn status_fields() -> [Field; FACTS.len() + 2] {
    let mut fields =
        [field("name", FieldKind::Text, "what the program calls itself"); FACTS.len() + 2];
    fields[1] = field("pid", FieldKind::Number, "the number of its process");
    let mut n = 0;
    while n < FACTS.len() {
        fields[n + 2] = FACTS[n].field;
        n += 1;
    }
    fields
}

/// The documentation of all events, for people.
pub fn documentation() -> String {
    let mut text = String::from(
        "Events of --json, one object a line on stdout. New events and new fields may be \
         added; what is there stays as it is. Each has the fields\n",
    );
    push_fields(&mut text, COMMON);
    for kind in EVENTS {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n\n{}: {}\n", kind.name, kind.what);
        push_fields(&mut text, kind.fields);
    }
    text
}

fn push_fields(text: &mut String, fields: &[Field]) {
    for (n, Field { name, kind, what }) in fields.iter().enumerate() {
        let end = if n == 0 { "" } else { "\n" };
        let _ = write!(text, "{end}  {name} ({kind}): {what}");
    }
}

/// The program is ready.
pub fn listening(address: SocketAddrV4) -> String {
    line(&LISTENING, &[Value::Text(&address)])
}

/// What is shared at the start.
pub fn sharing(folder: &str, files: usize, skipped: usize) -> String {
    let [files, skipped] = [files, skipped].map(|count| Value::Number(count as u64));
    line(&SHARING, &[Value::Text(&folder), files, skipped])
}

/// Something is not shared.
pub fn file_skipped(name: &str, reason: &dyn Display) -> String {
    line(&FILE_SKIPPED, &[Value::Text(&name), Value::Text(reason)])
}

/// Something is on offer.
pub fn offer(heard: &HeardOffer, listens_at: Option<SocketAddrV4>, now: Instant) -> String {
    let HeardOffer { offer, from, heard_at } = heard;
    let heard_ago = Value::Seconds(now.saturating_duration_since(*heard_at));
    let peer = Value::Number(offer.peer.0.into());
    let listens_at = listens_at.as_ref().map_or(Value::Null, |address| Value::Text(address));
    line(&OFFER, &[Value::Text(&offer.name), peer, Value::Text(from), heard_ago, listens_at])
}

/// Something is no longer on offer.
pub fn offer_gone(offer: &Offer) -> String {
    line(&OFFER_GONE, &[Value::Text(&offer.name), Value::Number(offer.peer.0.into())])
}

/// How a program does.
pub(super) fn status(values: &[Value<'_>]) -> String {
    line(&STATUS, values)
}

/// A transfer.
pub(super) fn transfer(transfer: &Transfer, now: Instant) -> String {
    let values = [
        Value::Text(&transfer.name),
        Value::Flag(matches!(transfer.direction, Direction::Out { .. })),
        Value::Text(&transfer.address),
        Value::Number(transfer.bytes),
        Value::Number(rate(transfer, now)),
        Value::Seconds(now.saturating_duration_since(transfer.began)),
    ];
    line(&TRANSFER, &values)
}

/// The bytes of a transfer in each second since it began.
pub(super) fn rate(transfer: &Transfer, now: Instant) -> u64 {
    let seconds = now.saturating_duration_since(transfer.began).as_secs_f64();
    if seconds > 0.0 { (transfer.bytes as f64 / seconds) as u64 } else { 0 }
}

/// A file that is shared.
pub(super) fn shared_file(name: &FileName, size_bytes: u64) -> String {
    line(&SHARED_FILE, &[Value::Text(name), Value::Number(size_bytes)])
}

/// Events are missing.
pub(super) fn dropped(events: u64) -> String {
    line(&DROPPED, &[Value::Number(events)])
}

/// The program ends.
pub fn exit(code: ExitCode, error: Option<&str>) -> String {
    let code = Value::Number(code as u64);
    match error {
        Some(error) => line(&EXIT, &[code, Value::Text(&error)]),
        None => line(&EXIT, &[code, Value::Null]),
    }
}

/// How a transfer does.
pub(super) fn progress(running: &Running) -> String {
    let transfer = &running.transfer;
    let (kind, other_side) = match transfer.direction {
        Direction::In { peer } => (&PROGRESS, Value::Number(peer.0.into())),
        Direction::Out { .. } => (&UPLOAD_PROGRESS, Value::Text(&transfer.address)),
    };
    let values = [
        Value::Text(&transfer.name),
        other_side,
        Value::Number(transfer.bytes),
        Value::Number(running.bytes_per_second as u64),
        Value::Seconds(running.elapsed()),
        Value::Seconds(running.still_for()),
        Value::Text(&running.limit()),
    ];
    line(kind, &values)
}

/// The event of a report, if it is one for programs.
pub fn of(report: &Report) -> Option<String> {
    use Value::{Flag, Number, Seconds, Text};
    Some(match report {
        Report::Registered { registry } => line(&REGISTERED, &[Text(registry)]),
        Report::RegistrationRefused { registry, text, retry_in } => {
            line(&REGISTRY_UNREACHABLE, &[Text(registry), Text(&text.as_ref()), Seconds(*retry_in)])
        }
        Report::RegistryUnreachable { registry, reason, retry_in, .. } => {
            line(&REGISTRY_UNREACHABLE, &[Text(registry), Text(reason), Seconds(*retry_in)])
        }
        Report::OfferSeen { name, peer } => line(&OFFER_SEEN, &[Text(name), Number(peer.0.into())]),
        Report::OfferGone { name, peer } => offer_gone(&Offer { name: *name, peer: *peer }),
        Report::AlreadyThere { name } => line(&ALREADY_THERE, &[Text(name)]),
        Report::WaitingForOffer { name } => line(&WAITING, &[Text(name)]),
        Report::DownloadStarted { name, peer, address } => {
            line(&DOWNLOAD_STARTED, &[Text(name), Number(peer.0.into()), Text(address)])
        }
        Report::ChecksumFailed { name, peer, is_simulated } => {
            line(&CHECKSUM_FAILED, &[Text(name), Number(peer.0.into()), Flag(*is_simulated)])
        }
        Report::SourceFailed { name, peer, reason } => {
            let reason: &dyn Display = match reason {
                Some(reason) => reason,
                None => &"it is not known to the registry",
            };
            line(&SOURCE_FAILED, &[Text(name), Number(peer.0.into()), Text(reason)])
        }
        Report::AllSourcesFailed { name, retry_in } => {
            line(&RETRYING, &[Text(name), Seconds(*retry_in)])
        }
        Report::Verified { name, peer, size_bytes, digest, elapsed } => {
            let (peer, bytes) = (Number(peer.0.into()), Number(*size_bytes));
            line(&VERIFIED, &[Text(name), peer, bytes, Seconds(*elapsed), Text(digest)])
        }
        Report::WishFailed { name, error } => line(&FAILED, &[Text(name), Text(error)]),
        Report::SavedAs { wanted, name } => line(&SAVED_AS, &[Text(name), Text(wanted)]),
        Report::Identical { name } => line(&IDENTICAL, &[Text(name)]),
        Report::NothingMatched { pattern } => line(&NOTHING_MATCHED, &[Text(pattern)]),
        Report::UploadStarted { name, to, size_bytes } => {
            line(&UPLOAD_STARTED, &[Text(name), Text(to), Number(*size_bytes)])
        }
        Report::UploadDone { name, to, size_bytes, elapsed } => {
            let bytes = Number(*size_bytes);
            line(&UPLOAD_DONE, &[Text(name), Text(to), bytes, Seconds(*elapsed)])
        }
        Report::UploadFailed { name, to, reason } => {
            line(&UPLOAD_FAILED, &[Text(name), Text(to), Text(reason)])
        }
        Report::FileShared { name } => line(&FILE_SHARED, &[Text(name)]),
        Report::FileChanging { name } => line(&FILE_CHANGING, &[Text(name)]),
        Report::FileRefused { name } => line(&FILE_REFUSED, &[Text(name)]),
        Report::FolderLost => line(&FOLDER_LOST, &[]),
        Report::FileLost { name, error } => line(&FILE_LOST, &[Text(name), Text(error)]),
        Report::PeerEntered { peer, address } => {
            line(&PEER_ENTERED, &[Number(peer.0.into()), Text(address)])
        }
        Report::PeerLeft { peer, reason } => {
            line(&PEER_LEFT, &[Number(peer.0.into()), Text(reason)])
        }
        // What others did wrong, and what the events above tell in another way.
        Report::PeerGone { .. }
        | Report::IdRefused { .. }
        | Report::DatagramDropped { .. }
        | Report::ConnectionClosed { .. }
        | Report::ConnectionRefused { .. }
        | Report::ReadFailed { .. }
        | Report::EntryRefused { .. } => return None,
    })
}

#[cfg(test)]
mod tests;
