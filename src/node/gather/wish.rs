//! What the user wants, as it is written: a path, a folder, a pattern over paths, or a content.
//!
//! | written | means |
//! |---|---|
//! | `a/b` | the file, or the folder if no file has that path |
//! | `a/b/` | the folder |
//! | `/` | everything |
//! | `a/*.jpg` | each file whose path matches: `*`, `?` and `[ab]` do not cross `/`, `**/` does |
//! | `blake3:` and 64 digits | that content, stored under its id |
//! | `NAME=blake3:` and 16 digits or more | the content whose id begins so, stored under NAME |
//!
//! A file that is called like a pattern wins over it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use glob::{MatchOptions, Pattern};

use crate::content::ContentId;
use crate::limits::ID_DIGITS_MIN;
use crate::node::NamePattern;
use crate::wire::v0::FileName;
use crate::wire::v1::PeerName;
use crate::wire::{FilePath, PathError, PeerId, Shown};

/// How a content is written.
const CONTENT_PREFIX: &str = "blake3:";
/// The digits of a whole id.
const ID_DIGITS: usize = 64;

const MATCH_OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// One thing that the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The file, or the folder if no file has this path.
    Path(FilePath),
    /// The folder, and all below it; `None` is everything.
    Folder(Option<FilePath>),
    /// Every file with a path that matches.
    Matching(PathPattern),
    /// A content, wherever it stands.
    Content {
        id: IdPrefix,
        /// Under what it is stored; `None` is under its id.
        stored_as: Option<FilePath>,
    },
}

/// Why a text is no wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishError {
    Path(PathError),
    /// Behind `blake3:` stand no 16 to 64 hexadecimal digits.
    NoId,
}

/// A pattern over paths. It also matches the path that is written like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    pattern: Pattern,
    text: Box<str>,
    /// The path that is written like it, if that is a legal one.
    literal: Option<FilePath>,
    /// The folder in which all that matches stands; `None` is the top.
    root: Option<FilePath>,
}

/// The first digits of an id, or all of them.
#[derive(Clone, PartialEq, Eq)]
pub struct IdPrefix(Box<str>);

/// A peer to which sources are restricted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restriction {
    Id(PeerId),
    /// Every peer at that address.
    Host(Ipv4Addr),
    Address(SocketAddrV4),
    Name(PeerName),
}

impl FromStr for Wish {
    type Err = WishError;

    fn from_str(text: &str) -> Result<Self, WishError> {
        if let Some(digits) = text.strip_prefix(CONTENT_PREFIX) {
            let id = IdPrefix::new(digits).ok_or(WishError::NoId)?;
            return Ok(Self::Content { id, stored_as: None });
        }
        if let Some((name, digits)) = text.split_once("=blake3:") {
            let id = IdPrefix::new(digits).ok_or(WishError::NoId)?;
            let stored_as = Some(path(name)?);
            return Ok(Self::Content { id, stored_as });
        }
        if text == "/" {
            return Ok(Self::Folder(None));
        }
        if let Some(pattern) = PathPattern::new(text) {
            return Ok(Self::Matching(pattern));
        }
        match text.strip_suffix('/') {
            Some(folder) => Ok(Self::Folder(Some(path(folder)?))),
            None => Ok(Self::Path(path(text)?)),
        }
    }
}

fn path(text: &str) -> Result<FilePath, WishError> {
    FilePath::new(text).map_err(WishError::Path)
}

impl Wish {
    /// Returns where a catalog is to be read for it; `None` is all of it.
    pub(super) fn root(&self) -> Option<&FilePath> {
        match self {
            Self::Path(path) => Some(path),
            Self::Folder(path) => path.as_ref(),
            Self::Matching(pattern) => pattern.root.as_ref(),
            Self::Content { .. } => None,
        }
    }

    /// Returns the name that version 0 may have for it.
    pub fn name(&self) -> Option<FileName> {
        match self {
            Self::Path(path) => path.name(),
            _ => None,
        }
    }

    /// Returns the pattern that version 0 may have for it.
    pub fn name_pattern(&self) -> Option<NamePattern> {
        match self {
            Self::Matching(pattern) if !pattern.text.contains('/') => {
                NamePattern::new(&pattern.text)
            }
            _ => None,
        }
    }

    /// Returns it as a wish for one file, if it may be one: a pattern with brackets alone as the
    /// path that is written like it.
    pub fn one_file(&self) -> Option<Self> {
        match self {
            Self::Path(_) | Self::Content { .. } => Some(self.clone()),
            Self::Matching(pattern) => {
                let literal = pattern.literal().filter(|_| !pattern.text.contains(['*', '?']));
                literal.cloned().map(Self::Path)
            }
            Self::Folder(_) => None,
        }
    }
}

impl PathPattern {
    /// Returns `text` as a pattern. Returns `None` for a text that is none: one with a bracket
    /// that is not closed, for example, can only be a path.
    pub fn new(text: &str) -> Option<Self> {
        if !text.contains(SPECIAL) {
            return None;
        }
        // All below the folders that match.
        let below = text.ends_with('/').then(|| format!("{text}**"));
        let pattern = Pattern::new(below.as_deref().unwrap_or(text)).ok()?;
        let literal_bytes = text.find(SPECIAL).unwrap_or_default();
        let root = text.get(..literal_bytes).and_then(|literal| literal.rsplit_once('/'));
        Some(Self {
            pattern,
            text: text.into(),
            literal: FilePath::new(text).ok(),
            root: match root {
                Some((root, _)) => Some(FilePath::new(root).ok()?),
                None => None,
            },
        })
    }

    pub fn matches(&self, path: &FilePath) -> bool {
        self.is(path) || self.pattern.matches_with(path.as_str(), MATCH_OPTIONS)
    }

    /// Returns whether this is the path that is written like it.
    pub fn is(&self, path: &FilePath) -> bool {
        self.literal.as_ref() == Some(path)
    }

    /// Returns the path that is written like it, if that is a legal one.
    pub(super) fn literal(&self) -> Option<&FilePath> {
        self.literal.as_ref()
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The characters that make a text a pattern.
const SPECIAL: [char; 3] = ['*', '?', '['];

impl IdPrefix {
    fn new(digits: &str) -> Option<Self> {
        let is_legal = (ID_DIGITS_MIN..=ID_DIGITS).contains(&digits.len())
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_legal.then(|| Self(digits.to_ascii_lowercase().into()))
    }

    /// Returns the id, if this is all of it.
    pub fn id(&self) -> Option<ContentId> {
        ContentId::from_hex(self.0.as_bytes())
    }

    pub fn matches(&self, id: &ContentId) -> bool {
        let Self(digits) = self;
        let is_digit = |(at, digit): (usize, u8)| {
            let byte = id.0.get(at / 2).copied().unwrap_or_default();
            let half = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
            char::from_digit(u32::from(half), 16) == Some(char::from(digit))
        };
        digits.bytes().enumerate().all(is_digit)
    }
}

impl FromStr for Restriction {
    type Err = PathError;

    /// A number is an id, an address an address, all else a name.
    fn from_str(text: &str) -> Result<Self, PathError> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(PeerId(id)));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Ok(host) = text.parse() {
            return Ok(Self::Host(host));
        }
        match text.is_empty() {
            true => Err(PathError::EmptyComponent),
            false => Ok(Self::Name(PeerName::new(text)?)),
        }
    }
}

impl Restriction {
    /// Returns whether it names this peer.
    pub(super) fn is(&self, peer: PeerId, address: SocketAddrV4, name: PeerName) -> bool {
        match self {
            Self::Id(id) => *id == peer,
            Self::Host(host) => host == address.ip(),
            Self::Address(wanted) => *wanted == address,
            Self::Name(wanted) => *wanted == name,
        }
    }

    /// Returns whether it may name a peer of which only the address is known.
    pub(super) fn may_be_at(&self, address: SocketAddrV4) -> bool {
        match self {
            Self::Id(_) | Self::Name(_) => true,
            Self::Host(host) => host == address.ip(),
            Self::Address(wanted) => *wanted == address,
        }
    }
}

/// As it was written.
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Folder(Some(path)) => write!(f, "{path}/"),
            Self::Folder(None) => f.write_str("/"),
            Self::Matching(pattern) => Shown(pattern.as_str()).fmt(f),
            Self::Content { id, stored_as } => {
                stored_as.iter().try_for_each(|path| write!(f, "{path}="))?;
                write!(f, "{CONTENT_PREFIX}{}", id.0)
            }
        }
    }
}

impl fmt::Display for WishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(error) => error.fmt(f),
            Self::NoId => f.write_str("blake3: takes 16 to 64 hexadecimal digits of an id"),
        }
    }
}

impl fmt::Debug for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8e4c7c1b99dbfd50e7a95185fead5ee1448fa904a2fdd778eaf5f2dbfd629a99";

    fn wish(text: &str) -> Wish {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn path(text: &str) -> FilePath {
        FilePath::new(text).unwrap()
    }

    #[test]
    fn a_wish_is_read_and_shown_as_it_was_written() {
        assert_eq!(wish("a/b c"), Wish::Path(path("a/b c")));
        assert_eq!(wish("a/b/"), Wish::Folder(Some(path("a/b"))));
        assert_eq!(wish("/"), Wish::Folder(None));
        // A bracket that is not closed makes no pattern.
        assert_eq!(wish("a[1"), Wish::Path(path("a[1")));
        let roots = [
            ("a/b", Some("a/b")),
            ("a/", Some("a")),
            ("/", None),
            ("*.jpg", None),
            ("a/b/*/c", Some("a/b")),
            ("a/b*/c", Some("a")),
        ];
        for (text, root) in roots {
            assert_eq!(wish(text).root(), root.map(path).as_ref(), "{text}");
        }
        let content = format!("a/b=blake3:{ID}");
        let prefix = format!("blake3:{}", &ID[..16]);
        for text in ["a/b", "a/b/", "/", "a/*.jpg", "a/*/", &content, &prefix] {
            assert_eq!(wish(text).to_string(), text);
        }
    }

    #[test]
    fn a_text_that_breaks_the_rule_is_no_wish() {
        let no_id = ["blake3:", "blake3:8e4c7c1b99dbfd5", "a=blake3:8e4c7c1b99dbfd5g", "blake3:é"];
        for text in no_id {
            assert_eq!(text.parse::<Wish>(), Err(WishError::NoId), "{text}");
        }
        assert_eq!(format!("blake3:{ID}0").parse::<Wish>(), Err(WishError::NoId));
        for text in ["", "a//b", "/a", "a//", "../a", "a/./b", "=blake3:8e4c7c1b99dbfd50"] {
            assert!(matches!(text.parse::<Wish>(), Err(WishError::Path(_))), "{text}");
        }
    }

    #[test]
    fn a_pattern_matches_paths_and_only_two_stars_cross_a_slash() {
        let matches =
            |pattern: &str, text: &str| PathPattern::new(pattern).unwrap().matches(&path(text));
        for (pattern, text) in [
            ("*", "a"),
            ("*.jpg", "x.jpg"),
            ("?.txt", "é.txt"),
            ("a/*", "a/b"),
            ("a/**", "a/b/c"),
            ("**/c", "a/b/c"),
            ("**/c", "c"),
            ("a/**/c", "a/c"),
            ("[ab]*/c", "bc/c"),
            ("p*/", "photos/2024/a"),
            ("a[1]", "a[1]"),
            ("a[1]", "a1"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("*", "a/b"),
            ("a/*", "a/b/c"),
            ("a?b", "a/b"),
            ("a[!x]b", "a/b"),
            ("a/**", "a"),
            ("*.jpg", "x.JPG"),
            ("p*/", "photos"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(PathPattern::new("a[1]").unwrap().is(&path("a[1]")));
        for text in ["a", "{a}", "[a", "a**b"] {
            assert!(PathPattern::new(text).is_none(), "{text}");
        }
        // A folder that no path can have holds nothing that matches.
        assert!(PathPattern::new("../*").is_none());
    }

    #[test]
    fn an_id_is_found_by_its_first_digits() {
        let id = ContentId::from_hex(ID.as_bytes()).unwrap();
        let Wish::Content { id: prefix, .. } = wish(&format!("blake3:{}", &ID[..17])) else {
            panic!("no content");
        };
        assert!(prefix.matches(&id) && prefix.id().is_none());
        let mut other = id;
        other.0[8] ^= 0x10;
        assert!(!prefix.matches(&other));
        let upper = wish(&format!("x=blake3:{}", ID.to_ascii_uppercase()));
        assert!(matches!(upper, Wish::Content { id: whole, .. } if whole.id() == Some(id)));
    }

    #[test]
    fn version_0_knows_names_and_patterns_of_one_component() {
        assert!(wish("a.iso").name().is_some() && wish("*.iso").name_pattern().is_some());
        for text in ["a/b", "a/", "/", "a/*", "**/a"] {
            assert!(wish(text).name().is_none() && wish(text).name_pattern().is_none(), "{text}");
        }
    }

    #[test]
    fn a_restriction_names_a_peer_by_its_id_its_address_or_its_name() {
        let from = |text: &str| text.parse::<Restriction>().unwrap();
        let (address, name) = ("192.0.2.1:8001".parse().unwrap(), PeerName::new("ann").unwrap());
        for text in ["7", "192.0.2.1", "192.0.2.1:8001", "ann"] {
            assert!(from(text).is(PeerId(7), address, name), "{text}");
        }
        for text in ["8", "192.0.2.2", "192.0.2.1:8002", "bob", "7.0"] {
            assert!(!from(text).is(PeerId(7), address, name), "{text}");
        }
        assert!(from("ann").may_be_at(address) && !from("192.0.2.2").may_be_at(address));
        assert!("".parse::<Restriction>().is_err() && "a/b".parse::<Restriction>().is_err());
    }
}
