//! The machines of the control socket, by which programs of one user ask one another.
//!
//! | machine | side | connection |
//! |---|---|---|
//! | [`Session`] | the program that is asked | one it accepted |
//! | [`Inquiry`] | the program that asks | one it made, for one question |
//!
//! To add a question: its messages in `wire::control`, its rows and transitions in the two
//! machines here, its answer where the node handles [`Asked`], and its client, a command.

mod inquiry;
mod session;
#[cfg(test)]
mod tests;

pub use crate::wire::control::{Fetched, News};
pub use inquiry::{Ask, Inquiry, InquiryState, Reply};
pub use session::{Asked, Followed, Session, SessionState};
