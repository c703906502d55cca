//! Patterns of file names.

use glob::{MatchOptions, Pattern};

use crate::wire::v0::FileName;

/// A pattern such as `*.iso`: `*` stands for any characters, `?` for one, `[ab]` for one
/// of those listed. It also matches the name that is written like it.
#[derive(Clone, Debug)]
pub struct NamePattern(Pattern);

impl NamePattern {
    /// Returns whether this is a pattern at all, and no name.
    pub fn is_pattern(text: &str) -> bool {
        text.contains(['*', '?', '['])
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        Pattern::new(text).map(Self).map_err(|error| error.msg)
    }

    pub fn matches(&self, name: &FileName) -> bool {
        let name = name.as_str();
        self.0.as_str() == name || self.0.matches_with(name, MatchOptions::new())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
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
        assert!(NamePattern::new("[a").is_err() && NamePattern::is_pattern("[a"));
        assert!(!NamePattern::is_pattern("{a}.txt"));
    }
}
