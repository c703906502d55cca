//! The two kinds of field: an integer of 32 bits and a text of 64 bytes.

use super::malformed::Malformed;
use crate::limits::TEXT_FIELD_BYTES;

/// A text of at most 64 bytes, as a text field holds it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FieldText {
    bytes: [u8; TEXT_FIELD_BYTES],
    len: u8,
}

impl FieldText {
    /// A text of at most 64 bytes.
    ///
    /// # Panics
    /// If it is longer: texts of ours are shorter, and a field holds no more.
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; TEXT_FIELD_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self { bytes, len: text.len() as u8 }
    }

    /// The text, as it came.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    /// The field: the text, then NULs.
    pub(super) fn field(&self) -> &[u8; TEXT_FIELD_BYTES] {
        &self.bytes
    }
}

impl AsRef<str> for FieldText {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::fmt::Debug for FieldText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Length of an integer field.
pub(super) const INT_BYTES: usize = 4;

/// The integer at `at`.
///
/// # Panics
/// If `bytes` ends before `at + 4`: heads are decoded only when they are whole.
pub(super) fn int(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A port: 1 to 65535.
pub(super) fn port(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    let got = int(bytes, at);
    match u16::try_from(got) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(Malformed::Port { got }),
    }
}

/// The text of the field at `at`, without the NULs behind it.
pub(super) fn text(bytes: &[u8], at: usize) -> Result<&str, Malformed> {
    let field = &bytes[at..at + TEXT_FIELD_BYTES];
    let len = field.iter().position(|&b| b == 0).unwrap_or(TEXT_FIELD_BYTES);
    if field[len..].iter().any(|&b| b != 0) {
        return Err(Malformed::BytesAfterNul);
    }
    std::str::from_utf8(&field[..len]).map_err(|_| Malformed::NotUtf8)
}

/// Writes an integer at `at`.
pub(super) fn put_int(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + INT_BYTES].copy_from_slice(&value.to_be_bytes());
}
