//! Models in the cache of Hugging Face: `owner/name` is a folder there, whose snapshots are folders of links. Nothing is fetched.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// A model in the cache, at this place, that has no snapshot.
#[derive(Debug)]
pub(super) struct NoSnapshot(pub(super) PathBuf);

/// The snapshot of `owner/name`, if the cache has that model.
///
/// # Errors
/// A model in the cache that has no snapshot.
pub(super) fn find(model: &Path) -> Result<Option<PathBuf>, NoSnapshot> {
    find_in(cache(|name| env::var_os(name)).as_deref(), model)
}

fn find_in(cache: Option<&Path>, model: &Path) -> Result<Option<PathBuf>, NoSnapshot> {
    let (Some(cache), Some(name)) = (cache, folder_name(model)) else {
        return Ok(None);
    };
    let place = cache.join(name);
    if !place.is_dir() {
        return Ok(None);
    }
    match snapshot(&place) {
        Some(snapshot) => Ok(Some(snapshot)),
        None => Err(NoSnapshot(place)),
    }
}

/// `models--owner--name`.
fn folder_name(model: &Path) -> Option<String> {
    let mut parts = model.components().map(|part| match part {
        Component::Normal(part) => part.to_str(),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
            None
        }
    });
    let (owner, name) = (parts.next()??, parts.next()??);
    parts
        .next()
        .is_none()
        .then(|| format!("models--{owner}--{name}"))
}

/// Where the cache is, as its own library looks for it.
fn cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = || set("HF_HOME").map(|home| home.join("hub"));
    let xdg = || Some(set("XDG_CACHE_HOME")?.join("huggingface").join("hub"));
    let user = || Some(set("HOME")?.join(".cache").join("huggingface").join("hub"));
    set("HF_HUB_CACHE").or_else(home).or_else(xdg).or_else(user)
}

/// The snapshot that `refs/main` names, or else the newest.
fn snapshot(place: &Path) -> Option<PathBuf> {
    let snapshots = place.join("snapshots");
    let main = fs::read_to_string(place.join("refs").join("main")).ok();
    let named = main.map(|commit| commit.trim().to_string());
    let named = named.filter(|commit| commit.bytes().all(|b| b.is_ascii_hexdigit()));
    let named = named.map(|commit| snapshots.join(commit));
    if let Some(path) = named.filter(|path| path.is_dir()) {
        return Some(path);
    }
    let entries = fs::read_dir(snapshots).ok()?.flatten();
    let folders = entries.map(|e| e.path()).filter(|path| path.is_dir());
    let written = |path: &PathBuf| {
        let written = fs::metadata(path).and_then(|found| found.modified());
        (written.unwrap_or(SystemTime::UNIX_EPOCH), path.clone())
    };
    folders.max_by_key(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_its_variables_say() {
        let with = |set: &[(&str, &str)]| {
            cache(|name| {
                let found = set.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).into())
            })
        };
        let is = |path: &str| Some(PathBuf::from(path));
        assert_eq!(with(&[]), None);
        let user = ("HOME", "/u");
        assert_eq!(with(&[user]), is("/u/.cache/huggingface/hub"));
        let xdg = ("XDG_CACHE_HOME", "/x");
        assert_eq!(with(&[user, xdg]), is("/x/huggingface/hub"));
        let home = ("HF_HOME", "/h");
        assert_eq!(with(&[user, xdg, home]), is("/h/hub"));
        assert_eq!(with(&[home, ("HF_HUB_CACHE", "/c")]), is("/c"));
        assert_eq!(with(&[home, ("HF_HUB_CACHE", "")]), is("/h/hub"));
    }

    #[test]
    fn a_model_is_the_snapshot_that_main_names() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("models--owner--name");
        let find = |model: &str| find_in(Some(dir.path()), Path::new(model));
        assert_eq!(find("owner/name").unwrap(), None);
        fs::create_dir_all(place.join("refs")).unwrap();
        assert_eq!(find("owner/name").unwrap_err().0, place);
        for commit in ["aa11", "bb22"] {
            fs::create_dir_all(place.join("snapshots").join(commit)).unwrap();
        }
        fs::write(place.join("refs").join("main"), "aa11\n").unwrap();
        assert_eq!(
            find("owner/name").unwrap(),
            Some(place.join("snapshots/aa11"))
        );
        fs::write(place.join("refs").join("main"), "../../elsewhere").unwrap();
        let found = find("owner/name").unwrap().unwrap();
        assert!(found.starts_with(place.join("snapshots")));
        for other in [
            "name",
            "owner/name/more",
            "/owner/name",
            "../name",
            "owner/other",
        ] {
            assert_eq!(find(other).unwrap(), None, "{other}");
        }
    }
}
