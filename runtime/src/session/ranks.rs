//! A session that has a part of a model: what it is asked is told to the other ranks, or heard from the first.

use std::thread::JoinHandle;

use super::{Segment, Session, SessionOptions};
use crate::error::Error;
use crate::generate::Meetings;
use crate::mapped::WeightSource;
use crate::profile::Profile;
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
        let threads = session.pool.threads();
        let link = Link::new(communicator, &session.program.manifest, sizes, threads)?;
        session.link = Some(Box::new(link));
        // All have just met, so that their clocks begin together.
        session.forget_profile();
        Ok(session)
    }

    /// Does what rank 0 says, until it says that nothing more will come.
    ///
    /// # Errors
    /// What a step says, and ranks that are gone.
    pub fn follow(mut self) -> Result<(), Error> {
        while self.follow_on()? != Command::Quit {}
        Ok(())
    }

    /// Does what rank 0 says, until it goes on alone or has no more to say.
    fn follow_on(&mut self) -> Result<Command, Error> {
        while let Some(link) = &mut self.link {
            match link.hear()? {
                last @ (Command::Pause | Command::Quit) => return Ok(last),
                command => self.obey(command)?,
            }
        }
        Ok(Command::Quit)
    }

    /// Does `what` with the model, for which all ranks call this: the first one does it, and the others what that takes.
    /// What comes of it only the first one has.
    ///
    /// # Errors
    /// Those of `what`, and ranks that are gone.
    pub fn together<T, E: From<Error>>(
        &mut self,
        what: impl FnOnce(&mut Session) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        if self.link.as_ref().is_some_and(|link| !link.leads()) {
            self.follow_on()?;
            return Ok(None);
        }
        let done = what(self)?;
        self.tell(|| Command::Pause)?;
        Ok(Some(done))
    }

    /// Ends this session and those of the other ranks, for which all of them call this.
    ///
    /// # Errors
    /// As [`Session::follow`].
    pub fn end_together(self) -> Result<(), Error> {
        match &self.link {
            Some(link) if !link.leads() => self.follow(),
            // Dropping it tells the others.
            Some(_) | None => Ok(()),
        }
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
            Command::Profile => self.profiles().map(drop),
            Command::ResetProfile => {
                self.forget_profile();
                Ok(())
            }
            Command::Pause | Command::Quit => Ok(()),
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

    /// How this rank has met the others so far, if there are others.
    pub fn meetings(&self) -> Option<Meetings> {
        self.link.as_ref().map(|link| link.meetings())
    }

    /// Where time went so far, on all ranks in their order; nothing where that is not recorded.
    ///
    /// # Errors
    /// Ranks that are gone.
    pub fn profiles(&mut self) -> Result<Vec<Profile>, Error> {
        let own = self.profile();
        if own.is_none() && self.link.as_ref().is_none_or(|link| link.leads()) {
            return Ok(vec![]);
        }
        self.tell(|| Command::Profile)?;
        let Some(link) = &mut self.link else {
            return Ok(own.into_iter().collect());
        };
        let all = link.exchange(&Profile::pack(own))?;
        Ok(all.iter().filter_map(|b| Profile::unpack(b)).collect())
    }

    /// Other ranks' state cannot be had here.
    pub(super) fn check_alone(&self) -> Result<(), Error> {
        match self.link {
            Some(_) => Err(Error::SnapshotOfRanks),
            None => Ok(()),
        }
    }
}
