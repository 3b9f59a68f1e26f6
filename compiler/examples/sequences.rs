//! Several sequences in one step: each step reads the weights once for all of them.
//!
//!     cargo run --release --example sequences [-- MODEL]

use std::error::Error;
use std::io::{self, Write};

use graver::runtime::session::{Segment, SessionOptions, Wanted};
use graver::{Model, Options};

const PROMPTS: [&str; 3] = ["In the beginning", "And the LORD said", "Then David"];
const TOKENS: usize = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let model = match std::env::args().nth(1) {
        Some(path) => Model::open(path)?,
        None => Model::built_in(),
    };
    run(&model, &mut io::stdout())
}

pub(crate) fn run(model: &Model, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let compiled = model.compile(Options::default())?;
    let mut session = compiled.session(SessionOptions {
        slots: PROMPTS.len(),
        ..SessionOptions::default()
    })?;
    let mut texts = Vec::new();
    for prompt in PROMPTS {
        texts.push(session.encode(prompt)?);
    }
    let mut new = texts.clone();
    for _ in 0..TOKENS {
        // One segment for each sequence: its prompt at first, then the token that was chosen last.
        let segments: Vec<Segment<'_>> = (new.iter().enumerate())
            .map(|(slot, tokens)| Segment { slot, tokens })
            .collect();
        let logits = session.step(&segments, Wanted::Last)?;
        new = (0..PROMPTS.len())
            .map(|i| vec![likeliest(logits.row(i))])
            .collect();
        for (text, token) in texts.iter_mut().zip(&new) {
            text.extend(token);
        }
    }
    for text in &texts {
        writeln!(out, "{}", session.decode(text)?.replace('\n', " "))?;
    }
    Ok(())
}

fn likeliest(logits: &[f32]) -> u32 {
    // The last of equals is taken, so that from the back the first is.
    let ids = (0..logits.len()).rev();
    ids.max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        .unwrap_or(0) as u32
}
