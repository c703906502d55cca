//! The codec against the vectors of the protocol.
//!
//! Every valid message decodes to its fields and encodes to its bytes, every malformed one is
//! refused, and the deframer gives the same result wherever a stream is cut.

mod catalog;
mod sessions;
mod streams;
mod v0;
mod v1;

fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.is_ascii() && digits.len().is_multiple_of(2));
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}
