//! What a rank holds in memory: its part of the model, its sequences, and little else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::{compiled, mpirun, pid_of};

/// What a process may hold beside its part: code, MPI, its buffers, activations, the sequences of this test.
const BESIDE: u64 = 200 << 20;

/// The most that a process has held so far, in bytes; nothing where it has ended.
fn peak(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes << 10)
}

/// The most that each program held while a job ran, looked at until the job has ended.
fn peaks(job: &mut Child, programs: &[PathBuf]) -> Vec<u64> {
    let mut peaks = vec![0; programs.len()];
    while job.try_wait().unwrap().is_none() {
        for (most, program) in peaks.iter_mut().zip(programs) {
            let now = pid_of(program).and_then(|pid| peak(&pid));
            *most = now.unwrap_or(0).max(*most);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    peaks
}

/// 538 MB of weights, so that a rank that held all of them would be found out.
#[test]
fn a_rank_holds_its_part_and_little_more() {
    let folder = compiled(Some(Path::new("llama:smollm2-135m")), 2, &["-q"]);
    let part = |rank| folder.path().join(format!("model.rank{rank}"));
    let parts = [part(0), part(1)].map(|p| p.canonicalize().unwrap());
    let sizes = parts.each_ref().map(|p| fs::metadata(p).unwrap().len());
    let prompt: Vec<String> = (0..64).map(|i| (i * 31).to_string()).collect();
    let prompt = prompt.join(",");
    let arguments = [
        "--tokens",
        &prompt,
        "-n",
        "24",
        "--ignore-eos",
        "-q",
        "-t",
        "1",
    ];
    let mut job = mpirun(2, &folder.path().join("model"), &arguments);
    let mut job = job.stdout(Stdio::null()).spawn().unwrap();
    let peaks = peaks(&mut job, &parts);
    assert!(job.wait().unwrap().success());
    for (rank, (peak, size)) in peaks.into_iter().zip(sizes).enumerate() {
        let of = |bytes: u64| bytes as f64 / 1e6;
        eprintln!(
            "rank {rank}: {:.0} MB in a file, {:.0} MB held at most",
            of(size),
            of(peak)
        );
        assert!(peak > size / 2, "rank {rank} was not seen at work");
        assert!(
            peak < size + BESIDE,
            "rank {rank}: {peak} bytes, its part has {size}"
        );
    }
}
