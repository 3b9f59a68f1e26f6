//! Models as the reference's own converter writes them into GGUF files, against the logits of the checkpoints that they
//! were made of.

use graver::verify::{Golden, against_golden};
use graver_tests::{compile_for, converted, fixtures};

#[test]
fn converted_fixtures_match_the_reference() {
    let files = converted::files();
    assert!(files.len() >= 90);
    let mut wrong = vec![];
    for path in files {
        let folder = fixtures().join(path.file_stem().unwrap());
        let golden_path = folder.join("golden.safetensors");
        let golden = Golden::open(&golden_path).unwrap();
        let loaded = match converted::open(&path, true) {
            Ok(loaded) => loaded,
            Err(error) => {
                wrong.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        let mut session = compile_for(loaded, false, 2);
        let report = against_golden(&mut session, &golden, &golden_path).unwrap();
        if !report.passed {
            wrong.push(format!("{}: off by {:e}", path.display(), report.largest));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
