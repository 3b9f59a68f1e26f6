//! A bar for work that turns out to take longer than a second.

use std::sync::OnceLock;
use std::time::Duration;

use graver::driver::{LoadProgress, LoadStage};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar of weights that are written.
pub(crate) const WRITING: &str = "weights {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

/// A bar that shows only once it is clear that the work takes a while.
pub(crate) struct Bar {
    bar: ProgressBar,
    quiet: bool,
}

impl Bar {
    /// A bar of that look, as indicatif describes it; one that is quiet never shows.
    pub(crate) fn new(template: &str, quiet: bool) -> Bar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Bar { bar, quiet }
    }

    /// So many more bytes are done, of so many in all.
    pub(crate) fn advance(&self, total: usize, more: usize) {
        self.bar.set_length(total as u64);
        self.bar.inc(more as u64);
        let is_long = self.bar.elapsed() > Duration::from_secs(1);
        if !self.quiet && self.bar.is_hidden() && is_long {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Takes it off the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Loads with a bar for each stage that takes long.
pub(crate) fn while_loading<T>(load: impl FnOnce(LoadProgress<'_>) -> T) -> T {
    let converting = bar_of("converting weights");
    let quantizing = OnceLock::new();
    let loaded = load(&|stage, all, more| match stage {
        LoadStage::Convert => converting.advance(all, more),
        LoadStage::Quantize => {
            let begin = || {
                converting.clear();
                bar_of("quantising")
            };
            quantizing.get_or_init(begin).advance(all, more);
        }
    });
    converting.clear();
    quantizing.get().inspect(|bar| bar.clear());
    loaded
}

fn bar_of(what: &str) -> Bar {
    let template = format!("{what} {{bar:30}} {{bytes}} of {{total_bytes}}, {{eta}} left");
    Bar::new(&template, false)
}
