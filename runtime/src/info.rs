//! A manifest for people: what was compiled, and for what.

use std::fmt::{self, Display, Formatter};

use crate::abi::{BlobInfo, Manifest, ProgramInfo, StateInfo};
use crate::appendix::Checksum;

impl Manifest {
    /// Checksum of what decides what a step costs, but for the passes and the processor: sizes, states, and every weight slot with
    /// its tensor and bytes. Whoever shows figures of one model beside the shape of another can tell by it. Values of weights
    /// are no part of it.
    pub fn model_checksum(&self) -> String {
        let mut checksum = Checksum::default();
        let sizes = [self.vocab, self.hidden, self.layers, self.context];
        let mut text = format!(
            "{} {sizes:?} {} {:?}",
            self.spec, self.cache, self.weight_types
        );
        for state in &self.states {
            text += &format!("\n{state:?}");
        }
        checksum.update(text.as_bytes());
        for weight in &self.weights {
            checksum.update(format!("\n{} {}", weight.name, weight.bytes).as_bytes());
        }
        format!("{:016x}", checksum.finish())
    }
}

/// The manifest as lines of a name and a value.
pub fn describe(manifest: &Manifest) -> String {
    let m = manifest;
    let list = |items: &[String]| match items.is_empty() {
        true => "none".to_string(),
        false => items.join(" "),
    };
    let types: Vec<String> = (m.weight_types.iter())
        .map(|(name, bytes)| format!("{name} {}", Size(*bytes)))
        .collect();
    let (per_position, fixed) = state_bytes(&m.states);
    let rounded = match m.rounds_activations {
        true => ", prompts with activations in bf16",
        false => "",
    };
    let lines = [
        ("spec", m.spec.clone()),
        (
            "compiler",
            format!("graver {}, interface {}", m.compiler, m.abi),
        ),
        (
            "target",
            format!("{}, needs {}", m.target, list(&m.features)),
        ),
        ("passes", list(&m.passes)),
        ("vocabulary", format!("{} tokens", m.vocab)),
        ("hidden size", m.hidden.to_string()),
        ("layers", m.layers.to_string()),
        ("context", format!("up to {} tokens", m.context)),
        (
            "weights",
            format!("{} ({}){rounded}", place(&m.blobs), types.join(", ")),
        ),
        ("weight slots", m.weights.len().to_string()),
        (
            "state",
            format!(
                "{} and {} per token of context, in {}",
                Size(fixed),
                Size(per_position),
                m.cache
            ),
        ),
        ("decode", program(&m.decode)),
        ("prefill", program(&m.prefill)),
    ];
    let tuned = m.tuned.lines().map(|line| ("tuned", line));
    let line = |(name, value): (&str, String)| format!("{name:<13} {value}\n");
    lines.into_iter().chain(tuned).map(line).collect()
}

fn program(p: &ProgramInfo) -> String {
    format!(
        "up to {} tokens a step; {} of activations and {} per token of context; {} of scratch for each thread",
        p.max_tokens,
        Size(p.arena_bytes),
        Size(p.arena_bytes_per_position),
        Size(p.scratch_bytes),
    )
}

/// Where weights are: here, or in files.
fn place(blobs: &[BlobInfo]) -> String {
    let mut places: Vec<&str> = blobs
        .iter()
        .map(|b| b.file.as_deref().unwrap_or("in this file"))
        .collect();
    places.dedup();
    match places.is_empty() {
        true => "none".into(),
        false => places.join(", "),
    }
}

/// Bytes for each token, and fixed ones, of one sequence.
fn state_bytes(states: &[StateInfo]) -> (usize, usize) {
    states.iter().fold((0, 0), |(each, fixed), state| {
        let rows = state
            .ring
            .unwrap_or(0)
            .saturating_mul(state.bytes_per_position);
        match state.ring {
            None => (
                each.saturating_add(state.bytes_per_position),
                fixed.saturating_add(state.fixed_bytes),
            ),
            Some(_) => (
                each,
                fixed.saturating_add(state.fixed_bytes).saturating_add(rows),
            ),
        }
    })
}

/// A number of bytes with three digits or so: `3.21 GB`.
pub struct Size(pub usize);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
        let bytes = self.0 as f64;
        match units.into_iter().find(|(unit, _)| bytes >= *unit) {
            Some((unit, name)) => {
                let value = bytes / unit;
                let digits = 2 - (value.log10() as usize).min(2);
                write!(f, "{value:.digits$} {name}")
            }
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes_have_three_digits() {
        let text = |bytes| Size(bytes).to_string();
        assert_eq!(text(0), "0 bytes");
        assert_eq!(text(999), "999 bytes");
        assert_eq!(text(1_000), "1.00 kB");
        assert_eq!(text(25_640), "25.6 kB");
        assert_eq!(text(999_000_000), "999 MB");
        assert_eq!(text(16_060_000_000), "16.1 GB");
        assert_eq!(text(1_342_000_000_000), "1.34 TB");
    }
}
