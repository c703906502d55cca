//! Gives each option an environment variable, whose name is made from that of the option.

use std::env;
use std::ffi::OsStr;

use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, Error};
use clap::{Arg, ArgAction, Command};

/// Options that have none: the one who types the command is to know it.
const WITHOUT: [&str; 1] = ["no-secret"];

/// Returns `command` with a variable for each option, also those of its subcommands. A
/// variable that is empty counts as not set, and so does one of a container platform.
pub(super) fn with_variables(command: Command) -> Command {
    command.mut_args(with_variable).mut_subcommands(with_variables)
}

fn with_variable(arg: Arg) -> Arg {
    let Some(name) = arg.get_long().filter(|it| !WITHOUT.contains(it)).map(variable_of) else {
        return arg;
    };
    let arg = match arg.get_action() {
        // Accepts `true` and `false`, 1 and 0, yes and no.
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    };
    match env::var_os(&name) {
        Some(value) if value.is_empty() || is_of_a_platform(&name, &value) => arg,
        _ => arg.env(name).hide_env(true),
    }
}

/// Returns whether a container platform has set a variable, not the user: beside a service that is
/// called p2pfs, Kubernetes and Docker set P2PFS_PORT to the address of that service, and Docker
/// sets P2PFS_NAME to its path. They set others, too, of which none has the name of an option.
fn is_of_a_platform(name: &str, value: &OsStr) -> bool {
    let is_address =
        |scheme: &&str| value.as_encoded_bytes().starts_with(format!("{scheme}://").as_bytes());
    name.ends_with("_PORT") && ["tcp", "udp", "sctp"].iter().any(is_address)
        || name.ends_with("_NAME") && value.as_encoded_bytes().starts_with(b"/")
}

/// Returns what to tell the user of each option of a command whose variable is ignored.
pub(super) fn warnings(command: &Command) -> Vec<String> {
    let options = command.get_arguments().filter_map(Arg::get_long);
    let warning = |option: &str| {
        let name = variable_of(option);
        let is_ignored = env::var_os(&name).is_some_and(|value| is_of_a_platform(&name, &value));
        is_ignored
            .then(|| format!("{name} is ignored: a container platform set it; use --{option}"))
    };
    options.filter_map(warning).collect()
}

/// Returns the message of an error, which names the variable instead of the option if the
/// wrong value is from the variable.
pub(super) fn message(error: &Error) -> String {
    let text = error.to_string();
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    };
    let (Some(arg), Some(value)) =
        (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue))
    else {
        return text;
    };
    let option = arg.trim_start_matches('-').split([' ', '=', '[', '.']).next().unwrap_or_default();
    let variable = variable_of(option);
    // clap names one of several values that commas separate.
    let is_from_variable = env::var(&variable)
        .is_ok_and(|values| values == *value || values.split(',').any(|one| one == value));
    if is_from_variable { text.replace(&format!("'{arg}'"), &variable) } else { text }
}

/// Returns whether events are asked for, by a command line that may be wrong.
pub fn wants_events() -> bool {
    let variable = env::var_os(variable_of("json")).unwrap_or_default();
    env::args_os().any(|argument| argument == "--json")
        || BoolishValueParser::new()
            .parse_ref(&Command::new(""), None, &variable)
            .is_ok_and(|is_set| is_set)
}

fn variable_of(option: &str) -> String {
    format!("P2PFS_{}", option.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &Command) {
        for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
            let has_none = WITHOUT.map(Some).contains(&arg.get_long());
            assert_eq!(arg.get_env().is_none(), has_none, "{}: {arg}", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }

    #[test]
    fn addresses_that_container_platforms_set_are_no_options() {
        let is_ignored = |name, value: &str| is_of_a_platform(name, OsStr::new(value));
        assert!(is_ignored("P2PFS_PORT", "tcp://10.43.1.2:5000"));
        assert!(is_ignored("P2PFS_PORT", "udp://10.43.1.2:8000"));
        assert!(is_ignored("P2PFS_PORT", "sctp://[fd00::1]:8000"));
        for (name, value) in [
            ("P2PFS_PORT", "5000"),
            ("P2PFS_PORT", "tcp"),
            ("P2PFS_PORT", "http://a"),
            ("P2PFS_REGISTRY", "tcp://10.43.1.2:5000"),
        ] {
            assert!(!is_ignored(name, value), "{name}={value}");
        }
    }

    #[test]
    fn every_option_has_its_variable() {
        assert_eq!(variable_of("offer-interval"), "P2PFS_OFFER_INTERVAL");
        // Not built yet: clap then adds --help and --version, which have no variable.
        check(&crate::cli::definition());
    }
}
