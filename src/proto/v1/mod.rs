//! The machines of protocol version 1.
//!
//! | file | what happens there |
//! |---|---|
//! | `session.rs` | one session: the hellos, the legal frames, the deadlines |
//! | `asking.rs` | what we asked, and what may be answered |
//! | `requests.rs` | the numbers of requests, and how many may be open |
//! | `sending.rs` | in which order frames are sent |
//! | `sealed.rs` | Noise under a session, with a secret |
//! | `listing.rs` | a catalog, and how it is read in pages |
//! | `line.rs` | the line for turns at a source |
//! | `events.rs` | what a session tells its node, and its table |

mod asking;
mod events;
mod line;
mod listing;
mod requests;
mod sealed;
mod sending;
mod session;

pub use events::{Page, SessionEvent, SessionSettings, SessionState};
pub use line::{Line, NoTurn, Turn};
pub use listing::{Catalog, Listing, Reader};
pub use requests::Request;
pub use sealed::{RECORD_PLAIN_BYTES_MAX, SEALED_FIRST_BYTE, Sealed};
pub use session::Session;
