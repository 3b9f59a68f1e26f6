//! `graver serve`: compile in memory and answer requests.

use std::path::Path;
use std::process::ExitCode;

use graver::driver::Purpose;
use graver_runtime::files::{self, MAX_CONFIG};
use graver_runtime::tokenizer::Tokenizer;
use graver_serve::http::{ServeArgs, ServedModel, Server};
use graver_serve::template::TemplateFiles;

use super::model::{WeightedModelArgs, open};
use super::outcome::Outcome;
use super::print::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: WeightedModelArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let model = args.model.model()?;
    let server = args.serve.server_options()?;
    let text = model.text()?;
    let tokenizer = Tokenizer::load_in_background(text.tokenizer.clone())?;
    let mut templates = TemplateFiles::of_tokenizer(&text.tokenizer)?;
    if let Some(file) = &args.serve.chat_template {
        templates = TemplateFiles::of(&files::read_text(file, MAX_CONFIG)?, templates.tokens);
    }
    let loaded = model.load(Purpose::Run)?;
    let eos = text.eos_with(&loaded.model.eos);
    let options = args.serve.session_options();
    let session = open(loaded, &model.options()?, options)?;
    let name = match &args.serve.name {
        Some(name) => name.clone(),
        None => last_part(&model.name()?),
    };
    let served = ServedModel::new(&name, session, tokenizer.wait()?, &templates, eos)?;
    let talks = served.template.is_some();
    let server = Server::start(served, server)?;
    say(format_args!(
        "{name}: listening at http://{}",
        server.address()
    ));
    if !talks {
        say(format_args!(
            "{name} has no chat template, so that /v1/chat/completions is refused; --chat-template FILE gives it one"
        ));
    }
    server.wait()?;
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
