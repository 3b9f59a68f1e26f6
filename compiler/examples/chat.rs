//! A loop that talks: each turn is appended to what the model has read already, so that nothing is read twice.
//!
//!     cargo run --release --example chat [-- MODEL]
//!
//! Turns are rendered plainly here, as `You:` and `It:`; `graver chat` renders them by the checkpoint's own template.

use std::error::Error;
use std::io::{self, BufRead, Write};

use graver::runtime::session::SessionOptions;
use graver::{GenerateOptions, Model, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let model = match std::env::args().nth(1) {
        Some(path) => Model::open(path)?,
        None => Model::built_in(),
    };
    run(&model, &mut io::stdin().lock(), &mut io::stdout())
}

pub(crate) fn run(
    model: &Model,
    turns: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let compiled = model.compile(Options::default())?;
    let mut session = compiled.session(SessionOptions::default())?;
    let options = GenerateOptions::sampled(40, 1);
    for line in turns.lines() {
        let turn = session.encode(&format!("You: {}\nIt:", line?))?;
        let held = session.runtime().position(0)?;
        if held + turn.len() + options.max_tokens > session.runtime().context() {
            writeln!(out, "(the context is full; it begins anew)")?;
            session.runtime_mut().reset(0)?;
        }
        // Text comes piece by piece, as it is settled.
        for piece in session.go_on(&turn, &options)? {
            write!(out, "{}", piece?.text)?;
            out.flush()?;
        }
        writeln!(out)?;
    }
    Ok(())
}
