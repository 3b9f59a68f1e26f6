//! What options are if they are not given, and which of their values are refused.

use super::super::SamplingArgs;
use super::parse;

#[test]
fn defaults_are_the_customary_ones() {
    let args = parse(&[]).unwrap();
    let customary = crate::sampling::SamplingOptions {
        seed: 9,
        ..Default::default()
    };
    assert_eq!(
        SamplingArgs {
            seed: Some(9),
            ..args.sampling.clone()
        }
        .options(),
        customary
    );
    assert_eq!(
        (args.max_tokens, args.session.threads, args.session.context),
        (256, None, None)
    );
    assert_ne!(
        args.sampling.options().seed,
        args.sampling.options().seed,
        "a new seed each time"
    );
}

/// The likeliest token is among the likeliest however they are counted, and nothing is drawn.
#[test]
fn what_changes_nothing_at_temperature_0_is_refused() {
    for option in ["--top-k", "--top-p", "--min-p", "--seed"] {
        let check = |temp: &str, seed_is_used| {
            let args = parse(&["--temp", temp, option, "1"]).unwrap();
            args.sampling
                .check(seed_is_used)
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            check("0", false),
            Err(format!(
                "{option} has no effect with --temp 0, which always picks the most likely token; drop one of the two"
            ))
        );
        assert_eq!(check("0.1", false), Ok(()));
        assert_eq!(check("0", true).is_ok(), option == "--seed");
    }
    let args = parse(&["--temp", "0", "--repeat-penalty", "1.5"]).unwrap();
    assert!(
        args.sampling.check(false).is_ok(),
        "it changes which is likeliest"
    );
}

#[test]
fn bad_values_say_what_was_expected() {
    for (line, expected) in [
        (
            ["--temp", "-1"],
            "invalid value '-1' for '--temp <T>': found \"-1\", expected a number, 0 or more",
        ),
        (
            ["--temp", "hot"],
            "found \"hot\", expected a number, 0 or more",
        ),
        (
            ["--temp", "nan"],
            "found \"nan\", expected a number, 0 or more",
        ),
        (
            ["--top-p", "0"],
            "found \"0\", expected a number above 0 and at most 1",
        ),
        (
            ["--min-p", "1.1"],
            "found \"1.1\", expected a number from 0 to 1",
        ),
        (
            ["--repeat-penalty", "0"],
            "found \"0\", expected a number above 0",
        ),
        (
            ["--top-k", "-3"],
            "found \"-3\", expected a whole number, 0 or more",
        ),
        (
            ["-n", "1.5"],
            "found \"1.5\", expected a whole number, 0 or more",
        ),
        (
            ["--seed", "x"],
            "found \"x\", expected a whole number, 0 or more",
        ),
        (
            ["--threads", "0"],
            "found \"0\", expected a whole number, 1 or more",
        ),
        (
            ["--context", "-4"],
            "found \"-4\", expected a whole number, 1 or more",
        ),
        (
            ["--tokens", "1,,2"],
            "found \"\", expected token ids separated by commas, such as 1,2,3",
        ),
        (
            ["--tokens", "1,4294967296"],
            "found \"4294967296\", expected token ids separated by commas",
        ),
    ] {
        let error = parse(&line).expect_err(line[1]);
        assert!(error.contains(expected), "{error}");
    }
    assert!(
        parse(&["-p", "a", "--tokens", "1"])
            .unwrap_err()
            .contains("cannot be used with")
    );
}
