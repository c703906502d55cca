//! The machines of protocol version 1.
//!
//! | file | what happens there |
//! |---|---|
//! | `session.rs` | one session: the hellos, the legal frames, the deadlines |
//! | `asking.rs` | what we asked, and what may be answered |
//! | `requests.rs` | the numbers of requests, and how many may be open |
//! | `sending.rs` | in which order frames are sent |
//! | `events.rs` | what a session tells its node, and its table |

mod asking;
mod events;
mod requests;
mod sending;
mod session;

pub use events::{Page, SessionEvent, SessionSettings, SessionState};
pub use requests::Request;
pub use session::Session;
