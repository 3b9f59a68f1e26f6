//! What can go wrong between a compiled model and its first token, and in a step.
//!
//! Every message names the place, what was found, what was expected and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::appendix::AppendixError;
use crate::files::{FileError, shown};
use crate::kernels::{IsaError, RecordError};

/// Errors of loading and running a compiled model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model was compiled for another version of the runtime's interface.
    #[error(
        "the model was compiled for runtime interface {found}, this runtime has {expected}: compile the model again"
    )]
    Abi {
        /// Version in the manifest.
        found: u32,
        /// Version of this runtime.
        expected: u32,
    },
    /// This processor lacks features that the code uses.
    #[error(
        "the model was compiled for {target} and needs {}, which this processor lacks: compile it again with --target-cpu",
        .missing.join(", ")
    )]
    Processor {
        /// Target processor of the manifest.
        target: String,
        /// Names of the features that are not there.
        missing: Vec<String>,
    },
    /// The environment asks for kernels that this processor cannot run.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// The file of choices among kernels cannot be used.
    #[error(transparent)]
    Tuned(#[from] RecordError),
    /// The code's manifest does not unpack.
    #[error("broken manifest: {source}: compile the model again")]
    ManifestPacking {
        /// The reason.
        source: lz4_flex::block::DecompressError,
    },
    /// The code's manifest cannot be read.
    #[error("broken manifest: {source}: compile the model again")]
    ManifestJson {
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// The code's manifest is not as the compiler wrote it.
    #[error(
        "broken manifest: its checksum is {found:016x}, expected {expected:016x}: compile the model again"
    )]
    ManifestChecksum {
        /// Checksum of what is there.
        found: u64,
        /// Checksum of what was written.
        expected: u64,
    },
    /// The file of the running code, which has the weights, was not found.
    #[error(
        "cannot find the file that this code was loaded from: {source}; move it back, or pass the weights file with --weights"
    )]
    OwnFile {
        /// The system's reason.
        source: io::Error,
    },
    /// What follows the code in its file, or a file of weights, cannot be used.
    #[error(transparent)]
    Appendix(#[from] AppendixError),
    /// A number in the manifest is out of range.
    #[error("broken manifest: {field} is {found}, expected {expected}: compile the model again")]
    Manifest {
        /// Path of the number, `decode.max_tokens`.
        field: &'static str,
        /// Its value.
        found: usize,
        /// What it may be.
        expected: String,
    },
    /// A size does not fit the address space.
    #[error(
        "{what} exceeds the address space: choose a smaller --context, or compile the model again"
    )]
    Overflow {
        /// What the memory was for.
        what: &'static str,
    },
    /// The system gave no memory.
    #[error("cannot reserve {bytes} bytes for {what}: {source}; a smaller --context needs less")]
    Memory {
        /// What the memory was for.
        what: &'static str,
        /// Bytes asked for.
        bytes: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of weights cannot be opened or mapped.
    #[error("cannot read the weights in {}: {source}", shown(.path))]
    WeightFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of weights that nothing would be read from.
    #[error(
        "{}: not used: the weights are in {}; drop --weights, or compile with --weights external",
        shown(.file), shown(.artifact)
    )]
    WeightsNotUsed {
        /// The file.
        file: PathBuf,
        /// What has the weights.
        artifact: PathBuf,
    },
    /// A file that cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of weights is shorter than the manifest says.
    #[error(
        "{}: {bytes} bytes of weights should begin at byte {offset}, but the file has {file_bytes} bytes: is it truncated?",
        shown(.path)
    )]
    WeightFileShort {
        /// The file.
        path: PathBuf,
        /// First byte of the weights.
        offset: u64,
        /// Bytes of weights expected.
        bytes: usize,
        /// Length of the file.
        file_bytes: u64,
    },
    /// The manifest and the caller disagree on how many runs of weights there are.
    #[error("the manifest lists {expected} runs of weights, {found} were given")]
    BlobCount {
        /// Blobs given.
        found: usize,
        /// Blobs in the manifest.
        expected: usize,
    },
    /// A weight slot names a blob that does not exist.
    #[error(
        "broken manifest: weight `{name}` is in blob {blob}, but there are {blobs} blobs: compile the model again"
    )]
    WeightBlob {
        /// The slot.
        name: String,
        /// Blob it names.
        blob: usize,
        /// Blobs there are.
        blobs: usize,
    },
    /// A weight slot reaches beyond the end of its blob.
    #[error(
        "weight `{name}`: {bytes} bytes from byte {offset} do not fit blob {blob} of {blob_bytes} bytes: are the weights truncated?"
    )]
    WeightRange {
        /// The slot.
        name: String,
        /// First byte.
        offset: usize,
        /// Length in bytes.
        bytes: usize,
        /// Blob it is in.
        blob: usize,
        /// Length of that blob.
        blob_bytes: usize,
    },
    /// No micro-kernels were chosen.
    #[error("no micro-kernels were chosen for this session")]
    NoKernels,
    /// A profile of code that takes no times.
    #[error(
        "the model was compiled without time stamps, which profiles need: compile it with --profile"
    )]
    NoStamps,
    /// A checked session of code that does not ask.
    #[error("the model was compiled without checks: run it in memory with graver run --checked")]
    NoChecks,
    /// Generated code went where it must not.
    #[error("bug in Graver: generated code made an invalid access:\n{found}")]
    Checked {
        /// Kernels and addresses.
        found: String,
    },
    /// A number of threads that makes no sense.
    #[error("--threads {found}: expected 1 to {max}")]
    Threads {
        /// Threads asked for.
        found: usize,
        /// The most there can be.
        max: usize,
    },
    /// A rank that is gone.
    #[error(transparent)]
    RankLost(#[from] crate::ranks::RankLost),
    /// A rank has something else than this one.
    #[error(
        "rank {rank}: its {what} is {found}, expected {expected}; start all ranks from one compilation"
    )]
    Rank {
        /// Which.
        rank: usize,
        /// What differs.
        what: &'static str,
        /// What it has.
        found: String,
        /// What this one has.
        expected: String,
    },
    /// What rank 0 says cannot be read.
    #[error("cannot read the message of rank 0: {source}; start all ranks from one compilation")]
    RankCommand {
        /// The reason.
        source: serde_json::Error,
    },
    /// A part of a model that is asked for as if it were the whole.
    #[error("this is the part of rank {rank} of {ranks}: start all ranks together")]
    PartOfModel {
        /// Which.
        rank: usize,
        /// Of how many.
        ranks: usize,
    },
    /// Processes that are not as many as the model was compiled for.
    #[error(
        "this model is split over {expected} ranks, but MPI started {}: use mpirun -n {expected}",
        processes(*.found)
    )]
    Processes {
        /// How many MPI has started.
        found: usize,
        /// Ranks that share the model.
        expected: usize,
    },
    /// MPI was begun before.
    #[error(
        "MPI is already in use in this process; only one model per process can be split over ranks"
    )]
    MpiTwice,
    /// An MPI that does not allow threads.
    #[error("this MPI is single-threaded; use one built with thread support")]
    MpiThreads,
    /// A runtime without MPI.
    #[error(
        "this is a part of a model for {ranks} ranks, but the runtime was built without MPI: build graver with --features mpi, and compile the model again"
    )]
    NoMpi {
        /// Ranks that share the model.
        ranks: usize,
    },
    /// Several ranks, of which there is none.
    #[error("no ranks: expected at least 1")]
    NoRanks,
    /// A sequence's state is spread over ranks.
    #[error(
        "the state of a sequence cannot be saved if the model is split over ranks; compute it again instead"
    )]
    SnapshotOfRanks,
    /// A worker thread could not be started.
    #[error("cannot start worker thread {thread}: {source}; fewer --threads may help")]
    Spawn {
        /// Index of the thread.
        thread: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// A thread could not be pinned to its processor.
    #[error("cannot pin thread {thread} to processor {cpu}: {source}; drop --pin")]
    Pin {
        /// Index of the thread.
        thread: usize,
        /// Number of the processor.
        cpu: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// A number of sequence slots that makes no sense.
    #[error("{found} sequence slots: expected 1 to {max}")]
    Slots {
        /// Slots asked for.
        found: usize,
        /// The most there can be.
        max: usize,
    },
    /// A context that the model cannot have.
    #[error("--context {found}: this model takes 1 to {max} positions")]
    Context {
        /// Positions asked for.
        found: usize,
        /// The most the model was made for.
        max: usize,
    },
    /// A slot that does not exist.
    #[error("sequence slot {slot} does not exist: there are {slots}, counted from 0")]
    UnknownSlot {
        /// The slot named.
        slot: usize,
        /// Slots there are.
        slots: usize,
    },
    /// Two segments of one step continue the same sequence.
    #[error("sequence slot {slot} is in two segments of one step: join them")]
    SlotTwice {
        /// The slot.
        slot: usize,
    },
    /// A step or segment without tokens.
    #[error("no tokens for sequence slot {slot}: a step needs at least one")]
    NoTokens {
        /// The slot.
        slot: usize,
    },
    /// A step without segments.
    #[error("a step needs at least one segment, found none")]
    NoSegments,
    /// More tokens than one step can hold.
    #[error(
        "{tokens} tokens in one step: the model was compiled for at most {max}; use several steps"
    )]
    StepTooLong {
        /// Tokens given.
        tokens: usize,
        /// The most of one step.
        max: usize,
    },
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab} tokens (0 to {})", .vocab.saturating_sub(1))]
    Token {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A sequence that would outgrow its slot.
    #[error(
        "{tokens} tokens after position {position} do not fit a context of {context} positions{}",
        room(*.context, *.most)
    )]
    ContextFull {
        /// Tokens to be added.
        tokens: usize,
        /// Positions already filled.
        position: usize,
        /// Positions there is room for.
        context: usize,
        /// Positions there could be room for.
        most: usize,
    },
    /// A sequence cannot be cut at this position.
    #[error(
        "sequence slot {slot} cannot be truncated to position {position}: only to 0{}; restore a snapshot instead",
        reachable(*.earliest, *.current)
    )]
    Truncate {
        /// The slot.
        slot: usize,
        /// Position asked for.
        position: usize,
        /// First position, other than 0, that is still whole.
        earliest: usize,
        /// Positions filled.
        current: usize,
    },
    /// A snapshot of another model, or of another context length.
    #[error(
        "the snapshot is of another model or another --context: its state has {found} bytes, this session's slots have {expected}; restore it where it was taken"
    )]
    Snapshot {
        /// Bytes of a slot when the snapshot was taken.
        found: usize,
        /// Bytes of a slot of this session.
        expected: usize,
    },
}

fn processes(n: usize) -> String {
    match n {
        1 => "this process alone".to_owned(),
        n => format!("{n} processes"),
    }
}

fn room(context: usize, most: usize) -> String {
    match context < most {
        true => format!(": --context can be up to {most}"),
        false => ", the most this model takes".to_owned(),
    }
}

fn reachable(earliest: usize, current: usize) -> String {
    match (earliest < current, current) {
        (true, _) => format!(" or to any position from {earliest} to {current}"),
        (false, 0) => String::new(),
        (false, _) => format!(" or {current}"),
    }
}
