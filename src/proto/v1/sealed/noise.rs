//! `Noise_NNpsk0_25519_AESGCM_SHA256`: the handshake of [`snow`], and the records after it.
//!
//! All primitives are those of [`ring`]. snow would copy each record, so records have their own
//! functions, which seal and open in place.

use std::sync::Mutex;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::SystemRandom;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{BoxedCryptoResolver, CryptoResolver, RingResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

use crate::wire::v1::SealKey;

const PATTERN: &str = "Noise_NNpsk0_25519_AESGCM_SHA256";
const PROLOGUE: &[u8] = b"p2pfs 1 session";
const KEY_BYTES: usize = 32;
pub(super) const TAG_BYTES: usize = 16;
/// A public key, and the tag of an empty payload.
pub(super) const HANDSHAKE_BYTES: usize = KEY_BYTES + TAG_BYTES;

/// A handshake under way.
pub(super) struct Handshake(HandshakeState);

impl Handshake {
    /// Returns the handshake of the side that dialed.
    pub(super) fn dialed(key: &SealKey) -> Option<Self> {
        Self::new(key, Box::new(Primitives), true)
    }

    /// Returns that of the other side.
    pub(super) fn accepted(key: &SealKey) -> Option<Self> {
        Self::new(key, Box::new(Primitives), false)
    }

    pub(super) fn new(
        key: &SealKey,
        primitives: BoxedCryptoResolver,
        is_dialed: bool,
    ) -> Option<Self> {
        let builder = Builder::with_resolver(PATTERN.parse().ok()?, primitives);
        let builder = builder.psk(0, &key.0).ok()?.prologue(PROLOGUE).ok()?;
        let state = if is_dialed { builder.build_initiator() } else { builder.build_responder() };
        state.ok().map(Self)
    }

    /// Returns the first message.
    pub(super) fn ask(mut self) -> Option<(Self, Vec<u8>)> {
        let message = self.message()?;
        Some((self, message))
    }

    /// Returns the keys of both directions, that of the dialer first, and the second message, if
    /// the first is authentic.
    pub(super) fn answer(mut self, message: &[u8]) -> Option<([RecordKey; 2], Vec<u8>)> {
        self.read(message)?;
        let message = self.message()?;
        Some((self.keys(), message))
    }

    /// Returns the keys of both directions, that of the dialer first, if the second message is
    /// authentic.
    pub(super) fn end(mut self, message: &[u8]) -> Option<[RecordKey; 2]> {
        self.read(message)?;
        Some(self.keys())
    }

    fn message(&mut self) -> Option<Vec<u8>> {
        let mut message = vec![0; HANDSHAKE_BYTES];
        let len_bytes = self.0.write_message(&[], &mut message).ok()?;
        (len_bytes == HANDSHAKE_BYTES).then_some(message)
    }

    fn read(&mut self, message: &[u8]) -> Option<()> {
        // No payload, but snow wants room for the tag.
        let len_bytes = self.0.read_message(message, &mut [0; HANDSHAKE_BYTES]).ok()?;
        (len_bytes == 0).then_some(())
    }

    fn keys(&mut self) -> [RecordKey; 2] {
        let (of_dialer, of_acceptor) = self.0.dangerously_get_raw_split();
        [of_dialer, of_acceptor].map(RecordKey::new)
    }
}

/// The key of one direction, and how many records it has seen. Its schedule would be ten times as
/// large, so it is made anew for each record.
pub(super) struct RecordKey {
    key: [u8; KEY_BYTES],
    pub(super) records: u64,
}

impl RecordKey {
    pub(super) fn new(key: [u8; KEY_BYTES]) -> Self {
        Self { key, records: 0 }
    }

    #[cfg(test)]
    pub(super) fn key(&self) -> [u8; KEY_BYTES] {
        self.key
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.key).ok().map(LessSafeKey::new)
    }

    /// Opens a record in place: its plaintext is at its beginning.
    pub(super) fn open(&mut self, record: &mut [u8], records_per_key: u64) -> Option<()> {
        let nonce = nonce(self.records);
        self.cipher()?.open_in_place(nonce, Aad::empty(), record).ok()?;
        self.count(records_per_key)
    }

    /// Seals a record in place, and returns its tag.
    pub(super) fn seal(
        &mut self,
        record: &mut [u8],
        records_per_key: u64,
    ) -> Option<[u8; TAG_BYTES]> {
        let nonce = nonce(self.records);
        let tag = self.cipher()?.seal_in_place_separate_tag(nonce, Aad::empty(), record).ok()?;
        self.count(records_per_key)?;
        tag.as_ref().try_into().ok()
    }

    /// Counts a record; the next one may need another key.
    fn count(&mut self, records_per_key: u64) -> Option<()> {
        self.records = self.records.checked_add(1)?;
        if self.records.is_multiple_of(records_per_key) {
            let mut next = [0; KEY_BYTES];
            let nonce = nonce(u64::MAX);
            let cipher = self.cipher()?;
            // Its tag is dropped, as Noise wants it.
            let _tag = cipher.seal_in_place_separate_tag(nonce, Aad::empty(), &mut next).ok()?;
            self.key = next;
        }
        Some(())
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes.iter_mut().skip(4).zip(number.to_be_bytes()).for_each(|(to, byte)| *to = byte);
    Nonce::assume_unique_for_key(bytes)
}

/// Cipher, hash and random numbers of snow's resolver for ring, and the agreement of ring, which
/// that one lacks.
struct Primitives;

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        RingResolver.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| Box::<Ephemeral>::default() as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        RingResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        RingResolver.resolve_cipher(choice)
    }
}

/// A key pair for one agreement: the pattern has no other. The trait wants it to be shareable.
#[derive(Default)]
struct Ephemeral {
    private: Mutex<Option<EphemeralPrivateKey>>,
    public: [u8; KEY_BYTES],
}

impl Dh for Ephemeral {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_BYTES
    }

    fn priv_len(&self) -> usize {
        KEY_BYTES
    }

    /// ring imports no private key, and none is ever given.
    fn set(&mut self, _private: &[u8]) {}

    fn generate(&mut self, _rng: &mut dyn Random) -> Result<(), snow::Error> {
        let rng = |_| snow::Error::Rng;
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(rng)?;
        let public = private.compute_public_key().map_err(rng)?;
        self.public = public.as_ref().try_into().map_err(|_| snow::Error::Rng)?;
        self.private = Mutex::new(Some(private));
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &[]
    }

    fn dh(&self, their_key: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let private = self.private.lock().ok().and_then(|mut private| private.take());
        let (private, theirs) = private.zip(their_key.get(..KEY_BYTES)).ok_or(snow::Error::Dh)?;
        let theirs = UnparsedPublicKey::new(&X25519, theirs);
        agree_ephemeral(private, &theirs, |shared| {
            out.iter_mut().zip(shared).for_each(|(to, byte)| *to = *byte);
        })
        .map_err(|_| snow::Error::Dh)
    }
}
