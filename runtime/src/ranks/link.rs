//! A session's link to the other ranks: what they agree in, the collectives of a step, and what rank 0 tells the others.

use std::sync::Arc;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::communicator::{Communicator, RankLost};
use crate::abi::{CollectiveInfo, CollectiveKind, Manifest, StepContext};
use crate::error::Error;

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
    /// Numbers that this rank has brought to collectives.
    brought: u64,
    /// Threads of ranks that follow this one.
    followers: Vec<JoinHandle<()>>,
}

/// A place where ranks meet.
struct Place {
    kind: CollectiveKind,
    /// Columns that each rank brings.
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
        let places = [0, 1].map(|program| places(&all, program));
        places.iter().flatten().try_for_each(Place::check)?;
        Ok(Link {
            communicator,
            places,
            program: 0,
            rows: Default::default(),
            lost: None,
            is_over: false,
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

    /// Numbers that this rank has brought to collectives so far.
    pub(crate) fn brought(&self) -> u64 {
        self.brought
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

    /// Meets the other ranks in collective `index`; `own` is `stride` floats from row to row.
    ///
    /// Where a rank is lost, the rest of the step goes on with whatever is there, and is not used.
    fn meet(&mut self, index: usize, own: &[f32], stride: usize, to: &mut [f32], rows: usize) {
        if self.lost.is_some() {
            return;
        }
        let place = &self.places[self.program][index];
        let width = place.columns[self.communicator.rank()];
        let [packed, all] = &mut self.rows;
        let mut own = own;
        if stride != width {
            packed.clear();
            let runs = own.chunks(stride).take(rows);
            runs.for_each(|run| packed.extend_from_slice(&run[..width]));
            own = packed;
        }
        self.brought += own.len() as u64;
        let met = match place.kind {
            CollectiveKind::AllReduce => self.communicator.all_reduce(own, to),
            CollectiveKind::AllGather => {
                all.resize(rows * place.width, 0.0);
                let lengths: Vec<usize> = place.columns.iter().map(|c| c * rows).collect();
                let met = self.communicator.all_gather(own, &lengths, all);
                side_by_side(all, place, rows, to);
                met
            }
        };
        self.note(met);
    }
}

impl Place {
    /// That the columns of all ranks make those of the result.
    fn check(&self) -> Result<(), Error> {
        let whole = match self.kind {
            CollectiveKind::AllReduce => self.columns.iter().all(|c| *c == self.width),
            CollectiveKind::AllGather => self.columns.iter().sum::<usize>() == self.width,
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
            h.collectives
                .each_ref()
                .map(|c| c.iter().map(of).collect::<Vec<_>>())
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

/// The places of a program, by what all ranks said.
fn places(all: &[Hello], program: usize) -> Vec<Place> {
    let first = all.first().map_or(&[][..], |h| &h.collectives[program]);
    let place = |(i, info): (usize, &CollectiveInfo)| Place {
        kind: info.kind,
        columns: all.iter().map(|h| h.collectives[program][i].own).collect(),
        width: info.width,
    };
    first.iter().enumerate().map(place).collect()
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
        _ => (rows - 1) * stride + place.columns[link.communicator.rank()],
    };
    // SAFETY: as the caller promises; the two do not overlap, the memory plan seeing both alive at once.
    let (own, to) = unsafe {
        let own = std::slice::from_raw_parts(from, own);
        (own, std::slice::from_raw_parts_mut(to, rows * place.width))
    };
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
