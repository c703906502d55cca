//! The path of a file, relative to the folder that is shared.
//!
//! Of version 0 a path has one component, a [`FileName`]; nothing else makes one.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use super::v0::FileName;

/// A path of one or more components, joined by `/`. Cloning it copies no text.
///
/// Paths are ordered component by component, so that what a folder holds stands together.
#[derive(Clone, PartialEq, Eq)]
pub struct FilePath(Rc<str>);

impl FilePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, shared.
    pub fn text(&self) -> Rc<str> {
        Rc::clone(&self.0)
    }

    /// The components, from the top.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The name under which version 0 knows this path; `None` if it has none.
    pub fn name(&self) -> Option<FileName> {
        FileName::new(&self.0).ok()
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

/// Shown as it is: the rule for names leaves nothing in it that needs escaping.
impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

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
    fn a_name_is_a_path_and_the_other_way_round_if_it_is_legal() {
        let name = FileName::new("a b.txt").unwrap();
        assert_eq!(FilePath::from(name).name(), Some(name));
        assert_eq!(FilePath("a/b".into()).name(), None);
    }
}
