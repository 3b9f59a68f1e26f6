//! What a command reads must not be where it writes.

use std::fs;
use std::path::{Path, PathBuf};

use graver_runtime::files::shown;

/// Names of files, or how they end, that models are read from.
const READ: [&str; 12] = [
    ".safetensors",
    ".safetensors.index.json",
    ".gguf",
    ".jinja",
    "config.json",
    "tokenizer.json",
    "chat_template.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// Refuses an output in place of something that the model is read from: of `inputs`, which are files, or folders of a model's files.
///
/// # Errors
/// The output is one of these.
pub(crate) fn check_output(option: &str, output: &Path, inputs: &[PathBuf]) -> Result<(), String> {
    // What is not there takes no place.
    let Ok(place) = fs::canonicalize(output) else {
        return Ok(());
    };
    let is_place = |path: &Path| fs::canonicalize(path).is_ok_and(|path| path == place);
    for input in inputs {
        let mut files = match input.is_dir() {
            true => model_files(input),
            false => vec![input.clone()],
        };
        // A file may be one of several parts.
        if input.extension().is_some_and(|ending| ending == "gguf") {
            files.extend(input.parent().map(model_files).unwrap_or_default());
        }
        if files.iter().any(|file| is_place(file)) {
            return Err(format!(
                "{option} {}: is a file that the model is read from; choose another name",
                shown(output)
            ));
        }
    }
    Ok(())
}

fn model_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_read = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        READ.iter().any(|end| name.ends_with(end))
    };
    entries.map(|entry| entry.path()).filter(is_read).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_of_the_model_are_no_outputs() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("model")).unwrap();
        for name in [
            "model/config.json",
            "model/model.safetensors",
            "model/program",
            "part-1.gguf",
            "part-2.gguf",
            "spec.json",
        ] {
            fs::write(path(name), "").unwrap();
        }
        symlink(path("model/model.safetensors"), path("link")).unwrap();
        let inputs = ["model", "part-1.gguf", "spec.json"].map(path);
        for taken in [
            "model/config.json",
            "model/model.safetensors",
            "link",
            "part-1.gguf",
            "part-2.gguf",
            "spec.json",
        ] {
            let said = check_output("-o", &path(taken), &inputs).unwrap_err();
            assert!(
                said.ends_with("is a file that the model is read from; choose another name"),
                "{said}"
            );
        }
        for free in ["model/program", "model/other.safetensors", "new"] {
            check_output("-o", &path(free), &inputs).unwrap();
        }
    }
}
