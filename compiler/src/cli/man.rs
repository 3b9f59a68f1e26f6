//! `graver man`: manual pages, one for the program and one for each command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use graver_runtime::files::shown;

use super::outcome::Outcome;
use super::print::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Output folder, such as ~/.local/share/man/man1; created if missing
    folder: PathBuf,
}

/// Writes a page for the program, and one for each command of its command line.
pub(crate) fn run(args: &Args, command: Command) -> Outcome {
    let failed = |path: &Path, e| format!("{}: {e}; choose another folder", shown(path));
    std::fs::create_dir_all(&args.folder).map_err(|e| failed(&args.folder, e))?;
    let mut listed = String::new();
    for (name, page) in pages(command)? {
        let path = args.folder.join(name);
        std::fs::write(&path, page).map_err(|e| failed(&path, e))?;
        listed += &format!("{}\n", shown(&path));
    }
    print(listed)?;
    Ok(ExitCode::SUCCESS)
}

/// Names and texts of all pages.
fn pages(command: Command) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    // Kernels differ from machine to machine, and pages should not.
    let mut command = command.version(graver::VERSION);
    command.build();
    let mut all = vec![command.clone()];
    all.extend(
        command
            .get_subcommands()
            .filter(|c| c.get_name() != "help")
            .cloned(),
    );
    let page = |command: Command| {
        let name = match command.get_name() {
            "graver" => "graver.1".to_string(),
            verb => format!("graver-{verb}.1"),
        };
        let title = name.trim_end_matches(".1").to_string();
        let mut text = vec![];
        clap_mangen::Man::new(command.display_name(title.clone()))
            .title(title)
            .render(&mut text)?;
        Ok((name, text))
    };
    all.into_iter().map(page).collect()
}
