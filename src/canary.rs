//! Seeded bugs, one of which is switched on at a time, to see that the tests notice.
//!
//! They exist only in a debug build with the feature `canaries`: everywhere else
//! [`sings`] is `false` at compile time, and a release with them does not build.
//! `tests/canaries` runs them all and shows by which test each was caught.

/// A seeded bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// A download is taken for right whatever its digest.
    AnyDigest,
    /// A chunk is acknowledged before it is written.
    EarlyAcknowledgment,
    /// An upload does not wait for acknowledgments.
    NoWindow,
    /// A transfer that does not move is never given up.
    NoProgressDeadline,
    /// Offers are never forgotten.
    NoExpiry,
    /// Names may be anything that fits.
    AnyName,
    /// Text from outside is shown as it is.
    RawText,
    /// The id of a closed connection leads to the next one in its slot.
    NoGeneration,
    /// The registry keeps entries of connections that are gone.
    EntriesStay,
    /// A file that changed keeps the digest it had.
    StaleDigest,
    /// A file may take the place of another.
    Replace,
    /// Links are followed.
    FollowLinks,
    /// A partial file that fails stays.
    PartialsStay,
    /// Nothing is made safe before it is called done.
    NoSync,
}

/// Whether this bug is switched on, by its name in `P2PFS_CANARY`.
#[cfg(feature = "canaries")]
pub fn sings(canary: Canary) -> bool {
    use std::sync::OnceLock;
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    let name = NAME.get_or_init(|| std::env::var("P2PFS_CANARY").ok());
    name.as_deref() == Some(format!("{canary:?}").as_str())
}

/// Never: this build has no seeded bugs.
#[cfg(not(feature = "canaries"))]
pub const fn sings(_: Canary) -> bool {
    false
}

#[cfg(all(feature = "canaries", not(debug_assertions)))]
compile_error!("the feature canaries seeds bugs for the tests and must not be in a release");
