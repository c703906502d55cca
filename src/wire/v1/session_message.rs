//! The frames of a session, without the payload of pages, manifests and data.

use super::PeerName;
use super::codes::{SessionError, Verdict};
use super::kind::{FRAME_HEAD_BYTES, REQ_BYTES, SessionMessageKind, VALUE_BYTES};
use super::page::{put_path, size};
use crate::content::{BlockSet, Content, ContentId};
use crate::limits::MORE_HELD_MAX;
use crate::wire::PeerId;
use crate::wire::deframer::Message;
use crate::wire::field::{Fields, prefix};
use crate::wire::malformed::Malformed;
use crate::wire::path::FilePath;

const MAGIC: [u8; 5] = *b"p2pfs";
const WATCH: u8 = 1;
const HASH_FIRST: u8 = 2;
const FETCH_LIST: u8 = 4;
const COMPLETE: u8 = 1;
const DISCARD: u8 = 2;
const ALL_LISTED: u8 = 8;

/// A frame of a session.
///
/// `req` is the number of the request that it makes, answers or ends. 0 is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionMessage {
    /// The first frame of each side. Bytes after the name are ignored.
    Hello {
        version: u8,
        peer: PeerId,
        instance: u64,
        name: PeerName,
        ignored_bytes: u32,
    },
    /// List the entries with a generation above `since` at or below a path; `None` is the top.
    List {
        req: u32,
        since: u64,
        path: Option<FilePath>,
        watch: bool,
        hash_first: bool,
        fetch_list: bool,
    },
    /// Entries follow as payload: see [`PageReader`](super::PageReader).
    Page {
        req: u32,
        /// How far the page reaches.
        generation: u64,
        /// Nothing newer exists now.
        complete: bool,
        /// Discard what this list gave before.
        discard: bool,
        fetch_list: bool,
        /// All is listed, and not all hashed.
        all_listed: bool,
        count: u16,
        entries_bytes: u32,
    },
    /// Which blocks of the content with this id do you hold?
    Blocks {
        req: u32,
        id: ContentId,
    },
    /// These.
    Held {
        req: u32,
        size_bytes: u64,
        blocks: BlockSet,
    },
    /// And these, by now: 1 to 1,024.
    MoreHeld {
        req: u32,
        blocks: Vec<u32>,
    },
    GetManifest {
        req: u32,
        content: Content,
    },
    /// So many values of blocks follow as payload: 2 to 16,384.
    Manifest {
        req: u32,
        values: u32,
    },
    /// Joins the line for a turn.
    Wait {
        req: u32,
        content: Content,
    },
    /// So many blocks may be requested: at least 1.
    Turn {
        req: u32,
        blocks: u32,
    },
    /// Requests `count` blocks from `first` on; `turn` is the request of the `Wait`, or 0.
    Get {
        req: u32,
        turn: u32,
        content: Content,
        first: u32,
        count: u32,
    },
    /// So many bytes of the requested blocks follow as payload: 1 to 262,144.
    Data {
        req: u32,
        data_bytes: u32,
    },
    Verdict {
        content: Content,
        verdict: Verdict,
    },
    /// Ends a request of the sender.
    Cancel {
        req: u32,
    },
    /// Ends a request of the receiver; with a request of 0 the session.
    Error {
        req: u32,
        error: SessionError,
        wait_ms: u32,
        text: Box<str>,
    },
    /// A frame of a later version. With `req`, it is a request that is answered as not
    /// understood.
    Unknown {
        kind: u8,
        req: Option<u32>,
        ignored_bytes: u32,
    },
}

impl SessionMessage {
    /// Appends the frame; payload is sent behind it by other means.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&[self.first_byte(), 0, 0, 0, 0]);
        self.encode_fields(out);
        let body_bytes = (out.len() - begin - FRAME_HEAD_BYTES) as u32 + self.payload_bytes();
        let length = out.iter_mut().skip(begin + 1);
        length.zip(body_bytes.to_be_bytes()).for_each(|(to, byte)| *to = byte);
    }

    /// Appends the number of the request, if there is one, and the fields behind it.
    fn encode_fields(&self, out: &mut Vec<u8>) {
        let mut put = |field: &[u8]| out.extend_from_slice(field);
        self.req().iter().for_each(|req| put(&req.to_be_bytes()));
        match self {
            Self::Hello { version, peer, instance, name, .. } => {
                put(&MAGIC);
                put(&[*version]);
                put(&peer.0.to_be_bytes());
                put(&instance.to_be_bytes());
                name.encode(out);
            }
            Self::List { since, path, watch, hash_first, fetch_list, .. } => {
                put(&since.to_be_bytes());
                put(&[flags([
                    (*watch, WATCH),
                    (*hash_first, HASH_FIRST),
                    (*fetch_list, FETCH_LIST),
                ])]);
                put_path(out, path.as_ref());
            }
            Self::Page { generation, complete, discard, fetch_list, all_listed, count, .. } => {
                put(&generation.to_be_bytes());
                put(&[flags([
                    (*complete, COMPLETE),
                    (*discard, DISCARD),
                    (*fetch_list, FETCH_LIST),
                    (*all_listed, ALL_LISTED),
                ])]);
                put(&count.to_be_bytes());
            }
            Self::Blocks { id, .. } => put(&id.0),
            Self::Held { size_bytes, blocks, .. } => {
                put(&size_bytes.to_be_bytes());
                put(blocks.bits());
            }
            Self::MoreHeld { blocks, .. } => {
                blocks.iter().for_each(|block| put(&block.to_be_bytes()));
            }
            Self::GetManifest { content, .. } | Self::Wait { content, .. } => {
                put_content(out, content);
            }
            Self::Turn { blocks, .. } => put(&blocks.to_be_bytes()),
            Self::Get { turn, content, first, count, .. } => {
                put(&turn.to_be_bytes());
                put_content(out, content);
                out.extend_from_slice(&first.to_be_bytes());
                out.extend_from_slice(&count.to_be_bytes());
            }
            Self::Verdict { content, verdict } => {
                put_content(out, content);
                out.push(verdict.status());
            }
            Self::Error { error, wait_ms, text, .. } => {
                let text = prefix(text, u8::MAX.into());
                put(&[error.code()]);
                put(&wait_ms.to_be_bytes());
                put(&[text.len() as u8]);
                put(text.as_bytes());
            }
            Self::Manifest { .. }
            | Self::Data { .. }
            | Self::Cancel { .. }
            | Self::Unknown { .. } => {}
        }
    }

    fn first_byte(&self) -> u8 {
        match self {
            Self::Unknown { kind, .. } => *kind,
            known => known.kind() as u8,
        }
    }

    /// Returns the number of the request that it makes, answers or ends; `None` if there is none.
    pub fn req(&self) -> Option<u32> {
        match self {
            Self::Hello { .. } | Self::Verdict { .. } => None,
            Self::Unknown { req, .. } => *req,
            Self::List { req, .. }
            | Self::Page { req, .. }
            | Self::Blocks { req, .. }
            | Self::Held { req, .. }
            | Self::MoreHeld { req, .. }
            | Self::GetManifest { req, .. }
            | Self::Manifest { req, .. }
            | Self::Wait { req, .. }
            | Self::Turn { req, .. }
            | Self::Get { req, .. }
            | Self::Data { req, .. }
            | Self::Cancel { req }
            | Self::Error { req, .. } => Some(*req),
        }
    }

    /// Returns its kind.
    pub fn kind(&self) -> SessionMessageKind {
        match self {
            Self::Hello { .. } => SessionMessageKind::Hello,
            Self::List { .. } => SessionMessageKind::List,
            Self::Page { .. } => SessionMessageKind::Page,
            Self::Blocks { .. } => SessionMessageKind::Blocks,
            Self::Held { .. } => SessionMessageKind::Held,
            Self::MoreHeld { .. } => SessionMessageKind::MoreHeld,
            Self::GetManifest { .. } => SessionMessageKind::GetManifest,
            Self::Manifest { .. } => SessionMessageKind::Manifest,
            Self::Wait { .. } => SessionMessageKind::Wait,
            Self::Turn { .. } => SessionMessageKind::Turn,
            Self::Get { .. } => SessionMessageKind::Get,
            Self::Data { .. } => SessionMessageKind::Data,
            Self::Verdict { .. } => SessionMessageKind::Verdict,
            Self::Cancel { .. } => SessionMessageKind::Cancel,
            Self::Error { .. } => SessionMessageKind::Error,
            Self::Unknown { .. } => SessionMessageKind::Unknown,
        }
    }
}

impl Message for SessionMessage {
    const HEAD_BYTES_MAX: usize = FRAME_HEAD_BYTES + REQ_BYTES + 4 * MORE_HELD_MAX as usize;

    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(&[first, l0, l1, l2, l3]) = bytes.first_chunk() else { return Ok(None) };
        let body_bytes = u32::from_be_bytes([l0, l1, l2, l3]);
        let kind = SessionMessageKind::of_first_byte(first);
        let Some(fields_bytes) = kind.fields_bytes(first, body_bytes) else {
            return Err(Malformed::BodyLength { kind: first, got: body_bytes });
        };
        let head_bytes = FRAME_HEAD_BYTES + fields_bytes;
        let Some(fields) = bytes.get(FRAME_HEAD_BYTES..head_bytes) else { return Ok(None) };
        let message = kind.decode(first, Fields(fields), body_bytes - fields_bytes as u32)?;
        Ok(Some((message, head_bytes)))
    }

    fn payload_bytes(&self) -> u32 {
        match self {
            Self::Page { entries_bytes, .. } => *entries_bytes,
            Self::Manifest { values, .. } => *values * VALUE_BYTES as u32,
            Self::Data { data_bytes, .. } => *data_bytes,
            Self::Hello { ignored_bytes, .. } | Self::Unknown { ignored_bytes, .. } => {
                *ignored_bytes
            }
            _ => 0,
        }
    }

    fn has_data(&self) -> bool {
        !matches!(self, Self::Hello { .. } | Self::Unknown { .. })
    }
}

impl SessionMessageKind {
    fn decode(
        self,
        first: u8,
        mut fields: Fields<'_>,
        payload_bytes: u32,
    ) -> Result<SessionMessage, Malformed> {
        let fields = &mut fields;
        let message = match self {
            Self::Hello => return hello(fields, payload_bytes),
            Self::List => list(fields)?,
            Self::Page => page(fields, payload_bytes)?,
            Self::Blocks => {
                SessionMessage::Blocks { req: fields.u32()?, id: ContentId(fields.array()?) }
            }
            Self::Held => held(fields)?,
            Self::MoreHeld => more_held(fields)?,
            Self::GetManifest => {
                SessionMessage::GetManifest { req: fields.u32()?, content: content(fields)? }
            }
            Self::Manifest => SessionMessage::Manifest {
                req: fields.u32()?,
                values: payload_bytes / VALUE_BYTES as u32,
            },
            Self::Wait => SessionMessage::Wait { req: fields.u32()?, content: content(fields)? },
            Self::Turn => match (fields.u32()?, fields.u32()?) {
                (_, 0) => return Err(Malformed::EmptyTurn),
                (req, blocks) => SessionMessage::Turn { req, blocks },
            },
            Self::Get => SessionMessage::Get {
                req: fields.u32()?,
                turn: fields.u32()?,
                content: content(fields)?,
                first: fields.u32()?,
                count: fields.u32()?,
            },
            Self::Data => SessionMessage::Data { req: fields.u32()?, data_bytes: payload_bytes },
            Self::Verdict => SessionMessage::Verdict {
                content: content(fields)?,
                verdict: Verdict::of_status(fields.u8()?),
            },
            Self::Cancel => SessionMessage::Cancel { req: fields.u32()? },
            Self::Error => SessionMessage::Error {
                req: fields.u32()?,
                error: SessionError::of_code(fields.u8()?),
                wait_ms: fields.u32()?,
                text: fields.str8()?.into(),
            },
            Self::Unknown => SessionMessage::Unknown {
                kind: first,
                req: if fields.is_empty() { None } else { Some(fields.u32()?) },
                ignored_bytes: payload_bytes,
            },
        };
        fields.end()?;
        Ok(message)
    }
}

fn hello(fields: &mut Fields<'_>, payload_bytes: u32) -> Result<SessionMessage, Malformed> {
    if fields.array()? != MAGIC {
        return Err(Malformed::Magic);
    }
    Ok(SessionMessage::Hello {
        version: fields.u8()?,
        peer: PeerId(fields.u32()?),
        instance: fields.u64()?,
        name: PeerName::decode(fields.str8()?)?,
        ignored_bytes: payload_bytes,
    })
}

fn list(fields: &mut Fields<'_>) -> Result<SessionMessage, Malformed> {
    let (req, since, flags) = (fields.u32()?, fields.u64()?, fields.u8()?);
    let path_bytes = fields.u16()?;
    let path = match fields.bytes(path_bytes.into())? {
        [] => None,
        path => Some(FilePath::from_bytes(path).map_err(Malformed::Path)?),
    };
    Ok(SessionMessage::List {
        req,
        since,
        path,
        watch: flags & WATCH != 0,
        hash_first: flags & HASH_FIRST != 0,
        fetch_list: flags & FETCH_LIST != 0,
    })
}

fn page(fields: &mut Fields<'_>, entries_bytes: u32) -> Result<SessionMessage, Malformed> {
    let (req, generation, flags) = (fields.u32()?, fields.u64()?, fields.u8()?);
    Ok(SessionMessage::Page {
        req,
        generation,
        complete: flags & COMPLETE != 0,
        discard: flags & DISCARD != 0,
        fetch_list: flags & FETCH_LIST != 0,
        all_listed: flags & ALL_LISTED != 0,
        count: fields.u16()?,
        entries_bytes,
    })
}

fn held(fields: &mut Fields<'_>) -> Result<SessionMessage, Malformed> {
    let (req, size_bytes) = (fields.u32()?, size(fields)?);
    let blocks = Content { id: ContentId::EMPTY, size_bytes }.blocks();
    match BlockSet::from_bits(fields.rest(), blocks) {
        Some(held) if blocks > 0 => Ok(SessionMessage::Held { req, size_bytes, blocks: held }),
        _ => Err(Malformed::HeldBits),
    }
}

fn more_held(fields: &mut Fields<'_>) -> Result<SessionMessage, Malformed> {
    let req = fields.u32()?;
    let mut blocks = Vec::with_capacity(fields.len_bytes() / 4);
    while !fields.is_empty() {
        blocks.push(fields.u32()?);
    }
    Ok(SessionMessage::MoreHeld { req, blocks })
}

fn content(fields: &mut Fields<'_>) -> Result<Content, Malformed> {
    let id = ContentId(fields.array()?);
    Ok(Content { id, size_bytes: size(fields)? })
}

fn put_content(out: &mut Vec<u8>, content: &Content) {
    out.extend_from_slice(&content.id.0);
    out.extend_from_slice(&content.size_bytes.to_be_bytes());
}

fn flags<const N: usize>(flags: [(bool, u8); N]) -> u8 {
    flags.into_iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag)
}
