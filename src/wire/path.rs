//! The path of a file, relative to the folder that is shared.
//!
//! The rule is that of protocol version 1. A path of version 0 has one component, a
//! [`FileName`], which this rule always allows.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use super::field::prefix;
use super::text::Shown;
use super::v0::FileName;
use crate::content::ContentId;
use crate::limits::{COMPONENT_BYTES_MAX, PATH_BYTES_MAX, PATH_COMPONENTS_MAX};

/// How the temporary names of our program begin.
const TEMPORARY_PREFIX: &str = ".p2pfs-";

/// A legal path: 1 to 32 components of 1 to 255 bytes each, joined by `/`, 1,024 bytes in all.
/// Cloning it copies no text.
///
/// Paths are ordered component by component, so that what a folder holds stands together.
#[derive(Clone, PartialEq, Eq)]
pub struct FilePath(Rc<str>);

/// Why a text is not a legal path, or not a legal component of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// More than 1,024 bytes of UTF-8.
    TooLong,
    /// More than 32 components.
    TooDeep,
    /// Not UTF-8.
    NotUtf8,
    /// A component of no bytes: a `/` at the begin, at the end, or behind another one.
    EmptyComponent,
    /// A component of more than 255 bytes.
    LongComponent,
    /// The component `.` or `..`.
    Dots,
    /// A component that begins as our temporary names do.
    Temporary,
    /// A `\\` in a component, or a `/`.
    Separator,
    /// A control character, a line or paragraph separator, a byte order mark, or a character
    /// that changes the direction of others.
    Control,
}

impl FilePath {
    /// Returns `text` as a path.
    ///
    /// # Errors
    /// If it breaks the rule.
    pub fn new(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        text.split('/').try_for_each(check_component)?;
        if text.split('/').count() > PATH_COMPONENTS_MAX {
            return Err(PathError::TooDeep);
        }
        Ok(Self(text.into()))
    }

    /// Returns bytes from outside as a path.
    ///
    /// # Errors
    /// If they break the rule.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PathError> {
        Self::new(std::str::from_utf8(bytes).map_err(|_| PathError::NotUtf8)?)
    }

    /// Returns the path of a name in a folder; `None` is the folder that is shared.
    ///
    /// # Errors
    /// If it breaks the rule.
    pub fn in_folder(folder: Option<&Self>, name: &[u8]) -> Result<Self, PathError> {
        let name = str::from_utf8(name).map_err(|_| PathError::NotUtf8)?;
        check_component(name)?;
        let Some(folder) = folder else { return Ok(Self(name.into())) };
        if folder.0.len() + 1 + name.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if folder.components().count() == PATH_COMPONENTS_MAX {
            return Err(PathError::TooDeep);
        }
        Ok(Self([&folder.0, "/", name].concat().into()))
    }

    /// Returns the path that is called like an id.
    pub fn of_id(id: &ContentId) -> Self {
        Self(id.to_string().into())
    }

    /// Returns whether this is `root`, or lies below it.
    pub fn is_below(&self, root: &Self) -> bool {
        self.0.strip_prefix(&*root.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the path with a number before the extension of its name, such as `a/x (1).txt`;
    /// the name is cut if need be. A legal name of version 0 stays one.
    pub fn numbered(&self, number: u32) -> Self {
        if let Some(name) = self.name() {
            return name.numbered(number).into();
        }
        let at = self.0.rfind('/').map_or(0, |at| at + 1);
        let (folder, name) = self.0.split_at(at);
        let name = numbered(name, number, COMPONENT_BYTES_MAX);
        Self::new(&format!("{folder}{name}")).unwrap_or_else(|_| self.clone())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, from the top.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The name under which version 0 knows this path; `None` if it has none.
    pub fn name(&self) -> Option<FileName> {
        FileName::new(&self.0).ok()
    }
}

/// Returns a name with a number before its extension, cut to so many bytes.
pub(super) fn numbered(name: &str, number: u32, bytes_max: usize) -> String {
    let dot = name.rfind('.').filter(|&dot| dot > 0);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let suffix = format!(" ({number})");
    // An extension that leaves no room for anything else is none.
    let fits = suffix.len() + extension.len() < bytes_max;
    let (stem, extension) = if fits { (stem, extension) } else { (name, "") };
    let stem = prefix(stem, bytes_max - suffix.len() - extension.len());
    format!("{stem}{suffix}{extension}")
}

/// Checks one component of a path.
///
/// # Errors
/// If it breaks the rule.
pub(super) fn check_component(text: &str) -> Result<(), PathError> {
    match text {
        "" => Err(PathError::EmptyComponent),
        "." | ".." => Err(PathError::Dots),
        _ if text.len() > COMPONENT_BYTES_MAX => Err(PathError::LongComponent),
        _ if text.starts_with(TEMPORARY_PREFIX) => Err(PathError::Temporary),
        _ => text.chars().try_for_each(|c| match c {
            '/' | '\\' => Err(PathError::Separator),
            '\u{2028}'
            | '\u{2029}'
            | '\u{FEFF}'
            | '\u{061C}'
            | '\u{200E}'
            | '\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2066}'..='\u{2069}' => Err(PathError::Control),
            c if c.is_control() => Err(PathError::Control),
            _ => Ok(()),
        }),
    }
}

impl From<FileName> for FilePath {
    fn from(name: FileName) -> Self {
        Self(name.as_str().into())
    }
}

impl PartialOrd for FilePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FilePath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.components().cmp(other.components())
    }
}

impl AsRef<str> for FilePath {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Shown with the characters escaped that the rule allows and that show nothing.
impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Shown(self).to_string())
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the path is longer than 1,024 bytes",
            Self::TooDeep => "the path has more than 32 components",
            Self::NotUtf8 => "the path is not UTF-8",
            Self::EmptyComponent => "a component is empty",
            Self::LongComponent => "a component is longer than 255 bytes",
            Self::Dots => "a component is . or ..",
            Self::Temporary => "a component begins with .p2pfs-",
            Self::Separator => "a component holds a path separator",
            Self::Control => "a component holds a control or reordering character",
        })
    }
}

impl std::error::Error for PathError {}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_folder_holds_stands_together() {
        let mut paths =
            ["a.txt", "a/b", "b", "a", "a/b/c", "a-b"].map(|text| FilePath(text.into()));
        paths.sort();
        assert_eq!(
            paths.map(|path| path.0.to_string()),
            ["a", "a/b", "a/b/c", "a-b", "a.txt", "b"]
        );
    }

    #[test]
    fn a_path_made_of_a_folder_and_a_name_keeps_the_rule() {
        let in_folder = |folder: Option<&str>, name: &[u8]| {
            let folder = folder.map(|text| FilePath::new(text).unwrap());
            FilePath::in_folder(folder.as_ref(), name)
        };
        assert_eq!(in_folder(None, b"a"), FilePath::new("a"));
        assert_eq!(in_folder(Some("a/b"), b"c"), FilePath::new("a/b/c"));
        for name in [&b""[..], b"..", b"a/b", b"\xff", b"a\\b", b".p2pfs-x", &[b'n'; 256]] {
            assert!(in_folder(Some("a"), name).is_err(), "{name:?}");
        }
        let deep = vec!["d"; 31].join("/");
        let deepest = in_folder(Some(&deep), b"e").unwrap();
        assert_eq!(in_folder(Some(deepest.as_str()), b"f"), Err(PathError::TooDeep));
        let long = ["l".repeat(255), "l".repeat(255), "l".repeat(255)].join("/");
        assert_eq!(in_folder(Some(&long), &[b'n'; 255]).unwrap().as_str().len(), 1023);
        let long = long.replacen("l", "/l", 1).replacen('/', "x/", 1);
        assert_eq!(in_folder(Some(&long), &[b'n'; 255]), Err(PathError::TooLong));
    }

    #[test]
    fn a_path_with_a_number_keeps_its_folder_and_its_extension() {
        let numbered = |text: &str| FilePath::new(text).unwrap().numbered(7).as_str().to_owned();
        assert_eq!(numbered("a.b/x.tar.gz"), "a.b/x.tar (7).gz");
        assert_eq!(numbered("a.b/x"), "a.b/x (7)");
        assert_eq!(numbered(".profile"), ".profile (7)");
        let long = format!("a/{}.txt", "é".repeat(125));
        assert_eq!(numbered(&long), format!("a/{}.txt", "é".repeat(123) + " (7)"));
        // One that may stand at the top by version 0 is cut as that asks for.
        assert_eq!(numbered(&"a".repeat(64)), format!("{} (7)", "a".repeat(60)));
    }

    #[test]
    fn a_name_is_a_path_and_the_other_way_round_if_it_is_legal() {
        let name = FileName::new("a b.txt").unwrap();
        assert_eq!(FilePath::from(name).name(), Some(name));
        assert_eq!(FilePath("a/b".into()).name(), None);
    }
}
