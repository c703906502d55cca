//! The messages between programs of one user over the control socket: questions about a
//! program, requests for files, and the answers.
//!
//! From the program that asks ([`Question`]):
//!
//! ```text
//! status    S json                                             2 bytes
//! fetches   F                                                  1 byte
//! want      W name_length name                             3 + n bytes
//! await     A                                                  1 byte
//! match     M pattern_length pattern                       3 + n bytes
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
//! searched  M doubt_length doubt                           3 + n bytes
//! ```
//!
//! Integers are unsigned, in network byte order. A flag (`json`, `yes`) and the exit code
//! have 8 bits, the lengths of names, patterns, doubts and reasons 16, `text_length` and
//! `peer_id` 32, `size` and `microseconds` 64. Text is UTF-8. `text` is payload.

use std::time::Duration;

use super::PeerId;
use super::deframer::{Kind, Message, head};
use super::field::{FieldText, INT_BYTES, prefix};
use super::malformed::Malformed;
use super::v0::FileName;
use crate::content::Digest;
use crate::limits::{
    CONTROL_ANSWER_BYTES_MAX, CONTROL_REASON_BYTES_MAX, NAME_BYTES_MAX, TEXT_FIELD_BYTES,
};

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
    /// Fetch this file; more of what is wanted or [`Question::Await`] follow.
    Want(FileName),
    /// That was all that is wanted: tell what becomes of each file.
    Await,
    /// Fetch each file whose name matches this pattern; more of what is wanted or
    /// [`Question::Await`] follow.
    Match(FieldText),
}

/// What a program answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A text follows as payload; it is the whole answer.
    Text { len_bytes: u32 },
    /// Whether the program can be asked for files.
    Fetches(bool),
    /// What becomes of a wanted file.
    News(News),
    /// A pattern brings no more names; why there may be more, for people, or nothing.
    Searched { doubt: String },
}

/// What becomes of a wanted file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Nobody offers it so far.
    Waiting(FileName),
    /// It is offered.
    Offered(FileName),
    /// It was there before. This is an end.
    Present(FileName),
    /// It is there, safe and verified. This is an end.
    Verified(Fetched),
    /// It will not come. This is an end.
    Failed {
        name: FileName,
        /// The exit code that tells the reason to scripts.
        code: u8,
        /// The reason, for people; print it through [`Shown`](super::Shown).
        reason: String,
    },
}

/// A file that was fetched and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub name: FileName,
    /// The peer that it came from.
    pub peer: PeerId,
    pub size_bytes: u64,
    pub digest: Digest,
    /// How long the download took, in whole microseconds.
    pub elapsed: Duration,
}

/// The kinds of [`Question`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionKind {
    Status,
    Fetches,
    Want,
    Await,
    Match,
}

/// The kinds of [`Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    Text,
    Fetches,
    /// News after which there is more.
    News,
    /// The last news of a file.
    End,
    Searched,
}

impl Question {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Status { json } => out.extend([b'S', u8::from(*json)]),
            Self::Fetches => out.push(b'F'),
            Self::Want(name) => put_name(out, b'W', name),
            Self::Await => out.push(b'A'),
            Self::Match(pattern) => put_text(out, b'M', pattern.as_str()),
        }
    }

    /// Returns its kind.
    pub fn kind(&self) -> QuestionKind {
        match self {
            Self::Status { .. } => QuestionKind::Status,
            Self::Fetches => QuestionKind::Fetches,
            Self::Want(_) => QuestionKind::Want,
            Self::Await => QuestionKind::Await,
            Self::Match(_) => QuestionKind::Match,
        }
    }
}

impl Message for Question {
    const HEAD_BYTES_MAX: usize = 1 + 2 + TEXT_FIELD_BYTES;

    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        match bytes {
            [] | [b'S'] => Ok(None),
            [b'S', json, ..] => Ok(Some((Self::Status { json: flag(*json)? }, 2))),
            [b'F', ..] => Ok(Some((Self::Fetches, 1))),
            [b'W', rest @ ..] => {
                Ok(name(rest)?.map(|(name, behind)| (Self::Want(name), bytes.len() - behind.len())))
            }
            [b'A', ..] => Ok(Some((Self::Await, 1))),
            [b'M', rest @ ..] => pattern(rest),
            &[got, ..] => Err(Malformed::UnknownType { got }),
        }
    }
}

impl Answer {
    /// Appends the message; a text is to be appended behind it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text { len_bytes } => {
                out.push(b'T');
                out.extend(len_bytes.to_be_bytes());
            }
            Self::Fetches(yes) => out.extend([b'F', u8::from(*yes)]),
            Self::News(news) => news.encode(out),
            Self::Searched { doubt } => {
                put_text(out, b'M', prefix(doubt, CONTROL_REASON_BYTES_MAX));
            }
        }
    }

    /// Returns its kind.
    pub fn kind(&self) -> AnswerKind {
        match self {
            Self::Text { .. } => AnswerKind::Text,
            Self::Fetches(_) => AnswerKind::Fetches,
            Self::News(news) if news.is_end() => AnswerKind::End,
            Self::News(_) => AnswerKind::News,
            Self::Searched { .. } => AnswerKind::Searched,
        }
    }
}

impl Message for Answer {
    const HEAD_BYTES_MAX: usize = 1 + 1 + 2 + 2 + NAME_BYTES_MAX + CONTROL_REASON_BYTES_MAX;

    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        match bytes {
            [] | [b'F'] => Ok(None),
            [b'T', ..] => head(bytes, |&[_, ref len @ ..]: &[u8; 1 + INT_BYTES]| {
                let len_bytes = text_len(u32::from_be_bytes(*len), CONTROL_ANSWER_BYTES_MAX)?;
                Ok(Self::Text { len_bytes })
            }),
            [b'F', yes, ..] => Ok(Some((Self::Fetches(flag(*yes)?), 2))),
            [b'M', rest @ ..] => doubt(rest),
            _ => Ok(News::decode(bytes)?
                .map(|(news, behind)| (Self::News(news), bytes.len() - behind.len()))),
        }
    }

    fn payload_bytes(&self) -> u32 {
        match self {
            Self::Text { len_bytes } => *len_bytes,
            Self::Fetches(_) | Self::News(_) | Self::Searched { .. } => 0,
        }
    }
}

impl News {
    /// Returns the file.
    pub fn name(&self) -> &FileName {
        match self {
            Self::Waiting(name) | Self::Offered(name) | Self::Present(name) => name,
            Self::Verified(fetched) => &fetched.name,
            Self::Failed { name, .. } => name,
        }
    }

    /// Returns whether nothing more comes of the file.
    pub fn is_end(&self) -> bool {
        !matches!(self, Self::Waiting(_) | Self::Offered(_))
    }

    /// Appends the message. A reason is cut off at [`CONTROL_REASON_BYTES_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
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
            Self::Failed { name, code, reason } => {
                let reason = prefix(reason, CONTROL_REASON_BYTES_MAX).as_bytes();
                let name = name.as_str().as_bytes();
                out.extend([b'X', *code]);
                out.extend((reason.len() as u16).to_be_bytes());
                out.extend((name.len() as u16).to_be_bytes());
                out.extend_from_slice(name);
                out.extend_from_slice(reason);
            }
        }
    }

    /// Returns the news that `bytes` begin with, and the bytes behind them; `None` while they
    /// are not whole.
    fn decode(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, Malformed> {
        match bytes {
            [b'W', rest @ ..] => Ok(name(rest)?.map(|(name, rest)| (Self::Waiting(name), rest))),
            [b'O', rest @ ..] => Ok(name(rest)?.map(|(name, rest)| (Self::Offered(name), rest))),
            [b'P', rest @ ..] => Ok(name(rest)?.map(|(name, rest)| (Self::Present(name), rest))),
            [b'V', rest @ ..] => {
                let Some((name, rest)) = name(rest)? else { return Ok(None) };
                Ok(Fetched::decode(name, rest)
                    .map(|(fetched, rest)| (Self::Verified(fetched), rest)))
            }
            &[b'X', code, len_high, len_low, ref rest @ ..] => {
                let len_bytes = u16::from_be_bytes([len_high, len_low]);
                text_len(len_bytes.into(), CONTROL_REASON_BYTES_MAX)?;
                let Some((name, rest)) = name(rest)? else { return Ok(None) };
                let Some((reason, rest)) = rest.split_at_checked(len_bytes.into()) else {
                    return Ok(None);
                };
                let reason = str::from_utf8(reason).map_err(|_| Malformed::NotUtf8)?.to_owned();
                Ok(Some((Self::Failed { name, code, reason }, rest)))
            }
            [] | [b'X', ..] => Ok(None),
            &[got, ..] => Err(Malformed::UnknownType { got }),
        }
    }
}

impl Fetched {
    /// Returns what `bytes` say behind the name, and the bytes behind that; `None` while it
    /// is not whole.
    fn decode(name: FileName, bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (peer, bytes) = bytes.split_first_chunk()?;
        let (size, bytes) = bytes.split_first_chunk()?;
        let (elapsed, bytes) = bytes.split_first_chunk()?;
        let (digest, rest) = bytes.split_first_chunk()?;
        let fetched = Self {
            name,
            peer: PeerId(u32::from_be_bytes(*peer)),
            size_bytes: u64::from_be_bytes(*size),
            digest: Digest(*digest),
            elapsed: Duration::from_micros(u64::from_be_bytes(*elapsed)),
        };
        Some((fetched, rest))
    }
}

impl Kind for QuestionKind {
    const ALL: &'static [Self] =
        &[Self::Status, Self::Fetches, Self::Want, Self::Await, Self::Match];

    fn term(self) -> &'static str {
        match self {
            Self::Status => "a question for the status",
            Self::Fetches => "a question whether files can be asked for",
            Self::Want => "a wanted name",
            Self::Await => "an end of what is wanted",
            Self::Match => "a wanted pattern",
        }
    }
}

impl Kind for AnswerKind {
    const ALL: &'static [Self] =
        &[Self::Text, Self::Fetches, Self::News, Self::End, Self::Searched];

    fn term(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Fetches => "an answer whether files can be asked for",
            Self::News => "news of a file",
            Self::End => "the end of a file",
            Self::Searched => "the end of a search",
        }
    }
}

/// Returns the name that `bytes` begin with, after its length, and the bytes behind it;
/// `None` while it is not whole.
fn name(bytes: &[u8]) -> Result<Option<(FileName, &[u8])>, Malformed> {
    let Some((len, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let len = match usize::from(u16::from_be_bytes(*len)) {
        len @ 1..=NAME_BYTES_MAX => len,
        len => return Err(Malformed::NameLength { got: len as u32 }),
    };
    let Some((name, rest)) = rest.split_at_checked(len) else { return Ok(None) };
    Ok(Some((FileName::from_bytes(name).map_err(Malformed::Name)?, rest)))
}

/// Returns the wanted pattern that `bytes` end, and the length of its message; `None` while it
/// is not whole.
fn pattern(bytes: &[u8]) -> Result<Option<(Question, usize)>, Malformed> {
    let Some((len, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let len = match usize::from(u16::from_be_bytes(*len)) {
        len @ 1..=TEXT_FIELD_BYTES => len,
        len => return Err(Malformed::NameLength { got: len as u32 }),
    };
    let Some((text, rest)) = rest.split_at_checked(len) else { return Ok(None) };
    let pattern = FieldText::new(str::from_utf8(text).map_err(|_| Malformed::NotUtf8)?);
    Ok(Some((Question::Match(pattern), 1 + bytes.len() - rest.len())))
}

/// Returns the end of a search that `bytes` end, and the length of its message; `None` while it
/// is not whole.
fn doubt(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Malformed> {
    let Some((len, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let len = text_len(u16::from_be_bytes(*len).into(), CONTROL_REASON_BYTES_MAX)?;
    let Some((text, rest)) = rest.split_at_checked(len as usize) else { return Ok(None) };
    let doubt = str::from_utf8(text).map_err(|_| Malformed::NotUtf8)?.to_owned();
    Ok(Some((Answer::Searched { doubt }, 1 + bytes.len() - rest.len())))
}

fn put_name(out: &mut Vec<u8>, kind: u8, name: &FileName) {
    put_text(out, kind, name.as_str());
}

fn put_text(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend((text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn flag(byte: u8) -> Result<bool, Malformed> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        got => Err(Malformed::Flag { got }),
    }
}

/// Returns the length of a text, if it may be as long as that.
fn text_len(len_bytes: u32, bytes_max: usize) -> Result<u32, Malformed> {
    match len_bytes as usize > bytes_max {
        true => Err(Malformed::TextLength { got: len_bytes }),
        false => Ok(len_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Deframer;
    use crate::wire::v0::NameError;

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    #[test]
    fn every_question_is_read_as_it_was_written() {
        let pattern = FieldText::new("*.iso");
        let cases: [(Question, &[u8]); 7] = [
            (Question::Match(pattern), b"M\0\x05*.iso"),
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
            assert_eq!(Question::decode(bytes), Ok(Some((question, bytes.len()))));
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
        let failed = News::Failed { name: name("f"), code: 5, reason: "why".to_owned() };
        let searched = |doubt: &str| Answer::Searched { doubt: doubt.to_owned() };
        let cases: [(Answer, &[u8]); 10] = [
            (searched(""), b"M\0\0"),
            (searched("late"), b"M\0\x04late"),
            (Answer::Text { len_bytes: 7 }, b"T\0\0\0\x07"),
            (Answer::Fetches(true), b"F\x01"),
            (Answer::Fetches(false), b"F\0"),
            (Answer::News(News::Waiting(name("f"))), b"W\0\x01f"),
            (Answer::News(News::Offered(name("f"))), b"O\0\x01f"),
            (Answer::News(News::Present(name("f"))), b"P\0\x01f"),
            (Answer::News(News::Verified(fetched)), &verified),
            (Answer::News(failed), b"X\x05\0\x03\0\x01fwhy"),
        ];
        for (answer, bytes) in cases {
            let mut encoded = Vec::new();
            answer.encode(&mut encoded);
            assert_eq!(encoded, bytes);
            assert_eq!(Answer::decode(bytes), Ok(Some((answer.clone(), bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(Answer::decode(&bytes[..cut]), Ok(None), "{answer:?}");
            }
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
        assert_eq!(answer(b"M\xff\xff"), Err(Malformed::TextLength { got: 0xffff }));
        assert_eq!(answer(b"M\0\x01\xff"), Err(Malformed::NotUtf8));
        assert_eq!(question(b"M\0\0"), Err(Malformed::NameLength { got: 0 }));
        assert_eq!(answer(b"X\0\0\x01\0\x01f\xff"), Err(Malformed::NotUtf8));
        assert_eq!(answer(b"P\0\x02.."), Err(Malformed::Name(NameError::LeadingDot)));
        assert_eq!(answer(b"yes"), Err(Malformed::UnknownType { got: b'y' }));
    }

    #[test]
    fn a_reason_that_is_too_long_is_cut_between_two_characters() {
        let failed = |reason| News::Failed { name: name("f"), code: 5, reason };
        let mut encoded = Vec::new();
        failed("é".repeat(CONTROL_REASON_BYTES_MAX)).encode(&mut encoded);
        let cut = failed("é".repeat(CONTROL_REASON_BYTES_MAX / 2));
        assert_eq!(Answer::decode(&encoded), Ok(Some((Answer::News(cut), encoded.len()))));
        assert!(encoded.len() <= Answer::HEAD_BYTES_MAX);
    }
}
