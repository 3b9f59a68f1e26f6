//! A report as a table, plain or Markdown.

use std::fmt::{self, Write};

use super::record::{Busy, PointReport, Report, VariantReport};
use crate::units::{bytes, counted};

const COLUMNS: [&str; 8] = [
    "variant",
    "tokens/s",
    "spread",
    "time ÷ fused",
    "kernels",
    "barriers",
    "bytes",
    "of peak",
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
                let _ = writeln!(out, "| {} |", v.cells(self.busy).join(" | "));
            }
        }
        if let Some(verdict) = &self.verdict {
            let _ = writeln!(out, "\n{verdict}");
        }
        out
    }

    /// Who computes.
    fn who(&self) -> String {
        let threads = counted(self.threads, "thread");
        match self.ranks {
            1 => threads,
            ranks => format!("{ranks} ranks of {threads}"),
        }
    }

    fn heading(&self) -> String {
        let measured = format!(
            "{}: {} of weights, {} of {}, {} kernels, {}; peak {:.0} GFLOP/s; peak bandwidth given per test",
            self.model,
            bytes(self.weight_bytes),
            self.who(),
            self.processor.as_deref().unwrap_or("an unknown processor"),
            self.kernels,
            counted(self.rounds, "round"),
            self.gflops_ceiling
        );
        match self.busy.is_busy() {
            true => format!("{measured}\n{}", self.busy),
            false => measured,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.heading())?;
        for p in &self.points {
            write!(f, "\n{}", p.shown(self.busy))?;
        }
        match &self.verdict {
            Some(verdict) => writeln!(f, "\n{verdict}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: Option<f64>| match share {
            Some(share) => format!("{:.0} %", 100.0 * share),
            None => "an unknown share".into(),
        };
        write!(
            f,
            "the machine was busy: threads were off their processors for {} of the time, the host took {}; ratios have no interval, \
             since it would not show that. Measure again on an idle machine",
            percent(self.lost),
            percent(self.steal)
        )
    }
}

impl PointReport {
    fn shown(&self, busy: Busy) -> String {
        let mut out = format!("{} ({:.1} GB/s)\n", self.point, self.gbps_ceiling);
        let rows: Vec<[String; 8]> = std::iter::once(COLUMNS.map(String::from))
            .chain(self.variants.iter().map(|v| v.cells(busy)))
            .collect();
        let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
        for row in &rows {
            let _ = write!(out, "  {:<width$}", row[0], width = width(0));
            for (i, cell) in row.iter().enumerate().skip(1) {
                let _ = write!(out, "  {cell:>width$}", width = width(i));
            }
            out.push('\n');
        }
        out
    }
}

impl VariantReport {
    fn cells(&self, busy: Busy) -> [String; 8] {
        let mark = if self.impossible { " impossible" } else { "" };
        let spread = 50.0 * (self.spread[1] - self.spread[0]);
        let ratio = self.ratio.map_or("1".into(), |r| {
            if busy.is_busy() {
                return format!("{:.3} (busy)", r.median);
            }
            format!("{r}{}", r.doubt())
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
