//! What the processor and the system offer: instruction set features, and how many threads are worth starting.
//!
//! Features have the names Rust uses for them (`avx2`, `fma`), which are also those of a manifest.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

mod order;
mod usage;

pub use usage::{Spent, Usage};

/// Tests for features of this architecture by name.
macro_rules! feature_table {
    ($detect:ident: $($name:tt)*) => {
        &[$(($name, || std::arch::$detect!($name))),*]
    };
}

/// A feature's name and the test for it.
type Feature = (&'static str, fn() -> bool);

#[cfg(target_arch = "x86_64")]
const FEATURES: &[Feature] = feature_table!(is_x86_feature_detected:
    "sse" "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "lzcnt" "bmi1" "bmi2" "movbe" "cmpxchg16b" "xsave" "f16c" "fma"
    "avx" "avx2" "avxvnni" "avxvnniint8" "avxneconvert" "avxifma" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl"
    "avx512ifma" "avx512vbmi" "avx512vbmi2" "avx512vnni" "avx512bf16" "avx512fp16" "avx512bitalg" "avx512vpopcntdq"
    "vpclmulqdq" "pclmulqdq" "aes" "vaes" "gfni" "sha" "adx" "rdrand" "rdseed" "fxsr");

#[cfg(target_arch = "aarch64")]
const FEATURES: &[Feature] = feature_table!(is_aarch64_feature_detected:
    "neon" "fp16" "fhm" "dotprod" "bf16" "i8mm" "lse" "lse2" "rdm" "sve" "sve2" "aes" "sha2" "sha3" "crc" "paca" "pacg" "bti");

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const FEATURES: &[Feature] = &[];

/// Features this processor has, in the order of the table.
pub fn features() -> impl Iterator<Item = &'static str> {
    FEATURES
        .iter()
        .filter(|(_, detected)| detected())
        .map(|(name, _)| *name)
}

/// Those of `needed` that this processor lacks. A name nobody knows counts as lacking.
pub(crate) fn missing_features(needed: &[String]) -> Vec<String> {
    needed
        .iter()
        .filter(|name| !features().any(|have| have == name.as_str()))
        .cloned()
        .collect()
}

/// What the processor calls itself, if the system says so: `AMD EPYC 9654 (family 25, model 17)`. Virtual machines often leave
/// out the number in the name, so that family and model are given too.
pub fn model_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let first = text.split("\n\n").next()?;
    let field = |name: &str| {
        let of = |line: &str| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_string())
        };
        first.lines().find_map(of)
    };
    let name = field("model name")?;
    Some(match field("cpu family").zip(field("model")) {
        Some((family, model)) => format!("{name} (family {family}, model {model})"),
        None => name,
    })
}

/// Threads that can run at once: the affinity mask, and the cgroup's processor quota (v1 and v2) rounded down.
///
/// Asked once, so that pinning a thread later does not change the answer.
pub fn available_threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The processor that the calling thread is on, if the system says so. Takes a few nanoseconds.
#[cfg(target_os = "linux")]
pub(crate) fn current() -> Option<u32> {
    // SAFETY: the call only returns a number, or -1.
    u32::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// The processor that the calling thread is on: not known on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn current() -> Option<u32> {
    None
}

/// Processors this process may run on, one of each core before the cores' second threads, and fast cores before slow ones.
///
/// Asked once, for the same reason as [`available_threads`]. Empty where the system does not say.
pub fn allowed_cpus() -> &'static [usize] {
    static CPUS: OnceLock<Vec<usize>> = OnceLock::new();
    CPUS.get_or_init(|| {
        let allowed = Affinity::of_this_thread().map_or_else(|_| Vec::new(), |a| a.cpus());
        order::sorted(Path::new(order::DEVICES), &allowed)
    })
}

/// The set of processors a thread may run on.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy)]
pub struct Affinity(libc::cpu_set_t);

#[cfg(target_os = "linux")]
impl Affinity {
    /// The calling thread's set.
    pub fn of_this_thread() -> io::Result<Self> {
        // SAFETY: `cpu_set_t` is plain bits, for which zeros are a value.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to `size_of_val(&set)` writable bytes.
        match unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } {
            0 => Ok(Affinity(set)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// A set of one processor.
    pub fn one(cpu: usize) -> io::Result<Self> {
        // SAFETY: `cpu_set_t` is plain bits, for which zeros are a value.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: `cpu` is below the number of bits of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
        Ok(Affinity(set))
    }

    /// Makes this the calling thread's set.
    pub fn apply(&self) -> io::Result<()> {
        // SAFETY: the pointer is to `size_of_val(&self.0)` readable bytes.
        match unsafe { libc::sched_setaffinity(0, size_of_val(&self.0), &raw const self.0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Processors in the set, ascending.
    pub fn cpus(&self) -> Vec<usize> {
        // SAFETY: every number asked for is below the number of bits of the set.
        (0..libc::CPU_SETSIZE as usize)
            .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &self.0) })
            .collect()
    }
}

/// The set of processors a thread may run on: not known on this system.
#[cfg(not(target_os = "linux"))]
#[derive(Clone, Copy)]
pub struct Affinity(());

#[cfg(not(target_os = "linux"))]
impl Affinity {
    /// The calling thread's set.
    pub fn of_this_thread() -> io::Result<Self> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// A set of one processor.
    pub fn one(_cpu: usize) -> io::Result<Self> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// Makes this the calling thread's set.
    pub fn apply(&self) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// Processors in the set, ascending.
    pub fn cpus(&self) -> Vec<usize> {
        Vec::new()
    }
}
