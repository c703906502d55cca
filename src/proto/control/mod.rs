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

pub use inquiry::{Ask, Inquiry, InquiryState, Reply};
pub use session::{Asked, Session, SessionState};

use crate::wire::control::Fetched;
use crate::wire::v0::FileName;

/// What becomes of a file that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Nobody offers it so far.
    Waiting(FileName),
    /// It is offered.
    Offered(FileName),
    /// It was there before. This is an end.
    Present(FileName),
    /// It is there, safe and verified. This is an end.
    Verified(Fetched),
    /// It will not come. This is an end.
    Failed {
        /// The file.
        name: FileName,
        /// The exit code that tells the reason to scripts.
        code: u8,
        /// The reason, for people; print it through [`Shown`](crate::wire::Shown).
        reason: String,
    },
}

impl News {
    /// Returns the file.
    pub fn name(&self) -> &FileName {
        match self {
            Self::Waiting(name) | Self::Offered(name) | Self::Present(name) => name,
            Self::Verified(fetched) => &fetched.name,
            Self::Failed { name, .. } => name,
        }
    }

    /// Returns whether the wish has come to its end.
    pub fn is_end(&self) -> bool {
        !matches!(self, Self::Waiting(_) | Self::Offered(_))
    }
}
