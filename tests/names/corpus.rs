//! The hostile names of `hostile.txt`.

use kit::oracle;
use p2pfs::wire::v0::{FileName, NameError};

/// A name that has to be refused.
pub(crate) struct Hostile {
    /// The classes of the rule that it breaks, as `hostile.txt` calls them.
    pub(crate) classes: Vec<&'static str>,
    /// The name.
    pub(crate) name: Vec<u8>,
}

/// All of them.
pub(crate) fn hostile() -> Vec<Hostile> {
    let lines = include_str!("hostile.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (classes, name) = line.split_once('\t').expect("classes, a tab, a name");
            Hostile { classes: classes.split(',').collect(), name: unescape(name) }
        })
        .collect()
}

/// `\xNN` is a byte and `\\` a backslash.
fn unescape(text: &str) -> Vec<u8> {
    let (mut name, mut rest) = (Vec::new(), text);
    while let Some((before, behind)) = rest.split_once('\\') {
        name.extend_from_slice(before.as_bytes());
        if let Some(behind) = behind.strip_prefix('\\') {
            name.push(b'\\');
            rest = behind;
        } else {
            let (digits, behind) = behind.split_at(3);
            let digits = digits.strip_prefix('x').expect("a byte is \\xNN");
            name.push(u8::from_str_radix(digits, 16).expect("a byte is \\xNN"));
            rest = behind;
        }
    }
    name.extend_from_slice(rest.as_bytes());
    name
}

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
