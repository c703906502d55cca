//! Each name of `hostile.txt` is refused for what is wrong with it.

use kit::{Hostile, hostile, oracle};
use p2pfs::wire::v0::{FileName, NameError};

/// What `hostile.txt` calls an error.
fn class(error: NameError) -> &'static str {
    match error {
        NameError::Empty => "empty",
        NameError::TooLong => "too-long",
        NameError::NotUtf8 => "not-utf8",
        NameError::Separator => "separator",
        NameError::Control => "control",
        NameError::Deceptive => "deceptive",
        NameError::LeadingDot => "leading-dot",
        NameError::OuterSpace => "outer-space",
        NameError::TrailingDot => "trailing-dot",
        NameError::ReservedCharacter => "reserved",
        NameError::DeviceName => "device",
    }
}

#[test]
fn every_hostile_name_is_refused_for_a_reason_that_it_gives() {
    let all = hostile();
    assert!(all.len() >= 2000, "only {} names", all.len());
    for Hostile { classes, name } in &all {
        let shown = String::from_utf8_lossy(name).escape_default().to_string();
        let error = FileName::from_bytes(name).expect_err(&shown);
        assert!(classes.contains(&class(error)), "{shown}: {error}, and not {classes:?}");
        oracle::assert_printable(&error.to_string());
        oracle::check_shown(&String::from_utf8_lossy(name));
    }
    let mut classes: Vec<_> = all.iter().flat_map(|hostile| &hostile.classes).collect();
    classes.sort();
    classes.dedup();
    assert_eq!(classes.len(), 11, "some class has no name: {classes:?}");
}
