//! A report as a table, plain or Markdown.

use std::fmt::{self, Write};

use super::record::{PointReport, Report, VariantReport};
use crate::summary::bytes;

const COLUMNS: [&str; 8] = [
    "variant",
    "tokens/s",
    "spread",
    "time ÷ fused",
    "kernels",
    "barriers",
    "bytes",
    "of ceiling",
];

impl Report {
    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = format!("{}\n", self.heading());
        for p in &self.points {
            let _ = writeln!(out, "\n**{}** ({:.1} GB/s)\n", p.point, p.gbps_ceiling);
            let _ = writeln!(out, "| {} |", COLUMNS.join(" | "));
            let _ = writeln!(out, "|:--|{}", "--:|".repeat(COLUMNS.len() - 1));
            for v in &p.variants {
                let _ = writeln!(out, "| {} |", v.cells().join(" | "));
            }
        }
        out
    }

    fn heading(&self) -> String {
        format!(
            "{}: {} of weights, {} threads of {}, {} kernels, {} rounds; ceilings {:.0} GFLOP/s and, by what is read, GB/s as given",
            self.model,
            bytes(self.weight_bytes),
            self.threads,
            self.processor.as_deref().unwrap_or("an unknown processor"),
            self.kernels,
            self.rounds,
            self.gflops_ceiling
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.heading())?;
        for p in &self.points {
            write!(f, "\n{p}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({:.1} GB/s)", self.point, self.gbps_ceiling)?;
        let rows: Vec<[String; 8]> = std::iter::once(COLUMNS.map(String::from))
            .chain(self.variants.iter().map(VariantReport::cells))
            .collect();
        let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
        for row in &rows {
            write!(f, "  {:<width$}", row[0], width = width(0))?;
            for (i, cell) in row.iter().enumerate().skip(1) {
                write!(f, "  {cell:>width$}", width = width(i))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl VariantReport {
    fn cells(&self) -> [String; 8] {
        let mark = if self.impossible { " impossible" } else { "" };
        let spread = 50.0 * (self.spread[1] - self.spread[0]);
        let ratio = self.ratio.map_or("1".into(), |r| {
            let doubt = if r.differs() { "" } else { " (no difference)" };
            format!("{:.3} [{:.3}, {:.3}]{doubt}", r.median, r.low, r.high)
        });
        let speed = match self.tokens_per_second {
            t if t < 100.0 => format!("{t:.2}"),
            t => format!("{t:.0}"),
        };
        [
            self.name.clone(),
            speed,
            format!("± {spread:.1} %"),
            ratio,
            self.kernels.to_string(),
            self.barriers.to_string(),
            bytes(self.bytes),
            format!("{:.0} %{mark}", 100.0 * self.ceiling_share),
        ]
    }
}
