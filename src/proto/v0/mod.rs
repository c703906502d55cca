//! The state machines of protocol version 0, and its schedule of offers.
//!
//! | machine | whose end | of what |
//! |---|---|---|
//! | [`Upload`] | the peer that has the file | a connection it accepted |
//! | [`Download`] | the peer that wants it | a connection it made |
//! | [`Registration`] | the peer | its connection to the registry |
//! | [`RegistrySession`] | the registry | a connection it accepted |
//! | [`OfferSchedule`] | the peer | when which file is offered |
//!
//! Which message is legal in which state stands in one place, [`legal`].

mod download;
pub mod legal;
mod offer_schedule;
mod registration;
mod registry_session;
mod upload;

pub use download::{Download, DownloadEvent};
pub use offer_schedule::OfferSchedule;
pub use registration::{Registration, RegistrationEvent};
pub use registry_session::RegistrySession;
pub use upload::{Upload, UploadEvent};
