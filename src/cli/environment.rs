//! Each option has an environment variable, made from its name in this one place, so
//! that none is forgotten.

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};

/// Gives each option of `command`, and of the commands below it, its variable. One that
/// is empty counts as not set.
pub(super) fn with_variables(command: Command) -> Command {
    command.mut_args(with_variable).mut_subcommands(with_variables)
}

fn with_variable(arg: Arg) -> Arg {
    let Some(name) = arg.get_long().map(variable_of) else { return arg };
    let arg = match arg.get_action() {
        // Not only `true` and `false`, but also 1 and 0, yes and no.
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    };
    match std::env::var_os(&name) {
        Some(value) if value.is_empty() => arg,
        _ => arg.env(name).hide_env(true),
    }
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
        // Before it is built: what clap adds then, --help and --version, has none.
        check(&crate::cli::definition());
    }
}
