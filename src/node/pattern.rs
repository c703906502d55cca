//! Patterns of file names.

use glob::{MatchOptions, Pattern};

use crate::wire::folded;
use crate::wire::v0::FileName;

/// A pattern such as `*.iso`: `*` stands for any characters, `?` for one, `[ab]` for one
/// of those listed. It also matches the name that is written like it.
#[derive(Clone, Debug)]
pub struct NamePattern {
    pattern: Pattern,
    /// The same of names that are [`folded`].
    folded: Option<Pattern>,
    /// The name that is written like it, if that is a legal one.
    name: Option<FileName>,
}

impl NamePattern {
    /// Reads a pattern. Returns `None` for a text that is none: one with a bracket that is not
    /// closed, for example, can only be a name.
    pub fn new(text: &str) -> Option<Self> {
        if !text.contains(['*', '?', '[']) {
            return None;
        }
        let pattern = Pattern::new(text).ok()?;
        Some(Self {
            pattern,
            folded: Pattern::new(&folded(text)).ok(),
            name: FileName::new(text).ok(),
        })
    }

    pub fn matches(&self, name: &FileName) -> bool {
        self.is(name) || self.pattern.matches_with(name.as_str(), MatchOptions::new())
    }

    /// Returns whether it would match but for case or Unicode form.
    pub fn nearly_matches(&self, name: &FileName) -> bool {
        let name = folded(name.as_str());
        self.folded.as_ref().is_some_and(|it| it.matches_with(&name, MatchOptions::new()))
    }

    /// Returns the name that is written like it, if that is a legal one.
    pub fn name(&self) -> Option<FileName> {
        self.name
    }

    /// Returns whether this is the name that is written like it.
    pub fn is(&self, name: &FileName) -> bool {
        self.name.as_ref() == Some(name)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.pattern.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_names_and_itself() {
        let matches = |pattern: &str, name: &str| {
            NamePattern::new(pattern).unwrap().matches(&FileName::new(name).unwrap())
        };
        for (pattern, name) in [
            ("*", "a"),
            ("*.iso", "x.iso"),
            ("?.txt", "é.txt"),
            ("[ab]*", "bc"),
            ("a[1]", "a[1]"),
            ("a[1]", "a1"),
            ("**", "a"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.iso", "x.ISO"), ("?", "ab"), ("[ab]", "c"), ("a*", "ba")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        let nearly = |pattern: &str, name: &str| {
            NamePattern::new(pattern).unwrap().nearly_matches(&FileName::new(name).unwrap())
        };
        assert!(
            nearly("*.iso", "x.ISO")
                && nearly("[a-c]*", "B")
                && nearly("caf\u{e9}*", "CAFE\u{301}1")
        );
        assert!(!nearly("*.iso", "x.img"));
        for name in ["{a}.txt", "[a", "a[].txt", "x [!] y", "a]"] {
            assert!(NamePattern::new(name).is_none(), "{name}");
        }
        let name = |pattern: &str| NamePattern::new(pattern).unwrap().name();
        assert_eq!((name("a[1]"), name("a[1]*")), (FileName::new("a[1]").ok(), None));
    }
}
