//! The rule for names and for what is shown, written a second time from PROTOCOL.md
//! section 2 and from Unicode's and Microsoft's lists: a mistake in the crate's own
//! code is not repeated here. Shared by the fuzz targets.

use std::path::{Component, Path};

use p2pfs::wire::Shown;
use p2pfs::wire::v0::FileName;

/// Holds what is made of some bytes, taken for a name, against the rule. True if they
/// are accepted.
pub fn check_name(bytes: &[u8]) -> bool {
    match FileName::from_bytes(bytes) {
        Ok(name) => {
            assert_eq!(name.as_str().as_bytes(), bytes, "comes out as it went in");
            assert_legal(&name);
            true
        }
        Err(error) => {
            assert!(!is_plain(bytes), "{bytes:x?} is refused for no reason: {error}");
            false
        }
    }
}

/// Holds how foreign text is shown against what has to be: one line, nothing in it that
/// could be taken for something else, and no two texts alike.
pub fn check_shown(text: &str) {
    let shown = Shown(text).to_string();
    assert_printable(&shown);
    assert_eq!(unescape(&shown).as_deref(), Some(text), "it can be read back");
}

/// Which clause of the rule a name breaks; `None` if it is legal.
pub fn violation(name: &[u8]) -> Option<&'static str> {
    let Ok(text) = std::str::from_utf8(name) else { return Some("not UTF-8") };
    let stem = text.split_once('.').map_or(text, |(stem, _)| stem).trim_end_matches(' ');
    let clauses = [
        ("length", !(1..=64).contains(&name.len())),
        ("separator", text.contains(['/', '\\', '\0'])),
        ("control", text.chars().any(is_control)),
        ("invisible", text.chars().any(is_invisible_or_bidi)),
        ("leading dot", text.starts_with('.')),
        ("outer space", text.trim() != text),
        ("trailing dot", text.ends_with('.')),
        ("reserved", text.contains(['<', '>', ':', '"', '|', '?', '*'])),
        ("device", is_device(&stem.to_ascii_uppercase())),
    ];
    clauses.iter().find(|(_, is_broken)| *is_broken).map(|(clause, _)| *clause)
}

/// Whether a name is legal and of such letters, digits and marks only that there can be
/// no doubt about it.
pub fn is_plain(name: &[u8]) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || c == ' ' || c.is_ascii_graphic();
    violation(name).is_none() && std::str::from_utf8(name).is_ok_and(|t| t.chars().all(is_plain))
}

/// Holds a name that was accepted against the rule, and against what it is for: to be
/// joined to a folder.
fn assert_legal(name: &FileName) {
    let text = name.as_str();
    assert_eq!(violation(text.as_bytes()), None, "{text:?} is accepted");
    let folder = Path::new("/some/folder");
    let joined = folder.join(text);
    assert_eq!(joined.parent(), Some(folder), "{text:?}");
    assert_eq!(joined.components().count(), folder.components().count() + 1, "{text:?}");
    let last = joined.components().next_back();
    assert!(matches!(last, Some(Component::Normal(last)) if last == text), "{text:?}");
    assert_printable(&format!("{name} {name:?}"));
}

/// Whether a text can be printed to a terminal as one line.
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| is_control(c) || is_invisible_or_bidi(c))
}

/// Panics unless it can.
pub fn assert_printable(text: &str) {
    assert!(is_printable(text), "{:?} is printed", text.escape_unicode().to_string());
}

/// What was shown, read back: `\\` and `\u{...}`; `None` if it is nothing of the kind.
fn unescape(shown: &str) -> Option<String> {
    let (mut text, mut rest) = (String::new(), shown);
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('\\') {
            text.push('\\');
            rest = behind;
        } else {
            let (digits, behind) = rest.strip_prefix("u{")?.split_once('}')?;
            text.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
            rest = behind;
        }
    }
    text.push_str(rest);
    Some(text)
}

fn is_control(c: char) -> bool {
    matches!(u32::from(c), 0..=0x1F | 0x7F..=0x9F | 0x2028 | 0x2029)
}

/// Unicode's Bidi_Control, and what has no width of its own: the format characters that
/// show nothing, joiners, fillers, tags and variation selectors of the supplement.
fn is_invisible_or_bidi(c: char) -> bool {
    matches!(u32::from(c),
        0x61C | 0x200E..=0x200F | 0x202A..=0x202E | 0x2066..=0x2069
        | 0xAD | 0x34F | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F
        | 0x200B..=0x200D | 0x2060..=0x2065 | 0x206A..=0x206F | 0x3164 | 0xFEFF | 0xFFA0
        | 0xFFF0..=0xFFFB | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
}

/// Microsoft's list in "Naming Files, Paths, and Namespaces", and the two of the console.
fn is_device(stem: &str) -> bool {
    const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
    let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    DEVICES.contains(&stem)
        || numbered.is_some_and(|number| {
            let mut chars = number.chars();
            chars.next().is_some_and(|c| "123456789\u{b9}\u{b2}\u{b3}".contains(c))
                && chars.next().is_none()
        })
}
