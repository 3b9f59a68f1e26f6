//! What a page calls a model: a name rather than a path.

use std::error::Error;
use std::path::Path;

use graver_runtime::files::shown;

use super::model::ModelArgs;

/// The name of the model's folder, file, hub entry or spec, with that of its sizes.
pub(crate) fn title(model: &ModelArgs) -> Result<String, Box<dyn Error>> {
    let (label, path) = (model.label()?, model.name()?);
    let named = shown(&path).to_string();
    Ok(match (label.strip_prefix(&named), label.rsplit_once(' ')) {
        (Some(sizes), _) if path.exists() => name_of(&path) + sizes,
        (None, Some((spec, sizes))) if Path::new(sizes).exists() => {
            format!("{spec} {}", name_of(Path::new(sizes)))
        }
        (Some(_) | None, _) => label,
    })
}

/// `llama-3.2-1b` of `/models/llama-3.2-1b` and its `config.json`, `owner/name` of a snapshot in a hub's cache, `x` of `x.gguf`.
fn name_of(path: &Path) -> String {
    let mut whole = path.canonicalize().unwrap_or_else(|_| path.into());
    if whole.ends_with("config.json") {
        whole.pop();
    }
    let part = |p: Option<&std::ffi::OsStr>| p.map(|p| p.to_string_lossy().into_owned());
    let folders = whole.ancestors().skip(1).take(2);
    let cached = folders
        .filter_map(|f| part(f.file_name()))
        .find_map(|name| {
            let repository = name.strip_prefix("models--")?;
            Some(repository.replacen("--", "/", 1))
        });
    let own = match whole
        .extension()
        .is_some_and(|e| e == "gguf" || e == "json")
    {
        true => part(whole.file_stem()),
        false => part(whole.file_name()),
    };
    cached.or(own).unwrap_or_else(|| shown(path).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_last_part_of_a_path_or_that_of_a_repository() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(name("/no/such/llama-3.2-1b"), "llama-3.2-1b");
        assert_eq!(name("/no/such/smollm.Q4_1.gguf"), "smollm.Q4_1");
        assert_eq!(name("specs/mine.json"), "mine");
        assert_eq!(name("/no/such/olmo/config.json"), "olmo");
        assert_eq!(
            name("/no/hub/models--meta--llama--3/snapshots/abc123"),
            "meta/llama--3"
        );
    }
}
