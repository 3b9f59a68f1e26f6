//! A bar for work that turns out to take longer than a second.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Runs `work`, which reports bytes in all and bytes done; `what` names it.
pub(crate) fn shown<T>(what: &str, work: impl FnOnce(&(dyn Fn(usize, usize) + Sync)) -> T) -> T {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let template = format!("{what} {{bar:30}} {{bytes}} of {{total_bytes}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let done = work(&|total, bytes| {
        // Shown only once it is clear that it takes a while.
        if bar.is_hidden() && bar.elapsed() > Duration::from_secs(1) {
            bar.set_length(total as u64);
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.inc(bytes as u64);
    });
    bar.finish_and_clear();
    done
}
