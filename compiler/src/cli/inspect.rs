//! `graver inspect`: a model's shape in numbers, without weights, alone or beside another; or what a compiler stage made of it.

use std::path::PathBuf;
use std::process::ExitCode;

use graver::comparison::compare;
use graver::driver::{Part, Purpose};
use graver::dump::{DumpStage, dump};
use graver::graph::ProgramKind;
use graver::summary::{Link, Machine};

use super::machine::positive;
use super::model::{Divide, ModelArgs};
use super::outcome::Outcome;
use super::print::{json, print};
use super::ranks::RankArgs;
use super::terminal;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print a compiler stage: spec, graph, graph:<pass>, schedule, memory, clif, asm, dot
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["compare", "gbps", "gflops", "json"])]
    emit: Option<DumpStage>,
    /// Program to print: decode or prefill [default: decode]
    #[arg(long, value_name = "NAME", requires = "emit")]
    program: Option<ProgramKind>,
    /// Print only kernels whose place in the spec contains NAME: layers.dense.mlp.down, q+k+v
    #[arg(long, value_name = "NAME", requires = "emit")]
    kernel: Option<String>,
    /// Compare with this model, side by side
    #[arg(long, value_name = "MODEL")]
    compare: Option<PathBuf>,
    /// Memory bandwidth, to predict speed
    #[arg(long, value_name = "GB/S", requires = "gflops", value_parser = positive, allow_negative_numbers = true)]
    gbps: Option<f64>,
    /// Arithmetic throughput, to predict speed
    #[arg(long, value_name = "GFLOP/S", requires = "gbps", value_parser = positive, allow_negative_numbers = true)]
    gflops: Option<f64>,
    #[command(flatten)]
    ranks: RankArgs,
    /// Bandwidth between ranks, to predict speed
    #[arg(long, value_name = "GB/S", requires_all = ["latency_us", "gbps", "ranks"], value_parser = positive, allow_negative_numbers = true)]
    link_gbps: Option<f64>,
    /// Latency between ranks in microseconds, to predict speed
    #[arg(long, value_name = "US", requires = "link_gbps", value_parser = positive, allow_negative_numbers = true)]
    latency_us: Option<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(stage) = args.emit {
        if stage == DumpStage::Spec && args.ranks.rank.is_some() {
            return Err(
                "--rank chooses between ranks, which have one spec: drop it with --emit spec"
                    .into(),
            );
        }
        if stage == DumpStage::Spec && args.program.is_some() {
            return Err(
                "--program chooses between decode and prefill, which have one spec: drop it with --emit spec".into(),
            );
        }
        let program = args.program.unwrap_or(ProgramKind::Decode);
        let loaded = args.model.load(Purpose::Inspect)?;
        let (kernel, options) = (args.kernel.as_deref(), args.model.options()?);
        let part = match stage {
            DumpStage::Spec => Part::whole(),
            _ => args.ranks.part(&loaded, &options)?,
        };
        let text = dump((&loaded, part), &options, program, stage, kernel)?;
        print(text)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.ranks.rank.is_some() {
        return Err("--rank chooses what --emit prints: the summary is of all ranks".into());
    }
    let machine = args.gbps.zip(args.gflops);
    let machine = machine.map(|(gbps, gflops)| Machine { gbps, gflops });
    let link = args.link_gbps.zip(args.latency_us);
    let link = link.map(|(gbps, latency_us)| Link { gbps, latency_us });
    let divide = |loaded: &_, options: &_| {
        args.ranks
            .ranks
            .division(loaded, options, machine.zip(link))
    };
    let ranks: (&Divide<'_>, _) = (&divide, link);
    let summary = args.model.summary(machine, ranks)?;
    let text = match &args.compare {
        None if args.json => json(&summary)?,
        None => summary.to_string(),
        Some(other) => {
            let both = compare(
                summary,
                args.model.with_model(other).summary(machine, ranks)?,
            );
            match args.json {
                true => json(&both)?,
                false => match terminal::columns() {
                    Some(columns) => both.text(columns),
                    None => both.to_string(),
                },
            }
        }
    };
    print(text)?;
    Ok(ExitCode::SUCCESS)
}
