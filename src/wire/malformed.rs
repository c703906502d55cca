//! Why bytes from the network are not a message.

use std::fmt;

use super::path::PathError;
use super::v0::NameError;
use crate::count::Count;

/// The fault of a message. Its datagram is dropped, or its connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A datagram that is not as long as an offer.
    DatagramLength { got_bytes: usize },
    /// The first byte names no message that may come here.
    UnknownType { got: u8 },
    /// The second byte of a registry message names none that may come here.
    UnknownRegistryType { got: u8 },
    /// A name length of 0 or over 64.
    NameLength { got: u32 },
    /// A name length that counts neither the bytes nor the characters of the name.
    NameLengthMismatch { got: u32 },
    /// A text field with anything but NULs after its first NUL.
    BytesAfterNul,
    /// A text field that is not UTF-8.
    NotUtf8,
    /// A name that the rule for file names refuses.
    Name(NameError),
    /// A chunk of no bytes.
    EmptyChunk,
    /// A digest that is not 64 lower-case hexadecimal digits.
    Digest,
    /// A port outside 1 to 65535.
    Port { got: u32 },
    /// A success that is neither 0 nor 1.
    Success { got: u32 },
    /// A version that no peer speaks.
    Version { got: u32 },
    /// A list of more peers than a response takes.
    PeerCount { got: u32 },
    /// A flag that is neither 0 nor 1.
    Flag { got: u8 },
    /// A text that is longer than it may be.
    TextLength { got: u32 },
    /// A host that is neither a dotted IPv4 address nor `localhost`.
    Host,
    /// A message that ends within a field.
    FieldMissing,
    /// A message that goes on behind its last field.
    BytesLeftOver,
    /// A frame with a body of a length that its type never has.
    BodyLength { kind: u8, got: u32 },
    /// A beacon or hello that does not begin with its magic.
    Magic,
    /// A path that the rule for paths refuses.
    Path(PathError),
    /// The name of a peer that the rule for components refuses.
    PeerName(PathError),
    /// A content of more than 2^44 bytes.
    Size { got: u64 },
    /// An empty content with another id than that of no bytes.
    EmptyContent,
    /// More bytes hashed than the file has.
    Hashed,
    /// Bits for another number of blocks, or a spare bit that is set.
    HeldBits,
    /// A turn of no blocks.
    EmptyTurn,
    /// A page with more or fewer entries than it says.
    EntryCount,
    /// An entry outside the path that was listed.
    EntryOutside,
    /// A page that reaches less far than one before it, or of another list.
    Generation,
    /// The number of a request that was never made, or that is not higher than those before it.
    Request { got: u32 },
    /// An instance of 0.
    Instance,
    /// More tags than a beacon takes, or any at all in one that says good-bye.
    Tags { got: u8 },
    /// A beacon with no MAC, or a wrong one, or one that nobody expects.
    Mac,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatagramLength { got_bytes } => {
                write!(f, "a datagram of {}, where an offer has 73", Count(*got_bytes, "byte"))
            }
            Self::UnknownType { got } => write!(f, "a message of unknown type 0x{got:02x}"),
            Self::UnknownRegistryType { got } => {
                write!(f, "a registry message of unknown type 0x{got:02x}")
            }
            Self::NameLength { got } => write!(f, "a name length of {got}, not within 1 to 64"),
            Self::NameLengthMismatch { got } => {
                write!(
                    f,
                    "a name length of {got}, neither the bytes nor the characters of the name"
                )
            }
            Self::BytesAfterNul => f.write_str("a text field that goes on after its first NUL"),
            Self::NotUtf8 => f.write_str("a text field that is not UTF-8"),
            Self::Name(error) => write!(f, "a bad file name: {error}"),
            Self::EmptyChunk => f.write_str("a chunk of no bytes"),
            Self::Digest => f.write_str("a digest that is not 64 lower-case hexadecimal digits"),
            Self::Port { got } => write!(f, "a port of {got}, not within 1 to 65535"),
            Self::Success { got } => write!(f, "a success of {got}, neither 0 nor 1"),
            Self::Version { got } => write!(f, "a version of {got}, not 1"),
            Self::PeerCount { got } => write!(f, "a list of {}", Count(*got, "peer")),
            Self::Flag { got } => write!(f, "a flag of {got}, neither 0 nor 1"),
            Self::TextLength { got } => write!(f, "a text of {}", Count(*got, "byte")),
            Self::Host => f.write_str("a host that is neither an IPv4 address nor localhost"),
            Self::FieldMissing => f.write_str("a message that ends within a field"),
            Self::BytesLeftOver => f.write_str("a message that goes on behind its last field"),
            Self::BodyLength { kind, got } => {
                write!(f, "a frame of type 0x{kind:02x} with a body of {}", Count(*got, "byte"))
            }
            Self::Magic => f.write_str("a message that is none of p2pfs"),
            Self::Path(error) => write!(f, "a bad path: {error}"),
            Self::PeerName(error) => write!(f, "a bad name of a peer: {error}"),
            Self::Size { got } => write!(f, "a size of {got}, more than 2^44"),
            Self::EmptyContent => f.write_str("an empty file with the id of another"),
            Self::Hashed => f.write_str("more bytes hashed than the file has"),
            Self::HeldBits => f.write_str("bits for another number of blocks"),
            Self::EmptyTurn => f.write_str("a turn of no blocks"),
            Self::EntryCount => f.write_str("a page with another number of entries than it says"),
            Self::EntryOutside => f.write_str("an entry outside the path that was listed"),
            Self::Generation => f.write_str("a page that reaches less far than one before it"),
            Self::Request { got } => write!(f, "a request of number {got}, which cannot be"),
            Self::Instance => f.write_str("an instance of 0"),
            Self::Tags { got } => write!(f, "a beacon with {}", Count(*got, "tag")),
            Self::Mac => f.write_str("a beacon with a missing, wrong or unexpected MAC"),
        }
    }
}

impl std::error::Error for Malformed {}
