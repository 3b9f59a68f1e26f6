//! A bar for work that turns out to take longer than a second.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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

/// Runs `work`, which reports bytes in all and bytes done; `what` names it.
pub(crate) fn shown<T>(what: &str, work: impl FnOnce(&(dyn Fn(usize, usize) + Sync)) -> T) -> T {
    let template = format!("{what} {{bar:30}} {{bytes}} of {{total_bytes}}, {{eta}} left");
    let bar = Bar::new(&template, false);
    let done = work(&|total, bytes| bar.advance(total, bytes));
    bar.clear();
    done
}
