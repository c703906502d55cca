//! `p2pfs completions` and `p2pfs man`: text made from the definition of the command line,
//! and from the documentation of the events.

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::print;
use crate::cli::{self, CompletionsArgs, ManArgs};
use crate::exit::{ExitCode, Failure};
use crate::stdio;
use crate::ui::events::EVENTS;
use crate::ui::schema::{COMMON, Field, Kind};
use crate::wire::Shown;

pub fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut cli::definition(), "p2pfs", &mut text);
    print(&text)?;
    Ok(ExitCode::Done)
}

/// Prints the manual page of the program, of one command, or of the events.
pub fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    // `help` shows what the pages of the others say.
    let mut program = cli::definition().disable_help_subcommand(true);
    program.build();
    if stdio::stdout().is_terminal() {
        let page = args.page.iter().fold(String::new(), |_, page| format!(" {page}"));
        let message = format_args!("this is text for man; `p2pfs man{} | man -l -` ", Shown(page));
        return Err(Failure::new(ExitCode::Usage, format_args!("{message}shows the page")));
    }
    let version = format!("p2pfs {}", program.get_version().unwrap_or_default());
    let page = match args.page.as_deref() {
        None | Some("p2pfs") => program,
        Some("json") => {
            print(json_page(&program).render().as_bytes())?;
            return Ok(ExitCode::Done);
        }
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                let message = format_args!("no command {}; see --help", Shown(name));
                return Err(Failure::new(ExitCode::Usage, message));
            }
        },
    };
    let mut text = Vec::new();
    // To memory: that cannot fail.
    let _ = Man::new(page).source(version).render(&mut text);
    print(&text)?;
    Ok(ExitCode::Done)
}

fn json_page(program: &clap::Command) -> Roff {
    let version = format!("p2pfs {}", program.get_version().unwrap_or_default());
    let mut page = Roff::new();
    page.control("TH", ["p2pfs-json", "5", "", &version])
        .control("SH", ["NAME"])
        .text([roman("p2pfs-json - the events that p2pfs prints with --json")])
        .control("SH", ["DESCRIPTION"])
        .text([roman(
            "With --json, a command of p2pfs prints one JSON object a line on stdout for each \
             event. Fields come in the order in which they stand here. New events may be added, \
             and new fields at the end of an event; existing ones stay as they are. In a text, \
             characters that a terminal does not show as themselves are escaped, and what exceeds \
             1024 bytes is cut off.",
        )])
        .control("PP", [])
        .text([roman("Every event begins with these fields:")]);
    push_fields(&mut page, COMMON);
    page.control("SH", ["EVENTS"]);
    for Kind { name, when, fields } in EVENTS {
        page.control("SS", [*name]).text([roman(*when)]);
        push_fields(&mut page, fields);
    }
    page.control("SH", ["SEE ALSO"]).text([roman("p2pfs(1)")]);
    page
}

fn push_fields(page: &mut Roff, fields: &[Field]) {
    for Field { name, kind, meaning } in fields {
        page.control("TP", [])
            .text([bold(*name), roman(format!(" ({kind})"))])
            .text([roman(*meaning)]);
    }
}
