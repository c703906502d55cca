//! The one rule for file names, whatever a name comes from: an offer, a request, the
//! command line, a folder.
//!
//! A [`FileName`] can be joined to a folder and printed on a terminal as it is, on any
//! system.

use std::fmt;

use crate::limits::{NAME_BYTES_MAX, TEXT_FIELD_BYTES};
use crate::wire::field::{FieldText, INT_BYTES, text};
use crate::wire::malformed::Malformed;
use crate::wire::path::numbered;
use crate::wire::text::is_deceptive;

/// A legal file name: one path component of 1 to 64 bytes of UTF-8.
///
/// It holds its bytes itself, so it is copied freely and never allocates. A legal name has
/// no NUL, so the shorter of two names that begin alike comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(FieldText);

/// Why a text is not a legal file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// No text at all.
    Empty,
    /// More than 64 bytes of UTF-8.
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// A `/` or `\`.
    Separator,
    /// A NUL or control character.
    Control,
    /// A character that shows nothing or changes the order of others.
    Deceptive,
    /// Begins with a dot; `.`, `..` and our own temporary names are of this kind.
    LeadingDot,
    /// Begins or ends with white space.
    OuterSpace,
    /// Ends with a dot.
    TrailingDot,
    /// One of `< > : " | ? *`, which Windows reserves.
    ReservedCharacter,
    /// A device name of Windows, such as `con` or `nul.txt`.
    DeviceName,
}

impl FileName {
    /// Returns `text` as a name.
    ///
    /// # Errors
    /// If it breaks the rule, with the first clause that it breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check(text)?;
        Ok(Self(FieldText::new(text)))
    }

    /// Returns bytes from outside as a name.
    ///
    /// # Errors
    /// If they break the rule, with the first clause that they break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        Self::new(std::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8)?)
    }

    /// Returns the name in a text field, with `len` in the integer field before it.
    ///
    /// The reference counts characters where the protocol says bytes; both pass.
    pub(super) fn from_field(
        len: [u8; INT_BYTES],
        field: &[u8; TEXT_FIELD_BYTES],
    ) -> Result<Self, Malformed> {
        let got = u32::from_be_bytes(len);
        if got == 0 || got as usize > NAME_BYTES_MAX {
            return Err(Malformed::NameLength { got });
        }
        let text = text(field)?;
        if got as usize != text.len() && got as usize != text.chars().count() {
            return Err(Malformed::NameLengthMismatch { got });
        }
        Self::new(text).map_err(Malformed::Name)
    }

    /// Returns the two fields of the name: its length in bytes, and its text.
    pub(super) fn fields(&self) -> ([u8; INT_BYTES], &[u8; TEXT_FIELD_BYTES]) {
        ((self.as_str().len() as u32).to_be_bytes(), self.0.field())
    }

    /// Returns the name with a number before its extension, such as `x (1).txt`; cut if
    /// need be.
    pub fn numbered(&self, number: u32) -> Self {
        Self::new(&numbered(self.as_str(), number, NAME_BYTES_MAX)).unwrap_or(*self)
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl AsRef<str> for FileName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Shows the name as it is: the rule leaves nothing in it that needs escaping.
impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the name is empty",
            Self::TooLong => "the name is longer than 64 bytes",
            Self::NotUtf8 => "the name is not UTF-8",
            Self::Separator => "the name holds a path separator",
            Self::Control => "the name holds a control character",
            Self::Deceptive => "the name holds an invisible or reordering character",
            Self::LeadingDot => "the name begins with a dot",
            Self::OuterSpace => "the name begins or ends with white space",
            Self::TrailingDot => "the name ends with a dot",
            Self::ReservedCharacter => "the name holds one of < > : \" | ? *",
            Self::DeviceName => "the name is a device name of Windows",
        })
    }
}

impl std::error::Error for NameError {}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    for c in text.chars() {
        match c {
            '/' | '\\' => return Err(NameError::Separator),
            '<' | '>' | ':' | '"' | '|' | '?' | '*' => return Err(NameError::ReservedCharacter),
            c if c.is_control() => return Err(NameError::Control),
            c if is_deceptive(c) => return Err(NameError::Deceptive),
            _ => {}
        }
    }
    if text.starts_with('.') {
        return Err(NameError::LeadingDot);
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(NameError::OuterSpace);
    }
    if text.ends_with('.') {
        return Err(NameError::TrailingDot);
    }
    if is_device_name(text) {
        return Err(NameError::DeviceName);
    }
    Ok(())
}

/// Returns whether Windows takes the name for a device, as it does `NUL`, `nul.txt` and
/// `nul .txt`. The list is that of Microsoft's "Naming Files, Paths, and Namespaces".
fn is_device_name(text: &str) -> bool {
    let stem = text.split('.').next().unwrap_or(text).trim_end_matches(' ');
    let is = |name: &str| stem.eq_ignore_ascii_case(name);
    if ["con", "prn", "aux", "nul", "conin$", "conout$"].into_iter().any(is) {
        return true;
    }
    let Some((head, digit)) = stem.char_indices().nth(3).map(|(at, _)| stem.split_at(at)) else {
        return false;
    };
    ["com", "lpt"].into_iter().any(|name| head.eq_ignore_ascii_case(name))
        && matches!(digit, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names_come_out_as_they_went_in() {
        let longest = "a".repeat(64);
        for text in ["x", "dummyfile.txt", "résumé.pdf", "a b", "com10", "console", &longest] {
            let name = FileName::new(text).unwrap();
            assert_eq!(name.as_str(), text);
            assert_eq!(FileName::from_bytes(text.as_bytes()), Ok(name));
        }
        assert!(FileName::new("ab").unwrap() < FileName::new("abc").unwrap());
        assert!(FileName::new("abc").unwrap() < FileName::new("b").unwrap());
    }

    #[test]
    fn a_name_with_a_number_is_legal_and_keeps_its_extension() {
        let numbered = |text: &str| FileName::new(text).unwrap().numbered(7).as_str().to_owned();
        assert_eq!(numbered("x.tar.gz"), "x.tar (7).gz");
        assert_eq!(numbered("x"), "x (7)");
        assert_eq!(numbered(&"é".repeat(32)), format!("{} (7)", "é".repeat(30)));
        assert_eq!(
            numbered(&format!("{}.txt", "a".repeat(60))),
            format!("{} (7).txt", "a".repeat(56))
        );
        let long = format!("a.{}", "b".repeat(62));
        assert_eq!(numbered(&long), format!("a.{} (7)", "b".repeat(58)));
        // The longest extension that leaves room for one more character, and one longer.
        let (kept, cut) = ("b".repeat(58), "b".repeat(59));
        assert_eq!(numbered(&format!("aa.{kept}")), format!("a (7).{kept}"));
        assert_eq!(numbered(&format!("aa.{cut}")), format!("aa.{} (7)", &cut[..57]));
    }

    #[test]
    fn each_clause_of_the_rule_refuses_with_its_own_error() {
        let too_long = "a".repeat(65);
        for (text, error) in [
            ("", NameError::Empty),
            (too_long.as_str(), NameError::TooLong),
            ("../x", NameError::Separator),
            ("..\\x", NameError::Separator),
            ("a\0b", NameError::Control),
            ("a\x7fb", NameError::Control),
            ("a\u{85}b", NameError::Control),
            ("gpj\u{202e}exe", NameError::Deceptive),
            ("a\u{200b}b", NameError::Deceptive),
            ("a\u{2028}b", NameError::Deceptive),
            (".", NameError::LeadingDot),
            ("..", NameError::LeadingDot),
            (".hidden", NameError::LeadingDot),
            (" a", NameError::OuterSpace),
            ("a\u{2003}", NameError::OuterSpace),
            ("a.", NameError::TrailingDot),
            ("x:y", NameError::ReservedCharacter),
            ("what?", NameError::ReservedCharacter),
            ("con", NameError::DeviceName),
            ("NUL.txt", NameError::DeviceName),
            ("nul .txt", NameError::DeviceName),
            ("Lpt1.tar.gz", NameError::DeviceName),
            ("COM\u{b9}", NameError::DeviceName),
        ] {
            assert_eq!(FileName::new(text), Err(error), "{text:?}");
        }
        assert_eq!(FileName::from_bytes(b"\xff\xfe"), Err(NameError::NotUtf8));
    }
}
