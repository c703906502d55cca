//! The parser of datagrams: what it takes is an offer by the rule, as written down in
//! PROTOCOL.md, and what it does not take is none.

use kit::messages::{self, Count};
use kit::oracle;
use p2pfs::wire::v0::Offer;

/// The bytes are one datagram.
pub(super) fn run(data: &[u8]) {
    match Offer::decode(data) {
        Ok(offer) => {
            let name = offer.name.as_str();
            assert_eq!((data.len(), data[0]), (73, b'O'));
            assert_eq!(offer.peer.0, messages::int(data, 1));
            assert_eq!(data[9..], messages::field(name));
            let count = messages::int(data, 5) as usize;
            assert!(count == name.len() || count == name.chars().count());
            assert_eq!(oracle::violation(name.as_bytes()), None);
            let encoded = offer.encode();
            assert_eq!(encoded[..], messages::offer(offer.peer.0, name, Count::Bytes));
            assert!(count != name.len() || encoded[..] == *data);
            assert_eq!(Offer::decode(&encoded), Ok(offer));
        }
        Err(malformed) => {
            assert!(!is_plain_offer(data), "an offer is refused: {malformed}");
            oracle::assert_printable(&malformed.to_string());
        }
    }
}

/// Whether nobody could object to this offer.
fn is_plain_offer(data: &[u8]) -> bool {
    if data.len() != 73 || data[0] != b'O' {
        return false;
    }
    let len = messages::int(data, 5) as usize;
    (1..=64).contains(&len)
        && oracle::is_plain(&data[9..9 + len])
        && data[9 + len..].iter().all(|&byte| byte == 0)
}
