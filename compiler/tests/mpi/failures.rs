//! What becomes of a job whose parts are missing, do not belong together, are too few or too many, are slow, or die.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{compiled, fixture, mpirun, output, pid_of, stderr};

const SHORT: [&str; 7] = ["--tokens", "1,2", "-n", "2", "--print-tokens", "-t", "1"];

/// What a job of `n` processes says that has to fail.
fn complaint(folder: &Path, n: usize) -> String {
    let found = output(&mut mpirun(n, &folder.join("model"), &SHORT));
    let message = stderr(&found);
    assert!(!found.status.success(), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

#[test]
fn another_number_of_processes_is_refused_with_both_numbers() {
    let folder = compiled(Some(&fixture("llama-gqa-tied-bf16-llama3")), 2, &[]);
    let expected =
        "this model is split over 2 ranks, but MPI started this process alone: use mpirun -n 2";
    // Without mpirun, and with one that starts too few.
    let alone = Command::new(folder.path().join("model"))
        .args(SHORT)
        .output();
    let alone: Output = alone.unwrap();
    assert_eq!(alone.status.code(), Some(1), "{}", stderr(&alone));
    assert!(stderr(&alone).contains(expected), "{}", stderr(&alone));
    let one = complaint(folder.path(), 1);
    assert!(one.contains(expected), "{one}");
    // Whichever of the three comes first ends the others.
    let three = complaint(folder.path(), 3);
    assert!(
        three.contains("this model is split over 2 ranks, but"),
        "{three}"
    );
    assert!(three.contains("mpirun -n 2"), "{three}");
}

#[test]
fn parts_that_are_missing_or_of_something_else_are_named() {
    let (model, other) = (
        fixture("llama-gqa-tied-bf16-llama3"),
        fixture("llama-mqa-odd-f16"),
    );
    let folder = compiled(Some(&model), 2, &["--weights", "external"]);
    let part = folder.path().join("model.rank1");
    let weights = folder.path().join("model.rank1.weights");
    let kept = fs::read(&weights).unwrap();
    fs::remove_file(&weights).unwrap();
    let message = complaint(folder.path(), 2);
    assert!(message.contains("model.rank1.weights"), "{message}");

    // The weights of another rank are of another part.
    fs::copy(folder.path().join("model.rank0.weights"), &weights).unwrap();
    let message = complaint(folder.path(), 2);
    assert!(message.contains("model.rank1.weights"), "{message}");
    fs::write(&weights, kept).unwrap();

    let of_other = compiled(Some(&other), 2, &[]);
    fs::copy(of_other.path().join("model.rank1"), &part).unwrap();
    let message = complaint(folder.path(), 2);
    assert!(message.contains("rank 1: its "), "{message}");

    fs::remove_file(&part).unwrap();
    let message = complaint(folder.path(), 2);
    assert!(message.contains("model.rank1"), "{message}");
    assert!(
        message.contains("the part of rank 1 is missing"),
        "{message}"
    );
}

/// The built-in model on two ranks, that generates `n` tokens.
struct Job {
    mpirun: Child,
    /// The process of rank 1.
    pid: String,
}

impl Job {
    fn start(folder: &Path, n: &str) -> Job {
        let arguments = ["--tokens", "1", "-n", n, "--temp", "0", "-t", "1"];
        let arguments = [&arguments[..], &["--print-tokens", "--ignore-eos", "-q"]].concat();
        let mut mpirun = mpirun(2, &folder.join("model"), &arguments);
        let mpirun = mpirun.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut mpirun = mpirun.spawn().unwrap();
        let part = folder.join("model.rank1").canonicalize().unwrap();
        let pid = loop {
            let ended = mpirun.try_wait().unwrap();
            assert!(ended.is_none(), "the job has ended before it began");
            if let Some(pid) = pid_of(&part) {
                break pid;
            }
        };
        Job { mpirun, pid }
    }

    /// What it has printed as soon as it has generated something.
    fn first_tokens(&mut self) -> String {
        let mut some = [0; 64];
        let out = self.mpirun.stdout.as_mut().unwrap();
        let n = out.read(&mut some).unwrap();
        assert!(n > 0, "the job has ended before it generated anything");
        String::from_utf8_lossy(&some[..n]).into_owned()
    }

    /// Sends rank 1 a signal.
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.pid]).status();
        assert!(sent.unwrap().success(), "kill {name} {}", self.pid);
    }

    fn has_ended(&mut self, within: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if self.mpirun.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

#[test]
fn a_rank_that_is_killed_while_it_generates_ends_the_job_and_is_named() {
    let folder = compiled(None, 2, &[]);
    let mut job = Job::start(folder.path(), "500");
    job.first_tokens();
    job.signal("-KILL");
    assert!(
        job.has_ended(Duration::from_secs(60)),
        "the job goes on without rank 1"
    );
    let found = job.mpirun.wait_with_output().unwrap();
    let message = stderr(&found);
    assert!(!found.status.success(), "{message}");
    assert!(message.contains("rank 1"), "{message}");
    assert_eq!(
        pid_of(&folder.path().join("model.rank0").canonicalize().unwrap()),
        None
    );
}

#[test]
fn a_rank_that_stands_still_is_waited_for_and_changes_nothing() {
    let folder = compiled(None, 2, &[]);
    let mut job = Job::start(folder.path(), "500");
    let usual = job.first_tokens() + &rest(job);
    assert_eq!(usual.trim().split(',').count(), 500);

    let begun = Instant::now();
    let mut job = Job::start(folder.path(), "500");
    let mut disturbed = job.first_tokens();
    job.signal("-STOP");
    let stands_still = Duration::from_secs(1);
    assert!(!job.has_ended(stands_still), "nobody waits for rank 1");
    job.signal("-CONT");
    disturbed += &rest(job);
    assert!(begun.elapsed() > stands_still);
    assert_eq!(disturbed, usual);
}

/// What a job prints until it ends, in good order.
fn rest(job: Job) -> String {
    let found = job.mpirun.wait_with_output().unwrap();
    assert!(found.status.success(), "{}", stderr(&found));
    super::stdout(&found)
}
