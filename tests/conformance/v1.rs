//! Version 1: `vectors/v1.json`.

use p2pfs::content::{BlockSet, Content, ContentId};
use p2pfs::wire::v0::{ListedPeer, RegistryRequest, RegistryResponse};
use p2pfs::wire::v1::{
    Beacon, BeaconKey, BeaconKind, BlockHasher, Entry, EntryState, PageReader, PeerName,
    SessionError, SessionMessage, SessionMessageKind, Tag, TagKey, Value, Verdict, merge,
};
use p2pfs::wire::{FilePath, Malformed, PeerId};
use serde_json::Value as Json;

use crate::streams::{cut_everywhere, deframe};
use crate::unhex;

#[test]
fn every_frame_decodes_to_its_fields_and_encodes_to_its_bytes() {
    for vector in list("frames") {
        let bytes = bytes(&vector["hex"]);
        let decoded = cut_everywhere::<SessionMessage>(&bytes);
        assert!(decoded.is_between_messages && decoded.error.is_none(), "{vector}");
        let [(message, payload)] = decoded.messages.as_slice() else { panic!("{vector}") };
        let (expected, expected_payload) = session_message(&vector);
        assert_eq!(message, &expected, "{vector}");
        let entries = match message {
            SessionMessage::Page { count, .. } => entries(payload, *count).expect("a page"),
            _ => Vec::new(),
        };
        match expected_payload {
            Payload::Entries(expected) => assert_eq!(entries, expected, "{vector}"),
            Payload::Bytes(expected) => assert_eq!(payload, &expected, "{vector}"),
        }
        let mut encoded = Vec::new();
        message.encode(&mut encoded);
        if entries.is_empty() {
            encoded.extend_from_slice(payload);
        }
        entries.iter().for_each(|entry| entry.encode(&mut encoded));
        assert!(entries.iter().map(Entry::len_bytes).sum::<usize>() <= payload.len());
        // What a later version adds is not sent again.
        if !["unknown flag bits", "bytes after the fields are ignored"]
            .map(Json::from)
            .contains(&vector["note"])
        {
            assert_eq!(encoded, bytes, "{vector}");
        }
    }
}

#[test]
fn every_malformed_frame_is_refused() {
    let malformed = list("malformed_frames");
    for vector in malformed.iter().map(|vector| (&vector["hex"], vector.to_string())) {
        assert_refused(&bytes(vector.0), &vector.1);
    }
    for vector in list("too_long_frames") {
        assert_refused(&bytes(&vector), &vector.to_string());
    }
}

/// A frame is refused as such or for the entries in it.
fn assert_refused(frame: &[u8], what: &str) {
    // Whole as far as its own length says: what it lacks is a field.
    let decoded = cut_everywhere::<SessionMessage>(frame);
    if decoded.error.is_some() {
        return assert!(decoded.messages.is_empty(), "{what}");
    }
    match decoded.messages.as_slice() {
        [(SessionMessage::Page { count, .. }, payload)] => {
            assert!(decoded.is_between_messages, "{what}");
            assert!(entries(payload, *count).is_err(), "{what}");
        }
        _ => panic!("not refused: {what}: {decoded:?}"),
    }
}

/// Cuts a page in pieces of each length; all give the same.
fn entries(payload: &[u8], count: u16) -> Result<Vec<Entry>, Malformed> {
    let read = |piece_bytes: usize| {
        let (mut reader, mut entries) = (PageReader::new(count), Vec::new());
        for piece in payload.chunks(piece_bytes) {
            let mut at = 0;
            while let Some(entry) = reader.next(piece, &mut at)? {
                entries.push(entry);
            }
        }
        reader.end().map(|()| entries)
    };
    let whole = read(payload.len().max(1));
    for piece_bytes in (1..payload.len()).take(100) {
        assert_eq!(read(piece_bytes), whole, "pieces of {piece_bytes}");
    }
    whole
}

#[test]
fn frames_of_a_later_version_are_skipped_or_answered() {
    for vector in list("unknown_frames") {
        let decoded = cut_everywhere::<SessionMessage>(&bytes(&vector["hex"]));
        assert!(decoded.is_between_messages, "{vector}");
        let [(SessionMessage::Unknown { req, .. }, _)] = decoded.messages.as_slice() else {
            panic!("{vector}: {decoded:?}")
        };
        let then = match req {
            Some(req) => format!("X 5 for req {req}"),
            None => "skipped".to_owned(),
        };
        assert_eq!(vector["then"], then.as_str());
    }
}

#[test]
fn a_registry_is_asked_for_peers_and_answers_with_them() {
    let registry = &whole()["registry"];
    let list = |name: &str| registry[name].as_array().expect("a list").clone();
    for vector in list("request") {
        let bytes = bytes(&vector["hex"]);
        let after = PeerId(vector["after"].as_u64().unwrap() as u32);
        let decoded = cut_everywhere::<RegistryRequest>(&bytes);
        assert_eq!(decoded.messages, [(RegistryRequest::Peers { after }, Vec::new())], "{vector}");
        let mut encoded = Vec::new();
        RegistryRequest::Peers { after }.encode(&mut encoded);
        assert_eq!(encoded, bytes, "{vector}");
        let later = [&bytes[..5], &[2], &bytes[6..]].concat();
        let refused = cut_everywhere::<RegistryRequest>(&later).error;
        assert_eq!(refused, Some(Malformed::Version { got: 2 }));
    }
    for vector in list("response") {
        let bytes = bytes(&vector["hex"]);
        let expected = vector["peers"].as_array().unwrap().iter().map(|peer| {
            let host = peer["address"].as_str().unwrap().parse().unwrap();
            let port = peer["port"].as_u64().unwrap() as u16;
            let peer = PeerId(peer["id"].as_u64().unwrap() as u32);
            ListedPeer { peer, address: std::net::SocketAddr::new(host, port) }
        });
        let expected: Vec<ListedPeer> = expected.collect();
        let decoded = cut_everywhere::<RegistryResponse>(&bytes);
        let [(message, payload)] = decoded.messages.as_slice() else { panic!("{vector}") };
        let count = expected.len() as u32;
        assert_eq!(*message, RegistryResponse::Peers { count }, "{vector}");
        assert_eq!(listed(payload), Ok(expected.clone()), "{vector}");
        let mut encoded = Vec::new();
        message.encode(&mut encoded);
        expected.iter().for_each(|peer| peer.encode(&mut encoded));
        assert_eq!(encoded, bytes, "{vector}");
    }
    for vector in list("bad_response") {
        let decoded = cut_everywhere::<RegistryResponse>(&bytes(&vector["hex"]));
        let is_bad = decoded.error.is_some() || listed(&decoded.messages[0].1).is_err();
        assert!(is_bad, "{vector}");
    }
}

/// The peers in the payload of a response.
fn listed(payload: &[u8]) -> Result<Vec<ListedPeer>, Malformed> {
    let (peers, rest) = payload.as_chunks();
    assert!(rest.is_empty());
    peers.iter().map(ListedPeer::decode).collect()
}

#[test]
fn beacons_are_read_and_written_with_and_without_a_mac() {
    for vector in list("datagrams") {
        let (bytes, key) = (bytes(&vector["hex"]), beacon_key(&vector));
        let beacon = beacon(&vector["fields"]);
        assert_eq!(Beacon::decode(&bytes, key.as_ref()), Ok(beacon.clone()), "{vector}");
        if vector["note"] != "unknown flag bits" {
            assert_eq!(beacon.encode(key.as_ref()), bytes, "{vector}");
        }
        for end in 0..bytes.len() {
            assert!(Beacon::decode(&bytes[..end], key.as_ref()).is_err(), "{end} of {vector}");
        }
    }
    for vector in list("bad_datagrams") {
        let decoded = Beacon::decode(&bytes(&vector["hex"]), beacon_key(&vector).as_ref());
        assert!(decoded.is_err(), "{vector}");
    }
}

#[test]
fn tags_are_those_of_everybody_or_of_the_group() {
    for vector in list("tags") {
        let key = TagKey::new(secret(&vector["secret"]).as_ref());
        let what = bytes(&vector["what"]);
        let tag = match text(&vector["kind"]) {
            "i" => key.of_content(&ContentId(what.try_into().unwrap())),
            _ => key.of_path(&FilePath::from_bytes(&what).unwrap()),
        };
        assert_eq!(tag, Tag(bytes(&vector["tag"]).try_into().unwrap()), "{vector}");
    }
}

#[test]
fn components_paths_and_peer_names_follow_their_rules() {
    let ok = |vector: &Json| vector["ok"].as_bool().unwrap();
    for vector in list("components").iter().chain(&list("paths")) {
        let path = FilePath::from_bytes(&bytes(&vector["hex"]));
        // A component with a separator is a path of two.
        let is_component = vector["note"] != "/";
        assert_eq!(path.is_ok(), ok(vector) || !is_component, "{vector}");
    }
    for vector in list("peer_names") {
        let bytes = bytes(&vector["hex"]);
        let name = std::str::from_utf8(&bytes).ok().and_then(|text| PeerName::new(text).ok());
        assert_eq!(name.is_some(), ok(&vector), "{vector}");
    }
    for vector in list("below") {
        let path = |key: &str| FilePath::new(text(&vector[key]));
        let below = match path("root") {
            Ok(root) => path("path").unwrap().is_below(&root),
            Err(_) => true,
        };
        assert_eq!(vector["below"], below, "{vector}");
    }
}

#[test]
fn contents_are_cut_into_blocks_whose_values_merge_to_the_id() {
    for vector in list("block_lengths") {
        let size_bytes = vector["size"].as_u64().unwrap();
        let content = Content { id: ContentId::EMPTY, size_bytes };
        assert_eq!(vector["block_length"], content.block_bytes());
        assert_eq!(vector["blocks"], content.blocks());
        let last = content.block_range(content.blocks().saturating_sub(1));
        assert_eq!(vector["last"], last.end - last.start, "{vector}");
    }
    for vector in list("contents") {
        let content = content(&vector);
        let bytes = noise(content.size_bytes);
        let values = values_of(&bytes, &content);
        let one = BlockHasher::new(0);
        match content.blocks() {
            0 => assert_eq!(one.id(), content.id),
            1 => {
                let mut one = one;
                one.update(&bytes);
                assert_eq!(one.id(), content.id, "{vector}");
                assert_eq!(vector["value_of_its_one_block"], hex(&values[0]));
                assert_eq!(merge(&values, &content), None);
            }
            _ => {
                assert_eq!(values, values_in(&vector["values"]), "{vector}");
                assert_eq!(merge(&values, &content), Some(content.id), "{vector}");
            }
        }
    }
    for vector in list("values_at_offsets") {
        let mut hasher = BlockHasher::new(vector["offset"].as_u64().unwrap());
        hasher.update(&noise(vector["length"].as_u64().unwrap()));
        assert_eq!(vector["value"], hex(&hasher.value()), "{vector}");
    }
    for vector in list("merges") {
        let count = u32::try_from(vector["count"].as_u64().unwrap()).unwrap();
        let value = |i: u32| *blake3::hash(&i.to_be_bytes()).as_bytes();
        let values = (0..count).map(value).collect::<Vec<_>>();
        let content = content(&vector);
        assert_eq!(merge(&values, &content), Some(content.id), "{vector}");
        let size_bytes = content.block_range(count - 1).start + 1;
        let short = Content { size_bytes, ..content };
        let merged = merge(&values, &short).map(|id| id.to_string());
        assert_eq!(vector["id_with_last_block_of_1"], merged.unwrap().as_str());
    }
}

#[test]
fn a_manifest_can_be_right_for_a_wrong_size_and_then_some_block_never_verifies() {
    for vector in list("wrong_sizes") {
        let id = content_id(&vector["id"]);
        let claimed = Content { id, size_bytes: vector["claimed_size"].as_u64().unwrap() };
        let values = values_in(&vector["values"]);
        assert_eq!(merge(&values, &claimed), Some(id), "{vector}");
        let mut bytes = noise(vector["true_size"].as_u64().unwrap());
        bytes.resize(claimed.size_bytes as usize, 0);
        assert_ne!(values_of(&bytes, &claimed), values, "{vector}");
    }
    for vector in list("wrong_manifests") {
        let content = content(&vector);
        assert_ne!(merge(&values_in(&vector["values"]), &content), Some(content.id), "{vector}");
    }
}

#[test]
fn a_frame_behind_any_other_is_read_as_it_is_alone() {
    let all = list("frames").iter().flat_map(|vector| bytes(&vector["hex"])).collect::<Vec<_>>();
    let decoded = deframe::<SessionMessage>([all.as_slice()]);
    assert_eq!((decoded.messages.len(), decoded.error), (list("frames").len(), None));
    let kinds = decoded.messages.iter().map(|(message, _)| message.kind());
    assert!(kinds.clone().any(|kind| kind == SessionMessageKind::Data));
    for piece_bytes in [1, 2, 3, 5, 7, 64, 1_000, 4_096] {
        let pieces = deframe::<SessionMessage>(all.chunks(piece_bytes));
        assert_eq!(pieces.messages, decoded.messages, "pieces of {piece_bytes}");
    }
}

/// What follows the fields of a frame.
enum Payload {
    Bytes(Vec<u8>),
    Entries(Vec<Entry>),
}

fn session_message(vector: &Json) -> (SessionMessage, Payload) {
    let fields = &vector["fields"];
    let number = |key: &str| fields[key].as_u64().unwrap();
    let small = |key: &str| u32::try_from(number(key)).unwrap();
    let flag = |flag: u64| number("flags") & flag != 0;
    let req = fields["req"].as_u64().map_or(0, |req| req as u32);
    let mut payload = Payload::Bytes(Vec::new());
    let frame_bytes = bytes(&vector["hex"]).len() as u32;
    let message = match text(&vector["type"]) {
        "H" => {
            let name = PeerName::new(text(&fields["name"])).unwrap();
            // The head of a hello is read as if its name were the longest.
            let fields_bytes = 5 + (frame_bytes - 5).min(19 + 63);
            let ignored_bytes = frame_bytes - fields_bytes;
            let instance = number("instance");
            let (version, peer) = (small("version") as u8, PeerId(small("peer")));
            SessionMessage::Hello { version, peer, instance, name, ignored_bytes }
        }
        "L" => SessionMessage::List {
            req,
            since: number("since"),
            path: FilePath::new(text(&fields["path"])).ok(),
            watch: flag(1),
            hash_first: flag(2),
            fetch_list: flag(4),
        },
        "l" => {
            let entries = fields["entries"].as_array().unwrap();
            payload = Payload::Entries(entries.iter().map(entry).collect());
            SessionMessage::Page {
                req,
                generation: number("generation"),
                complete: flag(1),
                discard: flag(2),
                fetch_list: flag(4),
                all_listed: flag(8),
                count: entries.len() as u16,
                entries_bytes: frame_bytes - 20,
            }
        }
        "B" => SessionMessage::Blocks { req, id: content_id(&fields["id"]) },
        "b" => {
            let size_bytes = number("size");
            let mut blocks = BlockSet::none(Content { id: ContentId::EMPTY, size_bytes }.blocks());
            numbers(&fields["held"]).for_each(|block| assert!(blocks.insert(block)));
            SessionMessage::Held { req, size_bytes, blocks }
        }
        "h" => SessionMessage::MoreHeld { req, blocks: numbers(&fields["numbers"]).collect() },
        "M" => SessionMessage::GetManifest { req, content: content(fields) },
        "m" => {
            let values = values_in(&fields["values"]);
            payload = Payload::Bytes(values.concat());
            SessionMessage::Manifest { req, values: values.len() as u32 }
        }
        "W" => SessionMessage::Wait { req, content: content(fields) },
        "t" => SessionMessage::Turn { req, blocks: small("blocks") },
        "G" => SessionMessage::Get {
            req,
            turn: small("turn"),
            content: content(fields),
            first: small("first"),
            count: small("count"),
        },
        "D" => {
            let data = bytes(&fields["data"]);
            let data_bytes = data.len() as u32;
            payload = Payload::Bytes(data);
            SessionMessage::Data { req, data_bytes }
        }
        "V" => SessionMessage::Verdict {
            content: content(fields),
            verdict: match number("status") {
                1 => Verdict::Verified,
                2 => Verdict::Wrong,
                3 => Verdict::GivenUp,
                other => Verdict::Other(other as u8),
            },
        },
        "K" => SessionMessage::Cancel { req },
        "X" => SessionMessage::Error {
            req,
            error: session_error(number("code")),
            wait_ms: small("wait"),
            text: text(&fields["text"]).into(),
        },
        other => panic!("a vector of an unknown type: {other}"),
    };
    (message, payload)
}

fn session_error(code: u64) -> SessionError {
    match code {
        1 => SessionError::NotFound,
        2 => SessionError::Changed,
        3 => SessionError::Busy,
        4 => SessionError::Refused,
        5 => SessionError::NotUnderstood,
        6 => SessionError::Unreadable,
        7 => SessionError::GoingAway,
        other => SessionError::Other(other as u8),
    }
}

fn entry(fields: &Json) -> Entry {
    let flags = fields["flags"].as_u64().unwrap();
    let number = |key: &str| fields[key].as_u64().unwrap();
    let executable = flags & 2 != 0;
    let state = match flags {
        _ if flags & 1 != 0 => EntryState::Removed,
        _ if flags & 8 != 0 => EntryState::EmptyFolder,
        _ if flags & 4 != 0 => EntryState::Unhashed {
            size_bytes: number("size"),
            modified_ns: number("mtime"),
            executable,
            hashed_bytes: number("hashed"),
        },
        _ => {
            EntryState::File { content: content(fields), modified_ns: number("mtime"), executable }
        }
    };
    Entry { path: FilePath::new(text(&fields["path"])).unwrap(), state }
}

fn beacon(fields: &Json) -> Beacon {
    let number = |key: &str| fields[key].as_u64().unwrap();
    let tags = fields["tags"].as_array().unwrap().iter();
    Beacon {
        kind: match text(&fields["kind"]) {
            "B" => BeaconKind::Beacon,
            "Q" => BeaconKind::Query,
            _ => BeaconKind::Leaving,
        },
        port: number("port") as u16,
        peer: PeerId(number("peer") as u32),
        instance: number("instance"),
        counter: number("counter"),
        generation: number("generation"),
        files: number("files") as u32,
        name: PeerName::new(text(&fields["name"])).unwrap(),
        tags: tags.map(|tag| Tag(bytes(tag).try_into().unwrap())).collect(),
    }
}

fn beacon_key(vector: &Json) -> Option<BeaconKey> {
    secret(&vector["secret"]).map(|secret| BeaconKey::new(&secret))
}

fn secret(json: &Json) -> Option<[u8; 32]> {
    (!json.is_null()).then(|| bytes(json).try_into().unwrap())
}

fn content(fields: &Json) -> Content {
    Content { id: content_id(&fields["id"]), size_bytes: fields["size"].as_u64().unwrap() }
}

fn content_id(json: &Json) -> ContentId {
    ContentId::from_hex(text(json).as_bytes()).expect("an id")
}

/// The bytes of the contents that the vectors name: byte i is i mod 251.
fn noise(len_bytes: u64) -> Vec<u8> {
    (0..len_bytes).map(|at| (at % 251) as u8).collect()
}

fn values_of(bytes: &[u8], content: &Content) -> Vec<Value> {
    let value = |block: u32| {
        let range = content.block_range(block);
        let mut hasher = BlockHasher::new(range.start);
        hasher.update(&bytes[range.start as usize..range.end as usize]);
        hasher.value()
    };
    (0..content.blocks()).map(value).collect()
}

fn values_in(json: &Json) -> Vec<Value> {
    json.as_array().unwrap().iter().map(|value| bytes(value).try_into().unwrap()).collect()
}

fn numbers(json: &Json) -> impl Iterator<Item = u32> + '_ {
    json.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as u32)
}

fn whole() -> Json {
    serde_json::from_str(include_str!("../vectors/v1.json")).expect("JSON")
}

pub(crate) fn list(name: &str) -> Vec<Json> {
    let list = whole()[name].as_array().expect("a list of vectors").clone();
    assert!(!list.is_empty());
    list
}

fn text(json: &Json) -> &str {
    json.as_str().expect("a text")
}

fn bytes(json: &Json) -> Vec<u8> {
    unhex(text(json))
}

fn hex(value: &Value) -> String {
    ContentId(*value).to_string()
}
