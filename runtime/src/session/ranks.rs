//! A session that has a part of a model: what it is asked is told to the other ranks, or heard from the first.

use std::thread::JoinHandle;

use super::{Segment, Session, SessionOptions};
use crate::error::Error;
use crate::mapped::WeightSource;
use crate::ranks::{Command, Communicator, Link};
use crate::session::Program;

impl Session {
    /// [`Session::new`] for one of several ranks, all of which have to begin at the same time.
    ///
    /// # Errors
    /// As there, and ranks that are gone or have something else.
    pub fn of_rank(
        program: Program,
        weights: WeightSource,
        options: SessionOptions,
        communicator: Box<dyn Communicator>,
    ) -> Result<Session, Error> {
        let slots = options.slots;
        let mut session = Session::make(program, weights, options)?;
        let sizes = (session.context(), slots);
        let link = Link::new(communicator, &session.program.manifest, sizes)?;
        session.link = Some(Box::new(link));
        Ok(session)
    }

    /// Does what rank 0 says, until it says that nothing more will come.
    ///
    /// # Errors
    /// What a step says, and ranks that are gone.
    pub fn follow(mut self) -> Result<(), Error> {
        while let Some(link) = &mut self.link {
            match link.hear()? {
                Command::Quit => break,
                command => self.obey(command)?,
            }
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Step { segments, wanted } => {
                let segments = segments.iter();
                let segments = segments.map(|(slot, tokens)| Segment {
                    slot: *slot,
                    tokens,
                });
                let segments: Vec<Segment> = segments.collect();
                self.step(&segments, wanted).map(drop)
            }
            Command::Feed {
                slot,
                tokens,
                wanted,
            } => self.feed(slot, &tokens, wanted).map(drop),
            Command::Expect { slot, positions } => self.expect(slot, positions),
            Command::Truncate { slot, position } => self.truncate(slot, position),
            Command::Reset { slot } => self.reset(slot),
            Command::Copy { from, to } => self.copy(from, to),
            Command::Quit => Ok(()),
        }
    }

    /// Tells the other ranks, where this is the first of several.
    pub(super) fn tell(&mut self, command: impl FnOnce() -> Command) -> Result<(), Error> {
        match &mut self.link {
            Some(link) if link.leads() => link.tell(&command()),
            Some(_) | None => Ok(()),
        }
    }

    /// The same session, which ends threads of other ranks with it.
    pub(crate) fn with_followers(mut self, followers: Vec<JoinHandle<()>>) -> Session {
        self.link = self
            .link
            .take()
            .map(|link| Box::new(link.with_followers(followers)));
        self
    }

    /// Bytes that this rank has brought to collectives so far.
    pub fn brought_bytes(&self) -> u64 {
        let numbers = self.link.as_ref().map_or(0, |link| link.brought());
        numbers * size_of::<f32>() as u64
    }

    /// Other ranks' state cannot be had here.
    pub(super) fn check_alone(&self) -> Result<(), Error> {
        match self.link {
            Some(_) => Err(Error::SnapshotOfRanks),
            None => Ok(()),
        }
    }
}
