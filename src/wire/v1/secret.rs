//! The secret of a group, and the keys that are made of it.

use std::fmt;

use super::beacon::{BeaconKey, TagKey};

/// The length of a secret.
pub const SECRET_BYTES: usize = 32;

/// What the members of a group know, and nobody else. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

/// The key with which both ends of a sealed connection begin.
#[derive(Clone)]
pub struct SealKey(pub(crate) [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

impl Secret {
    /// Returns the secret of these bytes, which are random.
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the secret in a file: 64 hexadecimal digits and a newline, and nothing else.
    /// `None` if it is of another form.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (digits, []) = text.strip_suffix(b"\n")?.as_chunks::<2>() else { return None };
        let digits: &[_; SECRET_BYTES] = digits.try_into().ok()?;
        let mut secret = [0; SECRET_BYTES];
        for (byte, digits) in secret.iter_mut().zip(digits) {
            let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
            *byte = u8::try_from(high? << 4 | low?).ok()?;
        }
        Some(Self(secret))
    }

    /// Returns what its file holds.
    pub fn text(&self) -> String {
        let mut text: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push('\n');
        text
    }

    pub fn tag_key(&self) -> TagKey {
        TagKey::new(Some(&self.0))
    }

    pub fn beacon_key(&self) -> BeaconKey {
        BeaconKey::new(&self.0)
    }

    pub fn seal_key(&self) -> SealKey {
        SealKey(blake3::derive_key("p2pfs 1 noise psk", &self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_is_written_and_in_no_other_form() {
        let secret = Secret::new(std::array::from_fn(|at| at as u8 * 7));
        let text = secret.text();
        assert_eq!((text.len(), Secret::parse(text.as_bytes())), (65, Some(secret.clone())));
        assert_eq!(Secret::parse(text.to_uppercase().as_bytes()), Some(secret));
        let digits = &text[..64];
        for other in [
            "",
            "\n",
            digits,
            &digits[..63],
            &format!("{text}\n"),
            &format!("{digits}\r\n"),
            &format!(" {digits}\n"),
            &format!("{}\n", &digits[..62]),
            &format!("{digits}00\n"),
            &format!("{}g\n", &digits[..63]),
            &format!("+{}\n", &digits[..63]),
        ] {
            assert_eq!(Secret::parse(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn neither_a_secret_nor_a_key_of_it_is_shown() {
        let secret = Secret::new([0xab; 32]);
        let keys = (secret.tag_key(), secret.beacon_key(), secret.seal_key());
        let shown = format!("{secret:?} {keys:?}");
        assert_eq!(shown, "Secret (TagKey, BeaconKey, SealKey)");
    }
}
