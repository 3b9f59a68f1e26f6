//! `graver specs`: the built-in specs, what they take and what they are made of.

use std::error::Error;
use std::process::ExitCode;

use graver::driver::{self, ModelSource, Purpose};
use graver::mechanisms::{Mechanism, mechanisms};
use graver::spec::{self, Spec, SpecSource};
use serde::Serialize;

use super::outcome::Outcome;
use super::print::{json, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show only this spec, with its mechanisms
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the JSON Schema of specs, for completion and checks in editors
    #[arg(long, conflicts_with_all = ["name", "json"])]
    schema: bool,
    /// Print all specs as a Markdown table (docs/architectures.md)
    #[arg(long, conflicts_with_all = ["name", "json", "schema"])]
    markdown: bool,
}

/// A built-in spec in words.
#[derive(Serialize)]
struct Entry {
    name: String,
    about: String,
    model_types: Vec<String>,
    presets: Vec<String>,
    /// `general.architecture` of the GGUF files that it takes.
    gguf: Vec<String>,
    /// Of the largest preset.
    mechanisms: Vec<Mechanism>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.schema {
        print(json(&spec::schema())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let names = match &args.name {
        Some(name) => vec![name.as_str()],
        None => spec::builtin_names(),
    };
    let entries = names
        .into_iter()
        .map(entry)
        .collect::<Result<Vec<_>, _>>()?;
    if args.json {
        print(json(&entries)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.markdown {
        print(markdown(&entries))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut parts: Vec<String> = entries
        .iter()
        .map(|e| e.text(args.name.is_some()))
        .collect();
    if args.name.is_none() {
        parts.push(HINT.into());
    }
    print(parts.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

const HINT: &str =
    "`graver specs NAME` shows its mechanisms; `--spec FILE` and MODEL accept spec files.\n";

fn entry(name: &str) -> Result<Entry, Box<dyn Error>> {
    let spec = spec::load(SpecSource::Builtin(name))?;
    let owned = |names: Vec<&str>| names.into_iter().map(String::from).collect::<Vec<_>>();
    Ok(Entry {
        name: name.into(),
        about: spec.about().into(),
        model_types: owned(spec.model_types()),
        mechanisms: of_largest_preset(&spec)?,
        presets: owned(spec.presets()),
        gguf: owned(spec.architectures()),
    })
}

/// The page that lists all specs.
fn markdown(entries: &[Entry]) -> String {
    let rows: String = entries.iter().map(Entry::row).collect();
    format!(
        "# Architectures

{} specs are built in. This page is what `graver specs --markdown` prints; `graver specs NAME` lists the mechanisms of one of them, and
`graver inspect A:PRESET --compare B:PRESET` sets two side by side. [new-architecture.md](new-architecture.md) shows how to add one.

| family | spec | what it is made of | `model_type` in config.json | presets | GGUF |
|---|---|---|---|---|---|
{rows}",
        entries.len()
    )
}

fn of_largest_preset(spec: &Spec) -> Result<Vec<Mechanism>, Box<dyn Error>> {
    let Some(largest) = spec.presets().pop() else {
        return Ok(vec![]);
    };
    let source = ModelSource::preset(spec, largest, 0)?;
    let loaded = driver::load(&source, Purpose::Inspect, None, &|_, _, _| {})?;
    Ok(mechanisms(&loaded))
}

impl Entry {
    /// A row of the table. What a spec says about itself ends with the families it is for.
    fn row(&self) -> String {
        let (made_of, families) = self
            .about
            .rsplit_once(": ")
            .unwrap_or((&self.about, &self.name));
        let list = |names: &[String]| {
            let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
            quoted.join(", ")
        };
        format!(
            "| {families} | `{}` | {made_of} | {} | {} | {} |\n",
            self.name,
            list(&self.model_types),
            list(&self.presets),
            list(&self.gguf)
        )
    }

    fn text(&self, with_mechanisms: bool) -> String {
        let mut out = format!("{}\n  {}\n", self.name, self.about);
        out.push_str(&format!("  model types: {}\n", self.model_types.join(", ")));
        out.push_str(&format!("  presets: {}\n", self.presets.join(", ")));
        for m in self.mechanisms.iter().filter(|_| with_mechanisms) {
            out.push_str(&format!("  {}: {}\n", m.name, m.value));
        }
        out
    }
}
