//! Logits of every token of a text: how surprised a model is by each of its tokens.
//!
//!     cargo run --release --example logits [-- MODEL TEXT]

use std::error::Error;
use std::io::{self, Write};

use graver::runtime::session::SessionOptions;
use graver::{Model, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = match arguments.next() {
        Some(path) => Model::open(path)?,
        None => Model::built_in(),
    };
    let text = arguments.next();
    let text = text.unwrap_or_else(|| "And God said, Let there be light".into());
    run(&model, &text, &mut io::stdout())
}

pub(crate) fn run(model: &Model, text: &str, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let compiled = model.compile(Options::default())?;
    let mut session = compiled.session(SessionOptions::default())?;
    let tokens = session.encode(text)?;
    // [tokens, vocab]: row i says what follows token i.
    let logits = session.logits(&tokens)?;
    let rows = (0..logits.n_rows()).map(|i| logits.row(i));
    let surprises: Vec<f32> = rows
        .zip(&tokens[1..])
        .map(|(row, next)| surprise(row, *next))
        .collect();
    for (token, nats) in tokens[1..].iter().zip(surprises) {
        writeln!(out, "{:<12} {nats:>6.2} nats", session.decode(&[*token])?)?;
    }
    Ok(())
}

/// `-ln p(token)`, by the softmax of a row.
fn surprise(logits: &[f32], token: u32) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|l| (l - top).exp()).sum();
    sum.ln() + top - logits[token as usize]
}
