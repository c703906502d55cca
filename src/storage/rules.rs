//! Which names of a tree are shared.

use glob::{MatchOptions, Pattern, PatternError};

use crate::wire::FilePath;

/// `*` and `?` stop at a `/`, and `**` does not.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// The user's rules about what is shared of what could be.
#[derive(Clone, Debug, Default)]
pub struct ShareRules {
    /// Whether names that begin with a dot are shared.
    pub hidden: bool,
    /// What is left out, each with all below it.
    pub excludes: Vec<Exclude>,
}

/// A pattern of what is left out: of names at any depth if there is no `/` in it, else of paths
/// from the top.
#[derive(Clone, Debug)]
pub struct Exclude {
    pattern: Pattern,
    is_path: bool,
}

impl ShareRules {
    /// Returns whether this path is left out, if the folders above it are not.
    pub(super) fn exclude(&self, path: &FilePath) -> bool {
        let name = path.components().next_back().unwrap_or_default();
        self.excludes.iter().any(|exclude| {
            let text = if exclude.is_path { path.as_str() } else { name };
            exclude.pattern.matches_with(text, OPTIONS)
        })
    }

    /// Returns whether this name is hidden, and hidden ones are not shared.
    pub(super) fn hide(&self, name: &[u8]) -> bool {
        !self.hidden && name.starts_with(b".")
    }
}

impl Exclude {
    /// Reads a pattern. A `/` at its begin says that it is about paths, one at its end nothing.
    ///
    /// # Errors
    /// If a bracket in it is not closed, or a `**` has something beside it.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let pattern = Pattern::new(text.strip_prefix('/').unwrap_or(text))?;
        Ok(Self { pattern, is_path: text.contains('/') })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(pattern: &str, path: &str) -> bool {
        let excludes = vec![Exclude::new(pattern).unwrap()];
        ShareRules { excludes, ..ShareRules::default() }.exclude(&FilePath::new(path).unwrap())
    }

    #[test]
    fn a_pattern_without_a_slash_is_about_names_and_another_about_paths() {
        for (pattern, path) in [
            ("*.tmp", "x.tmp"),
            ("*.tmp", "a/b/x.tmp"),
            ("build", "a/build"),
            ("build/", "a/build"),
            ("/build", "build"),
            ("a/*", "a/b"),
            ("a/**/x", "a/x"),
            ("a/**/x", "a/b/c/x"),
            ("**/x", "x"),
        ] {
            assert!(excludes(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.tmp", "x.tmp/y"),
            ("/build", "a/build"),
            ("a/*", "a/b/c"),
            ("a/*", "b/a/c"),
            ("BUILD", "build"),
            ("a?b", "a/b"),
        ] {
            assert!(!excludes(pattern, path), "{pattern} {path}");
        }
        assert!(Exclude::new("[a").is_err());
    }
}
