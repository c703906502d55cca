//! `p2pfs registry`.

use super::{cannot_bind, loop_failed, result_of, say_listening, serve, with_descriptors};
use crate::cli::{OutputArgs, RegistryArgs};
use crate::exit::{ExitCode, Failure};
use crate::limits::Limits;
use crate::node::RegistryNode;
use crate::reactor::{Listener, Reactor, Signals, Sockets};
use crate::ui::Ui;

pub fn registry(args: &RegistryArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let signals = Signals::new().map_err(loop_failed)?;
    let limits = with_descriptors(args.limits.limits(Limits::REGISTRY));
    let progress_timeout = limits.progress_timeout;
    let listener = Listener::bind(args.listen, progress_timeout).map_err(|error| {
        cannot_bind(args.listen, &error, "another registry? choose one with --listen")
    })?;
    let address = listener.address();
    let sockets = Sockets {
        // It connects to nobody.
        host: *address.ip(),
        host_to_loopback: *address.ip(),
        progress_timeout,
        listener: Some(listener),
        offers: None,
        control: None,
        programs: Vec::new(),
    };
    let node = RegistryNode::new(limits);
    let ui = Ui::new("registry".into(), output.show());
    let mut reactor = Reactor::new(ui, node, signals, sockets, None).map_err(loop_failed)?;
    say_listening(address, output);
    let outcome = serve(&mut reactor, &[])?;
    result_of(outcome, None)
}
