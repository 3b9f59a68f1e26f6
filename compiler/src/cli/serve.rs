//! `graver serve`: compile in memory and answer requests.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use graver::driver::Purpose;
use graver_runtime::session::SessionOptions;
use graver_runtime::tokenizer::Tokenizer;
use graver_serve::embeddings::Embedder;
use graver_serve::http::{self, ServeArgs, ServedModel};
use graver_serve::template::TemplateFiles;

use super::model::{WeightedModelArgs, open_with_hidden};
use super::outcome::Outcome;
use super::ranks::RanksArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: WeightedModelArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    ranks: RanksArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let model = args.model.model()?;
    let server = args.serve.server_options()?;
    let text = model.text()?;
    let source = text.tokenizer.clone().made()?;
    let templates = TemplateFiles::of_tokenizer(&source)?;
    let tokenizer = Tokenizer::load_in_background(source)?;
    let templates = args.serve.templates(templates)?;
    let loaded = model.load(Purpose::Run)?;
    let eos = text.eos_with(&loaded.model.eos);
    let options = args.serve.session_options();
    let compile = model.options()?;
    let (session, hidden) = match args.ranks.ranks() {
        1 => open_with_hidden(loaded, &compile, options.clone())?,
        // Embeddings take a session of one rank.
        _ => match args.ranks.open(loaded, &compile, options.clone())? {
            Some(session) => (session, None),
            None => return Ok(ExitCode::SUCCESS),
        },
    };
    let name = match &args.serve.name {
        Some(name) => name.clone(),
        None => last_part(&model.name()?),
    };
    let mut served = ServedModel::new(&name, session, tokenizer.wait()?, &templates, eos)?;
    served.embedder = hidden.map(|hidden| {
        let options = SessionOptions {
            slots: 1,
            ..options
        };
        let start = move || Ok(hidden.start(options.clone())?);
        Embedder::new(args.serve.pooling, Box::new(start))
    });
    http::run(served, server, &mut io::stderr())?;
    Ok(ExitCode::SUCCESS)
}

/// What a path is called without the folders before it.
fn last_part(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.into());
    let name = whole.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::last_part;

    #[test]
    fn models_are_called_what_their_folder_is_called() {
        assert_eq!(last_part(Path::new("/no/such/model-7b/")), "model-7b");
        assert_eq!(last_part(Path::new("embedded model")), "embedded model");
    }
}
