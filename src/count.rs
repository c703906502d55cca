//! Numbers of things, as people say them.

use std::fmt::{self, Display};

/// So many of something, named in the singular: `1 file`, `2 files`, `3 retries`.
#[derive(Clone, Copy, Debug)]
pub struct Count<N>(pub N, pub &'static str);

impl<N: Copy + Display + From<u8> + PartialEq> Display for Count<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = *self;
        match what.strip_suffix('y') {
            _ if count == N::from(1) => write!(f, "{count} {what}"),
            Some(stem) => write!(f, "{count} {stem}ies"),
            None => write!(f, "{count} {what}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_said_in_the_singular_and_none_and_many_in_the_plural() {
        let said = |n: usize| [Count(n, "file"), Count(n, "retry")].map(|count| count.to_string());
        assert_eq!(said(0), ["0 files", "0 retries"]);
        assert_eq!(said(1), ["1 file", "1 retry"]);
        assert_eq!(said(21), ["21 files", "21 retries"]);
    }
}
