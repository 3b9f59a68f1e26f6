//! The modes of executables that were compiled `--with chat` or `--with serve`: entries that their `main` passes to the runtime.

use std::error::Error as StdError;
use std::ffi::c_void;
use std::io;
use std::path::{Path, PathBuf};

use clap::Parser;
use graver_runtime::artifact::modes::Call;
use graver_runtime::artifact::{Artifact, TEMPLATES};
use graver_runtime::cli;
use graver_runtime::files::shown;
use graver_runtime::tokenizer::Tokenizer;

use crate::chat::{Chat, ChatArgs};
use crate::http::{self, ServeArgs, ServedModel};
use crate::template::TemplateFiles;

type Outcome = Result<(), Box<dyn StdError>>;

/// Chat with a language model compiled by Graver
#[derive(Parser)]
#[command(about)]
struct ChatCli {
    /// Chat with the model; must come first
    #[arg(long, required = true)]
    chat: bool,
    #[command(flatten)]
    args: ChatArgs,
    /// Weights file, if weights are not in the executable
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

/// Serve the OpenAI API with a language model compiled by Graver
#[derive(Parser)]
#[command(about)]
struct ServeCli {
    /// Serve the OpenAI API; must come first
    #[arg(long, required = true)]
    serve: bool,
    #[command(flatten)]
    args: ServeArgs,
    /// Weights file, if weights are not in the executable
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

/// # Safety
/// The pointer is to a call that nothing else uses.
#[unsafe(no_mangle)]
unsafe extern "C" fn artifact_chat(call: *mut c_void) {
    // SAFETY: the pointer is what this entry is called with.
    unsafe { Call::answer(call, chat) };
}

/// # Safety
/// The pointer is to a call that nothing else uses.
#[unsafe(no_mangle)]
unsafe extern "C" fn artifact_serve(call: *mut c_void) {
    // SAFETY: the pointer is what this entry is called with.
    unsafe { Call::answer(call, serve) };
}

fn chat(call: &mut Call) -> Outcome {
    let cli = ChatCli::try_parse_from(&call.arguments)?;
    cli.args.sampling.check(false)?;
    let artifact = (call.open)()?;
    let options = cli.args.session.options();
    if artifact.follows() {
        return Ok(artifact
            .session(cli.weights.as_deref(), options)?
            .follow()?);
    }
    let name = shown(artifact.path()).to_string();
    let templates = templates(&artifact)?;
    let mut chat = Chat::prepare(
        &cli.args,
        &name,
        artifact.tokenizer(cli.weights.as_deref())?,
        templates,
    )?;
    chat.eos = artifact.manifest().eos.clone();
    let mut session = artifact.session(cli.weights.as_deref(), options)?;
    chat.run(&cli.args, &mut session, &mut call.out)?;
    let profiles = session.profiles()?;
    Ok(cli::write_profile(
        &cli.args.session,
        false,
        &profiles,
        &mut io::stderr(),
    )?)
}

fn serve(call: &mut Call) -> Outcome {
    let cli = ServeCli::try_parse_from(&call.arguments)?;
    let options = cli.args.server_options()?;
    let artifact = (call.open)()?;
    let session_options = cli.args.session_options();
    if artifact.follows() {
        let session = artifact.session(cli.weights.as_deref(), session_options)?;
        return Ok(session.follow()?);
    }
    let tokenizer = Tokenizer::load_in_background(artifact.tokenizer(cli.weights.as_deref())?)?;
    let templates = cli.args.templates(templates(&artifact)?)?;
    let session = artifact.session(cli.weights.as_deref(), session_options)?;
    let name = cli.args.name.clone();
    let name = name.unwrap_or_else(|| file_name(artifact.path()));
    let eos = artifact.manifest().eos.clone();
    let served = ServedModel::new(&name, session, tokenizer.wait()?, &templates, eos)?;
    Ok(http::run(served, options, &mut io::stderr())?)
}

/// The templates that the executable carries.
fn templates(artifact: &Artifact) -> Result<TemplateFiles, Box<dyn StdError>> {
    match artifact.carried(TEMPLATES)? {
        Some(json) => Ok(serde_json::from_slice(json)?),
        None => Ok(TemplateFiles::default()),
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
