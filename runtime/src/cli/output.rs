//! What a run prints: text as it comes, ids as they come, or one JSON object at the end.

use std::io::{self, Write};

use serde::Serialize;

use super::{Prompt, Report, RunArgs, RunError};
use crate::stream::TextStream;
use crate::tokenizer::Tokenizer;

/// The output of one run.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    format: Format<'a>,
}

enum Format<'a> {
    Text(TextStream<&'a Tokenizer>),
    Ids {
        first: bool,
    },
    Json {
        text: Option<(TextStream<&'a Tokenizer>, String)>,
        prompt: Vec<u32>,
        tokens: Vec<u32>,
    },
}

/// The JSON object; `text` is without the prompt, and null where there is no tokenizer.
#[derive(Serialize)]
struct Json<'a> {
    prompt_tokens: &'a [u32],
    tokens: &'a [u32],
    text: Option<String>,
    #[serde(flatten)]
    report: &'a Report,
}

impl<'a> Output<'a> {
    /// Shows the prompt where text is wanted: as it was given, or what its ids stand for.
    pub(super) fn start(
        args: &RunArgs,
        prompt: &Prompt,
        ids: &[u32],
        tokenizer: Option<&'a Tokenizer>,
        out: &'a mut dyn Write,
    ) -> Result<Output<'a>, RunError> {
        let format = match tokenizer {
            _ if args.print_tokens => Format::Ids { first: true },
            _ if args.json => {
                let stream = tokenizer
                    .map(|tokenizer| TextStream::after(tokenizer, ids))
                    .transpose()?;
                let text = stream.map(|stream| (stream, String::new()));
                Format::Json {
                    text,
                    prompt: ids.to_vec(),
                    tokens: Vec::new(),
                }
            }
            None => Format::Ids { first: true },
            Some(tokenizer) => Format::Text(show_prompt(prompt, ids, tokenizer, out)?),
        };
        Ok(Output { out, format })
    }

    /// Takes the next token; one that ends the text is not part of it.
    pub(super) fn token(&mut self, token: u32, is_eos: bool) -> Result<(), RunError> {
        match &mut self.format {
            Format::Text(stream) if !is_eos => show(self.out, &stream.push(token)?)?,
            Format::Text(_) => {}
            Format::Ids { first } => {
                let comma = if std::mem::take(first) { "" } else { "," };
                show(self.out, &format!("{comma}{token}"))?;
            }
            Format::Json { text, tokens, .. } => {
                tokens.push(token);
                if let Some((stream, text)) = text.as_mut().filter(|_| !is_eos) {
                    text.push_str(&stream.push(token)?);
                }
            }
        }
        Ok(())
    }

    /// Shows what was held back, ends the line, or prints the object.
    pub(super) fn finish(self, report: &Report) -> Result<(), RunError> {
        let last = match self.format {
            Format::Text(stream) => stream.finish()?,
            Format::Ids { .. } => String::new(),
            Format::Json {
                text,
                prompt,
                tokens,
            } => {
                let text = match text {
                    Some((stream, text)) => Some(text + &stream.finish()?),
                    None => None,
                };
                let object = Json {
                    prompt_tokens: &prompt,
                    tokens: &tokens,
                    text,
                    report,
                };
                serde_json::to_string(&object).map_err(io::Error::from)?
            }
        };
        Ok(show(self.out, &(last + "\n"))?)
    }
}

fn show_prompt<'a>(
    prompt: &Prompt,
    ids: &[u32],
    tokenizer: &'a Tokenizer,
    out: &mut dyn Write,
) -> Result<TextStream<&'a Tokenizer>, RunError> {
    if let Prompt::Text(text) = prompt {
        show(out, text)?;
        return Ok(TextStream::after(tokenizer, ids)?);
    }
    let mut stream = TextStream::new(tokenizer);
    for &id in ids {
        show(out, &stream.push(id)?)?;
    }
    Ok(stream)
}

/// Writes at once, so that the reader sees every token when it is there.
fn show(out: &mut dyn Write, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}
