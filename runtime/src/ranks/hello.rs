//! What ranks say about themselves before the first step, and what follows from that: where they meet, and with how many columns.

use serde::{Deserialize, Serialize};

use crate::abi::{CollectiveInfo, CollectiveKind, Manifest};
use crate::error::Error;

/// A place where ranks meet.
pub(super) struct Place {
    pub(super) kind: CollectiveKind,
    /// Columns that this rank brings.
    pub(super) own: usize,
    /// Columns that each rank brings, where all of them do.
    pub(super) columns: Vec<usize>,
    /// Columns of the result.
    pub(super) width: usize,
    /// Columns are handed over before all are there: code says which are, and every rank has something to do meanwhile.
    pub(super) early: bool,
    /// Bands that are summed up, and whether the next one has been begun.
    pub(super) summed: usize,
    pub(super) is_begun: bool,
}

/// What a rank says about itself before the first step.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hello {
    abi: u32,
    model: u64,
    ranks: usize,
    rank: usize,
    context: usize,
    slots: usize,
    /// Something is computed while messages go on: by other threads, or because they go on by themselves.
    is_busy: bool,
    collectives: [Vec<CollectiveInfo>; 2],
}

impl Place {
    /// That the columns of all ranks make those of the result.
    pub(super) fn check(&self) -> Result<(), Error> {
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

impl Hello {
    pub(super) fn of(
        manifest: &Manifest,
        (context, slots): (usize, usize),
        is_busy: bool,
    ) -> Hello {
        let rank = manifest.rank.unwrap_or_default();
        let programs = [&manifest.decode, &manifest.prefill];
        Hello {
            abi: manifest.abi,
            model: rank.model,
            ranks: rank.ranks,
            rank: rank.rank,
            context,
            slots,
            is_busy,
            collectives: programs.map(|p| p.collectives.clone()),
        }
    }

    /// That another rank, which is number `rank` of `ranks`, has another part of the same.
    pub(super) fn agree(
        &self,
        rank: usize,
        ranks: usize,
        other: Option<&Hello>,
    ) -> Result<(), Error> {
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
pub(super) fn places(own: &Hello, all: &[Hello], program: usize) -> Vec<Place> {
    let of_all = |h: &'_ Hello| -> Vec<CollectiveInfo> {
        let places = h.collectives[program].iter();
        places.filter(|c| c.kind.is_of_all()).cloned().collect()
    };
    let shared: Vec<Vec<CollectiveInfo>> = all.iter().map(of_all).collect();
    let is_busy = all.iter().all(|h| h.is_busy);
    let mut met = 0;
    let place = |info: &CollectiveInfo| {
        let at = met;
        met += usize::from(info.kind.is_of_all());
        let columns = shared.iter().filter(|_| info.kind.is_of_all());
        Place {
            early: info.early && is_busy && shared.iter().all(|of| of[at].early),
            summed: 0,
            is_begun: false,
            kind: info.kind,
            own: info.own,
            columns: columns.map(|of| of[at].own).collect(),
            width: info.width,
        }
    };
    own.collectives[program].iter().map(place).collect()
}
