//! The whole line: from where a model comes from to code that runs or is written.
//!
//! [`load()`] takes a source and gives a bound model with its weights; [`plan`] takes it from graph to memory plan, for both
//! programs, and writes the manifest; [`open`] compiles that in memory and makes it ready to run, and
//! [`artifact::write`](crate::artifact::write()) makes files of it. Everything that compiles a model goes through here.
//!
//! ```
//! use graver::driver::{self, CompileOptions, ModelSource, Purpose};
//! use graver_runtime::session::{SessionOptions, Wanted};
//!
//! let loaded = driver::load(&ModelSource::Embedded, Purpose::Run, None, &|_, _, _| {})?;
//! let mut session = driver::open(loaded, &CompileOptions::native()?, SessionOptions::default())?;
//! let logits = session.feed(0, &[1, 42, 7], Wanted::Last)?;
//! assert_eq!(logits.n_rows(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod calibrate;
mod compile;
mod error;
mod load;
mod loaded;
mod manifest;
mod options;
mod part;
mod ranks;

pub(crate) use compile::plain_programs;
pub use compile::{
    HiddenStates, compile, open, open_with_hidden, plain_program, plan, plan_program, start,
};
pub use error::{OpenError, PlanRanksError};
pub use load::{LoadError, LoadProgress, LoadStage, ModelSource, Purpose, load};
pub use loaded::{Activations, Loaded, NothingInBf16};
pub use manifest::states;
pub use options::CompileOptions;
pub use part::Part;
pub use ranks::{
    CodeOfRanks, PlannedRank, Ranks, code_of_ranks, open_rank, open_ranks, plan_ranks, start_rank,
    start_ranks,
};
