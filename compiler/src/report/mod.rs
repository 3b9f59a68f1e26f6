//! One HTML page about a model: its graphs before and after the passes, memory, state, roofline, ablation, profile.
//!
//! In: a loaded model (shapes will do), whatever was measured of it, and another to set beside it. Out: a page that needs no network: data as JSON, and a
//! script that draws. What the page shows is decided here; how it looks, in `page.js` and `page.css`.

mod graphs;
mod memory;

use graver_runtime::profile::Profile;
use serde::Serialize;

use crate::bench;
use crate::comparison::{Comparison, compare};
use crate::cost::{self, KernelCost, Step};
use crate::driver::{CompileOptions, Loaded, plain_program};
use crate::graph::ProgramKind;
use crate::history::History;
use crate::passes::PASSES;
use crate::summary::{Machine, Summary, summarize};

use self::graphs::BlockGraphs;
use self::memory::Arena;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: [&str; 4] = [
    include_str!("draw.js"),
    include_str!("graphs.js"),
    include_str!("charts.js"),
    include_str!("page.js"),
];

/// What was measured, as far as it was, and what to compare with.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The machine's ceilings.
    pub machine: Option<Machine>,
    /// Whether those were given rather than measured.
    pub is_assumed: bool,
    /// Fused against unfused, and every pass.
    pub bench: Option<bench::Report>,
    /// Where time goes.
    pub profile: Option<Profile>,
    /// Another model to set beside this one.
    pub beside: Option<Summary>,
}

/// Everything the page is drawn from.
#[derive(Serialize)]
struct Data {
    summary: Summary,
    rows: Vec<(String, String)>,
    passes: Vec<PassInfo>,
    programs: Vec<ProgramData>,
    is_assumed: bool,
    bench: Option<bench::Report>,
    profile: Option<Profile>,
    /// The model, mechanism by mechanism, beside another.
    comparison: Option<Comparison>,
}

#[derive(Serialize)]
struct PassInfo {
    name: &'static str,
    about: &'static str,
}

#[derive(Serialize)]
struct ProgramData {
    program: String,
    /// What kernels' costs are for.
    step: Step,
    blocks: Vec<BlockGraphs>,
    kernels: Vec<KernelCost>,
    arena: Arena,
}

/// The page of a model that the caller calls `name`.
pub fn page(name: &str, loaded: &Loaded, options: &CompileOptions, measured: Measured) -> String {
    let summary = summarize(name, loaded, options, measured.machine);
    let data = Data {
        comparison: measured.beside.map(|other| compare(summary.clone(), other)),
        rows: summary.rows(),
        summary,
        passes: PASSES
            .iter()
            .map(|p| PassInfo {
                name: p.name,
                about: p.about,
            })
            .collect(),
        programs: [ProgramKind::Decode, ProgramKind::Prefill]
            .map(|kind| program(loaded, kind, options, measured.profile.as_ref()))
            .into(),
        is_assumed: measured.is_assumed,
        bench: measured.bench,
        profile: measured.profile,
    };
    let json = serde_json::to_string(&data).expect("numbers and text");
    let title = name.replace('&', "&amp;").replace('<', "&lt;");
    // The order matters: what is put in is not searched again for what comes before it.
    PAGE.replace("{{title}}", &title)
        .replace("{{style}}", STYLE)
        .replace("{{script}}", &SCRIPT.concat())
        // A `</script>` in a name would end the script early.
        .replace("{{data}}", &json.replace("</", "<\\/"))
}

fn program(
    loaded: &Loaded,
    kind: ProgramKind,
    options: &CompileOptions,
    profile: Option<&Profile>,
) -> ProgramData {
    let depth = loaded.model.context.min(1024) - 1;
    let usual = match kind {
        ProgramKind::Decode => Step::decode(depth),
        ProgramKind::Prefill => Step::prefill(loaded.model.context.min(512), 0),
    };
    let step = profile.and_then(|p| step_of(p, kind)).unwrap_or(usual);
    let history = History::of(plain_program(loaded, kind, options.cache), &options.passes);
    ProgramData {
        program: kind.to_string(),
        step,
        blocks: graphs::blocks(&history, step),
        kernels: cost::kernels(&history.planned, step),
        arena: Arena::of(&history.planned),
    }
}

/// The mean step of a profile: kernels' times are to be held against the costs of the steps that were timed.
fn step_of(profile: &Profile, kind: ProgramKind) -> Option<Step> {
    let mut programs = profile.programs.iter();
    let p = programs.find(|p| p.program == kind.to_string() && p.steps > 0)?;
    Some(Step {
        tokens: (p.tokens / p.steps) as usize,
        sequences: 1,
        depth: (p.depths / p.tokens.max(1)) as usize,
        logit_rows: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{ModelSource, Purpose, load};
    use crate::spec::{self, SpecSource};

    #[test]
    fn a_page_is_whole_and_needs_nothing_from_outside() {
        let spec = spec::load(SpecSource::Builtin("llama")).unwrap();
        let tiny = ModelSource::preset(&spec, "tiny", 0).unwrap();
        let loaded = load(&tiny, Purpose::Inspect, None, &|_, _, _| {}).unwrap();
        let options = CompileOptions::native().unwrap();
        let page = page("a </script> & b", &loaded, &options, Measured::default());
        assert!(!page.contains("{{"), "a place was left open");
        assert!(page.contains("<title>a &lt;/script> &amp; b"));
        assert_eq!(page.matches("</script>").count(), 2);
        for outside in ["<link", "src=\"http", "@import", "fetch("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(
            page.len() < 150_000,
            "{} bytes for a small model",
            page.len()
        );
    }
}
