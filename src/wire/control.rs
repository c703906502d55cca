//! What travels between programs of one user over the control socket: questions about a
//! program, wishes for files, and the answers.
//!
//! From the program that asks ([`Question`]):
//!
//! ```text
//! status    S json                                             2 bytes
//! fetches   F                                                  1 byte
//! want      W name_length name                             3 + n bytes
//! await     A                                                  1 byte
//! ```
//!
//! From the program that is asked ([`Answer`]):
//!
//! ```text
//! text      T text_length text                             5 + n bytes
//! fetches   F yes                                              2 bytes
//! waiting   W name_length name                             3 + n bytes
//! offered   O name_length name                             3 + n bytes
//! present   P name_length name                             3 + n bytes
//! verified  V name_length name peer_id size
//!             microseconds digest[32]                     55 + n bytes
//! failed    X code reason_length name_length name reason   6 + n bytes
//! ```
//!
//! Integers are unsigned, in network byte order. A flag (`json`, `yes`) and the exit code
//! have 8 bits, the lengths of names and reasons 16, `text_length` and `peer_id` 32, `size`
//! and `microseconds` 64. Text is UTF-8. `text` and `reason` are payload: a
//! [`Deframer`](super::Deframer) reports them as ranges.

use std::time::Duration;

use super::PeerId;
use super::deframer::Message;
use super::field::{INT_BYTES, int};
use super::malformed::Malformed;
use super::v0::FileName;
use crate::content::Digest;
use crate::limits::{CONTROL_ANSWER_BYTES_MAX, CONTROL_REASON_BYTES_MAX, NAME_BYTES_MAX};

/// A type byte and the length of a name.
const NAME_HEAD_BYTES: usize = 1 + 2;
/// What follows the name of a verified file.
const VERIFIED_TAIL_BYTES: usize = INT_BYTES + 8 + 8 + DIGEST_BYTES;
const DIGEST_BYTES: usize = 32;
/// A type byte, the exit code and two lengths.
const FAILED_HEAD_BYTES: usize = 1 + 1 + 2 + 2;

/// What a program is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How does the program do? Answered with a text.
    Status {
        /// Whether the text is to be JSON.
        json: bool,
    },
    /// Can the program be asked for files?
    Fetches,
    /// Fetch this file; more names or [`Question::Await`] follow.
    Want(FileName),
    /// That was the last name: tell what becomes of each file.
    Await,
}

/// What a program answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A text follows as payload; it is the whole answer.
    Text {
        /// Its length.
        len_bytes: u32,
    },
    /// Whether the program can be asked for files.
    Fetches(bool),
    /// Nobody offers a wanted file so far.
    Waiting(FileName),
    /// A wanted file is offered.
    Offered(FileName),
    /// A wanted file was there before. The wish has come to its end.
    Present(FileName),
    /// A wanted file is there, safe and verified. The wish has come to its end.
    Verified(Fetched),
    /// A wanted file will not come. The reason follows as payload. The wish has come to its end.
    Failed {
        /// The file.
        name: FileName,
        /// The exit code that tells the reason to scripts.
        code: u8,
        /// Length of the reason, for people; print it through [`Shown`](super::Shown).
        reason_bytes: u16,
    },
}

/// A file that was fetched and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The file.
    pub name: FileName,
    /// The peer that it came from.
    pub peer: PeerId,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest.
    pub digest: Digest,
    /// How long the download took, in whole microseconds.
    pub elapsed: Duration,
}

impl Question {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Status { json } => out.extend([b'S', u8::from(*json)]),
            Self::Fetches => out.push(b'F'),
            Self::Want(name) => put_name(out, b'W', name),
            Self::Await => out.push(b'A'),
        }
    }
}

impl Message for Question {
    fn head_len_bytes(prefix: &[u8]) -> Result<Option<usize>, Malformed> {
        match prefix.first() {
            None => Ok(None),
            Some(b'S') => Ok(Some(2)),
            Some(b'F' | b'A') => Ok(Some(1)),
            Some(b'W') => name_len(prefix, 1).map(|len| len.map(|len| NAME_HEAD_BYTES + len)),
            Some(&got) => Err(Malformed::UnknownType { got }),
        }
    }

    fn decode(head: &[u8]) -> Result<Self, Malformed> {
        match head[0] {
            b'S' => Ok(Self::Status { json: flag(head[1])? }),
            b'F' => Ok(Self::Fetches),
            b'W' => name(&head[NAME_HEAD_BYTES..]).map(Self::Want),
            b'A' => Ok(Self::Await),
            got => Err(Malformed::UnknownType { got }),
        }
    }
}

impl Answer {
    /// Appends the message; a text or reason is to be appended behind it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text { len_bytes } => {
                out.push(b'T');
                out.extend(len_bytes.to_be_bytes());
            }
            Self::Fetches(yes) => out.extend([b'F', u8::from(*yes)]),
            Self::Waiting(name) => put_name(out, b'W', name),
            Self::Offered(name) => put_name(out, b'O', name),
            Self::Present(name) => put_name(out, b'P', name),
            Self::Verified(Fetched { name, peer, size_bytes, digest, elapsed }) => {
                put_name(out, b'V', name);
                out.extend(peer.0.to_be_bytes());
                out.extend(size_bytes.to_be_bytes());
                out.extend((elapsed.as_micros() as u64).to_be_bytes());
                out.extend(digest.0);
            }
            Self::Failed { name, code, reason_bytes } => {
                let name = name.as_str().as_bytes();
                out.extend([b'X', *code]);
                out.extend(reason_bytes.to_be_bytes());
                out.extend((name.len() as u16).to_be_bytes());
                out.extend_from_slice(name);
            }
        }
    }

    fn decode_fetched(head: &[u8]) -> Result<Fetched, Malformed> {
        let (named, tail) = head.split_at(head.len() - VERIFIED_TAIL_BYTES);
        let mut digest = Digest([0; DIGEST_BYTES]);
        digest.0.copy_from_slice(&tail[INT_BYTES + 16..]);
        Ok(Fetched {
            name: name(&named[NAME_HEAD_BYTES..])?,
            peer: PeerId(int(tail, 0)),
            size_bytes: long(tail, INT_BYTES),
            digest,
            elapsed: Duration::from_micros(long(tail, INT_BYTES + 8)),
        })
    }
}

impl Message for Answer {
    fn head_len_bytes(prefix: &[u8]) -> Result<Option<usize>, Malformed> {
        let (head_bytes, tail_bytes, name_at) = match prefix.first() {
            None => return Ok(None),
            Some(b'T') => return Ok(Some(1 + INT_BYTES)),
            Some(b'F') => return Ok(Some(2)),
            Some(b'W' | b'O' | b'P') => (NAME_HEAD_BYTES, 0, 1),
            Some(b'V') => (NAME_HEAD_BYTES, VERIFIED_TAIL_BYTES, 1),
            Some(b'X') => (FAILED_HEAD_BYTES, 0, 4),
            Some(&got) => return Err(Malformed::UnknownType { got }),
        };
        let len = name_len(prefix, name_at)?;
        Ok(len.map(|len| head_bytes + len + tail_bytes))
    }

    fn decode(head: &[u8]) -> Result<Self, Malformed> {
        match head[0] {
            b'T' => match int(head, 1) {
                len if len as usize > CONTROL_ANSWER_BYTES_MAX => {
                    Err(Malformed::TextLength { got: len })
                }
                len_bytes => Ok(Self::Text { len_bytes }),
            },
            b'F' => flag(head[1]).map(Self::Fetches),
            b'W' => name(&head[NAME_HEAD_BYTES..]).map(Self::Waiting),
            b'O' => name(&head[NAME_HEAD_BYTES..]).map(Self::Offered),
            b'P' => name(&head[NAME_HEAD_BYTES..]).map(Self::Present),
            b'V' => Self::decode_fetched(head).map(Self::Verified),
            b'X' => match u16::from_be_bytes([head[2], head[3]]) {
                len if usize::from(len) > CONTROL_REASON_BYTES_MAX => {
                    Err(Malformed::TextLength { got: len.into() })
                }
                reason_bytes => {
                    let name = name(&head[FAILED_HEAD_BYTES..])?;
                    Ok(Self::Failed { name, code: head[1], reason_bytes })
                }
            },
            got => Err(Malformed::UnknownType { got }),
        }
    }

    fn payload_bytes(&self) -> u32 {
        match self {
            Self::Text { len_bytes } => *len_bytes,
            Self::Failed { reason_bytes, .. } => (*reason_bytes).into(),
            _ => 0,
        }
    }
}

/// The length of a name, which stands at `at`; `None` if that has not come.
fn name_len(prefix: &[u8], at: usize) -> Result<Option<usize>, Malformed> {
    let Some(&[high, low]) = prefix.get(at..at + 2) else { return Ok(None) };
    match usize::from(u16::from_be_bytes([high, low])) {
        len @ 1..=NAME_BYTES_MAX => Ok(Some(len)),
        len => Err(Malformed::NameLength { got: len as u32 }),
    }
}

fn name(bytes: &[u8]) -> Result<FileName, Malformed> {
    FileName::from_bytes(bytes).map_err(Malformed::Name)
}

fn put_name(out: &mut Vec<u8>, kind: u8, name: &FileName) {
    let name = name.as_str().as_bytes();
    out.push(kind);
    out.extend((name.len() as u16).to_be_bytes());
    out.extend_from_slice(name);
}

fn flag(byte: u8) -> Result<bool, Malformed> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        got => Err(Malformed::Flag { got }),
    }
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(int(bytes, at)) << 32 | u64::from(int(bytes, at + INT_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v0::NameError;
    use crate::wire::{Deframer, Frame};

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    #[test]
    fn every_question_is_read_as_it_was_written() {
        let cases: [(Question, &[u8]); 6] = [
            (Question::Status { json: false }, b"S\0"),
            (Question::Status { json: true }, b"S\x01"),
            (Question::Fetches, b"F"),
            (Question::Want(name("a b")), b"W\0\x03a b"),
            (Question::Want(name(&"n".repeat(64))), &[b"W\0\x40", &[b'n'; 64][..]].concat()),
            (Question::Await, b"A"),
        ];
        for (question, bytes) in cases {
            let mut encoded = Vec::new();
            question.encode(&mut encoded);
            assert_eq!(encoded, bytes);
            assert_eq!(Question::head_len_bytes(bytes), Ok(Some(bytes.len())));
            assert_eq!(Question::decode(bytes), Ok(question));
        }
    }

    #[test]
    fn every_answer_is_read_as_it_was_written() {
        let fetched = Fetched {
            name: name("f"),
            peer: PeerId(0x0102_0304),
            size_bytes: 1 << 40,
            digest: Digest([7; 32]),
            elapsed: Duration::from_micros(1_500_000),
        };
        let size_and_time = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16, 0xe3, 0x60];
        let verified = [b"V\0\x01f\x01\x02\x03\x04", &size_and_time[..], &[7; 32]].concat();
        let failed = Answer::Failed { name: name("f"), code: 5, reason_bytes: 258 };
        let cases: [(Answer, &[u8]); 8] = [
            (Answer::Text { len_bytes: 7 }, b"T\0\0\0\x07"),
            (Answer::Fetches(true), b"F\x01"),
            (Answer::Fetches(false), b"F\0"),
            (Answer::Waiting(name("f")), b"W\0\x01f"),
            (Answer::Offered(name("f")), b"O\0\x01f"),
            (Answer::Present(name("f")), b"P\0\x01f"),
            (Answer::Verified(fetched), &verified),
            (failed, b"X\x05\x01\x02\0\x01f"),
        ];
        for (answer, bytes) in cases {
            let mut encoded = Vec::new();
            answer.encode(&mut encoded);
            assert_eq!(encoded, bytes);
            assert_eq!(Answer::head_len_bytes(bytes), Ok(Some(bytes.len())));
            assert_eq!(Answer::decode(bytes), Ok(answer));
        }
    }

    #[test]
    fn what_is_no_message_is_refused_as_early_as_it_can_be_told() {
        let question = |bytes: &[u8]| Deframer::<Question>::default().next(bytes, &mut 0);
        assert_eq!(question(b"status text\n"), Err(Malformed::UnknownType { got: b's' }));
        assert_eq!(question(b"S\x02"), Err(Malformed::Flag { got: 2 }));
        assert_eq!(question(b"W\0\0"), Err(Malformed::NameLength { got: 0 }));
        assert_eq!(question(b"W\xff\xff"), Err(Malformed::NameLength { got: 65535 }));
        assert_eq!(question(b"W\0\x03a/b"), Err(Malformed::Name(NameError::Separator)));
        let answer = |bytes: &[u8]| Deframer::<Answer>::default().next(bytes, &mut 0);
        assert_eq!(answer(b"T\xff\0\0\0"), Err(Malformed::TextLength { got: 0xff00_0000 }));
        assert_eq!(answer(b"X\0\xff\xff\0\x01f"), Err(Malformed::TextLength { got: 0xffff }));
        assert_eq!(answer(b"P\0\x02.."), Err(Malformed::Name(NameError::LeadingDot)));
        assert_eq!(answer(b"yes"), Err(Malformed::UnknownType { got: b'y' }));
    }

    #[test]
    fn a_reason_is_payload_wherever_the_stream_is_cut() {
        let stream = b"X\x05\0\x03\0\x01fwhyF\x01";
        let failed = Answer::Failed { name: name("f"), code: 5, reason_bytes: 3 };
        for cut in 0..stream.len() {
            let (mut deframer, mut messages) = (Deframer::default(), Vec::new());
            let mut reason = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                let mut at = 0;
                while let Some(frame) = deframer.next(piece, &mut at).unwrap() {
                    match frame {
                        Frame::Message(answer) => messages.push(answer),
                        Frame::Payload { range, .. } => reason.extend_from_slice(&piece[range]),
                    }
                }
            }
            assert_eq!((messages, &*reason), (vec![failed, Answer::Fetches(true)], &b"why"[..]));
        }
    }
}
