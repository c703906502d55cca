//! What is shared and the folder that is fetched into: what stands there, and how a file gets out
//! and in.
//!
//! Owns every call that touches files. Only the reactor calls it. It knows no
//! connection and decides nothing.
//!
//! | type | what it does |
//! |---|---|
//! | [`SharedTree`] | the folders and files that are shared: finds and opens files |
//! | [`Walk`] | reads folders with all below them, entry by entry |
//! | [`SharedFolder`] | the folder that is fetched into: finds, opens and creates files |
//! | [`Source`] | a file open for sending |
//! | [`Partial`] | a file that is coming in: temporary name, verified, final name |
//! | [`BlockHash`] | a block of such a file that is being hashed, slice by slice |
//! | [`struct@Copy`] | a file that is made from another one, slice by slice |
//! | [`Watch`] | what the kernel tells of changes in trees |
//! | [`HashJobs`] | files that are being hashed, slice by slice |
//! | [`DigestCache`] | digests kept between runs |
//! | [`SimulatedFolder`] | a folder that is made anew at each start, for trying things out |
//!
//! What holds throughout:
//!
//! 1. The folder is opened once and every call is relative to its descriptor: if
//!    it is renamed or replaced, nothing is ever written elsewhere.
//! 2. No link is followed, no FIFO or device is read, nothing is replaced.
//! 3. Each call handles a bounded number of bytes. The `fsync` in
//!    [`SharedFolder::commit`] is the one call that may block for longer. Hashing and
//!    sending wait for a disk only if it is very slow, or the file system cannot tell what is
//!    in memory.
//! 4. A [`Partial`] that is not committed is removed, whatever way it ends; one whose process
//!    died is removed by the next [`SharedFolder::open`]. One of a content of several blocks is
//!    kept in both cases, unless it is discarded, and a later run continues it.

mod beneath;
mod commit;
mod copy;
mod digest_cache;
mod folder;
mod folders;
mod hashing;
mod holes;
mod naming;
mod partial;
mod read_ahead;
mod replace;
mod rules;
mod scan;
mod secret;
mod simulated;
mod source;
mod space;
mod system;
mod temporary;
mod tree;
mod twins;
mod walk;
mod watch;
mod watched;
mod writers;

pub use copy::{Copy, CopyStep};
pub use digest_cache::{DigestCache, cache_folder};
pub use folder::{Scan, SharedFolder, SkipReason, Skipped, WriteSettings};
pub use hashing::{HashJobs, HashOutcome, HashStep};
pub use partial::{BlockHash, BlockHashStep, Committed, Partial};
pub use replace::replace;
pub use rules::{Exclude, ShareRules};
pub use scan::{PassedOver, TreeScan};
pub use secret::{
    SecretError, is_absent, read_secret, secret_credential, secret_place, secret_remedy,
    write_secret,
};
pub use simulated::{PrepareError, SimulatedFolder, prepare};
pub use source::{Sent, Source};
pub use system::{names_in, persist, refused};
pub use tree::{RootError, SharedTree, There};
pub use walk::{Found, Walk};
pub use watch::{Changes, Shortage, Touch, Watch};
pub use writers::Spot;
