//! Executables: what they print is what the reference prints, however they were compiled and run.

use std::fs;
use std::path::Path;
use std::process::Command;

use graver_runtime::kernels::{Isa, VARIABLE};
use serde_json::Value;

use crate::share;
use crate::{
    GRAVER, bible, comma, compile, complaint, continuations, fails, folder, listing, ok, output,
    root, run, stories, write_program,
};

/// What the model's author published, from the prompt on.
fn published() -> String {
    let readme = fs::read_to_string(root().join("../shared/models/README.md")).unwrap();
    let quoted: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("> "))
        .collect();
    quoted.join("\n")
}

#[test]
fn a_compiled_story_model_prints_the_published_text() {
    let Some(model) = stories() else { return };
    let folder = folder();
    for (name, options) in [("fused", &[][..]), ("plain", &["--no-fuse"])] {
        let program = folder.path().join(name);
        compile(&model, &program, options);
        for threads in ["1", "2"] {
            let arguments = [
                "-p",
                "Once upon a time",
                "-n",
                "200",
                "--temp",
                "0",
                "--threads",
                threads,
            ];
            let text = ok(&program, &arguments);
            assert_eq!(text.trim_end(), published(), "{name}, {threads} threads");
        }
    }
}

#[test]
fn the_committed_model_goes_on_as_the_reference_does() {
    let folder = folder();
    for (name, options) in [("fused", &[][..]), ("plain", &["--no-fuse"])] {
        let program = folder.path().join(name);
        compile(&bible(), &program, options);
        for threads in ["1", "2"] {
            for case in continuations() {
                let n = case.greedy_ids.len().to_string();
                let common = ["-n", &n, "--temp", "0", "-t", threads, "--ignore-eos"];
                let text = ok(&program, &[&["-p", &case.prompt], &common[..]].concat());
                assert_eq!(text, case.text.clone() + "\n", "{name}, {threads} threads");
                let ids = ["--tokens", &comma(&case.ids), "--print-tokens"];
                let ids = ok(&program, &[&ids, &common[..]].concat());
                assert_eq!(
                    ids,
                    comma(&case.greedy_ids) + "\n",
                    "{name}, {threads} threads"
                );
            }
        }
    }
}

#[test]
fn an_executable_takes_what_run_takes() {
    let folder = folder();
    let program = folder.path().join("bible");
    compile(&bible(), &program, &[]);
    let case = &continuations()[0];
    let options = [
        "-p",
        &case.prompt,
        "-n",
        "12",
        "--temp",
        "0.9",
        "--top-k",
        "20",
        "--top-p",
        "0.9",
        "--min-p",
        "0.01",
        "--repeat-penalty",
        "1.1",
        "--seed",
        "7",
        "-c",
        "64",
        "--json",
    ];
    let read = |text: &str| -> (Value, Value) {
        let json: Value = serde_json::from_str(text).unwrap();
        (json["tokens"].clone(), json["text"].clone())
    };
    let model = bible().display().to_string();
    let compiled = read(&ok(&program, &options));
    let in_memory = read(&ok(GRAVER, &[&["run", &model], &options[..]].concat()));
    assert_eq!(compiled, in_memory);
    assert!(
        fails(&program, &["-p", "x", "-c", "100000000"])
            .contains("--context 100000000: this model takes 1 to ")
    );
    assert!(fails(&program, &["--tokens", "4000000000", "--print-tokens"]).contains("4000000000"));
}

#[test]
fn an_executable_needs_nothing_beside_it() {
    let (made, moved) = (folder(), folder());
    let program = moved.path().join("renamed model");
    compile(&bible(), &made.path().join("bible"), &[]);
    fs::rename(made.path().join("bible"), &program).unwrap();
    assert_eq!(listing(made.path()), [""; 0]);
    let case = &continuations()[1];
    let mut command = Command::new(&program);
    command
        .env_clear()
        .current_dir("/")
        .args(["-p", &case.prompt, "--temp", "0", "-q"]);
    let n = case.greedy_ids.len().to_string();
    let output = output(command.args(["-n", &n]));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        case.text.clone() + "\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    ok(&program, &["--check"]);
}

#[test]
fn the_program_alone_in_another_folder_still_compiles() {
    let folder = folder();
    let graver = folder.path().join("graver");
    write_program(&graver, &fs::read(GRAVER).unwrap());
    let mut command = Command::new(&graver);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(folder.path());
    let model = bible().canonicalize().unwrap();
    let output = output(command.arg("compile").arg(&model));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The default output is the model's own name, here.
    assert_eq!(listing(folder.path()), ["graver", "model"]);
    ok(folder.path().join("model"), &["-p", "And", "-n", "1"]);
}

#[test]
fn compiling_again_gives_the_same_bytes() {
    let (first, second) = (folder(), folder());
    for (name, options) in [
        ("a", &[][..]),
        ("b", &["--weights", "external"]),
        ("c.so", &["--emit", "so"]),
        ("d.o", &["--emit", "obj"]),
    ] {
        for folder in [&first, &second] {
            compile(&bible(), &folder.path().join(name), options);
        }
    }
    let names = listing(first.path());
    let expected = [
        "a",
        "b",
        "b.weights",
        "c.h",
        "c.pc",
        "c.so",
        "d.h",
        "d.o",
        "d.pc",
        "d.weights",
        "libgraver_runtime.a",
    ];
    assert_eq!(names, expected);
    for name in names {
        let read = |folder: &Path| fs::read(folder.join(&name)).unwrap();
        assert!(read(first.path()) == read(second.path()), "{name} differs");
    }
}

/// What a program says of itself is about the model, not about the library that runs it.
#[test]
fn help_and_version_are_about_the_model() {
    let folder = folder();
    let program = folder.path().join("llama");
    compile(Path::new("llama"), &program, &[]);
    for help in ["--help", "-h"] {
        let text = ok(&program, &[help]);
        assert!(
            text.starts_with("A language model, compiled by Graver\n"),
            "{text}"
        );
    }
    for version in ["--version", "-V"] {
        let text = ok(&program, &[version]);
        let expected = format!(
            "llama, compiled by graver {} (target: x86-64-v3, kernels: ",
            graver::VERSION
        );
        assert!(text.starts_with(&expected), "{text}");
    }
    let refused = run(&program, &["--version", "--info"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn info_says_what_was_compiled() {
    let folder = folder();
    let program = folder.path().join("llama");
    compile(
        Path::new("llama"),
        &program,
        &["--no-pass", "norm-prologue"],
    );
    let text = ok(&program, &["--info"]);
    for line in [
        "spec          llama\n",
        &format!("compiler      graver {}, interface ", graver::VERSION),
        "target        x86-64-v3, needs cmpxchg16b sse3 ssse3",
        " merge-projections bias-epilogue ",
        "weights       in this file (f32 ",
        "layers        ",
        "kernels       ",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    assert!(!text.contains("norm-prologue"), "{text}");
    let json: Value = serde_json::from_str(&ok(&program, &["--info", "--json"])).unwrap();
    assert_eq!(json["spec"], "llama");
    assert_eq!(json["target"], "x86-64-v3");
    assert!(json["vocab"].as_u64().unwrap() > 0);
    assert!(json["weight_types"]["f32"].as_u64().unwrap() > 0);
    assert!(json["passes"].as_array().unwrap().len() > 3);
    assert!(json["weights"].as_array().unwrap().len() > 10);
}

/// Whatever it was compiled on, an artifact has the kernels of every instruction set.
#[test]
fn an_executable_runs_the_kernels_that_are_asked_for() {
    let folder = folder();
    let program = folder.path().join("llama");
    compile(Path::new("llama"), &program, &["--quantize", "q8"]);
    let under = |isa: &str, arguments: &[&str]| {
        let mut command = Command::new(&program);
        output(command.args(arguments).env(VARIABLE, isa))
    };
    for isa in Isa::ALL {
        let tokens = under(isa.name(), &["--tokens", "1,2", "-n", "3", "--temp", "0"]);
        if isa.is_available() {
            assert!(tokens.status.success(), "{isa:?}: {tokens:?}");
            let info = under(isa.name(), &["--info"]).stdout;
            let line = format!("kernels       {}\n", isa.name());
            assert!(String::from_utf8(info).unwrap().contains(&line), "{isa:?}");
        } else {
            assert!(complaint(&tokens).contains("lacks these instructions"));
        }
    }
    let unknown = complaint(&under("sse9", &["--tokens", "1"]));
    assert!(unknown.contains("GRAVER_ISA=sse9: there are no such kernels"));
    assert!(unknown.contains("scalar"), "{unknown}");
}

#[test]
fn an_executable_says_where_time_goes_if_it_was_made_to() {
    let folder = folder();
    let (plain, stamped) = (folder.path().join("plain"), folder.path().join("stamped"));
    compile(Path::new("llama"), &plain, &[]);
    compile(Path::new("llama"), &stamped, &["--profile"]);
    let trace = folder.path().join("trace.json");
    let arguments = [
        "--tokens",
        "1,2",
        "-n",
        "2",
        "--profile",
        &trace.display().to_string(),
    ];
    let message = fails(&plain, &arguments);
    assert!(
        message.contains("which profiles need: compile it with --profile"),
        "{message}"
    );
    ok(&stamped, &arguments);
    assert!(fs::read_to_string(&trace).unwrap().contains("layers.dense"));
}

/// Whatever would be ignored is refused.
#[test]
fn options_that_would_change_nothing_are_refused() {
    let folder = folder();
    let program = folder.path().join("llama");
    compile(Path::new("llama"), &program, &[]);
    for (arguments, expected) in [
        (
            &["--info", "-p", "x"][..],
            "'--info' cannot be used with '--prompt <TEXT>'",
        ),
        (
            &["--info", "--weights", "x"],
            "'--info' cannot be used with '--weights <FILE>'",
        ),
        (&["--info", "--check"], "cannot be used with"),
        (
            &["--check", "--json"],
            "'--check' cannot be used with '--json'",
        ),
        (
            &["--check", "-n", "3"],
            "'--check' cannot be used with '--max-tokens <N>'",
        ),
        (
            &["--tokens", "1", "--kv", "q8"],
            "unexpected argument '--kv'",
        ),
        (
            &["--tokens", "1", "--threads", "0"],
            "expected a whole number, 1 or more",
        ),
    ] {
        let output = crate::run(&program, arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    for option in ["--top-k", "--top-p", "--min-p", "--seed"] {
        let message = fails(&program, &["--tokens", "1", "--temp", "0", option, "1"]);
        let expected = format!("error: {option} has no effect with --temp 0");
        assert!(message.starts_with(&expected), "{message}");
    }
}

/// The compiled code of every spec that falls to this run does what the code in memory does, which other tests compare with references: here
/// random weights are drawn while they are written, and the target is a level instead of this processor.
#[test]
fn every_spec_compiles_and_runs() {
    let folder = folder();
    let mut specs = listing(&root().join("specs"));
    specs.retain(|name| name.ends_with(".json"));
    assert!(specs.len() >= 4);
    for name in specs.iter().filter(|name| share::has(name)) {
        let spec = root().join("specs").join(name);
        let program = folder.path().join(name);
        compile(&spec, &program, &["--preset", "tiny", "--seed", "3"]);
        let prompt = [
            "--tokens",
            "1,2,3,4,5,6,7,8,9,10,11,12",
            "-n",
            "8",
            "--temp",
            "0",
            "--ignore-eos",
        ];
        let spec = spec.display().to_string();
        let run = ["run", &spec, "--preset", "tiny", "--seed", "3"];
        let in_memory = ok(GRAVER, &[&run, &prompt[..], &["--print-tokens"]].concat());
        let compiled = ok(&program, &[&prompt[..], &["--print-tokens"]].concat());
        assert_eq!(compiled, in_memory, "{name}");
        ok(&program, &["--check"]);
    }
}

/// `graver bench A B` runs both, and compares what they say of themselves.
#[test]
fn two_executables_are_timed_against_each_other() {
    let folder = folder();
    let [fused, plain] = ["fused", "plain"].map(|name| folder.path().join(name));
    compile(&bible(), &fused, &[]);
    compile(&bible(), &plain, &["--no-fuse"]);
    let [a, b] = [&fused, &plain].map(|p| p.display().to_string());
    let lengths = ["--prompt", "30", "--gen", "6", "--rounds", "3", "-t", "1"];
    let call = [&["bench", &a, &b], &lengths[..]].concat();
    let shown = ok(GRAVER, &call);
    assert!(
        shown.starts_with("prefill 30 tokens\n") && shown.contains("decode 6 tokens\n"),
        "{shown}"
    );
    let json: Value =
        serde_json::from_str(&ok(GRAVER, &[&call[..], &["--json"]].concat())).unwrap();
    for point in json["points"].as_array().unwrap() {
        for runs in point["runs"].as_array().unwrap() {
            let positive = |rate: &Value| rate.as_f64().unwrap() > 0.0;
            let runs = runs.as_array().unwrap();
            assert!(runs.len() == 3 && runs.iter().all(positive), "{point}");
        }
        assert!(point["ratio"]["median"].as_f64().unwrap() > 0.0);
    }
    // Its context is 512: what nobody chose fits.
    let usual = ok(GRAVER, &["bench", &a, &b, "--rounds", "1", "-t", "1"]);
    assert!(
        usual.starts_with("prefill 448 tokens\n") && usual.contains("decode 64 tokens\n"),
        "{usual}"
    );
    let weights = bible().join("model.safetensors").display().to_string();
    for (what, call) in [
        (
            "cannot run it",
            [&["bench", &a, &weights], &lengths[..]].concat(),
        ),
        (
            "choose a smaller --prompt",
            vec!["bench", &a, &b, "--prompt", "600"],
        ),
    ] {
        let said = fails(GRAVER, &call);
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn quantised_weights_are_carried_as_they_are_run() {
    let folder = folder();
    let model = bible().display().to_string();
    let float = fs::metadata(bible().join("model.safetensors"))
        .unwrap()
        .len();
    let kinds = [("q8", "q8", float * 6 / 10), ("q4", "q4s", float * 4 / 10)];
    for (quant, held, most) in kinds {
        let program = folder.path().join(quant);
        compile(
            &bible(),
            &program,
            &["--quantize", quant, "--weights", "external"],
        );
        let weights = program.with_extension("weights");
        let bytes = fs::metadata(weights).unwrap().len();
        assert!(bytes < most, "{quant}: {bytes} bytes");
        let prompt = [
            "-p",
            "And God said",
            "-n",
            "8",
            "--temp",
            "0",
            "--print-tokens",
        ];
        let in_memory = ok(
            GRAVER,
            &[&["run", &model, "--quantize", quant], &prompt[..]].concat(),
        );
        assert_eq!(ok(&program, &prompt), in_memory, "{quant}");
        let info = ok(&program, &["--info"]);
        assert!(
            info.contains(&format!("{held} ")) && info.contains("in f16"),
            "{info}"
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_processor_that_lacks_a_feature_is_told_which() {
    if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512dq") {
        eprintln!("skipped: this processor has all features of x86-64-v4");
        return;
    }
    let folder = folder();
    let program = folder.path().join("llama");
    compile(Path::new("llama"), &program, &["--target-cpu", "x86-64-v4"]);
    let message = fails(&program, &["--tokens", "1"]);
    assert!(
        message.contains("the model was compiled for x86-64-v4 and needs "),
        "{message}"
    );
    assert!(message.contains("avx512"), "{message}");
    assert!(
        message.contains("which this processor lacks: compile it again with --target-cpu"),
        "{message}"
    );
    ok(&program, &["--info"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_targets_run_too() {
    let folder = folder();
    let case = &continuations()[1];
    for target in ["native", "x86-64"] {
        let program = folder.path().join(target);
        compile(&bible(), &program, &["--target-cpu", target]);
        let n = case.greedy_ids.len().to_string();
        let text = ok(&program, &["-p", &case.prompt, "-n", &n, "--temp", "0"]);
        assert_eq!(text, case.text.clone() + "\n", "{target}");
    }
}
