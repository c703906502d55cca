//! What we want by version 1: from a wish to the files that it means, each from many sources.

#[allow(dead_code, reason = "its jobs are to come")]
pub(super) mod contents;
#[allow(dead_code, reason = "the jobs that read it follow")]
mod listings;
#[allow(dead_code, reason = "the jobs that use it follow")]
mod wish;

pub use self::wish::{IdPrefix, PathPattern, Restriction, Wish, WishError};
