//! Numbers with their units, for people to read.

/// `16.1 GB`.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n, "B")
}

/// `15.0 GFLOP`.
pub(crate) fn flops(n: u64) -> String {
    scaled(n, "FLOP")
}

/// `1 thread`, `2 threads`.
pub(crate) fn counted(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// `8.03 billion`.
pub(crate) fn count(n: u64) -> String {
    match n {
        0..1_000_000 => n.to_string(),
        1_000_000..1_000_000_000 => format!("{:.1} million", n as f64 / 1e6),
        1_000_000_000.. => format!("{:.2} billion", n as f64 / 1e9),
    }
}

/// With a decimal prefix, three digits.
fn scaled(n: u64, unit: &str) -> String {
    let prefixes = ["", "k", "M", "G", "T", "P"];
    let (mut x, mut i) = (n as f64, 0);
    while x >= 999.5 && i + 1 < prefixes.len() {
        (x, i) = (x / 1000.0, i + 1);
    }
    match (i, x) {
        (0, _) => format!("{n} {unit}"),
        (_, 0.0..9.995) => format!("{x:.2} {}{unit}", prefixes[i]),
        (_, 0.0..99.95) => format!("{x:.1} {}{unit}", prefixes[i]),
        (_, _) => format!("{x:.0} {}{unit}", prefixes[i]),
    }
}
