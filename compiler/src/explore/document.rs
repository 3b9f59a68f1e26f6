//! The page itself: data as JSON, and a script that shows it.

use serde::Serialize;

use super::measure::Times;
use super::view::View;
use crate::summary::{Machine, Summary};
use crate::units::{bytes, count};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: [&str; 3] = [
    include_str!("code.js"),
    include_str!("panels.js"),
    include_str!("page.js"),
];

/// What the page is about.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// What the model is called.
    pub model: String,
    /// `32 layers · hidden 4096`.
    pub facts: Vec<String>,
    /// The machine's limits.
    pub machine: Option<Machine>,
    /// Whether passes can be switched off: somebody answers.
    pub live: bool,
    /// Whether kernels can be timed.
    pub timed: bool,
}

impl About {
    /// A model that the page calls `name`, in a file.
    pub fn of(name: &str, summary: &Summary, timed: bool) -> About {
        let layers = summary.mechanisms.iter().find(|m| m.name == "layers");
        let layers = layers.map(|m| format!("layers {}", m.value));
        let sizes = [
            format!("hidden {}", summary.hidden),
            format!("vocabulary {}", summary.vocab),
            format!("{} parameters", count(summary.parameters)),
            format!("{} of weights", bytes(summary.weight_bytes)),
        ];
        About {
            model: name.into(),
            facts: layers.into_iter().chain(sizes).collect(),
            machine: summary.machine,
            live: false,
            timed,
        }
    }

    /// The same where somebody answers.
    pub fn live(self) -> About {
        About { live: true, ..self }
    }
}

#[derive(Serialize)]
struct Data<'a> {
    about: &'a About,
    view: &'a View,
    times: Option<&'a Times>,
}

/// The page, with what was measured of the same passes.
pub fn page(about: &About, view: &View, times: Option<&Times>) -> String {
    let data = Data { about, view, times };
    let json = serde_json::to_string(&data).expect("numbers and text");
    let title = about.model.replace('&', "&amp;").replace('<', "&lt;");
    // The order matters: what is put in is not searched again for what comes before it.
    PAGE.replace("{{title}}", &title)
        .replace("{{style}}", STYLE)
        .replace("{{script}}", &SCRIPT.concat())
        // A `</script>` in a name would end the script early.
        .replace("{{data}}", &json.replace("</", "<\\/"))
}
