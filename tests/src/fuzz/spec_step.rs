//! A built-in spec and its smallest preset, changed in a few places, down to logits.
//!
//! The first line names the spec, and the bytes after it choose the changes and how the model is run. A spec that binds has
//! both programs planned, compiled and run for a few tokens, and gives what the interpreter gives.

use std::io::Write;

use graver::spec::{self, SpecSource, builtin_names};
use graver_runtime::abi::Dtype;
use serde_json::{Value, json};

use super::run::{self, Way};
use super::{Choices, json as documents, spec_texts};
use crate::{load_preset, load_shapes};

/// Most changes to a spec.
const MAX_CHANGES: usize = 5;
/// Name of the preset that the changed config becomes.
const PRESET: &str = "fuzz";

/// Set in the environment, the spec that an input stands for is printed.
const SHOW: &str = "GRAVER_FUZZ_SHOW";

/// A spec and how it is run.
struct Case {
    text: String,
    way: Way,
    dtype: Option<Dtype>,
}

/// See the module.
pub fn check(data: &[u8]) {
    let case = case(data);
    let show = |text: &dyn Fn() -> String| {
        if std::env::var_os(SHOW).is_some() {
            writeln!(std::io::stderr(), "{}", text()).expect("stderr can be written");
        }
    };
    show(&|| case.shown());
    let outcome = outcome(&case);
    show(&|| outcome.clone());
}

/// Runs the case as far as it goes; says how far that was.
fn outcome(case: &Case) -> String {
    let source = SpecSource::Text {
        name: "fuzz",
        text: &case.text,
    };
    let shapes = spec::load(source).and_then(|spec| Ok((spec.preset(PRESET)?, spec)));
    let (config, spec) = match shapes {
        Ok(both) => both,
        Err(message) => return message.to_string(),
    };
    match load_shapes(&spec, &config, case.dtype) {
        Ok(shapes) if run::is_small(&shapes) => {}
        Ok(_) => return "too large to be run".into(),
        Err(message) => return message.to_string(),
    }
    match load_preset(&spec, PRESET, 7, case.dtype) {
        Ok(loaded) => run::check(loaded, &case.way).into(),
        // What random weights refuse that shapes do not is memory.
        Err(message) => message.to_string(),
    }
}

impl Case {
    fn shown(&self) -> String {
        let spec: Value = serde_json::from_str(&self.text).expect("it was printed from a value");
        format!("{spec:#}\n{:?} {:?}", self.way, self.dtype)
    }
}

fn case(data: &[u8]) -> Case {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (name, rest) = data.split_at(end);
    let all: Vec<(&str, Value)> = spec_texts().collect();
    let named = all.iter().find(|(n, _)| n.as_bytes() == name);
    let mut choices = Choices::new(rest.strip_prefix(b"\n").unwrap_or(rest));
    let way = Way::choose(&mut choices);
    let dtype = choices.one_of(&[None, Some(Dtype::F32), Some(Dtype::Bf16), Some(Dtype::F16)]);
    let (_, spec) = named.unwrap_or_else(|| &all[choices.below(all.len())]);
    let mut doc = spec.clone();
    let mut config = preset(spec);
    for _ in 0..choices.below(MAX_CHANGES + 1) {
        let (_, donor) = &all[choices.below(all.len())];
        if choices.below(4) == 3 {
            let words = documents::words(&config);
            documents::change(&mut config, &preset(donor), &words, &mut choices);
        } else {
            let words = documents::words(&doc);
            documents::change(&mut doc, donor, &words, &mut choices);
        }
    }
    if let Some(doc) = doc.as_object_mut() {
        doc.insert("presets".into(), json!({ PRESET: config }));
    }
    Case {
        text: doc.to_string(),
        way,
        dtype,
    }
}

/// The smallest preset of a spec, its own or inherited.
fn preset(spec: &Value) -> Value {
    spec["presets"]["tiny"].clone()
}

/// Every spec in a few ways with nothing changed, and with some changes.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut out = vec![];
    for (i, name) in builtin_names().into_iter().enumerate() {
        let begin = format!("{name}\n").into_bytes();
        let i = i as u8;
        let plain = [i, 0, 0, 9, 1, 3, 0, i, i / 2, 0];
        let rounded = [i, i, i / 2, 5, 1, 7, i, 1, i / 3, 0];
        let changed: Vec<u8> = (0..40u8)
            .map(|b| b.wrapping_mul(37).wrapping_add(i.wrapping_mul(11)))
            .collect();
        out.push([begin.as_slice(), &plain].concat());
        out.push([begin.as_slice(), &rounded].concat());
        out.push([begin.as_slice(), &plain[..9], &changed].concat());
    }
    out
}
