//! A session's link to the other ranks: what they agree in, the collectives of a step, and what rank 0 tells the others.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::command::Command;
use super::communicator::{Communicator, LARGE_SUM, RankLost};
use super::early::{BANDS, Columns, SumRows, band};
use super::hello::{Hello, Place, places};
use crate::abi::{CollectiveKind, Manifest, StepContext};
use crate::error::Error;
use crate::generate::Meetings;
use crate::profile;

/// A rank's link to the others.
pub(crate) struct Link {
    communicator: Box<dyn Communicator>,
    /// Those of decode and of prefill.
    places: [Vec<Place>; 2],
    /// Which columns of prefill's sums are there.
    columns: Box<Columns>,
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
    /// Numbers that this rank has brought to collectives, and those of them that were early.
    brought: u64,
    early: u64,
    /// Threads of ranks that follow this one.
    followers: Vec<JoinHandle<()>>,
}

impl Link {
    /// Meets the other ranks, and makes sure that all have parts of one model, and room for the same sequences.
    pub(crate) fn new(
        mut communicator: Box<dyn Communicator>,
        manifest: &Arc<Manifest>,
        (context, slots): (usize, usize),
        threads: usize,
    ) -> Result<Link, Error> {
        let is_busy = threads > 1 || communicator.goes_on();
        let own = Hello::of(manifest, (context, slots), is_busy);
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
            columns: Box::new(Columns::new(places[1].iter().map(|p| p.width))),
            places,
            program: 0,
            rows: Default::default(),
            lost: None,
            is_over: false,
            meetings: 0,
            brought: 0,
            early: 0,
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
            early_bytes: self.early * size_of::<f32>() as u64,
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
        context.finished = finished;
        context.columns = (&raw const *self.columns).cast();
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

    /// Sums up the next bands of collective `index`: those that are there, as far as one comes without waiting, or with `all` the rest.
    /// Says whether so many rows are summed up in bands, which they are on all ranks or on none.
    ///
    /// # Safety
    /// `from` has `rows` rows of this rank's columns, `stride` floats apart, and `to` room for as many of the sum's, that nobody else
    /// uses now; columns that are not there yet others may write.
    unsafe fn sum_bands(
        &mut self,
        index: usize,
        (from, stride): (*const f32, usize),
        to: *mut f32,
        rows: usize,
        all: bool,
    ) -> bool {
        let &Place { width, early, .. } = &self.places[self.program][index];
        if !early || rows * width < LARGE_SUM {
            return false;
        }
        let rows = SumRows {
            from,
            stride,
            to,
            rows,
            width,
        };
        let [mut packed, mut sum] = std::mem::take(&mut self.rows);
        while self.lost.is_none() {
            let place = &mut self.places[self.program][index];
            let columns = band(width, place.summed.min(BANDS - 1));
            if place.is_begun {
                sum.resize(rows.rows * columns.len(), 0.0);
                match self.communicator.end_sum(&mut sum, all) {
                    Ok(false) => break,
                    Ok(true) => {
                        place.is_begun = false;
                        place.summed += 1;
                        // SAFETY: as below.
                        unsafe { rows.unpack(&columns, &sum) };
                    }
                    Err(lost) => self.note(Err(lost)),
                }
                continue;
            }
            if place.summed == BANDS || !(all || self.columns.has(index, place.summed)) {
                break;
            }
            // SAFETY: the band's columns are there, and no others are touched, as the caller promises.
            unsafe { rows.pack(&columns, &mut packed) };
            place.is_begun = true;
            self.brought += packed.len() as u64;
            self.early += if all { 0 } else { packed.len() as u64 };
            let begun = self.communicator.begin_sum(&packed);
            self.note(begun);
        }
        self.rows = [packed, sum];
        true
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
    let (own, width, is_early) = (place.own, place.width, place.early);
    // Those who hand over do not wait for each other.
    if rows > 0 && place.kind.is_of_all() {
        // SAFETY: the context is of this step, and the caller its thread 0.
        unsafe { profile::pause(context, 0, || link.wait()) };
    }
    // SAFETY: as the caller promises.
    if unsafe { link.sum_bands(index, (from, stride), to, rows, true) } {
        link.meetings += 1;
    } else {
        let own = match rows {
            0 => 0,
            _ => (rows - 1) * stride + own,
        };
        // SAFETY: as the caller promises; the two do not overlap, the memory plan seeing both alive at once.
        let (own, to) = unsafe {
            let own = std::slice::from_raw_parts(from, own);
            (own, std::slice::from_raw_parts_mut(to, rows * width))
        };
        link.meet(index, own, stride, to, rows);
    }
    if is_early {
        link.columns.clear(index);
        link.places[link.program][index].summed = 0;
    }
}

/// [`StepContext::finished`].
///
/// # Safety
/// Called in a step that [`Link::begin_step`] began, by thread `thread` of it, with numbers that code was compiled with, which are those
/// that [`collective`] gets later; the columns are written, and nobody but the sum uses what is at `to` until it is there.
unsafe extern "C" fn finished(
    context: *const StepContext,
    thread: usize,
    index: usize,
    first: usize,
    n: usize,
    from: *const f32,
    stride: usize,
    to: *mut f32,
    rows: usize,
) {
    // SAFETY: `begin_step` put the session's columns there, which are written by atomic operations alone.
    let columns = unsafe { &*(*context).columns.cast::<Columns>() };
    columns.finish(index, first, n);
    // SAFETY: the context is of a step that goes on.
    let recorder = unsafe { (*context).recorder };
    // In a profile, the time of messages is that of the collective.
    if thread != 0 || !recorder.is_null() {
        return;
    }
    // SAFETY: `begin_step` put the session's link there, which thread 0 alone uses during the step.
    let link = unsafe { &mut *(*context).ranks.cast_mut().cast::<Link>() };
    // SAFETY: as the caller promises; bands that are not there are left alone.
    unsafe { link.sum_bands(index, (from, stride), to, rows, false) };
}

/// What stands in a context's `finished` where one rank has the whole model.
pub(crate) unsafe extern "C" fn nothing_finished(
    _context: *const StepContext,
    _thread: usize,
    _index: usize,
    _first: usize,
    _n: usize,
    _from: *const f32,
    _stride: usize,
    _to: *mut f32,
    _rows: usize,
) {
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
