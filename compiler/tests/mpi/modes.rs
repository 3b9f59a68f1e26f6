//! Programs that talk, serve and measure, on several ranks: the first has the terminal or the server, the others follow it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::talking::{answer_of, replies, talking};
use serde_json::Value;

use super::{GRAVER, compiled, fixture, mpirun, output, stderr, stdout};

/// What a command answers to lines that are piped into it.
fn piped(command: &mut Command, lines: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    replies(command.stderr(Stdio::piped()).spawn().unwrap(), lines)
}

#[test]
fn the_first_rank_talks_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let model = talking(folder.path());
    let parts = compiled(Some(&model), 2, &["--with", "chat,serve"]);
    let program = parts.path().join("model");
    let lines = "In the beginning\nAnd the LORD\n";
    let options = ["-n", "12", "--temp", "0", "-t", "1"];
    let mut alone = Command::new(GRAVER);
    alone
        .arg("chat")
        .arg(&model)
        .args(["--ranks", "2"])
        .args(options);
    let expected = piped(&mut alone, lines);
    let found = piped(
        &mut mpirun(2, &program, &[&["--chat"], &options[..]].concat()),
        lines,
    );
    assert!(found.lines().count() >= 2, "{found:?}");
    assert_eq!(found, expected);

    let mut job = mpirun(
        2,
        &program,
        &["--serve", "--port", "0", "--slots", "2", "-t", "1"],
    );
    job.stdin(Stdio::null()).stdout(Stdio::null());
    let mut job = job.stderr(Stdio::piped()).spawn().unwrap();
    let said = answer_of(&mut job, "model.rank0", "In the beginning");
    let first = expected.lines().next().unwrap();
    assert_eq!(said.trim(), first.trim());
    let pid = job.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    job.wait().unwrap();
}

#[test]
fn bench_measures_processes_and_the_first_one_reports() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.json");
    let (model, trace) = (
        fixture("llama-gqa-tied-bf16-llama3"),
        trace.to_str().unwrap(),
    );
    let arguments = [
        &["bench", model.to_str().unwrap(), "--ranks", "2", "-t", "1"],
        &["--prompt", "24", "--gen", "8", "--rounds", "1"][..],
        &["--profile", trace, "--json"],
    ];
    let measured = output(&mut mpirun(2, Path::new(GRAVER), &arguments.concat()));
    assert!(measured.status.success(), "{}", stderr(&measured));
    let report: Value = serde_json::from_str(&stdout(&measured)).unwrap();
    assert_eq!(report["ranks"], 2);
    let points = report["points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    for point in points {
        assert!(point["gbps_ceiling"].as_f64().unwrap() > 0.0, "{point}");
        let variants = point["variants"].as_array().unwrap();
        let names: Vec<_> = variants
            .iter()
            .map(|v| v["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["fused", "unfused", "profiled"]);
        let speeds = variants
            .iter()
            .map(|v| v["tokens_per_second"].as_f64().unwrap());
        assert!(speeds.into_iter().all(|s| s > 0.0), "{point}");
    }
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(trace).unwrap()).unwrap();
    let ranks = trace["otherData"]["ranks"].as_array().unwrap();
    assert_eq!(ranks.len(), 2);
}
