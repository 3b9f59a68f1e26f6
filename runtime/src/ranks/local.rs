//! Ranks that are threads of one process: for tests, and for a machine whose processors each have memory of their own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::communicator::{Communicator, RankLost};
use crate::cpu;
use crate::error::Error;
use crate::session::Session;

/// How long a rank spins before it sleeps, if each has a processor: others are usually microseconds behind.
const SPIN: Duration = Duration::from_micros(50);

/// One of several ranks in a process.
pub struct LocalRank {
    rank: usize,
    meeting: Arc<Meeting>,
    /// What a sum was begun with.
    begun: Vec<f32>,
}

/// Makes the session of a rank.
pub type MakeSession = Box<dyn FnOnce(LocalRank) -> Result<Session, Error> + Send>;

/// Starts ranks, each in a thread of its own but the first, whose session is returned; dropping it ends the others.
///
/// # Errors
/// What a rank says whose session cannot be made.
pub fn start(ranks: Vec<MakeSession>) -> Result<Session, Error> {
    let mut makers = self::ranks(ranks.len()).into_iter().zip(ranks);
    let (leader, first) = makers.next().ok_or(Error::NoRanks)?;
    let mut followers = vec![];
    for (rank, make) in makers {
        followers.push(follow(rank, make)?);
    }
    first(leader).map(|session| session.with_followers(followers))
}

/// Ranks of a process, which reach each other.
pub fn ranks(n: usize) -> Vec<LocalRank> {
    let meeting = Arc::new(Meeting::new(n));
    let rank = |rank| LocalRank {
        rank,
        meeting: Arc::clone(&meeting),
        begun: vec![],
    };
    (0..n).map(rank).collect()
}

/// A thread in which a rank does what the first one says.
fn follow(rank: LocalRank, make: MakeSession) -> Result<JoinHandle<()>, Error> {
    let number = rank.rank;
    let meeting = Arc::clone(&rank.meeting);
    let body = move || {
        let done = make(rank).and_then(Session::follow);
        if let Err(why) = done {
            meeting.lose(number, &why.to_string());
        }
    };
    let spawned = std::thread::Builder::new()
        .name(format!("rank-{number}"))
        .spawn(body);
    spawned.map_err(|source| Error::Spawn {
        thread: number,
        source,
    })
}

impl Drop for LocalRank {
    /// Who leaves takes no part any more: those that still wait for it are told.
    fn drop(&mut self) {
        self.meeting.lose(self.rank, "its session has ended");
    }
}

/// Where the ranks of a process meet.
struct Meeting {
    ranks: usize,
    spin: Duration,
    /// Changes each time all have come.
    phase: AtomicU32,
    is_lost: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    /// What each rank has brought: valid while all are inside a collective.
    brought: Box<[AtomicPtr<f32>]>,
    /// Bytes that each rank has brought.
    messages: Box<[Mutex<Vec<u8>>]>,
    /// What has been sent to each rank and not been received yet.
    mail: Box<[Mutex<Mail>]>,
}

/// Numbers, with who has sent them.
type Mail = VecDeque<(usize, Vec<f32>)>;

#[derive(Default)]
struct State {
    arrived: usize,
    lost: Option<RankLost>,
}

impl Meeting {
    fn new(ranks: usize) -> Meeting {
        let has_processors = ranks <= cpu::available_threads();
        Meeting {
            ranks,
            spin: if has_processors { SPIN } else { Duration::ZERO },
            phase: AtomicU32::new(0),
            is_lost: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
            brought: (0..ranks).map(|_| AtomicPtr::default()).collect(),
            messages: (0..ranks).map(|_| Mutex::default()).collect(),
            mail: (0..ranks).map(|_| Mutex::default()).collect(),
        }
    }

    /// A rank that panicked inside has done nothing to the state that others could mind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all ranks have come.
    fn wait(&self) -> Result<(), RankLost> {
        let phase = {
            let mut state = self.state();
            if let Some(lost) = &state.lost {
                return Err(lost.clone());
            }
            // Cannot change before this rank has arrived.
            let phase = self.phase.load(Ordering::Acquire);
            state.arrived += 1;
            if state.arrived == self.ranks {
                state.arrived = 0;
                // Release, as the lock is: what all ranks did before is seen by those that spin.
                self.phase.store(phase.wrapping_add(1), Ordering::Release);
                self.changed.notify_all();
                return Ok(());
            }
            phase
        };
        self.spin_while(phase);
        let mut state = self.state();
        loop {
            if self.phase.load(Ordering::Acquire) != phase {
                return Ok(());
            }
            if let Some(lost) = &state.lost {
                return Err(lost.clone());
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn spin_while(&self, phase: u32) {
        let begun = Instant::now();
        let waits = || self.phase.load(Ordering::Acquire) == phase;
        while waits() && !self.is_lost.load(Ordering::Relaxed) && begun.elapsed() < self.spin {
            std::hint::spin_loop();
        }
    }

    /// Tells all others that a rank takes no part any more. The first to go is the one that is named.
    fn lose(&self, rank: usize, why: &str) {
        let mut state = self.state();
        let why = why.to_string();
        state.lost.get_or_insert(RankLost { rank, why });
        self.is_lost.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// The numbers that a rank has brought.
    ///
    /// # Safety
    /// The rank has brought at least `length` numbers since all last met, and cannot leave before the caller meets it again.
    unsafe fn brought(&self, rank: usize, length: usize) -> &[f32] {
        let at = self.brought[rank].load(Ordering::Acquire);
        // SAFETY: `at` was made of a slice that long, which its owner keeps in place until then, as the caller promises.
        unsafe { std::slice::from_raw_parts(at, length) }
    }

    /// The first numbers that one rank has sent to another, if they are there.
    fn taken(&self, from: usize, to: usize) -> Option<Vec<f32>> {
        let mut mail = self.mail[to].lock().unwrap_or_else(PoisonError::into_inner);
        let first = mail.iter().position(|(sender, _)| *sender == from)?;
        mail.remove(first).map(|(_, numbers)| numbers)
    }

    fn message(&self, rank: usize) -> MutexGuard<'_, Vec<u8>> {
        let message = self.messages[rank].lock();
        message.unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalRank {
    /// Brings numbers, lets `take` look at what all have brought, and leaves when all have looked.
    fn meet(&self, own: &[f32], take: impl FnOnce(&Meeting)) -> Result<(), RankLost> {
        let at = std::ptr::from_ref(own).cast_mut().cast();
        self.meeting.brought[self.rank].store(at, Ordering::Release);
        self.meeting.wait()?;
        take(&self.meeting);
        self.meeting.wait()
    }
}

impl Communicator for LocalRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.meeting.ranks
    }

    fn all_reduce(&mut self, own: &[f32], sum: &mut [f32]) -> Result<(), RankLost> {
        let n = sum.len().min(own.len());
        self.meet(own, |meeting| {
            for rank in 0..meeting.ranks {
                // SAFETY: all ranks bring as many numbers as this one, and none leaves `meet` before all have looked.
                let theirs = unsafe { meeting.brought(rank, n) };
                match rank {
                    0 => sum[..n].copy_from_slice(theirs),
                    _ => sum.iter_mut().zip(theirs).for_each(|(s, v)| *s += v),
                }
            }
        })
    }

    fn begin_sum(&mut self, own: &[f32]) -> Result<(), RankLost> {
        self.begun.clear();
        self.begun.extend_from_slice(own);
        Ok(())
    }

    /// The others are not far, and what they bring is there at once.
    fn end_sum(&mut self, sum: &mut [f32], _wait: bool) -> Result<bool, RankLost> {
        let begun = std::mem::take(&mut self.begun);
        let met = self.all_reduce(&begun, sum);
        self.begun = begun;
        met.map(|()| true)
    }

    fn goes_on(&self) -> bool {
        false
    }

    fn all_gather(
        &mut self,
        own: &[f32],
        lengths: &[usize],
        all: &mut [f32],
    ) -> Result<(), RankLost> {
        self.meet(own, |meeting| {
            let mut rest = all;
            for (rank, length) in lengths.iter().enumerate() {
                let (to, after) = rest.split_at_mut(*length);
                // SAFETY: rank `rank` brings so many numbers, and none leaves `meet` before all have looked.
                to.copy_from_slice(unsafe { meeting.brought(rank, *length) });
                rest = after;
            }
        })
    }

    fn send(&mut self, to: usize, numbers: &[f32]) -> Result<(), RankLost> {
        let meeting = &self.meeting;
        let mail = meeting.mail[to].lock();
        let mut mail = mail.unwrap_or_else(PoisonError::into_inner);
        mail.push_back((self.rank, numbers.to_vec()));
        drop(mail);
        // Whoever looked before is waiting now, and is woken up.
        let state = meeting.state();
        meeting.changed.notify_all();
        state.lost.clone().map_or(Ok(()), Err)
    }

    fn receive(&mut self, from: usize, numbers: &mut [f32]) -> Result<(), RankLost> {
        let meeting = &self.meeting;
        let mut state = meeting.state();
        loop {
            if let Some(sent) = meeting.taken(from, self.rank) {
                let n = sent.len().min(numbers.len());
                numbers[..n].copy_from_slice(&sent[..n]);
                return Ok(());
            }
            if let Some(lost) = &state.lost {
                return Err(lost.clone());
            }
            let waited = meeting.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<(), RankLost> {
        if self.rank == 0 {
            self.meeting.message(0).clone_from(bytes);
        }
        self.meeting.wait()?;
        if self.rank != 0 {
            bytes.clone_from(&self.meeting.message(0));
        }
        self.meeting.wait()
    }

    fn exchange(&mut self, own: &[u8]) -> Result<Vec<Vec<u8>>, RankLost> {
        *self.meeting.message(self.rank) = own.to_vec();
        self.meeting.wait()?;
        let all = (0..self.meeting.ranks).map(|rank| self.meeting.message(rank).clone());
        let all = all.collect();
        self.meeting.wait()?;
        Ok(all)
    }

    fn wait(&mut self) -> Result<(), RankLost> {
        self.meeting.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each rank gets from `body`.
    fn on_each<T: Send>(n: usize, body: impl Fn(&mut LocalRank) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let body = &body;
            let started = ranks(n).into_iter();
            let started = started.map(|mut rank| scope.spawn(move || body(&mut rank)));
            let started: Vec<_> = started.collect();
            started.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    /// 2²⁴ + 1 + 1 is 2²⁴ or 2²⁴ + 2 in f32, by the order of the sum.
    #[test]
    fn sums_are_taken_in_the_order_of_ranks_and_are_the_same_on_all() {
        let own = [16_777_216.0, 1.0, 1.0];
        let sums = on_each(3, |rank| {
            let mut sum = [0.0; 2];
            for _ in 0..100 {
                let one = own[rank.rank];
                rank.all_reduce(&[one, -one], &mut sum).unwrap();
            }
            sum
        });
        let expected = (own[0] + own[1]) + own[2];
        assert_ne!(expected, own[0] + (own[1] + own[2]));
        assert_eq!(sums, [[expected, -expected]; 3]);
    }

    #[test]
    fn columns_and_bytes_come_in_the_order_of_ranks() {
        let got = on_each(3, |rank| {
            let own = vec![rank.rank as f32; rank.rank + 1];
            let mut all = [9.0; 6];
            rank.all_gather(&own, &[1, 2, 3], &mut all).unwrap();
            let mut order = vec![rank.rank as u8; 2];
            rank.broadcast(&mut order).unwrap();
            (all, order, rank.exchange(&[rank.rank as u8]).unwrap())
        });
        let all = [0.0, 1.0, 1.0, 2.0, 2.0, 2.0];
        let expected = (all, vec![0, 0], vec![vec![0], vec![1], vec![2]]);
        assert_eq!(got, [expected.clone(), expected.clone(), expected]);
    }

    #[test]
    fn what_is_sent_comes_in_its_order_from_whom_it_is_asked_of() {
        let got = on_each(3, |rank| {
            let mut got = [0.0; 3];
            match rank.rank {
                0 => {
                    rank.receive(2, &mut got[..1]).unwrap();
                    rank.receive(1, &mut got[1..2]).unwrap();
                    rank.receive(1, &mut got[2..]).unwrap();
                }
                1 => {
                    rank.send(0, &[1.0]).unwrap();
                    rank.send(0, &[2.0]).unwrap();
                    rank.send(2, &[3.0]).unwrap();
                }
                // Not before rank 1 has sent all that it has.
                _ => {
                    rank.receive(1, &mut got[..1]).unwrap();
                    rank.send(0, &[4.0]).unwrap();
                }
            }
            rank.wait().unwrap();
            got
        });
        assert_eq!(got, [[4.0, 1.0, 2.0], [0.0; 3], [3.0, 0.0, 0.0]]);
    }

    /// Nobody waits for a rank that has gone, whether it was there before or not.
    #[test]
    fn a_rank_that_is_gone_is_named_to_all_others() {
        let got = on_each(3, |rank| {
            if rank.rank == 1 {
                rank.meeting.lose(1, "no memory");
                return None;
            }
            let first = rank.all_reduce(&[1.0], &mut [0.0]).unwrap_err();
            assert_eq!(rank.broadcast(&mut vec![]).unwrap_err(), first);
            assert_eq!(rank.receive(1, &mut [0.0]).unwrap_err(), first);
            Some(first.to_string())
        });
        let message = Some("rank 1 is gone: no memory".to_string());
        assert_eq!(got, [message.clone(), None, message]);
    }
}
