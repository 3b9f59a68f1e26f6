//! What processes compute: the logits of the reference, the same bits as ranks of one process and with any number of threads.

use std::path::Path;
use std::process::Command;

use graver::verify::{Golden, TOLERANCE};
use serde_json::Value;

use super::{GRAVER, compiled, fixture, mpirun, output, stderr, stdout};

/// A model for each mechanism that ranks share in a way of its own.
const MODELS: [(&str, &str); 19] = [
    ("grouped keys, tied head", "llama-gqa-tied-bf16-llama3"),
    ("one key head, uneven columns", "llama-mqa-odd-f16"),
    ("norm over all heads", "olmo2-gqa-bf16"),
    ("rings, norms after", "gemma3-f32"),
    ("sinks, paired experts with biases", "gpt-oss-f32"),
    ("experts", "qwen3-moe-f32"),
    (
        "shared experts, weights on the way in",
        "llama4-experts-f32",
    ),
    ("latents, groups of experts", "deepseek-v3-f32"),
    ("values by layer, carried values", "gemma3n-bf16"),
    ("slopes", "bloom-bf16"),
    ("parallel branches", "falcon-bf16"),
    ("short convolutions", "lfm2-bf16"),
    ("delta nets", "qwen3-next-bf16"),
    ("delta nets with decay by channel", "kimi-linear-bf16"),
    ("linear attention", "minimax-f32"),
    ("scans", "jamba-bf16"),
    ("scans with heads", "bamba-bf16"),
    ("8-bit floats in blocks", "deepseek-v3-fp8"),
    (
        "biases by distance, experts that always take part",
        "inkling-bf16",
    ),
];

/// What `graver verify --ranks` reports of a fixture; nothing else differs between the ways to start it.
fn verified(name: &str, ranks: usize, threads: usize, processes: bool) -> Value {
    let model = fixture(name);
    let golden = model.join("golden.safetensors");
    let (ranks_text, threads) = (ranks.to_string(), threads.to_string());
    let arguments = [
        "verify",
        model.to_str().unwrap(),
        "--golden",
        golden.to_str().unwrap(),
        "--ranks",
        &ranks_text,
        "-t",
        &threads,
        "--json",
    ];
    let found = match processes {
        true => output(&mut mpirun(ranks, Path::new(GRAVER), &arguments)),
        false => output(Command::new(GRAVER).args(arguments)),
    };
    assert!(found.status.success(), "{name}: {}", stderr(&found));
    let text = stdout(&found);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e} in {text}"))
}

/// Differences are printed with all their digits, so that equal reports are of equal bits.
#[test]
fn processes_have_the_logits_of_the_reference_and_the_bits_of_threads() {
    for (mechanism, name) in MODELS {
        for ranks in [2, 4] {
            let report = verified(name, ranks, 1, true);
            let largest = report["largest"].as_f64().unwrap();
            assert!(
                report["passed"] == true && largest <= TOLERANCE,
                "{mechanism}: {name} on {ranks} ranks: {report:#}"
            );
            let threads = 4 / ranks;
            let other = verified(name, ranks, threads, false);
            assert_eq!(report, other, "{mechanism}: {name} on {ranks} ranks");
        }
    }
}

#[test]
fn threads_of_a_process_change_no_bit() {
    for name in ["llama-gqa-tied-bf16-llama3", "deepseek-v3-f32"] {
        let one = verified(name, 2, 1, true);
        assert_eq!(one, verified(name, 2, 3, true), "{name}");
    }
}

/// Tokens that the reference appends, up to the first that another one comes close to.
fn certain(golden: &Golden) -> &[u32] {
    let spread = golden.logits.iter().map(|v| v.abs()).fold(0.0, f32::max);
    let close = |gap: &f32| f64::from(*gap) < f64::from(spread) * TOLERANCE;
    let sure = golden.greedy_gap.iter().position(close);
    &golden.greedy_ids[..sure.unwrap_or(golden.greedy_ids.len())]
}

fn joined(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    ids.join(",")
}

#[test]
fn executables_generate_what_the_reference_does() {
    for name in ["llama-gqa-tied-bf16-llama3", "deepseek-v3-f32", "lfm2-bf16"] {
        let model = fixture(name);
        let golden = Golden::open(&model.join("golden.safetensors")).unwrap();
        let expected = certain(&golden);
        assert!(!expected.is_empty(), "{name}: nothing to compare");
        let (prompt, n) = (joined(&golden.input_ids), expected.len().to_string());
        let arguments = [
            "--tokens", &prompt, "-n", &n, "--temp", "0", "-q", "-t", "1",
        ];
        let arguments = [&arguments[..], &["--print-tokens", "--ignore-eos"]].concat();
        for ranks in [2, 4] {
            let folder = compiled(Some(&model), ranks, &[]);
            let found = output(&mut mpirun(ranks, &folder.path().join("model"), &arguments));
            assert!(found.status.success(), "{name}: {}", stderr(&found));
            let text = stdout(&found);
            assert_eq!(text.trim(), joined(expected), "{name} on {ranks} ranks");
        }
    }
}

/// A prompt whose sums begin while they are computed: the same as in one process. Of two threads, the first might come too late for every
/// chunk. With three ranks and rows as wide as the second model's, each rank sums up a run and hands it to the others.
#[test]
fn processes_hand_over_early_what_changes_no_bit() {
    let tokens: Vec<String> = (0..300).map(|i| (i * 7 % 199).to_string()).collect();
    let tokens = tokens.join(",");
    for (model, ranks) in [("qwen3_moe:tiny", 2), ("llama:smollm2-135m", 3)] {
        let of_all = ranks.to_string();
        let arguments = [
            &["run", model, "--ranks", &of_all, "-t", "1", "-n", "16"],
            &["--temp", "0", "--ignore-eos", "--json", "--tokens", &tokens][..],
        ];
        let arguments = arguments.concat();
        let ran = |found: std::process::Output| -> Value {
            assert!(found.status.success(), "{model}: {}", stderr(&found));
            serde_json::from_str(&stdout(&found)).unwrap()
        };
        let processes = ran(output(&mut mpirun(ranks, Path::new(GRAVER), &arguments)));
        let threads = ran(output(Command::new(GRAVER).args(&arguments)));
        assert_eq!(processes["tokens"], threads["tokens"], "{model}");
        assert!(processes["tokens"].is_array(), "{processes}");
        for key in ["meetings", "brought_bytes"] {
            assert_eq!(
                processes["ranks"][key], threads["ranks"][key],
                "{model}: {key}"
            );
        }
        let early = processes["ranks"]["early_bytes"].as_u64().unwrap();
        assert!(early > 0, "{processes}");
    }
}
