//! Files of the compiler import each other in no circle, so that they can be read one after the other.
//!
//! A file imports another if it names something in it by path, in a `use` or elsewhere. What its own tests import does not count.
//! A circle is a set of files each of which reaches every other. Usually one comes from children that import from their parent's
//! `mod.rs`, which imports them: what they need belongs in a file of its own, which the parent exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[test]
fn files_import_each_other_in_no_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compiler/src");
    let mut files = BTreeMap::new();
    read(&root, "", &mut files);
    assert!(files.len() > 100, "the compiler has more files");
    let imports = imports(&files);
    let circles = circles(&imports);
    let circles: Vec<String> = circles.iter().map(|c| described(c, &imports)).collect();
    assert!(circles.is_empty(), "{}", circles.concat());
}

/// For each file of a circle which others it imports.
fn described(circle: &BTreeSet<String>, imports: &Imports) -> String {
    let mut out = format!("{} files import each other in a circle:\n", circle.len());
    for file in circle {
        let inside: Vec<&str> = imports[file]
            .intersection(circle)
            .map(String::as_str)
            .collect();
        out += &format!("  {file} imports {}\n", inside.join(", "));
    }
    out
}

/// By its path below the root, what each file imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn read(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("the compiler's sources") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().expect("an entry has a name");
        let name = format!("{prefix}{}", name.to_string_lossy());
        if path.is_dir() {
            read(&path, &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            files.insert(name, fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// Every set of files that reach each other.
fn circles(imports: &Imports) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|f| (f, reach(imports, f))).collect();
    let mut out: Vec<BTreeSet<String>> = vec![];
    for file in imports.keys() {
        let around =
            |other: &&String| reached[file].contains(*other) && reached[other].contains(file);
        let circle: BTreeSet<String> = imports.keys().filter(around).cloned().collect();
        if !circle.is_empty() && !out.contains(&circle) {
            out.push(circle);
        }
    }
    out
}

/// What a file imports, and what that imports, and so on.
fn reach(imports: &Imports, from: &str) -> BTreeSet<String> {
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![from]);
    while let Some(file) = waiting.pop() {
        let new = imports[file].iter().filter(|f| seen.insert(f.to_string()));
        waiting.extend(new.map(String::as_str));
    }
    seen
}

fn imports(files: &BTreeMap<String, String>) -> Imports {
    let modules: BTreeMap<Vec<String>, &String> =
        files.keys().map(|file| (module(file), file)).collect();
    let of_file = |(file, text): (&String, &String)| {
        let own = module(file);
        let named = paths(&code(text)).into_iter();
        let named = named.filter_map(|path| resolve(&own, &path, &modules));
        let others = named.filter(|other| other != file && !is_root(other));
        (file.clone(), others.collect())
    };
    files.iter().map(of_file).collect()
}

/// The crate's own file imports all others, and who names the crate means one of those.
fn is_root(file: &str) -> bool {
    file == "lib.rs" || file == "main.rs"
}

/// `["graph", "text"]` for `graph/text.rs`, `["graph"]` for `graph/mod.rs`, nothing for the crate's own file.
fn module(file: &str) -> Vec<String> {
    let parts = file.trim_end_matches(".rs").split('/');
    let mut parts: Vec<String> = parts.map(String::from).collect();
    if parts.last().is_some_and(|last| last == "mod") || is_root(file) {
        parts.pop();
    }
    parts
}

/// The file that a path in module `own` leads to: the deepest module on its way.
fn resolve(
    own: &[String],
    path: &[String],
    modules: &BTreeMap<Vec<String>, &String>,
) -> Option<String> {
    let mut at = own.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            at.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                at.pop();
                rest = &rest[1..];
            }
        }
        first => {
            // A name without `crate`, `self` or `super` is a child, or something that a `use` brought.
            let child = [own, &[first.to_string()]].concat();
            modules.get(&child)?;
        }
    }
    for part in rest {
        let deeper = [at.as_slice(), std::slice::from_ref(part)].concat();
        if !modules.contains_key(&deeper) {
            break;
        }
        at = deeper;
    }
    modules.get(&at).map(|file| file.to_string())
}

/// The text without comments, without the module of its own tests, which stands last, and without visibilities (`pub(in …)`),
/// which name a module but import nothing.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..end].lines();
    let lines = lines.map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut parts = code.split("pub(in ");
    let first = parts.next().unwrap_or_default().to_string();
    let visible = |part: &str| {
        part.split_once(')')
            .map_or("", |(_, rest)| rest)
            .to_string()
    };
    first + &parts.map(visible).collect::<String>()
}

/// Every path of at least two parts, those of `use` written out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let (mut out, mut at) = (vec![], 0);
    while at < tokens.len() {
        at = match tokens[at].as_str() {
            "use" => tree(&tokens, at + 1, &[], &mut out),
            _ => path(&tokens, at, &mut out),
        };
    }
    out
}

/// Words, `::` and single characters.
fn tokens(code: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = vec![];
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        out.push(rest[..length].to_string());
        rest = rest[length..].trim_start();
    }
    out
}

fn is_name(token: Option<&String>) -> bool {
    token.is_some_and(|t| t.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

/// Adds the path that begins at `at`, if there is one; gives where to go on.
fn path(tokens: &[String], mut at: usize, out: &mut Vec<Vec<String>>) -> usize {
    let mut parts = vec![];
    while is_name(tokens.get(at)) {
        parts.push(tokens[at].clone());
        at += 1;
        if tokens.get(at).map(String::as_str) != Some("::") {
            break;
        }
        at += 1;
    }
    if parts.is_empty() {
        return at + 1;
    }
    if parts.len() > 1 {
        out.push(parts);
    }
    at
}

/// Adds the paths of the tree of a `use`, all of which begin with `prefix`; gives where to go on.
fn tree(tokens: &[String], mut at: usize, prefix: &[String], out: &mut Vec<Vec<String>>) -> usize {
    let mut parts = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                loop {
                    at = tree(tokens, at + 1, &parts, out);
                    if tokens.get(at).map(String::as_str) != Some(",") {
                        break;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            "::" => at += 1,
            "," | "}" | ";" => break,
            name => {
                parts.push(name.to_string());
                at += 1;
            }
        }
    }
    if parts.len() > prefix.len() {
        out.push(parts);
    }
    at
}

#[test]
fn circles_are_found_whichever_way_files_are_named() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
        ("a/mod.rs", "mod one;\npub mod two;\npub use one::One;\n"),
        ("a/one.rs", "use super::two::{self, Two};\npub struct One;"),
        ("a/two.rs", "// use super::One;\npub struct Two;\n"),
        ("b.rs", "fn b() { crate::a::two::f(); }"),
        ("c.rs", "use crate::{a::One, b::{B as C}};"),
    ];
    let found = |extra: (&str, &str)| {
        let mut files: BTreeMap<String, String> = files
            .iter()
            .map(|(name, text)| (name.to_string(), text.to_string()))
            .collect();
        files.entry(extra.0.into()).or_default().push_str(extra.1);
        let circles = circles(&imports(&files));
        let names = circles
            .into_iter()
            .map(|c| c.into_iter().collect::<Vec<_>>());
        names.collect::<Vec<_>>()
    };
    let none = Vec::<Vec<String>>::new();
    assert_eq!(found(("c.rs", "")), none);
    let parent = [["a/mod.rs", "a/one.rs"]];
    assert_eq!(found(("a/one.rs", "use super::Three;")), parent);
    assert_eq!(found(("a/one.rs", "use crate::a;")), parent);
    assert_eq!(found(("a/one.rs", "pub(in crate::a) fn f() {}")), none);
    let tests = "#[cfg(test)]\nmod tests { use crate::a::Three; }";
    assert_eq!(found(("a/one.rs", tests)), none);
    let pair = [["a/two.rs", "b.rs"]];
    assert_eq!(found(("a/two.rs", "use crate::{b as D};")), pair);
    let all = [["a/mod.rs", "a/one.rs", "a/two.rs", "b.rs"]];
    let text = "fn f() { super::super::b::b(crate::a::g) }";
    assert_eq!(found(("a/two.rs", text)), all);
}
