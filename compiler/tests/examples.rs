//! The programs in `examples/` run, and print what they say they do.

use std::error::Error;
use std::io::Write;

use graver::Model;

#[path = "../examples/chat.rs"]
#[allow(dead_code, reason = "its main reads this program's arguments")]
mod chat;
#[path = "../examples/custom_spec.rs"]
#[allow(dead_code, reason = "its main prints")]
mod custom_spec;
#[path = "../examples/logits.rs"]
#[allow(dead_code, reason = "its main reads this program's arguments")]
mod logits;
#[path = "../examples/passes.rs"]
#[allow(dead_code, reason = "its main reads this program's arguments")]
mod passes;
#[path = "../examples/sequences.rs"]
#[allow(dead_code, reason = "its main reads this program's arguments")]
mod sequences;

/// What an example prints.
fn printed(run: impl FnOnce(&mut dyn Write) -> Result<(), Box<dyn Error>>) -> String {
    let mut out = vec![];
    run(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn logits_say_what_is_surprising() {
    let text = "And God said, Let there be light";
    let out = printed(|out| logits::run(&Model::built_in(), text, out));
    assert!(out.lines().count() > 5, "{out}");
    let nats = out.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[words.len() - 2].parse::<f32>().unwrap()
    });
    let nats: Vec<f32> = nats.collect();
    assert!(nats.iter().all(|n| n.is_finite() && *n >= 0.0), "{out}");
    // It knows its book: far better than drawing from 1024 tokens.
    let mean = nats.iter().sum::<f32>() / nats.len() as f32;
    assert!(mean < 4.0, "{mean}: {out}");
}

#[test]
fn a_chat_goes_on_until_the_context_is_full() {
    let turns = "Who art thou?\n".repeat(12);
    let out = printed(|out| chat::run(&Model::built_in(), &mut turns.as_bytes(), out));
    assert!(out.contains("begins anew"), "{out}");
    assert!(out.lines().count() >= 13, "{out}");
}

/// Together as each alone.
#[test]
fn sequences_of_one_step_do_not_disturb_each_other() {
    let out = printed(|out| sequences::run(&Model::built_in(), out));
    let compiled = Model::built_in()
        .compile(graver::Options::default())
        .unwrap();
    let mut session = compiled.session(Default::default()).unwrap();
    let options = graver::GenerateOptions {
        ignore_eos: true,
        ..graver::GenerateOptions::greedy(12)
    };
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    for (line, prompt) in lines
        .iter()
        .zip(["In the beginning", "And the LORD said", "Then David"])
    {
        let tokens = session.encode(prompt).unwrap();
        let stream = session.stream_tokens(&tokens, &options).unwrap();
        let all: Vec<u32> = tokens
            .iter()
            .copied()
            .chain(stream.filter_map(|p| p.unwrap().token))
            .collect();
        assert_eq!(*line, session.decode(&all).unwrap().replace('\n', " "));
    }
}

#[test]
fn a_spec_of_ones_own_is_verified() {
    let out = printed(|out| custom_spec::run(out));
    assert!(out.contains("RMSNorm → attention → RMSNorm"), "{out}");
    assert!(out.contains("passed: largest difference"), "{out}");
}

#[test]
fn a_pass_that_is_left_out_leaves_more_kernels() {
    let out = printed(|out| passes::run(&Model::built_in(), "merge-projections", out));
    let kernels = out.lines().map(|line| {
        let (before, _) = line.split_once(" kernels").unwrap();
        before
            .split_whitespace()
            .next_back()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    });
    let [all, without, none] = kernels.collect::<Vec<_>>()[..] else {
        panic!("{out}");
    };
    assert!(all < without && without < none, "{out}");
}
