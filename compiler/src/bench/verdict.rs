//! One sentence on what fusion is worth, and which pass matters most: by time where passes were timed, else by barriers.

use super::record::{Phase, Point, PointReport};
use crate::units::counted;

/// The pass without which a decode step has most barriers, and how many more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) pass: &'static str,
    pub(super) barriers: usize,
}

/// The sentence, if the fused graph was compared with the unfused one.
pub(super) fn verdict(points: &[PointReport], busy: bool, saved: Option<&Saved>) -> Option<String> {
    let worth: Vec<String> = points.iter().filter_map(worth).collect();
    if worth.is_empty() {
        return None;
    }
    let matters = match (timed(points), saved) {
        (Timed::Most(what), _) => what,
        (Timed::None, _) => "no pass alone makes a measurable difference".into(),
        (Timed::Not, Some(saved)) => format!(
            "{} saves the most barriers, {} of a decode step (--ablate times every pass)",
            saved.pass, saved.barriers
        ),
        (Timed::Not, None) => "no pass saves a barrier".into(),
    };
    let roughly = if busy { "On a busy machine: f" } else { "F" };
    Some(format!(
        "{roughly}usion makes {}; {matters}.",
        joined(&worth)
    ))
}

/// `prefill of 512 tokens 1.31 times as fast`.
fn worth(p: &PointReport) -> Option<String> {
    let unfused = p.variants.iter().find(|v| v.name == "unfused")?;
    let ratio = unfused.ratio?;
    let what = doing(&p.point);
    Some(match ratio.differs() {
        true => format!("{what} {:.2} times as fast", ratio.median),
        false => format!("no measurable difference to {what}"),
    })
}

/// What switching off one pass after the other showed.
enum Timed {
    /// Nobody did.
    Not,
    /// Nothing.
    None,
    /// Of one it cost most.
    Most(String),
}

fn timed(points: &[PointReport]) -> Timed {
    let mut timed = Timed::Not;
    let mut most = 1.0;
    for p in points {
        for v in &p.variants {
            let Some((pass, ratio)) = v.name.strip_prefix("without ").zip(v.ratio) else {
                continue;
            };
            if matches!(timed, Timed::Not) {
                timed = Timed::None;
            }
            if ratio.low > 1.0 && ratio.median > most {
                most = ratio.median;
                let what = doing(&p.point);
                timed = Timed::Most(format!(
                    "{pass} matters most: without it {what} takes {most:.2} times as long"
                ));
            }
        }
    }
    timed
}

fn doing(point: &Point) -> String {
    let phase = match point.phase {
        Phase::Prefill => "prefill",
        Phase::Decode => "decode",
    };
    format!("{phase} of {}", counted(point.tokens, "token"))
}

fn joined(parts: &[String]) -> String {
    match parts.split_last() {
        Some((last, [_, ..])) => format!("{} and {last}", parts[..parts.len() - 1].join(", ")),
        _ => parts.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::VariantReport;
    use super::super::stats::Ratio;
    use super::*;

    fn point(phase: Phase, variants: &[(&str, f64, f64, f64)]) -> PointReport {
        let variant = |(name, low, median, high): &(&str, f64, f64, f64)| VariantReport {
            name: name.to_string(),
            kernels: 1,
            barriers: 1,
            flops: 1,
            memory_bytes: 1,
            bytes: 1,
            seconds: vec![1.0],
            tokens_per_second: 1.0,
            spread: [1.0, 1.0],
            gbps: 1.0,
            gflops: 1.0,
            ceiling_share: 0.5,
            impossible: false,
            ratio: Some(Ratio {
                median: *median,
                low: *low,
                high: *high,
            }),
        };
        PointReport {
            point: Point {
                phase,
                tokens: 64,
                depth: 4,
                sequences: 1,
            },
            gbps_ceiling: 1.0,
            variants: variants.iter().map(variant).collect(),
        }
    }

    #[test]
    fn a_comparison_says_what_fusion_is_worth_and_which_pass_saves_barriers() {
        let points = [
            point(Phase::Prefill, &[("unfused", 0.98, 1.01, 1.04)]),
            point(Phase::Decode, &[("unfused", 1.6, 1.7, 1.8)]),
        ];
        let saved = Saved {
            pass: "qkv-epilogue",
            barriers: 60,
        };
        assert_eq!(
            verdict(&points, false, Some(&saved)).unwrap(),
            "Fusion makes no measurable difference to prefill of 64 tokens and decode of 64 tokens 1.70 times as fast; \
             qkv-epilogue saves the most barriers, 60 of a decode step (--ablate times every pass)."
        );
        assert!(
            verdict(&points, true, None)
                .unwrap()
                .starts_with("On a busy machine: fusion")
        );
    }

    #[test]
    fn passes_that_were_timed_are_judged_by_time() {
        let of = |second: (&'static str, f64, f64, f64)| {
            let unfused = ("unfused", 1.6, 1.7, 1.8);
            let points = [point(
                Phase::Decode,
                &[
                    unfused,
                    ("without a", 0.99, 1.3, 1.4),
                    second,
                    ("only b", 1.5, 1.6, 1.7),
                ],
            )];
            verdict(&points, false, None).unwrap()
        };
        assert_eq!(
            of(("without b", 1.1, 1.2, 1.3)),
            "Fusion makes decode of 64 tokens 1.70 times as fast; b matters most: without it decode of 64 tokens takes \
             1.20 times as long."
        );
        assert!(
            of(("without b", 0.9, 1.0, 1.1))
                .ends_with("; no pass alone makes a measurable difference.")
        );
    }

    #[test]
    fn without_an_unfused_graph_there_is_nothing_to_say() {
        assert_eq!(
            verdict(
                &[point(Phase::Decode, &[("profiled", 1.0, 1.0, 1.0)])],
                false,
                None
            ),
            None
        );
    }
}
