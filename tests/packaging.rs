//! What a package carries beside the program: it fits the program, and the tools that
//! will read it take it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use kit::{NOTHING, Need, tools};
use p2pfs::cli;
use serde_json::Value;
use tempfile::TempDir;

static BASH: Need = Need::new(|| tools(&["bash"]));
static SYSTEMD: Need = Need::new(|| tools(&["systemd-analyze"]));
kit::tests! {
    NOTHING: manual_pages_are_those_of_the_program, what_goes_into_the_package_is_there;
    BASH: completions_name_every_command_and_option;
    SYSTEMD: systemd_takes_the_units;
}

fn main() -> ExitCode {
    kit::run(TESTS, None)
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2pfs");
const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// The texts in a folder, by name.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let text = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(text).collect()
}

/// A folder `package` with the manual pages and completions of the program.
fn generated() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut script = Command::new(Path::new(PROJECT).join("src/cli/package"));
    script.arg("pages").arg(PROGRAM).arg(folder.path().join("package"));
    assert!(script.status().unwrap().success());
    folder
}

/// The long options of a command.
fn options(command: &clap::Command) -> Vec<String> {
    let names = command.get_arguments().filter_map(|option| option.get_long());
    names.map(|name| format!("--{name}")).collect()
}

fn manual_pages_are_those_of_the_program() {
    let folder = generated();
    let pages = texts(&folder.path().join("package/man"));
    let program = cli::definition();
    for command in program.get_subcommands() {
        let name = format!("p2pfs-{}", command.get_name());
        let page = pages[&format!("{name}.1")].replace("\\-", "-");
        assert!(page.contains(&format!(".TH {name} 1 ")), "{page}");
        for option in options(command) {
            assert!(page.contains(&format!("\\fB{option}\\fR")), "{name}: {option}");
        }
    }
    for (page, text) in &pages {
        for line in text.lines().filter(|line| line.ends_with("(1)")) {
            let name = line.trim_end_matches("(1)").replace("\\-", "-");
            assert!(pages.contains_key(&format!("{name}.1")), "{page}: {line}");
        }
    }
}

fn completions_name_every_command_and_option() {
    let folder = generated();
    let completions = folder.path().join("package/completions");
    let texts = texts(&completions);
    assert_eq!(texts.keys().collect::<Vec<_>>(), ["_p2pfs", "p2pfs.bash", "p2pfs.fish"]);
    for (shell, text) in texts {
        for command in cli::definition().get_subcommands() {
            assert!(text.contains(command.get_name()), "{shell}: {}", command.get_name());
            for option in options(command) {
                // Fish writes them without their dashes.
                let option = if shell == "p2pfs.fish" { &option[2..] } else { &option };
                assert!(text.contains(option), "{shell}: {option}");
            }
        }
    }
    let bash = Command::new("bash").arg("-n").arg(completions.join("p2pfs.bash")).status();
    assert!(bash.unwrap().success());
}

fn what_goes_into_the_package_is_there() {
    let folder = generated();
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let output = metadata.current_dir(PROJECT).output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let deb = &packages.find(|package| package["name"] == "p2pfs").unwrap()["metadata"]["deb"];
    let mut made = 0;
    for asset in deb["assets"].as_array().unwrap() {
        let path = asset[0].as_str().unwrap();
        let path = match path.strip_prefix("target/release/") {
            Some("p2pfs") => continue,
            Some(path) => folder.path().join(path),
            None => Path::new(PROJECT).join(path),
        };
        made += usize::from(path.starts_with(folder.path()));
        assert!(glob::glob(path.to_str().unwrap()).unwrap().count() > 0, "{}", path.display());
    }
    assert_eq!(made, 5, "two kinds of manual pages, and completions for three shells");
    for unit in deb["systemd-units"].as_array().unwrap() {
        let [unit_scripts, name] =
            ["unit-scripts", "unit-name"].map(|key| unit[key].as_str().unwrap());
        assert!(Path::new(PROJECT).join(unit_scripts).join(format!("{name}.service")).is_file());
    }
}

fn systemd_takes_the_units() {
    let folder = TempDir::new().unwrap();
    let mut units = texts(&Path::new(PROJECT).join("src/run/systemd"));
    units.retain(|name, _| name.ends_with(".service"));
    assert_eq!(units.len(), 2);
    for (name, text) in units {
        // What it runs need not be installed here.
        let text = text.replace("/usr/bin/p2pfs", PROGRAM);
        assert!(text.contains(&format!("ExecStart={PROGRAM} ")), "{text}");
        for promise in ["Type=notify", "SuccessExitStatus=143", "DynamicUser=yes", "MemoryMax="] {
            assert!(text.lines().any(|line| line.starts_with(promise)), "{name}: {promise}");
        }
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    verify.args(texts(folder.path()).keys().map(|name| folder.path().join(name)));
    let output = verify.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
