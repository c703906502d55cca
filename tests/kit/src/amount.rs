use std::env;
use std::str::FromStr;

/// Returns the quantity that an environment variable sets, or else the usual one.
pub fn quantity<N: FromStr>(variable: &str, usual: N) -> N {
    setting(variable).unwrap_or(usual)
}

/// Returns the number that an environment variable sets; fails the test if it is no number.
pub fn setting<N: FromStr>(variable: &str) -> Option<N> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}
