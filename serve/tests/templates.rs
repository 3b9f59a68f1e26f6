//! Chat templates of well-known models, and the language they are written in: what is rendered is, byte for byte, what `transformers`
//! renders. `templates/make_goldens.py` made the goldens.

use std::io::Write;
use std::path::{Path, PathBuf};

use graver_serve::template::{Conversation, Template, TemplateFiles};
use serde_json::{Map, Value as Json};

/// Noon of the day that the goldens were made on.
const DAY: i64 = 1_721_995_200;

fn fixture(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates");
    let text = std::fs::read_to_string(path.join(name)).expect(name);
    serde_json::from_str(&text).expect(name)
}

fn conversation(of: &Json) -> Conversation {
    let mut extra = of["given"].as_object().cloned().unwrap_or_default();
    let mut taken = |name: &str| extra.remove(name).filter(|value| !value.is_null());
    let (tools, documents) = (taken("tools"), taken("documents"));
    Conversation {
        messages: of["messages"].clone(),
        tools,
        documents,
        add_generation_prompt: of["begun"].as_bool().unwrap_or(false),
        extra,
    }
}

fn template(text: &str, tokens: Map<String, Json>) -> Result<Template, String> {
    let found = Template::new(&TemplateFiles::of(text, tokens));
    let found = found.map_err(|error| error.to_string())?;
    Ok(found.expect("there is one").on_day(DAY))
}

/// FNV-1a of 64 bits, in place of texts that may not be stored.
fn hash(text: &str) -> String {
    let step = |value: u64, byte: u8| (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// What is wrong with a rendering, if anything.
fn difference(name: &str, golden: &Json, rendered: &Result<String, String>) -> Option<String> {
    match (&golden["text"], &golden["hash"], rendered) {
        (Json::String(text), _, Ok(found)) if found == text => None,
        (_, Json::String(expected), Ok(found)) if hash(found) == *expected => None,
        (Json::Null, Json::Null, Err(_)) => None,
        (Json::String(text), _, found) => Some(format!(
            "{name}\n  expected {text:?}\n  found    {found:?}\n"
        )),
        (_, _, found) => Some(format!("{name}\n  expected {golden}\n  found {found:?}\n")),
    }
}

/// Compares all conversations of a family. A conversation that the reference cannot render without its nulls is rendered with them.
fn compare(family: &str, template: &Template, golden: &Json) {
    let conversations = fixture("conversations.json");
    let conversations = conversations.as_array().expect("a list");
    let cases = golden["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), conversations.len());
    let mut wrong = String::new();
    for (case, given) in cases.iter().zip(conversations) {
        let name = given["name"].as_str().expect("a name");
        assert_eq!(case["conversation"], *name);
        let rendered = template.render(&conversation(given));
        let rendered = rendered.map_err(|error| error.to_string());
        if case["error"].is_string() && name == "tool call without text" {
            continue;
        }
        wrong.extend(difference(name, case, &rendered));
    }
    assert!(wrong.is_empty(), "{family}: {wrong}");
}

fn stored(family: &str) {
    let golden = fixture(&format!("golden-{family}.json"));
    let text = golden["template"].as_str().expect("a template");
    let tokens = golden["tokens"].as_object().expect("tokens").clone();
    let template = template(text, tokens).expect(family);
    compare(family, &template, &golden);
}

/// Compares a family whose template may not be stored here, where the folder of models has it.
fn elsewhere(family: &str) {
    let golden = fixture(&format!("golden-{family}.json"));
    let place = golden["place"].as_str().expect("a place");
    let models = std::env::var_os("GRAVER_MODELS").map(PathBuf::from);
    let folder = models.map(|models| models.join(place));
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else {
        let note = format!("{family}: skipped, $GRAVER_MODELS/{place} is not there\n");
        // Past the capture of tests, so that it is seen.
        let _ = std::io::stderr().write_all(note.as_bytes());
        return;
    };
    let template = Template::load(&folder)
        .expect(family)
        .expect("there is one");
    compare(family, &template.on_day(DAY), &golden);
}

#[test]
fn qwen3_renders_as_the_reference() {
    stored("qwen3");
}

#[test]
fn gpt_oss_renders_as_the_reference() {
    stored("gpt-oss");
}

#[test]
fn mistral_renders_as_the_reference() {
    stored("mistral-nemo");
    stored("mistral-small");
}

#[test]
fn smollm_renders_as_the_reference() {
    stored("smollm2");
    stored("smollm3");
}

#[test]
fn deepseek_renders_as_the_reference() {
    stored("deepseek-v3.1");
    elsewhere("deepseek-v3");
}

#[test]
fn llama_renders_as_the_reference() {
    elsewhere("llama3.1");
}

#[test]
fn gemma_renders_as_the_reference() {
    elsewhere("gemma3");
}

#[test]
fn the_language_is_that_of_the_reference() {
    let golden = fixture("language.json");
    let given = conversation(&golden);
    let mut wrong = String::new();
    for snippet in golden["snippets"].as_array().expect("a list") {
        let text = snippet["template"].as_str().expect("a template");
        let rendered = template(text, Map::new()).and_then(|template| {
            let rendered = template.render(&given);
            rendered.map_err(|error| error.to_string())
        });
        wrong.extend(difference(text, snippet, &rendered));
    }
    assert!(wrong.is_empty(), "{wrong}");
}
