//! What ranks need of each other: sums, runs of numbers side by side, and bytes.

/// Numbers from which on processes sum up a part each and hand it to the others, where there are more than two: fewer are sent to
/// all at once, which takes one exchange less.
pub const LARGE_SUM: usize = 1 << 14;

/// How ranks reach each other. All ranks call the same functions in the same order, with lengths that fit each other.
pub trait Communicator: Send {
    /// Which rank this is.
    fn rank(&self) -> usize;

    /// How many there are.
    fn ranks(&self) -> usize;

    /// Writes to `sum` the sum of what all ranks bring, taken in the order of ranks, so that all have the same bits.
    ///
    /// # Errors
    /// A rank that is gone.
    fn all_reduce(&mut self, own: &[f32], sum: &mut [f32]) -> Result<(), RankLost>;

    /// Begins a sum as that of [`Communicator::all_reduce`], one at a time, which goes on while the caller does something else.
    ///
    /// # Errors
    /// A rank that is gone.
    fn begin_sum(&mut self, own: &[f32]) -> Result<(), RankLost>;

    /// Writes the sum that was begun to `sum`, if it is done; with `wait`, once it is. Says whether it was.
    ///
    /// # Errors
    /// A rank that is gone.
    fn end_sum(&mut self, sum: &mut [f32], wait: bool) -> Result<bool, RankLost>;

    /// Whether a sum that was begun goes on by itself.
    fn goes_on(&self) -> bool;

    /// Writes to `all` what all ranks bring, in the order of ranks; rank `r` brings `lengths[r]` numbers.
    ///
    /// # Errors
    /// A rank that is gone.
    fn all_gather(
        &mut self,
        own: &[f32],
        lengths: &[usize],
        all: &mut [f32],
    ) -> Result<(), RankLost>;

    /// Sends numbers to one rank, and may go on before they are there.
    ///
    /// # Errors
    /// A rank that is gone.
    fn send(&mut self, to: usize, numbers: &[f32]) -> Result<(), RankLost>;

    /// Waits for as many numbers of one rank as there is room for, in the order in which it has sent them.
    ///
    /// # Errors
    /// A rank that is gone.
    fn receive(&mut self, from: usize, numbers: &mut [f32]) -> Result<(), RankLost>;

    /// Replaces `bytes` by those of rank 0.
    ///
    /// # Errors
    /// A rank that is gone.
    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<(), RankLost>;

    /// The bytes that each rank brings, in the order of ranks.
    ///
    /// # Errors
    /// A rank that is gone.
    fn exchange(&mut self, own: &[u8]) -> Result<Vec<Vec<u8>>, RankLost>;

    /// Waits until all ranks have come here.
    ///
    /// # Errors
    /// A rank that is gone.
    fn wait(&mut self) -> Result<(), RankLost>;

    /// Says that all is done, once, before anything of this rank goes. Who goes without has failed.
    fn leave(&mut self) {}
}

/// A rank that is gone: the others cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rank {rank} is gone: {why}")]
pub struct RankLost {
    /// Which.
    pub rank: usize,
    /// What it said last.
    pub why: String,
}
