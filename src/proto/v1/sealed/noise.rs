//! `Noise_NNpsk0_25519_AESGCM_SHA256`: the handshake of [`snow`], and the records after it.
//!
//! The cipher and the agreement are those of [`ring`]. snow would copy each record, so records have
//! their own functions, which seal and open in place.

use std::sync::Mutex;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::Digest as _;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{BoxedCryptoResolver, CryptoResolver};
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
        cipher(&self.key)
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

fn cipher(key: &[u8; KEY_BYTES]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes.iter_mut().skip(4).zip(number.to_be_bytes()).for_each(|(to, byte)| *to = byte);
    Nonce::assume_unique_for_key(bytes)
}

/// The primitives of this one pattern. snow's own for ring lack the agreement, and bring those of
/// other patterns with them.
pub(super) struct Primitives;

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Rng))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| Box::<Ephemeral>::default() as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        (*choice == HashChoice::SHA256).then(|| Box::<Sha256>::default() as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        (*choice == CipherChoice::AESGCM).then(|| Box::<AesGcm>::default() as Box<dyn Cipher>)
    }
}

struct Rng;

impl Random for Rng {
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), snow::Error> {
        SystemRandom::new().fill(to).map_err(|_| snow::Error::Rng)
    }
}

/// That of version 0, as the program has it anyway.
#[derive(Default)]
struct Sha256(sha2::Sha256);

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn input(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn result(&mut self, out: &mut [u8]) {
        let hash = self.0.clone().finalize();
        out.iter_mut().zip(&hash).for_each(|(to, byte)| *to = *byte);
    }
}

/// The cipher of the handshake, whose messages are short.
#[derive(Default)]
struct AesGcm([u8; KEY_BYTES]);

impl Cipher for AesGcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; KEY_BYTES]) {
        self.0 = *key;
    }

    /// Writes zeros if it cannot encrypt, which nobody takes for authentic.
    fn encrypt(&self, number: u64, data: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        let mut sealed = plain.to_vec();
        let cipher = cipher(&self.0);
        let nonce = nonce(number);
        let tag = cipher.and_then(|cipher| {
            cipher.seal_in_place_separate_tag(nonce, Aad::from(data), &mut sealed).ok()
        });
        match tag {
            Some(tag) => sealed.extend_from_slice(tag.as_ref()),
            None => sealed = vec![0; plain.len() + TAG_BYTES],
        }
        out.iter_mut().zip(&sealed).for_each(|(to, byte)| *to = *byte);
        sealed.len()
    }

    fn decrypt(
        &self,
        number: u64,
        data: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let mut sealed = sealed.to_vec();
        let cipher = cipher(&self.0).ok_or(snow::Error::Decrypt)?;
        let plain = cipher.open_in_place(nonce(number), Aad::from(data), &mut sealed);
        let plain = plain.map_err(|_| snow::Error::Decrypt)?;
        out.iter_mut().zip(plain.iter()).for_each(|(to, byte)| *to = *byte);
        Ok(plain.len())
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
