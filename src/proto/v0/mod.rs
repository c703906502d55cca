//! The state machines of protocol version 0, and its schedule of offers.
//!
//! | machine | side | connection |
//! |---|---|---|
//! | [`Upload`] | the peer that has the file | one it accepted |
//! | [`Download`] | the peer that wants the file | one it made |
//! | [`Registration`] | the peer | its connection to the registry |
//! | [`RegistrySession`] | the registry | one it accepted |
//!
//! [`OfferSchedule`] is the order in which a peer offers its files, and when.

mod download;
mod offer_schedule;
mod registration;
mod registry_session;
mod upload;

pub use download::{Download, DownloadEvent, DownloadState};
pub use offer_schedule::OfferSchedule;
pub use registration::{Registration, RegistrationEvent, RegistrationState};
pub use registry_session::{RegistrySession, SessionState};
pub use upload::{Upload, UploadEvent, UploadState};
