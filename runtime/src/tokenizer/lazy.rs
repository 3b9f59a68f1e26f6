//! Byte pairs from a [`Table`]: of the vocabulary a text meets only what its own parts spell.
//!
//! A token is a part of the text it was made of (without characters that nothing stands for), as long as no merge has to do with tokens that stand for something else (single bytes, the
//! unknown). So the library gives a text the same tokens if it is given just the tokens that parts of the text spell, and the merges that
//! make those: a few hundred, looked up in no time. Who encodes much is better served by the whole; it is then made in the background.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeBuilder, BpeTrainer, Vocab};
use tokenizers::{Model, ModelWrapper, Token};

use super::pairs::PairOptions;
use super::table::{Merge, Table};

/// Bytes of text after which the library's own tables are worth their time.
const MUCH: usize = 1 << 16;

/// A vocabulary with what makes tokens of words.
pub(super) enum Vocabulary {
    /// All of it as the library has it.
    Whole(ModelWrapper),
    /// A table, and the library with parts of it.
    Table(Arc<Lazy>),
}

/// A table and what is done with it.
pub(super) struct Lazy {
    table: Table,
    options: PairOptions,
    /// Bytes that were encoded.
    encoded: AtomicUsize,
    whole: OnceLock<BPE>,
}

impl Lazy {
    pub(super) fn new(table: Table, options: PairOptions) -> Lazy {
        Lazy {
            table,
            options,
            encoded: AtomicUsize::new(0),
            whole: OnceLock::new(),
        }
    }

    fn tokenize(self: &Arc<Lazy>, text: &str) -> tokenizers::Result<Vec<Token>> {
        if let Some(whole) = self.whole.get() {
            return whole.tokenize(text);
        }
        let before = self.encoded.fetch_add(text.len(), Ordering::Relaxed);
        if before <= MUCH && before + text.len() > MUCH {
            let lazy = self.clone();
            let make = move || lazy.make_whole();
            let thread = std::thread::Builder::new().name("vocabulary".into());
            // Without a thread for it, parts go on to serve.
            drop(thread.spawn(make));
        }
        self.part(text)?.tokenize(text)
    }

    /// Makes the library's own tables of all that there is.
    fn make_whole(&self) {
        let merges = (0..self.table.ids()).flat_map(|id| self.table.merges_of(id));
        let (builder, tokens) = (self.options.builder(), self.table.tokens());
        if let Ok(whole) = self.library(builder, tokens, merges.collect()) {
            drop(self.whole.set(whole));
        }
    }

    /// The library with what a text can meet.
    fn part(&self, text: &str) -> tokenizers::Result<BPE> {
        // What stands for characters that there is no token for; those that nothing stands for are passed over, and their neighbours
        // meet.
        let mut ids = BTreeSet::new();
        let mut met = String::with_capacity(text.len());
        for character in text.chars() {
            let mut bytes = [0; 4];
            let written = character.encode_utf8(&mut bytes);
            let id_of = |token: &str| self.table.id(token);
            if id_of(written).is_none() {
                let standing_in = self.options.standing_in_for(written);
                ids.extend(standing_in.filter_map(|token| id_of(&token)));
                if !self
                    .options
                    .stands_for(written, |token| id_of(token).is_some())
                {
                    continue;
                }
            }
            met.push(character);
        }
        self.table.parts(&met, |id| {
            ids.insert(id);
        });
        // A word that is a token whatever is in it.
        ids.extend(self.table.id(text));
        let merges = ids.iter().flat_map(|id| self.table.merges_of(*id));
        let merges: Vec<Merge> = merges.collect();
        ids.extend(merges.iter().flat_map(|merge| [merge.left, merge.right]));
        let tokens = ids
            .into_iter()
            .filter_map(|id| Some((self.table.text(id)?, id)));
        // Words of a text come again in the next one, in another library.
        let builder = self.options.builder().cache_capacity(0);
        self.library(builder, tokens, merges)
    }

    fn library<'a>(
        &'a self,
        builder: BpeBuilder,
        tokens: impl Iterator<Item = (&'a str, u32)>,
        mut merges: Vec<Merge>,
    ) -> tokenizers::Result<BPE> {
        merges.sort_unstable();
        let text = |id: u32| self.table.text(id).unwrap_or_default().to_string();
        let merges = merges.iter().map(|m| (text(m.left), text(m.right)));
        let tokens: Vocab = tokens.map(|(text, id)| (text.to_string(), id)).collect();
        builder.vocab_and_merges(tokens, merges.collect()).build()
    }
}

impl Vocabulary {
    /// One more than the largest id.
    pub(super) fn ids(&self) -> usize {
        match self {
            Vocabulary::Whole(model) => {
                let ids = model.get_vocab().into_values();
                ids.max().map_or(0, |id| id as usize + 1)
            }
            Vocabulary::Table(lazy) => lazy.table.ids() as usize,
        }
    }
}

impl Model for Vocabulary {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Vocabulary::Whole(model) => model.tokenize(text),
            Vocabulary::Table(lazy) => lazy.tokenize(text),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Vocabulary::Whole(model) => model.token_to_id(token),
            Vocabulary::Table(lazy) => lazy.table.id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Vocabulary::Whole(model) => model.id_to_token(id),
            Vocabulary::Table(lazy) => lazy.table.text(id).map(String::from),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Vocabulary::Whole(model) => model.get_vocab(),
            Vocabulary::Table(lazy) => {
                let tokens = lazy.table.tokens();
                tokens.map(|(text, id)| (text.to_string(), id)).collect()
            }
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Vocabulary::Whole(model) => model.get_vocab_size(),
            Vocabulary::Table(lazy) => lazy.table.len(),
        }
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("nobody saves a vocabulary".into())
    }

    fn get_trainer(&self) -> TrainerWrapper {
        match self {
            Vocabulary::Whole(model) => model.get_trainer(),
            Vocabulary::Table(_) => BpeTrainer::default().into(),
        }
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Vocabulary::Whole(model) => fmt::Debug::fmt(model, f),
            Vocabulary::Table(lazy) => {
                let ids = lazy.table.ids();
                f.debug_struct("Table").field("ids", &ids).finish()
            }
        }
    }
}
