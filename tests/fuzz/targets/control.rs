//! The messages of the control socket: however a stream is cut, it is the same messages,
//! and each is encoded to the bytes that it was decoded from.

use p2pfs::wire::control::{Answer, Question};

use super::deframer::check;
use super::script::Script;

/// The first byte chooses the direction, the next ones how the rest is cut.
pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let is_question = script.flag();
    let cuts = script.bytes();
    let stream = script.remainder();
    match is_question {
        true => check::<Question>(stream, cuts, Question::encode),
        false => check::<Answer>(stream, cuts, Answer::encode),
    }
}
