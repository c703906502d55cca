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

/// So many bytes, in the unit of powers of 1024 that fits: `15 B`, `1.46 KiB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = self.0.checked_ilog2().unwrap_or_default() / 10;
        let Some(unit) = power.checked_sub(1) else { return write!(f, "{} B", self.0) };
        let unit = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit as usize];
        write!(f, "{:.2} {unit}", self.0 as f64 / (1_u64 << (10 * power)) as f64)
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

    #[test]
    fn bytes_are_said_in_the_greatest_unit_of_which_there_is_one() {
        let said = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1500, "1.46 KiB"),
            ((1 << 20) - 1, "1024.00 KiB"),
            (1_500_000, "1.43 MiB"),
            (1_500_000_000, "1.40 GiB"),
            (1_500_000_000_000, "1.36 TiB"),
            (1_500_000_000_000_000, "1.33 PiB"),
            (u64::MAX, "16.00 EiB"),
        ];
        said.iter().for_each(|(bytes, said)| assert_eq!(Bytes(*bytes).to_string(), *said));
    }
}
