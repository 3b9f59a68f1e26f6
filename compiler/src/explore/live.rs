//! The page while somebody answers: other views and times for other passes.
//!
//! `/` is the page, `/view?off=PASS,…` a view without some passes, `/times?off=…` what was measured of the same.

use std::sync::{Arc, Mutex, PoisonError};

use graver_serve::http::Answer;
use serde::Serialize;

use super::document::{About, page};
use super::measure::measure;
use super::view::view;
use crate::driver::{CompileOptions, Loaded, Part};
use crate::passes::PassOptions;

/// A model that can be looked at with any passes.
pub struct Explorer {
    /// What the page is about.
    pub about: About,
    /// The model; with its weights if kernels are to be timed.
    pub loaded: Arc<Loaded>,
    /// The part of it that is shown.
    pub part: Part,
    /// How it is compiled but for the passes that are switched off on the page.
    pub options: CompileOptions,
    /// Threads that are timed, of each rank.
    pub threads: usize,
    /// One measurement at a time.
    pub measuring: Mutex<()>,
}

impl Explorer {
    /// The answer to a request.
    pub fn answer(&self, path: &str, query: &str) -> Answer {
        let passes = match self.passes(query) {
            Ok(passes) => passes,
            Err(message) => return plain(400, message),
        };
        let options = CompileOptions {
            passes,
            ..self.options.clone()
        };
        match path {
            "/" => match view((&self.loaded, self.part), &options) {
                Ok(view) => Answer {
                    status: 200,
                    content_type: "text/html; charset=utf-8",
                    body: page(&self.about, &view, None),
                },
                Err(error) => plain(500, error.to_string()),
            },
            "/view" => match view((&self.loaded, self.part), &options) {
                Ok(view) => json(&view),
                Err(error) => plain(500, error.to_string()),
            },
            "/times" if !self.about.timed => plain(404, "weights are missing".into()),
            "/times" => {
                let _alone = self
                    .measuring
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                match measure((&self.loaded, self.part), &options, self.threads) {
                    Ok(times) => json(&times),
                    Err(error) => plain(500, error.to_string()),
                }
            }
            _ => plain(404, format!("{path}: not found")),
        }
    }

    /// Which passes run: those that ran from the beginning but for those that are off.
    fn passes(&self, query: &str) -> Result<PassOptions, String> {
        let mut passes = self.options.passes.clone();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let off = pair
                .strip_prefix("off=")
                .ok_or_else(|| format!("found `{pair}`, expected off=PASS,…"))?;
            passes
                .disabled
                .extend(off.split(',').filter(|n| !n.is_empty()).map(String::from));
        }
        passes.check().map_err(|e| e.to_string())?;
        Ok(passes)
    }
}

fn plain(status: u16, body: String) -> Answer {
    Answer {
        status,
        content_type: "text/plain; charset=utf-8",
        body,
    }
}

fn json(value: &impl Serialize) -> Answer {
    Answer {
        status: 200,
        content_type: "application/json",
        body: serde_json::to_string(value).expect("numbers and text"),
    }
}
