//! Two hosts, which are network namespaces of this one with an Ethernet link between them: what ranks bring to each other is what
//! their graphs say, and what goes over the link is little more.
//!
//! Needs root and iproute2, and says so where it has neither.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{GRAVER, as_root, output, stderr, stdout};

const MODEL: &str = "llama:smollm2-135m";
const NETWORK: &str = "10.213.17.0/24";
const ADDRESSES: [&str; 2] = ["10.213.17.1", "10.213.17.2"];
const LINKS: [&str; 2] = ["graver0", "graver1"];

/// Two namespaces that are joined, as long as this is there.
struct Hosts {
    names: [String; 2],
    /// Has what starts processes on the other host.
    folder: TempDir,
}

impl Hosts {
    /// # Errors
    /// Why there cannot be any here.
    fn join() -> Result<Hosts, String> {
        let name = |i: usize| format!("graver-{}-{i}", std::process::id());
        let hosts = Hosts {
            names: [name(0), name(1)],
            folder: tempfile::tempdir().unwrap(),
        };
        let [first, second] = hosts.names.each_ref().map(String::as_str);
        ip(&["netns", "add", first])?;
        ip(&["netns", "add", second])?;
        let link = ["-n", first, "link", "add", LINKS[0], "type", "veth"];
        let peer = ["peer", "name", LINKS[1], "netns", second];
        ip(&[&link[..], &peer].concat())?;
        for i in 0..2 {
            let (host, address) = (hosts.names[i].as_str(), format!("{}/24", ADDRESSES[i]));
            ip(&["-n", host, "addr", "add", &address, "dev", LINKS[i]])?;
            ip(&["-n", host, "link", "set", LINKS[i], "up"])?;
            ip(&["-n", host, "link", "set", "lo", "up"])?;
        }
        // In place of ssh: the host, which is always the second, and the words of a command. MPI tells hosts apart by their names.
        let agent = format!(
            "#!/bin/sh\nshift\nexec ip netns exec {second} unshare --uts sh -c 'hostname {second}; eval \"$*\"' sh \"$@\"\n"
        );
        let path = hosts.agent();
        fs::write(&path, agent).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Ok(hosts)
    }

    fn agent(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    /// One process on each host, which reach each other over TCP.
    fn mpirun(&self, program: &Path) -> Command {
        let mut ip = Command::new("ip");
        ip.args(["netns", "exec", &self.names[0], "mpirun", "-n", "2"]);
        ip.args(["--host", &ADDRESSES.map(|a| format!("{a}:1")).join(",")]);
        let agent = self.agent();
        let options = [
            ("plm_rsh_agent", agent.to_str().unwrap()),
            ("pml", "ob1"),
            ("btl", "tcp,self"),
            ("btl_tcp_if_include", NETWORK),
            ("oob_tcp_if_include", NETWORK),
        ];
        for (name, value) in options {
            ip.args(["--mca", name, value]);
        }
        as_root(&mut ip);
        ip.arg(program);
        ip
    }

    /// Bytes that each host has sent.
    fn sent(&self) -> [f64; 2] {
        [0, 1].map(|i| {
            let place = format!("/sys/class/net/{}/statistics/tx_bytes", LINKS[i]);
            let read = ["netns", "exec", &self.names[i], "cat", &place];
            ip(&read).unwrap().trim().parse().unwrap()
        })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// What `ip` prints.
fn ip(arguments: &[&str]) -> Result<String, String> {
    let done = Command::new("ip").args(arguments).output();
    let done = done.map_err(|e| format!("ip, of iproute2: {e}"))?;
    match done.status.success() {
        true => Ok(stdout(&done)),
        false => Err(format!(
            "ip {}: {}",
            arguments.join(" "),
            stderr(&done).trim()
        )),
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

/// Tokens of the prompt and bytes that the first rank brings, by the graphs of decode and of prefill.
fn predicted() -> [(usize, u64); 2] {
    let found = output(Command::new(GRAVER).args(["inspect", MODEL, "--ranks", "2", "--json"]));
    assert!(found.status.success(), "{}", stderr(&found));
    let steps = json(&stdout(&found))["ranks"]["steps"].clone();
    let of = |name: &str| {
        let all = steps.as_array().unwrap();
        let step = all.iter().find(|s| s["program"] == name).unwrap();
        let tokens = step["step"]["tokens"].as_u64().unwrap() as usize;
        (tokens, step["brought_bytes"].as_u64().unwrap())
    };
    [of("decode"), of("prefill")]
}

#[test]
fn two_hosts_send_each_other_what_their_graphs_say() {
    let hosts = match Hosts::join() {
        Ok(hosts) => hosts,
        Err(why) => return eprintln!("skipped: two hosts cannot be made here: {why}"),
    };
    let [(_, decode), (tokens, prefill)] = predicted();
    let prompt: Vec<String> = (0..tokens).map(|i| (i * 31 % 49152).to_string()).collect();
    const GENERATED: usize = 24;
    let run = |command: &mut Command| {
        command.args(["run", MODEL, "--ranks", "2", "-t", "1", "--json"]);
        command.args(["--ignore-eos", "--tokens", &prompt.join(","), "--temp", "0"]);
        command.args(["-n", &GENERATED.to_string()]);
    };
    let mut job = hosts.mpirun(Path::new(GRAVER));
    run(&mut job);
    let before = hosts.sent();
    let found = output(&mut job);
    let after = hosts.sent();
    assert!(found.status.success(), "{}", stderr(&found));
    let said = json(&stdout(&found));
    assert_eq!(said["tokens"].as_array().unwrap().len(), GENERATED);
    // The first token comes of the prompt's logits.
    let brought = said["ranks"]["brought_bytes"].as_u64().unwrap();
    assert_eq!(brought, prefill + (GENERATED as u64 - 1) * decode);
    for i in 0..2 {
        let share = (after[i] - before[i]) / brought as f64;
        eprintln!("host {i}: sent {share:.3} times the {brought} bytes that its rank brought");
        assert!((1.0..1.2).contains(&share), "host {i}: {share}");
    }
    // The same on one host: a network changes no bit.
    let mut alone = Command::new(GRAVER);
    run(&mut alone);
    let alone = json(&stdout(&output(&mut alone)));
    assert_eq!(alone["tokens"], said["tokens"]);
}
