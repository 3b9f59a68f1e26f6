//! Every option has its effect or is refused: none is ignored without a word.

use super::{fixture, graver};

/// The complaint about a command line, by the parser or by the command.
#[track_caller]
fn refused(args: &str) -> String {
    let run = graver(args);
    assert!(matches!(run.code, Some(1 | 2)), "{args}: {}", run.out);
    assert_eq!(run.out, "", "{args}");
    run.err
}

#[test]
fn options_of_specs_are_refused_where_there_are_weights() {
    let dir = fixture("qwen3-f32");
    for model in [dir.as_str(), ""] {
        for verb in ["run", "bench", "compile", "verify"] {
            let seed = if verb == "run" {
                "--weights-seed"
            } else {
                "--seed"
            };
            let message = refused(&format!("{verb} {model} {seed} 5"));
            assert!(
                message.contains("has weights of its own; a seed is for specs"),
                "{verb} {model}: {message}"
            );
        }
        for verb in [
            "run", "bench", "compile", "verify", "inspect", "explain", "report",
        ] {
            let message = refused(&format!("{verb} {model} --preset tiny"));
            let expected = "has sizes of its own; presets are for specs";
            assert!(message.contains(expected), "{verb} {model}: {message}");
        }
    }
}

/// Verbs that need no weights take no seed of them.
#[test]
fn verbs_without_weights_take_no_seed() {
    for verb in ["inspect", "explain", "report"] {
        let message = refused(&format!("{verb} llama --seed 5"));
        assert!(
            message.contains("unexpected argument '--seed'"),
            "{message}"
        );
    }
}

#[test]
fn a_spec_beside_a_spec_is_refused() {
    let spec = super::repository("specs/llama.json");
    let spec = spec.display();
    for verb in ["run", "inspect", "explain"] {
        let message = refused(&format!("{verb} qwen3 --spec {spec}"));
        let expected =
            "the model is a spec; a spec is chosen for checkpoint folders and GGUF files";
        assert!(message.contains(expected), "{message}");
        let message = refused(&format!("{verb} --spec {spec}"));
        let expected = "the model is the built-in model; a spec is chosen for";
        assert!(message.contains(expected), "{message}");
    }
}

/// A spec for a checkpoint is a file, or the name of a built-in one.
#[test]
fn a_spec_is_named_or_a_file() {
    let dir = fixture("qwen3-f32");
    let spec = super::repository("specs/qwen3.json");
    let chosen = graver(&format!("inspect {dir}")).ok();
    for spec in ["qwen3", &spec.display().to_string()] {
        assert_eq!(graver(&format!("inspect {dir} --spec {spec}")).ok(), chosen);
    }
    let message = refused(&format!("inspect {dir} --spec qwen33"));
    assert!(
        message.contains("no built-in spec named `qwen33` (did you mean `qwen3`?)"),
        "{message}"
    );
    let message = refused(&format!("inspect {dir} --spec ./mine.json"));
    assert!(
        message.contains("mine.json: cannot open: No such file"),
        "{message}"
    );
}

/// `SPEC:PRESET` goes wherever a model goes.
#[test]
fn a_spec_may_be_named_with_its_preset() {
    let spec = super::repository("specs/llama.json");
    let apart = graver("inspect llama --preset 3.1-8b").ok();
    assert_eq!(graver("inspect llama:3.1-8b").ok(), apart);
    let file = format!("{}:3.1-8b", spec.display());
    assert_eq!(graver(&format!("inspect {file}")).ok(), apart);
    graver("run llama:tiny --tokens 1 -n 1 -q").ok();
    let both = graver("inspect llama:tiny --compare gemma3:tiny").ok();
    assert!(
        both.contains("  llama tiny  ") && both.contains("  gemma3 tiny\n"),
        "{both}"
    );
    let message = refused("inspect llama:tiny --preset 3.1-8b");
    assert!(
        message.contains("preset 3.1-8b: the model's name already has a preset, tiny"),
        "{message}"
    );
}

/// Sizes from a configuration: of a spec, or with the built-in spec that takes it.
#[test]
fn a_configuration_gives_a_spec_its_sizes() {
    let config = format!("{}/config.json", fixture("qwen3-f32"));
    let read_per_token = |args: &str| {
        let text = graver(args).ok();
        let line = text.lines().find(|l| l.starts_with("read per token"));
        line.unwrap().to_string()
    };
    let own = read_per_token(&format!("inspect {}", fixture("qwen3-f32")));
    for args in [
        format!("inspect --config {config}"),
        format!("inspect qwen3 --config {config}"),
        format!("inspect --spec qwen3 --config {config}"),
    ] {
        assert_eq!(read_per_token(&args), own, "{args}");
    }
    graver(&format!("run --config {config} --tokens 1 -n 1 -q")).ok();
    let message = refused(&format!(
        "inspect {} --config {config}",
        fixture("qwen3-f32")
    ));
    assert!(
        message.contains(
            "a checkpoint folder has sizes of its own; a configuration gives a spec its sizes"
        ),
        "{message}"
    );
    let message = refused(&format!("inspect qwen3 --preset tiny --config {config}"));
    assert!(message.contains("cannot be used with"), "{message}");
}

#[test]
fn sampling_without_chance_is_refused() {
    let dir = fixture("qwen3-f32");
    for option in ["--top-k 5", "--top-p 0.5", "--min-p 0.1", "--seed 7"] {
        let message = refused(&format!("run {dir} --tokens 1 --temp 0 {option}"));
        assert!(message.contains("has no effect with --temp 0"), "{message}");
    }
    // The seed draws the weights as well, unless they have one of their own.
    graver("run llama --tokens 1 -n 1 --temp 0 --seed 7").ok();
    let message = refused("run llama --tokens 1 --temp 0 --seed 7 --weights-seed 8");
    assert!(message.contains("--seed has no effect"), "{message}");
}

#[test]
fn passes_are_chosen_in_one_way() {
    for other in ["--no-pass dead-nodes", "--pass-limit 3"] {
        let message = refused(&format!("inspect llama --no-fuse {other}"));
        assert!(message.contains("cannot be used with"), "{message}");
    }
}

#[test]
fn impossible_numbers_are_refused() {
    for (args, expected) in [
        (
            "run --tokens 1 --threads 0",
            "found \"0\", expected a whole number, 1 or more",
        ),
        ("verify --threads 0", "--threads 0: expected 1 to "),
        ("bench --threads 0", "0 is not in 1..=65535"),
        ("report --threads 0", "0 is not in 1..=65535"),
        (
            "run --tokens 1 --context 100000",
            "this model takes 1 to 512 positions",
        ),
        (
            "verify --tokens 513",
            "--tokens 513: this model takes 1 to 512 positions",
        ),
        (
            "verify --tokens 513 --quantize q8",
            "--tokens 513: this model takes 1 to 512 positions",
        ),
        (
            "bench llama --depth 100000",
            "--depth 100000: the model's context of ",
        ),
        (
            "bench --prompt 0 --gen 0",
            "nothing to measure: --prompt and --gen are both 0",
        ),
        (
            "bench --no-fuse",
            "--no-fuse leaves nothing to compare: bench measures the fused graph",
        ),
        (
            "bench diff a b --tolerance nan",
            "expected a number, 0 or more",
        ),
        (
            "bench diff a b --tolerance -1",
            "expected a number, 0 or more",
        ),
        (
            "inspect llama --gbps 0 --gflops 1",
            "expected a number above 0",
        ),
    ] {
        let message = refused(args);
        assert!(message.contains(expected), "{args}: {message}");
    }
}

#[test]
fn options_that_need_another_are_refused_alone() {
    for (args, expected) in [
        ("inspect llama --program prefill", "--emit <STAGE>"),
        (
            "inspect llama --emit spec --program prefill",
            "--program chooses between decode and prefill, which have one spec",
        ),
        ("inspect llama --emit graph --json", "cannot be used with"),
        (
            "inspect llama --emit graph --compare qwen3",
            "cannot be used with",
        ),
        ("inspect llama --gbps 5", "--gflops <GFLOP/S>"),
        ("run --head q8", "--quantize <TYPE>"),
        ("run --json --print-tokens", "cannot be used with"),
        ("run -p a --tokens 1", "cannot be used with"),
        ("run -p a -f b", "cannot be used with"),
        ("bench --json --markdown", "cannot be used with"),
        ("bench a b --no-fuse", "cannot be used with"),
        (
            "bench --quantize q4 --quantize-plan head=q5",
            "types are q8, q4 and none",
        ),
        ("bench --quantize-plan head=q8", "--quantize <TYPE>"),
        (
            "inspect llama --quantize none --head q8",
            "--head needs --quantize q8 or q4",
        ),
        (
            "inspect llama --quantize none --quantize-plan head=q8",
            "--quantize-plan needs --quantize q8 or q4",
        ),
        ("explore llama --rank 1", "--ranks <N>"),
        (
            "inspect llama --emit graph --ranks 2 --rank 2",
            "--rank 2: expected 0 to 1",
        ),
        (
            "inspect llama --ranks 2 --rank 1",
            "the summary is of all ranks",
        ),
        ("verify --golden a --tokens 5", "cannot be used with"),
        (
            "compile llama --emit obj --weights embed",
            "an object file cannot contain weights",
        ),
    ] {
        let message = refused(args);
        assert!(message.contains(expected), "{args}: {message}");
    }
}

/// What keys and values are kept in decides what is fused around the cache's writes.
#[test]
fn explain_takes_the_type_of_the_cache() {
    let usual = graver("explain llama --json").ok();
    assert_eq!(graver("explain llama --json --kv f32").ok(), usual);
    for kv in ["f16", "bf16", "q8"] {
        let said = graver(&format!("inspect llama --emit graph --kv {kv}")).ok();
        assert!(said.contains(kv), "{kv}: {said}");
        graver(&format!("explain llama --kv {kv}")).ok();
    }
}

/// What is rounded otherwise, or not at all, shows in the weights' bytes.
#[test]
fn the_head_may_be_rounded_otherwise_or_not_at_all() {
    let bytes = |head: &str| {
        let args = format!("inspect llama --quantize q4 --json {head}");
        let summary: serde_json::Value = serde_json::from_str(&graver(&args).ok()).unwrap();
        summary["weight_bytes"].as_u64().unwrap()
    };
    assert_eq!(bytes(""), bytes("--head q4"));
    assert!(bytes("--head q4") < bytes("--head q8"));
    assert!(bytes("--head q8") < bytes("--head none"));
}

/// Of several ranks one is shown, and a line says which where none was chosen.
#[test]
fn every_stage_of_a_rank_can_be_printed() {
    for stage in ["graph", "schedule", "memory", "clif", "asm", "dot"] {
        let args = format!("inspect llama --emit {stage} --kernel gate+up");
        let whole = graver(&args).ok();
        let run = graver(&format!("{args} --ranks 2"));
        assert!(
            run.err.contains("rank 0 of 2; --rank R shows another"),
            "{}",
            run.err
        );
        let first = run.ok();
        assert_ne!(first, whole, "{stage}");
        let run = graver(&format!("{args} --ranks 2 --rank 0"));
        assert!(!run.err.contains("rank 0 of 2"), "{}", run.err);
        assert_eq!(run.ok(), first, "{stage}");
    }
    let first = "inspect llama --emit graph --ranks 2 --plan pipeline --rank 0";
    let last = graver(&first.replace("--rank 0", "--rank 1")).ok();
    assert!(last.contains("logits") && last != graver(first).ok());
    let said = graver("explain llama --ranks 2 --rank 1").ok();
    assert!(said.contains("this is rank 1"), "{said}");
}

/// A folder has its own sizes; those asked for are the other model's.
#[test]
fn a_preset_does_not_stand_in_the_way_of_a_folder_to_compare_with() {
    let dir = fixture("qwen3-f32");
    let both = graver(&format!("inspect llama --preset tiny --compare {dir}")).ok();
    assert!(both.contains("llama tiny") && both.contains(&dir), "{both}");
}

#[test]
fn activations_are_rounded_for_matrices_in_bf16_alone() {
    let of = fixture("llama-gqa-tied-bf16-llama3");
    let report = graver(&format!("verify {of} --activations bf16")).ok();
    assert!(
        report.contains("KL ") && report.contains("passed"),
        "{report}"
    );
    let of = fixture("qwen3-f32");
    let message = refused(&format!("run {of} --tokens 1 --activations bf16"));
    assert!(message.contains("found weights in f32"), "{message}");
}

/// Options of one kind stand together, and none below a heading that is not its own.
#[test]
fn help_has_headings() {
    let help = graver("run --help").ok();
    let under = |heading: &str| -> Vec<&str> {
        let (_, rest) = help.split_once(&format!("\n{heading}:\n")).unwrap();
        let lines = rest
            .lines()
            .take_while(|line| line.is_empty() || line.starts_with(' '));
        let names = lines.filter_map(|line| line.trim_start().strip_prefix("--"));
        names.map(|name| name.split(' ').next().unwrap()).collect()
    };
    assert_eq!(under("Passes"), ["no-fuse", "no-pass", "pass-limit"]);
    assert_eq!(
        under("Weights and KV cache"),
        [
            "quantize",
            "head",
            "quantize-plan",
            "calibrate",
            "activations",
            "kv"
        ]
    );
    assert_eq!(under("Ranks"), ["ranks", "plan"]);
    let sampling = ["temp", "top-k", "top-p", "min-p", "repeat-penalty", "seed"];
    assert_eq!(under("Sampling"), sampling);
    assert!(under("Options").contains(&"checked"));
}
