//! Gives each option an environment variable, whose name is made from that of the option.

use std::env;

use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, Error};
use clap::{Arg, ArgAction, Command};

/// Returns `command` with a variable for each option, also those of its subcommands. A
/// variable that is empty counts as not set.
pub(super) fn with_variables(command: Command) -> Command {
    command.mut_args(with_variable).mut_subcommands(with_variables)
}

fn with_variable(arg: Arg) -> Arg {
    let Some(name) = arg.get_long().map(variable_of) else { return arg };
    let arg = match arg.get_action() {
        // Accepts `true` and `false`, 1 and 0, yes and no.
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    };
    match env::var_os(&name) {
        Some(value) if value.is_empty() => arg,
        _ => arg.env(name).hide_env(true),
    }
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
            assert!(arg.get_env().is_some(), "{}: {arg}", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }

    #[test]
    fn every_option_has_its_variable() {
        assert_eq!(variable_of("offer-interval"), "P2PFS_OFFER_INTERVAL");
        // Not built yet: clap then adds --help and --version, which have no variable.
        check(&crate::cli::definition());
    }
}
