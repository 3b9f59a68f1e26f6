//! The machine's limits: given on the command line, or measured.

use graver::driver::Loaded;
use graver::summary::Machine;
use graver_runtime::{ceilings, cpu};

#[derive(clap::Args)]
pub(crate) struct MachineArgs {
    /// Memory bandwidth [default: measured]
    #[arg(long, value_name = "GB/S", requires = "gflops", value_parser = positive, allow_negative_numbers = true)]
    gbps: Option<f64>,
    /// Arithmetic throughput [default: measured]
    #[arg(long, value_name = "GFLOP/S", requires = "gbps", value_parser = positive, allow_negative_numbers = true)]
    gflops: Option<f64>,
    /// Number of threads to measure with [default: all available processors]
    #[arg(short = 't', long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// A number above 0.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x > 0.0 => Ok(x),
        _ => Err(format!("{text}: expected a number above 0")),
    }
}

/// What the machine reaches with a model.
pub(crate) struct Limits {
    threads: usize,
    /// As many bytes were read as the model has, which come from memory or, where they fit, from caches; nothing where limits
    /// were given.
    bytes: Option<usize>,
    pub(crate) machine: Machine,
}

/// No cache is as large.
const FROM_MEMORY: usize = 512 << 20;

fn bytes_read(loaded: &Loaded) -> usize {
    loaded.weights.total_bytes().min(FROM_MEMORY)
}

impl MachineArgs {
    /// Threads to measure with.
    pub(crate) fn threads(&self) -> usize {
        self.threads
            .map_or_else(cpu::available_threads, usize::from)
    }

    /// The limits for a model.
    pub(crate) fn limits(&self, loaded: &Loaded) -> Limits {
        let threads = self.threads();
        if let Some((gbps, gflops)) = self.gbps.zip(self.gflops) {
            return Limits {
                threads,
                bytes: None,
                machine: Machine { gbps, gflops },
            };
        }
        let bytes = bytes_read(loaded);
        Limits {
            threads,
            bytes: Some(bytes),
            machine: Machine {
                gbps: ceilings::gbps(threads, bytes),
                gflops: ceilings::gflops(threads),
            },
        }
    }
}

impl Limits {
    /// Whether they were measured here.
    pub(crate) fn is_measured(&self) -> bool {
        self.bytes.is_some()
    }

    /// For another model: the same figure if both come from memory, so that noise does not set them apart.
    pub(crate) fn for_other(&self, other: &Loaded) -> Machine {
        let gbps = match self.bytes {
            Some(bytes) if bytes != bytes_read(other) => {
                ceilings::gbps(self.threads, bytes_read(other))
            }
            Some(_) | None => self.machine.gbps,
        };
        Machine {
            gbps,
            ..self.machine
        }
    }
}
