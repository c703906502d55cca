//! The parser of beacons: what it takes is written again to the same bytes, and no byte of
//! what has a MAC can be changed.

use kit::oracle;
use p2pfs::wire::Shown;
use p2pfs::wire::v1::{Beacon, BeaconKey, BeaconKind};

/// Where the flags are, of which one counts.
const FLAGS_AT: usize = 5;

/// The bytes are one datagram.
pub(super) fn run(data: &[u8]) {
    let key = BeaconKey::new(&[7; 32]);
    assert!(Beacon::decode(data, Some(&key)).is_err(), "nobody made that MAC");
    match Beacon::decode(data, None) {
        Ok(beacon) => {
            assert!(data.len() <= 512 && beacon.instance != 0 && beacon.tags.len() <= 32);
            assert!(beacon.kind != BeaconKind::Leaving || beacon.tags.is_empty());
            let name = beacon.name.as_str();
            assert!(name.len() <= 63 && !name.contains(['/', '\0']));
            oracle::assert_printable(&Shown(name).to_string());
            let mut plain = data.to_vec();
            plain[FLAGS_AT] = 0;
            assert_eq!(beacon.encode(None), plain);
            let sealed = beacon.encode(Some(&key));
            assert_eq!(Beacon::decode(&sealed, Some(&key)), Ok(beacon));
            assert!(Beacon::decode(&sealed, None).is_err());
            let mut changed = sealed.clone();
            let at = data.iter().map(|byte| usize::from(*byte)).sum::<usize>() % sealed.len();
            changed[at] ^= 1 << (at % 8);
            assert!(Beacon::decode(&changed, Some(&key)).is_err(), "byte {at} is open");
        }
        Err(malformed) => oracle::assert_printable(&malformed.to_string()),
    }
}
