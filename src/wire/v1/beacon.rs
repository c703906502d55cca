//! The datagram by which peers find one another, with its tags and its MAC.

use std::fmt;

use super::PeerName;
use crate::content::ContentId;
use crate::limits::{BEACON_BYTES_MAX, TAGS_MAX};
use crate::wire::PeerId;
use crate::wire::field::Fields;
use crate::wire::malformed::Malformed;
use crate::wire::path::FilePath;

const MAGIC: [u8; 4] = *b"P2F1";
const WITH_MAC: u8 = 1;
const MAC_BYTES: usize = 16;

/// "I am here, at this port of the address that this came from."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    pub kind: BeaconKind,
    /// The TCP port of the sender; 0 if it cannot be dialed.
    pub port: u16,
    pub peer: PeerId,
    /// The random number of one run of a peer; never 0.
    pub instance: u64,
    /// Grows with each datagram of an instance.
    pub counter: u64,
    /// The number of the last change in the catalog.
    pub generation: u64,
    /// Number of files shared.
    pub files: u32,
    pub name: PeerName,
    /// At most 32: what a query looks for, or what a beacon has of what was looked for.
    pub tags: Vec<Tag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BeaconKind {
    Beacon = b'B',
    /// A beacon of a peer that looks for something.
    Query = b'Q',
    Leaving = b'X',
}

/// A short name for a content, or for the path of a file or folder, that only those can
/// compute who know what it names, and the secret if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub [u8; 8]);

/// The key from which tags are made.
#[derive(Clone)]
pub struct TagKey([u8; 32]);

/// The key of the MAC that only members of a group can make.
#[derive(Clone)]
pub struct BeaconKey([u8; 32]);

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey")
    }
}

impl fmt::Debug for BeaconKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BeaconKey")
    }
}

impl TagKey {
    /// Returns the key for a secret; without one, that of everybody.
    pub fn new(secret: Option<&[u8; 32]>) -> Self {
        let secret = secret.map(|secret| secret.as_slice()).unwrap_or_default();
        Self(blake3::derive_key("p2pfs 1 tag", secret))
    }

    pub fn of_content(&self, id: &ContentId) -> Tag {
        self.tag(b'i', &id.0)
    }

    pub fn of_path(&self, path: &FilePath) -> Tag {
        self.tag(b'p', path.as_str().as_bytes())
    }

    fn tag(&self, kind: u8, what: &[u8]) -> Tag {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[kind]).update(what);
        let mut tag = [0; 8];
        hasher.finalize_xof().fill(&mut tag);
        Tag(tag)
    }
}

impl BeaconKey {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key("p2pfs 1 beacon", secret))
    }

    fn mac(&self, bytes: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = [0; MAC_BYTES];
        blake3::Hasher::new_keyed(&self.0).update(bytes).finalize_xof().fill(&mut mac);
        mac
    }
}

impl Beacon {
    /// Returns the beacon in a datagram that has a MAC of this key, or none if there is no key.
    ///
    /// # Errors
    /// If the datagram is none, or its MAC is wrong, missing or not expected.
    pub fn decode(datagram: &[u8], key: Option<&BeaconKey>) -> Result<Self, Malformed> {
        if datagram.len() > BEACON_BYTES_MAX {
            return Err(Malformed::DatagramLength { got_bytes: datagram.len() });
        }
        let mut fields = Fields(datagram);
        if fields.array()? != MAGIC {
            return Err(Malformed::Magic);
        }
        let kind = BeaconKind::of_byte(fields.u8()?)?;
        if (fields.u8()? & WITH_MAC != 0) != key.is_some() {
            return Err(Malformed::Mac);
        }
        let beacon = Self {
            kind,
            port: fields.u16()?,
            peer: PeerId(fields.u32()?),
            instance: fields.u64()?,
            counter: fields.u64()?,
            generation: fields.u64()?,
            files: fields.u32()?,
            name: PeerName::decode(fields.str8()?)?,
            tags: tags(kind, &mut fields)?,
        };
        if let Some(key) = key {
            let signed_bytes = datagram.len() - fields.len_bytes();
            let signed = datagram.get(..signed_bytes).unwrap_or_default();
            // Compared in constant time.
            if blake3::Hash::from(padded(fields.array()?)) != padded(key.mac(signed)) {
                return Err(Malformed::Mac);
            }
        }
        fields.end()?;
        if beacon.instance == 0 { Err(Malformed::Instance) } else { Ok(beacon) }
    }

    /// Returns whether a datagram says that it has a MAC, if it is a beacon.
    pub fn has_mac(datagram: &[u8]) -> bool {
        datagram.get(MAGIC.len() + 1).is_some_and(|flags| flags & WITH_MAC != 0)
    }

    /// Returns the datagram, with a MAC if there is a key.
    pub fn encode(&self, key: Option<&BeaconKey>) -> Vec<u8> {
        let mut out = Vec::with_capacity(BEACON_BYTES_MAX);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[self.kind as u8, if key.is_some() { WITH_MAC } else { 0 }]);
        out.extend_from_slice(&self.port.to_be_bytes());
        out.extend_from_slice(&self.peer.0.to_be_bytes());
        out.extend_from_slice(&self.instance.to_be_bytes());
        out.extend_from_slice(&self.counter.to_be_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.files.to_be_bytes());
        self.name.encode(&mut out);
        let tags = self.tags.iter().take(TAGS_MAX);
        out.push(tags.len() as u8);
        tags.for_each(|tag| out.extend_from_slice(&tag.0));
        if let Some(key) = key {
            let mac = key.mac(&out);
            out.extend_from_slice(&mac);
        }
        out
    }
}

fn tags(kind: BeaconKind, fields: &mut Fields<'_>) -> Result<Vec<Tag>, Malformed> {
    let got = fields.u8()?;
    if usize::from(got) > TAGS_MAX || kind == BeaconKind::Leaving && got > 0 {
        return Err(Malformed::Tags { got });
    }
    (0..got).map(|_| fields.array().map(Tag)).collect()
}

fn padded(mac: [u8; MAC_BYTES]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(mac).for_each(|(to, byte)| *to = byte);
    bytes
}

impl BeaconKind {
    fn of_byte(got: u8) -> Result<Self, Malformed> {
        let kinds = [Self::Beacon, Self::Query, Self::Leaving];
        kinds.into_iter().find(|kind| *kind as u8 == got).ok_or(Malformed::UnknownType { got })
    }
}
