//! The messages of protocol version 0 and its rule for file names.
//!
//! Between peers ([`PeerMessage`], [`Offer`]):
//!
//! ```text
//! offer           O peer_id name_length name[64]   73 bytes, UDP broadcast
//! request         R name_length name[64]           69 bytes, downloader to uploader
//! chunk           T data_length data            5 + n bytes, uploader to downloader
//! acknowledgment  A peer_id                         5 bytes, downloader to uploader
//! EOF             E digest[64]                     65 bytes, uploader to downloader
//! ```
//!
//! Between a client and the registry ([`RegistryRequest`], [`RegistryResponse`]):
//!
//! ```text
//! register request   S R peer_id port              10 bytes
//! register response  S R success                    6 bytes
//! lookup request     S L peer_id                    6 bytes
//! lookup response    S L host[64] port             70 bytes
//! peers request      S P version after             10 bytes
//! peers response     S P count peers           6 + n bytes
//! peer                   peer_id address[16] port  24 bytes
//! error response     S E text[64]                  66 bytes
//! ```
//!
//! Peers that speak version 1 ask with a peers request for one another.
//!
//! Integers are unsigned, 32 bits, in network byte order; text fields are UTF-8
//! followed by NULs only.

mod file_name;
mod peer_message;
mod registry_message;

pub use file_name::{FileName, NameError};
pub use peer_message::{Offer, PeerMessage, PeerMessageKind, is_probe, probe};
pub use registry_message::{
    ListedPeer, RegistryRequest, RegistryRequestKind, RegistryResponse, RegistryResponseKind,
};
