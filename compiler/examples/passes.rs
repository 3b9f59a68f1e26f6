//! What one pass is worth: kernels, barriers and time of a step with and without it.
//!
//!     cargo run --release --example passes [-- MODEL PASS]

use std::error::Error;
use std::io::{self, Write};
use std::time::Instant;

use graver::runtime::session::{SessionOptions, Wanted};
use graver::{Model, Options};

const STEPS: u32 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = match arguments.next() {
        Some(path) => Model::open(path)?,
        None => Model::built_in(),
    };
    let pass = arguments.next();
    run(
        &model,
        pass.as_deref().unwrap_or("norm-prologue"),
        &mut io::stdout(),
    )
}

pub(crate) fn run(model: &Model, pass: &str, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    for (name, options) in [
        ("all passes".to_string(), Options::default()),
        (format!("without {pass}"), Options::default().without(pass)),
        ("no pass".to_string(), Options::default().unfused()),
    ] {
        let decode = model.explain(&options)?.programs[0].fused;
        let compiled = model.compile(options)?;
        let mut session = compiled.session(SessionOptions::default())?;
        let session = session.runtime_mut();
        session.feed(0, &[1], Wanted::None)?;
        let begun = Instant::now();
        for _ in 0..STEPS {
            session.feed(0, &[2], Wanted::Last)?;
        }
        let each = begun.elapsed() / STEPS;
        let (kernels, barriers) = (decode.kernels, decode.barriers);
        writeln!(
            out,
            "{name:<24} {kernels:>3} kernels, {barriers:>3} barriers, {each:>9.1?} a token"
        )?;
    }
    Ok(())
}
