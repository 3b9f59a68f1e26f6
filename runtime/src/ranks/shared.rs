//! One way to the other ranks for several sessions of a process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::communicator::{Communicator, RankLost};

/// A way to the other ranks that several sessions of this process use, one after the other, in the same order on all ranks.
pub struct Shared(Arc<Mutex<Common>>);

struct Common {
    communicator: Box<dyn Communicator>,
    /// Those that have not left.
    users: usize,
}

impl Shared {
    /// For the first user.
    pub fn new(communicator: Box<dyn Communicator>) -> Shared {
        Shared(Arc::new(Mutex::new(Common {
            communicator,
            users: 1,
        })))
    }

    /// For one more user. The rank leaves when all of them have.
    pub fn another(&self) -> Shared {
        self.common().users += 1;
        Shared(Arc::clone(&self.0))
    }

    fn common(&self) -> MutexGuard<'_, Common> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Communicator for Shared {
    fn rank(&self) -> usize {
        self.common().communicator.rank()
    }

    fn ranks(&self) -> usize {
        self.common().communicator.ranks()
    }

    fn all_reduce(&mut self, own: &[f32], sum: &mut [f32]) -> Result<(), RankLost> {
        self.common().communicator.all_reduce(own, sum)
    }

    fn begin_sum(&mut self, own: &[f32]) -> Result<(), RankLost> {
        self.common().communicator.begin_sum(own)
    }

    fn end_sum(&mut self, sum: &mut [f32], wait: bool) -> Result<bool, RankLost> {
        self.common().communicator.end_sum(sum, wait)
    }

    fn goes_on(&self) -> bool {
        self.common().communicator.goes_on()
    }

    fn all_gather(
        &mut self,
        own: &[f32],
        lengths: &[usize],
        all: &mut [f32],
    ) -> Result<(), RankLost> {
        self.common().communicator.all_gather(own, lengths, all)
    }

    fn send(&mut self, to: usize, numbers: &[f32]) -> Result<(), RankLost> {
        self.common().communicator.send(to, numbers)
    }

    fn receive(&mut self, from: usize, numbers: &mut [f32]) -> Result<(), RankLost> {
        self.common().communicator.receive(from, numbers)
    }

    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<(), RankLost> {
        self.common().communicator.broadcast(bytes)
    }

    fn exchange(&mut self, own: &[u8]) -> Result<Vec<Vec<u8>>, RankLost> {
        self.common().communicator.exchange(own)
    }

    fn wait(&mut self) -> Result<(), RankLost> {
        self.common().communicator.wait()
    }

    fn leave(&mut self) {
        let mut common = self.common();
        common.users -= 1;
        if common.users == 0 {
            common.communicator.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::local;
    use super::*;

    #[test]
    fn users_take_turns() {
        std::thread::scope(|scope| {
            for rank in local::ranks(2) {
                scope.spawn(|| {
                    let mut first = Shared::new(Box::new(rank));
                    let mut second = first.another();
                    let (rank, mut sum) = (first.rank() as f32, [0.0]);
                    first.all_reduce(&[rank + 1.0], &mut sum).unwrap();
                    assert_eq!(sum, [3.0]);
                    second.all_reduce(&[rank + 2.0], &mut sum).unwrap();
                    assert_eq!(sum, [5.0]);
                    assert_eq!(second.exchange(&[7]).unwrap(), [[7], [7]]);
                    first.leave();
                    second.wait().unwrap();
                    second.leave();
                });
            }
        });
    }
}
