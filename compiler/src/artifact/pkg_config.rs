//! The file beside a library or an object by which `pkg-config` knows how to compile and link with it, wherever the folder is.

use super::link::link_arguments;
use super::options::{ARCHIVE, ArtifactKind};

/// The file for `main`, a library or an object of a model that its spec calls `model`.
pub(super) fn file(main: &str, kind: ArtifactKind, model: &str) -> String {
    let main = escaped(main);
    let libraries = match kind {
        ArtifactKind::Executable | ArtifactKind::SharedLibrary => {
            format!("${{pcfiledir}}/{main} -Wl,-rpath,${{pcfiledir}}")
        }
        ArtifactKind::Object => format!(
            "${{pcfiledir}}/{main} ${{pcfiledir}}/{ARCHIVE} {}",
            link_arguments().join(" ")
        ),
    };
    format!(
        "Name: {main}\nDescription: A language model ({model}), compiled by Graver\nVersion: {}\nCflags: -I${{pcfiledir}}\nLibs: {libraries}\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// A file's name as pkg-config takes it.
fn escaped(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "._-+".contains(c);
    let part = |c: char| match c {
        '$' => "$$".to_string(),
        c if is_plain(c) => c.to_string(),
        c => format!("\\{c}"),
    };
    name.chars().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_objects_are_found_in_the_files_own_folder() {
        let library = file("my model.so", ArtifactKind::SharedLibrary, "llama");
        assert!(
            library.contains("Libs: ${pcfiledir}/my\\ model.so -Wl,-rpath,${pcfiledir}\n"),
            "{library}"
        );
        let object = file("model.o", ArtifactKind::Object, "llama");
        let expected =
            "Libs: ${pcfiledir}/model.o ${pcfiledir}/libgraver_runtime.a -static-libgcc ";
        assert!(object.contains(expected), "{object}");
    }
}
