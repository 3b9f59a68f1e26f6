//! `graver compile --ranks` from outside: parts that Open MPI starts, what they generate, and what becomes of a job that one of them
//! leaves. Only with the feature `mpi`.
#![cfg(feature = "mpi")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use graver::verify::{Golden, TOLERANCE};
use tempfile::TempDir;

const GRAVER: &str = env!("CARGO_BIN_EXE_graver");
/// One for each mechanism: grouped keys, latents and experts, sinks and paired experts, convolutions, delta nets, carried values.
const MODELS: [&str; 6] = [
    "llama-gqa-tied-bf16-llama3",
    "deepseek-v3-f32",
    "gpt-oss-f32",
    "lfm2-bf16",
    "qwen3-next-bf16",
    "gemma3n-bf16",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

/// The folder of the parts of a model, or of the one that the program carries.
fn compiled(model: Option<&Path>, ranks: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut graver = Command::new(GRAVER);
    graver
        .arg("compile")
        .args(model)
        .arg("-o")
        .arg(folder.path());
    let output = graver
        .args(["--ranks", &ranks.to_string()])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{model:?}: {stderr}");
    folder
}

fn mpirun(folder: &Path, ranks: usize, arguments: &[&str]) -> Command {
    let mut mpirun = Command::new("mpirun");
    // Processors are few where tests run, and containers often have no other user.
    mpirun.args(["--oversubscribe", "-n", &ranks.to_string()]);
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT", "1");
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    mpirun
        .arg(folder.join("model"))
        .args(arguments)
        .args(["-t", "1"]);
    mpirun
}

fn run(folder: &Path, ranks: usize, arguments: &[&str]) -> Output {
    mpirun(folder, ranks, arguments)
        .output()
        .expect("mpirun, of openmpi-bin")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn joined(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    ids.join(",")
}

/// Tokens that the reference appends, up to the first that another one comes close to.
fn certain(golden: &Golden) -> &[u32] {
    let spread = golden.logits.iter().map(|v| v.abs()).fold(0.0, f32::max);
    let close = |gap: &f32| f64::from(*gap) < f64::from(spread) * TOLERANCE;
    let sure = golden.greedy_gap.iter().position(close);
    &golden.greedy_ids[..sure.unwrap_or(golden.greedy_ids.len())]
}

#[test]
fn processes_generate_what_the_reference_does() {
    for name in MODELS {
        let model = fixture(name);
        let golden = Golden::open(&model.join("golden.safetensors")).unwrap();
        let expected = certain(&golden);
        assert!(!expected.is_empty(), "{name}: nothing to compare");
        for ranks in [2, 4] {
            let folder = compiled(Some(&model), ranks);
            let (prompt, n) = (joined(&golden.input_ids), expected.len().to_string());
            let arguments = [
                "--tokens",
                &prompt,
                "-n",
                &n,
                "--temp",
                "0",
                "--print-tokens",
                "--ignore-eos",
                "-q",
            ];
            let output = run(folder.path(), ranks, &arguments);
            assert!(output.status.success(), "{name}: {}", stderr(&output));
            let found = String::from_utf8_lossy(&output.stdout);
            assert_eq!(found.trim(), joined(expected), "{name} on {ranks} ranks");
        }
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused_by_name() {
    let (model, other) = (
        fixture("llama-gqa-tied-bf16-llama3"),
        fixture("llama-mqa-odd-f16"),
    );
    let folder = compiled(Some(&model), 2);
    let arguments = ["--tokens", "1,2", "-n", "2", "--print-tokens"];
    let alone = Command::new(folder.path().join("model"))
        .args(arguments)
        .output()
        .unwrap();
    let message = stderr(&alone);
    assert!(
        message.contains("found 1 processes, expected 2"),
        "{message}"
    );

    let part = folder.path().join("model.rank1");
    fs::copy(compiled(Some(&other), 2).path().join("model.rank1"), &part).unwrap();
    let mixed = run(folder.path(), 2, &arguments);
    assert!(!mixed.status.success());
    let message = stderr(&mixed);
    assert!(message.contains("rank 1: its "), "{message}");

    fs::remove_file(&part).unwrap();
    let missing = run(folder.path(), 2, &arguments);
    assert!(!missing.status.success());
    let message = stderr(&missing);
    assert!(message.contains("model.rank1"), "{message}");
}

/// The process that runs a part.
fn pid_of(part: &Path) -> Option<String> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let runs =
        |entry: &fs::DirEntry| fs::read_link(entry.path().join("exe")).ok() == Some(part.into());
    let found = entries.into_iter().find(runs)?;
    found.file_name().into_string().ok()
}

fn ended(job: &mut Child, within: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < within {
        if job.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn a_rank_that_is_killed_ends_the_job_and_is_named() {
    let folder = compiled(None, 2);
    let part = folder.path().join("model.rank1").canonicalize().unwrap();
    let arguments = [
        "--tokens",
        "1",
        "-n",
        "4000",
        "--print-tokens",
        "--ignore-eos",
    ];
    let mut job = mpirun(folder.path(), 2, &arguments);
    let mut job = job
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let pid = loop {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "rank 1 has not started"
        );
        if let Some(pid) = pid_of(&part) {
            break pid;
        }
        if job.try_wait().unwrap().is_some() {
            panic!("the job has ended before rank 1 was seen");
        }
    };
    let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
    assert!(killed.success());
    assert!(
        ended(&mut job, Duration::from_secs(60)),
        "the job goes on without rank 1"
    );
    let output = job.wait_with_output().unwrap();
    assert!(!output.status.success());
    let message = stderr(&output);
    assert!(message.contains("rank 1"), "{message}");
}
