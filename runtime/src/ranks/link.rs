//! A session's link to the other ranks: what they agree in, the collectives of a step, and what rank 0 tells the others.

use std::sync::Arc;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::communicator::{Communicator, RankLost};
use crate::abi::{CollectiveInfo, CollectiveKind, Manifest, StepContext};
use crate::error::Error;
use crate::generate::Meetings;
use crate::profile;

/// A rank's link to the others.
pub(crate) struct Link {
    communicator: Box<dyn Communicator>,
    /// Those of decode and of prefill.
    places: [Vec<Place>; 2],
    /// The program of the current step.
    program: usize,
    /// Rows on their way.
    rows: [Vec<f32>; 2],
    /// Who was lost, which ends all steps.
    lost: Option<RankLost>,
    /// Rank 0 has said that nothing more will come.
    is_over: bool,
    /// Times that ranks have met.
    meetings: u64,
    /// Numbers that this rank has brought to collectives.
    brought: u64,
    /// Threads of ranks that follow this one.
    followers: Vec<JoinHandle<()>>,
}

/// A place where ranks meet.
struct Place {
    kind: CollectiveKind,
    /// Columns that this rank brings.
    own: usize,
    /// Columns that each rank brings, where all of them do.
    columns: Vec<usize>,
    /// Columns of the result.
    width: usize,
}

/// What a rank says about itself before the first step.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Hello {
    abi: u32,
    model: u64,
    ranks: usize,
    rank: usize,
    context: usize,
    slots: usize,
    collectives: [Vec<CollectiveInfo>; 2],
}

impl Link {
    /// Meets the other ranks, and makes sure that all have parts of one model, and room for the same sequences.
    pub(crate) fn new(
        mut communicator: Box<dyn Communicator>,
        manifest: &Arc<Manifest>,
        (context, slots): (usize, usize),
    ) -> Result<Link, Error> {
        let own = Hello::of(manifest, context, slots);
        let text = serde_json::to_vec(&own).unwrap_or_default();
        let all = communicator.exchange(&text)?;
        let all: Vec<Option<Hello>> = all.iter().map(|t| serde_json::from_slice(t).ok()).collect();
        for (rank, other) in all.iter().enumerate() {
            own.agree(rank, all.len(), other.as_ref())?;
        }
        let all: Vec<Hello> = all.into_iter().flatten().collect();
        let places = [0, 1].map(|program| places(&own, &all, program));
        places.iter().flatten().try_for_each(Place::check)?;
        Ok(Link {
            communicator,
            places,
            program: 0,
            rows: Default::default(),
            lost: None,
            is_over: false,
            meetings: 0,
            brought: 0,
            followers: vec![],
        })
    }

    /// Whether this rank tells the others what to do.
    pub(crate) fn leads(&self) -> bool {
        self.communicator.rank() == 0
    }

    /// Threads that end when this rank says so.
    pub(crate) fn with_followers(mut self, followers: Vec<JoinHandle<()>>) -> Link {
        self.followers = followers;
        self
    }

    /// What this rank has brought to the others so far.
    pub(crate) fn meetings(&self) -> Meetings {
        Meetings {
            ranks: self.communicator.ranks(),
            meetings: self.meetings,
            brought_bytes: self.brought * size_of::<f32>() as u64,
        }
    }

    /// Bytes of all ranks, in their order.
    pub(crate) fn exchange(&mut self, own: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.check()?;
        let all = self.communicator.exchange(own);
        all.map_err(|lost| {
            self.note(Err(lost.clone()));
            lost.into()
        })
    }

    /// Waits for the other ranks before they meet, so that a profile can tell waiting from messages.
    fn wait(&mut self) {
        if self.lost.is_none() {
            let met = self.communicator.wait();
            self.note(met);
        }
    }

    /// Tells the other ranks what this one is about to do.
    pub(crate) fn tell(&mut self, command: &Command) -> Result<(), Error> {
        self.check()?;
        let mut bytes = serde_json::to_vec(command).unwrap_or_default();
        let told = self.communicator.broadcast(&mut bytes);
        self.is_over |= *command == Command::Quit;
        self.note(told);
        self.check()
    }

    /// What rank 0 is about to do.
    pub(crate) fn hear(&mut self) -> Result<Command, Error> {
        let mut bytes = vec![];
        let heard = self.communicator.broadcast(&mut bytes);
        self.note(heard);
        self.check()?;
        let heard = serde_json::from_slice(&bytes);
        let command = heard.map_err(|source| Error::RankCommand { source })?;
        self.is_over |= command == Command::Quit;
        Ok(command)
    }

    /// Begins a step of program 0, decode, or 1, prefill.
    pub(crate) fn begin_step(&mut self, program: usize, context: &mut StepContext) {
        self.program = program;
        context.collective = collective;
        context.ranks = (&raw mut *self).cast_const().cast();
    }

    /// Whether all ranks are still there.
    ///
    /// # Errors
    /// The one that is not.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.lost.clone().map_or(Ok(()), |lost| Err(lost.into()))
    }

    fn note(&mut self, met: Result<(), RankLost>) {
        if let Err(lost) = met {
            self.lost.get_or_insert(lost);
        }
    }

    /// Hands rows over to another rank or all of them, or gets them.
    fn hand_over(
        &mut self,
        (from, to): (usize, Option<usize>),
        own: &[f32],
        out: &mut [f32],
    ) -> Result<(), RankLost> {
        let (rank, ranks) = (self.communicator.rank(), self.communicator.ranks());
        if rank != from {
            return self.communicator.receive(from, out);
        }
        out.copy_from_slice(own);
        let to = to.map_or(0..ranks, |to| to..to + 1);
        for other in to.filter(|other| *other != rank) {
            self.brought += own.len() as u64;
            self.communicator.send(other, own)?;
        }
        Ok(())
    }

    /// Meets the other ranks in collective `index`; `own` is `stride` floats from row to row.
    ///
    /// Where a rank is lost, the rest of the step goes on with whatever is there, and is not used.
    fn meet(&mut self, index: usize, own: &[f32], stride: usize, to: &mut [f32], rows: usize) {
        // Of steps that want no logits, nothing is said of any: ranks need not wait for each other.
        if self.lost.is_some() || rows == 0 {
            return;
        }
        let place = &self.places[self.program][index];
        let width = place.own;
        let [mut packed, mut all] = std::mem::take(&mut self.rows);
        let mut own = own;
        if stride != width {
            packed.clear();
            let runs = own.chunks(stride).take(rows);
            runs.for_each(|run| packed.extend_from_slice(&run[..width]));
            own = &packed;
        }
        self.meetings += 1;
        if place.kind.is_of_all() {
            self.brought += own.len() as u64;
        }
        let met = match place.kind {
            CollectiveKind::AllReduce => self.communicator.all_reduce(own, to),
            CollectiveKind::AllGather => {
                all.resize(rows * place.width, 0.0);
                let lengths: Vec<usize> = place.columns.iter().map(|c| c * rows).collect();
                let met = self.communicator.all_gather(own, &lengths, &mut all);
                side_by_side(&all, place, rows, to);
                met
            }
            CollectiveKind::HandOver { from, to: other } => self.hand_over((from, other), own, to),
        };
        self.rows = [packed, all];
        self.note(met);
    }
}

impl Place {
    /// That the columns of all ranks make those of the result.
    fn check(&self) -> Result<(), Error> {
        let whole = match self.kind {
            CollectiveKind::AllReduce => self.columns.iter().all(|c| *c == self.width),
            CollectiveKind::AllGather => self.columns.iter().sum::<usize>() == self.width,
            CollectiveKind::HandOver { .. } => self.own == self.width,
        };
        match whole {
            true => Ok(()),
            false => Err(Error::Rank {
                rank: 0,
                what: "columns",
                found: format!("{:?}", self.columns),
                expected: format!("those of {} together", self.width),
            }),
        }
    }
}

/// What ranks have brought one after the other, row by row.
fn side_by_side(all: &[f32], place: &Place, rows: usize, to: &mut [f32]) {
    let (mut from, mut first) = (0, 0);
    for columns in &place.columns {
        for row in 0..rows {
            let to = &mut to[row * place.width + first..][..*columns];
            to.copy_from_slice(&all[from..from + columns]);
            from += columns;
        }
        first += columns;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Ranks that are not there any more need not be told.
        if self.leads() && self.lost.is_none() {
            let _ = self.tell(&Command::Quit);
        }
        if self.is_over && self.lost.is_none() {
            self.communicator.leave();
        }
        for follower in self.followers.drain(..) {
            let _ = follower.join();
        }
    }
}

impl Hello {
    fn of(manifest: &Manifest, context: usize, slots: usize) -> Hello {
        let rank = manifest.rank.unwrap_or_default();
        let programs = [&manifest.decode, &manifest.prefill];
        Hello {
            abi: manifest.abi,
            model: rank.model,
            ranks: rank.ranks,
            rank: rank.rank,
            context,
            slots,
            collectives: programs.map(|p| p.collectives.clone()),
        }
    }

    /// That another rank, which is number `rank` of `ranks`, has another part of the same.
    fn agree(&self, rank: usize, ranks: usize, other: Option<&Hello>) -> Result<(), Error> {
        let differs = |what: &'static str, found: String, expected: String| {
            Err(Error::Rank {
                rank,
                what,
                found,
                expected,
            })
        };
        let Some(other) = other else {
            let expected = "what it is".into();
            return differs("greeting", "nothing that can be read".into(), expected);
        };
        let numbers = [
            ("interface", u64::from(other.abi), u64::from(self.abi)),
            ("ranks", other.ranks as u64, ranks as u64),
            ("rank", other.rank as u64, rank as u64),
            ("context", other.context as u64, self.context as u64),
            ("slots", other.slots as u64, self.slots as u64),
        ];
        for (what, found, expected) in numbers {
            if found != expected {
                return differs(what, found.to_string(), expected.to_string());
            }
        }
        if other.model != self.model {
            let [found, expected] = [other, self].map(|h| format!("{:016x}", h.model));
            return differs("model", found, expected);
        }
        let shape = |h: &Hello| {
            let of = |c: &CollectiveInfo| (c.kind, c.width, c.times);
            let of_all = |c: &&CollectiveInfo| c.kind.is_of_all();
            h.collectives
                .each_ref()
                .map(|c| c.iter().filter(of_all).map(of).collect::<Vec<_>>())
        };
        match shape(other) == shape(self) {
            true => Ok(()),
            false => {
                let [found, expected] = [other, self].map(|h| format!("{:?}", shape(h)));
                differs("collectives", found, expected)
            }
        }
    }
}

/// The places of a program of this rank, by what all ranks said. Where all of them meet they have the same places in the same order.
fn places(own: &Hello, all: &[Hello], program: usize) -> Vec<Place> {
    let of_all = |h: &'_ Hello| -> Vec<CollectiveInfo> {
        let places = h.collectives[program].iter();
        places.filter(|c| c.kind.is_of_all()).cloned().collect()
    };
    let shared: Vec<Vec<CollectiveInfo>> = all.iter().map(of_all).collect();
    let mut met = 0;
    let place = |info: &CollectiveInfo| {
        let at = met;
        met += usize::from(info.kind.is_of_all());
        let columns = shared.iter().filter(|_| info.kind.is_of_all());
        Place {
            kind: info.kind,
            own: info.own,
            columns: columns.map(|of| of[at].own).collect(),
            width: info.width,
        }
    };
    own.collectives[program].iter().map(place).collect()
}

/// [`StepContext::collective`].
///
/// # Safety
/// Called by thread 0 of a step that [`Link::begin_step`] began, with numbers that code was compiled with: `from` has `rows` rows of
/// this rank's columns, `stride` floats apart, and `to` room for `rows` rows of the result, which nobody else uses now.
unsafe extern "C" fn collective(
    context: *const StepContext,
    index: usize,
    from: *const f32,
    stride: usize,
    to: *mut f32,
    rows: usize,
) {
    // SAFETY: `begin_step` put the session's link there, which nobody else uses during the step.
    let link = unsafe { &mut *(*context).ranks.cast_mut().cast::<Link>() };
    let place = &link.places[link.program][index];
    let own = match rows {
        0 => 0,
        _ => (rows - 1) * stride + place.own,
    };
    // SAFETY: as the caller promises; the two do not overlap, the memory plan seeing both alive at once.
    let (own, to) = unsafe {
        let own = std::slice::from_raw_parts(from, own);
        (own, std::slice::from_raw_parts_mut(to, rows * place.width))
    };
    // Those who hand over do not wait for each other.
    if rows > 0 && place.kind.is_of_all() {
        // SAFETY: the context is of this step, and the caller its thread 0.
        unsafe { profile::pause(context, 0, || link.wait()) };
    }
    link.meet(index, own, stride, to, rows);
}

/// What stands in a context's `collective` where one rank has the whole model.
pub(crate) unsafe extern "C" fn no_collective(
    _context: *const StepContext,
    _index: usize,
    _from: *const f32,
    _stride: usize,
    _to: *mut f32,
    _rows: usize,
) {
}
