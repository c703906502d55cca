//! Fields of messages: integers, and texts of 64 bytes or with a length before them.
//!
//! Messages of version 0 have a fixed length, so a head that is whole is an array, and its
//! fields are taken from it by patterns: none can lie outside. Those of version 1 are taken
//! one after another by [`Fields`].

use std::fmt;

use super::malformed::Malformed;
use crate::limits::TEXT_FIELD_BYTES;

/// A text of at most 64 bytes, as a text field holds it.
///
/// Invariant: the bytes behind the text are 0, so that the derived order of two texts
/// without NUL is that of their bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldText {
    bytes: [u8; TEXT_FIELD_BYTES],
    len: u8,
}

impl FieldText {
    /// Returns as many whole characters of `text` as fit the field.
    pub fn new(text: &str) -> Self {
        let text = prefix(text, TEXT_FIELD_BYTES);
        let mut bytes = [0; TEXT_FIELD_BYTES];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self { bytes, len: text.len() as u8 }
    }

    /// Returns the text, as it was received.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Returns the field: the text, then NULs.
    pub(super) fn field(&self) -> &[u8; TEXT_FIELD_BYTES] {
        &self.bytes
    }
}

impl AsRef<str> for FieldText {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for FieldText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The fields of a message, taken from its bytes one after another.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// Returns the next field of so many bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Malformed::FieldMissing)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// Returns the next `len_bytes` bytes.
    pub(super) fn bytes(&mut self, len_bytes: usize) -> Result<&'a [u8], Malformed> {
        let (field, rest) = self.0.split_at_checked(len_bytes).ok_or(Malformed::FieldMissing)?;
        self.0 = rest;
        Ok(field)
    }

    /// Returns a text that has its length in 8 bits before it.
    pub(super) fn str8(&mut self) -> Result<&'a str, Malformed> {
        let len_bytes = self.u8()?;
        std::str::from_utf8(self.bytes(len_bytes.into())?).map_err(|_| Malformed::NotUtf8)
    }

    /// Returns all that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the message.
    ///
    /// # Errors
    /// If bytes are left over.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::BytesLeftOver) }
    }
}

/// Length of an integer field.
pub(super) const INT_BYTES: usize = 4;

/// Returns the port in an integer field: 1 to 65535.
pub(super) fn port(field: [u8; INT_BYTES]) -> Result<u16, Malformed> {
    let got = u32::from_be_bytes(field);
    match u16::try_from(got) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(Malformed::Port { got }),
    }
}

/// Returns the text of a field, without the NULs behind it.
pub(super) fn text(field: &[u8; TEXT_FIELD_BYTES]) -> Result<&str, Malformed> {
    let mut parts = field.splitn(2, |&byte| byte == 0);
    let text = parts.next().unwrap_or_default();
    if parts.next().is_some_and(|rest| rest.iter().any(|&byte| byte != 0)) {
        return Err(Malformed::BytesAfterNul);
    }
    std::str::from_utf8(text).map_err(|_| Malformed::NotUtf8)
}

/// Returns as many whole characters of `text` as fit `bytes_max`.
pub(super) fn prefix(text: &str, bytes_max: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| *end <= bytes_max).last().unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
