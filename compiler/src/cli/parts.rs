//! `graver compile --ranks`: an executable with its weights for each rank, and a script beside them that starts the one of the rank
//! that MPI says.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use graver::artifact::{self, WriteOptions, Written};
use graver::driver::Ranks;
use graver_runtime::files::shown;

use super::interrupt;
use super::progress::{Bar, WRITING};

/// Name of the script.
const MODEL: &str = "model";

/// What Open MPI, MPICH and Intel MPI, and Slurm call a process's rank.
fn script(ranks: usize) -> String {
    format!(
        r#"#!/bin/sh
# Starts the executable of the rank that this process is.
rank=${{OMPI_COMM_WORLD_RANK:-${{PMI_RANK:-${{SLURM_PROCID:-0}}}}}}
part="$(dirname "$0")/model.rank$rank"
if [ "$rank" -ge {ranks} ]; then
    echo "error: this model is split over {ranks} ranks, but this is process $rank, counted from 0: use mpirun -n {ranks}" >&2
    exit 1
elif [ ! -x "$part" ]; then
    echo "error: $part: the part of rank $rank is missing on $(uname -n); copy it there, or compile the model again" >&2
    exit 1
fi
exec "$part" "$@"
"#
    )
}

/// Writes the parts of all ranks into the folder that `options` name.
pub(super) fn write(
    planned: &Ranks<'_>,
    ranks: usize,
    options: &WriteOptions<'_>,
    quiet: bool,
) -> Result<Vec<Written>, Box<dyn Error>> {
    let folder = options.out;
    let failed = |source: io::Error| -> Box<dyn Error> {
        let place = shown(folder);
        format!("{place}: cannot write it: {source}; choose another folder with -o").into()
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let mut written = vec![];
    for rank in 0..ranks {
        let part = planned.part(rank)?;
        let out = folder.join(format!("{MODEL}.rank{rank}"));
        let options = WriteOptions {
            out: &out,
            // Text is the first rank's affair.
            tokenizer: options.tokenizer.filter(|_| rank == 0),
            ..options.clone()
        };
        let bar = Bar::new(WRITING, quiet);
        let parts = artifact::write(&part.model, &part.weights, &options, &mut |more, all| {
            bar.advance(all, more);
            interrupt::check()
        });
        bar.clear();
        written.extend(parts?);
    }
    let script = folder.join(MODEL);
    fs::write(&script, self::script(ranks)).map_err(failed)?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&script, executable).map_err(failed)?;
    Ok(written)
}

/// How the parts are started.
pub(super) fn how_to_start(folder: &Path, ranks: usize) -> String {
    let script = folder.join(MODEL);
    format!("start with: mpirun -n {ranks} {}\n", shown(&script))
}
