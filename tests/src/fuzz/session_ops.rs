//! What can be done with a session, in any order: several sequences are fed, cut, copied, kept and put back.
//!
//! The first byte chooses a model, the others what is done. The session has two threads and several slots, and several
//! sequences are in one step. Each sequence that is left at the end is then fed from scratch, alone, to a session with one
//! thread: every row of logits that was ever seen of it is the same, to the bit where the steps are. What fails changes nothing.

use std::fmt;
use std::sync::{Arc, OnceLock};

use graver::driver::{self, Loaded};
use graver::passes::PassOptions;
use graver::spec::{SpecSource, load};
use graver::weights::{QuantChoice, Weights};
use graver_runtime::abi::{CacheType, DECODE_TOKENS, Quant};
use graver_runtime::session::{Program, Segment, Session, SessionOptions, Wanted};
use graver_runtime::state::Snapshot;

use super::Choices;
use crate::{compile_options, load_preset, quantized, tiny};

/// Sequences of a session.
const SLOTS: usize = 3;
/// Tokens that are fed at most, of all sequences together.
const MAX_TOKENS: usize = 2000;
/// Most operations.
const MAX_OPERATIONS: usize = 60;

/// A compiled model.
struct Compiled {
    program: Program,
    weights: Arc<Weights>,
}

/// Allowed, in standard deviations of a row, where a sum may be made in another order.
const SAME: f32 = 1e-3;
/// The same where numbers are rounded that may be close to a border.
const ROUNDED: f32 = 1e-1;

/// How to make a model, the type of its state, what is allowed where bits may differ, and the model once it was asked for.
type Model = (fn() -> Loaded, CacheType, f32, OnceLock<Compiled>);

/// State of every kind: full, latent, a ring, recurrent, shared between layers, and a ring with weights and state in integers.
static MODELS: [Model; 6] = [
    (|| tiny("llama"), CacheType::F32, SAME, OnceLock::new()),
    (
        || tiny("deepseek_v3"),
        CacheType::F32,
        SAME,
        OnceLock::new(),
    ),
    (ringed, CacheType::F32, SAME, OnceLock::new()),
    (|| tiny("qwen3_next"), CacheType::F32, SAME, OnceLock::new()),
    (
        || tiny("gemma3n"),
        CacheType::Bf16,
        ROUNDED,
        OnceLock::new(),
    ),
    (|| mixed(ringed()), CacheType::Q8, ROUNDED, OnceLock::new()),
];

/// Some tokens of a sequence that were in one step, and the logits seen of them.
#[derive(Clone, Debug)]
struct Chunk {
    tokens: Vec<u32>,
    /// The step was one of many tokens, this sequence's or others'.
    prefill: bool,
    /// Nothing else was in the step, and all of the step is still there.
    alone: bool,
    /// Whose logits were asked for.
    wanted: Wanted,
    /// Index of a token in the chunk, and its logits.
    rows: Vec<(usize, Vec<f32>)>,
}

/// What a sequence should hold.
#[derive(Clone, Debug, Default)]
struct History(Vec<Chunk>);

impl History {
    fn position(&self) -> usize {
        self.0.iter().map(|c| c.tokens.len()).sum()
    }

    fn cut(&mut self, position: usize) {
        let mut left = position;
        for chunk in &mut self.0 {
            chunk.alone &= chunk.tokens.len() <= left;
            chunk.tokens.truncate(left);
            let n = chunk.tokens.len();
            chunk.rows.retain(|(row, _)| *row < n);
            left -= n;
        }
        self.0.retain(|c| !c.tokens.is_empty());
    }
}

/// See the module.
pub fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (make, cache, tolerance, compiled) = &MODELS[choices.below(MODELS.len())];
    let compiled = compiled.get_or_init(|| compile(make(), *cache));
    let mut play = Play {
        session: compiled.session(2, SLOTS),
        histories: vec![History::default(); SLOTS],
        kept: vec![],
        fed: 0,
    };
    for _ in 0..MAX_OPERATIONS {
        if choices.is_empty() {
            break;
        }
        play.operate(&mut choices);
        play.positions_are_right();
    }
    for slot in 0..SLOTS {
        play.feed(slot, 1, 1, Wanted::All);
    }
    let mut alone = compiled.session(1, 2);
    for history in &play.histories {
        replay(&mut alone, history, *tolerance);
    }
}

struct Play {
    session: Session,
    histories: Vec<History>,
    kept: Vec<(Snapshot, History)>,
    fed: usize,
}

impl Play {
    fn operate(&mut self, choices: &mut Choices<'_>) {
        match choices.below(12) {
            0..=3 => self.step(choices),
            4 | 5 => {
                let n = length(choices);
                let (slot, seed) = (choices.below(SLOTS), choices.byte());
                self.feed(slot, n, seed, wanted(choices));
            }
            6 | 7 => {
                // One beyond the end, and one slot too many, are asked for as well.
                let slot = choices.below(SLOTS + 1);
                let most = self.histories.get(slot).map_or(0, History::position) + 2;
                let back = choices.below(8);
                let to = if choices.flag() {
                    most.saturating_sub(back)
                } else {
                    choices.below(most)
                };
                if self.session.truncate(slot, to).is_ok() {
                    self.histories[slot].cut(to);
                }
            }
            8 => {
                let (from, to) = (choices.below(SLOTS + 1), choices.below(SLOTS));
                if self.session.copy(from, to).is_ok() {
                    self.histories[to] = self.histories[from].clone();
                }
            }
            9 => {
                let slot = choices.below(SLOTS);
                let snapshot = self.session.snapshot(slot).expect("memory for a snapshot");
                assert_eq!(snapshot.position(), self.histories[slot].position());
                self.kept.push((snapshot, self.histories[slot].clone()));
            }
            10 if !self.kept.is_empty() => {
                let (snapshot, history) = &self.kept[choices.below(self.kept.len())];
                let slot = choices.below(SLOTS);
                self.session
                    .restore(slot, snapshot)
                    .expect("a snapshot of this session");
                self.histories[slot] = history.clone();
            }
            _ => {
                let slot = choices.below(SLOTS);
                self.session.reset(slot).expect("a slot that is there");
                self.histories[slot] = History::default();
            }
        }
    }

    fn positions_are_right(&self) {
        for (slot, history) in self.histories.iter().enumerate() {
            assert_eq!(
                self.session.position(slot).expect("a slot"),
                history.position(),
                "slot {slot}"
            );
        }
    }

    /// A step of one to three sequences; of one sequence twice, now and then.
    fn step(&mut self, choices: &mut Choices<'_>) {
        let n = 1 + choices.below(3);
        let wanted = wanted(choices);
        let parts: Vec<(usize, Vec<u32>)> = (0..n)
            .map(|_| (choices.below(SLOTS), length(choices), choices.byte()))
            .map(|(slot, n, seed)| (slot, self.tokens(n, seed)))
            .collect();
        let total: usize = parts.iter().map(|p| p.1.len()).sum();
        if self.fed + total > MAX_TOKENS {
            return;
        }
        let segments: Vec<Segment<'_>> = parts
            .iter()
            .map(|(slot, tokens)| Segment {
                slot: *slot,
                tokens,
            })
            .collect();
        let Ok(logits) = self.session.step(&segments, wanted) else {
            return;
        };
        let alone = segments.len() == 1;
        self.fed += total;
        let mut rows = (0..logits.n_rows()).map(|r| logits.row(r).to_vec());
        for (slot, tokens) in parts {
            let seen = seen(tokens.len(), wanted);
            let rows = seen
                .map(|row| (row, rows.next().expect("a row for each token wanted")))
                .collect();
            self.histories[slot].0.push(Chunk {
                tokens,
                prefill: total > DECODE_TOKENS,
                alone,
                wanted,
                rows,
            });
        }
        assert!(rows.next().is_none(), "more rows than were wanted");
    }

    /// Tokens of one sequence, in as many steps as that takes.
    fn feed(&mut self, slot: usize, n: usize, seed: u8, wanted: Wanted) {
        if self.fed + n > MAX_TOKENS {
            return;
        }
        let (tokens, max) = (self.tokens(n, seed), self.session.max_step());
        let Ok(logits) = self.session.feed(slot, &tokens, wanted) else {
            return;
        };
        self.fed += n;
        let mut rows = (0..logits.n_rows()).map(|r| logits.row(r).to_vec());
        let steps = tokens.chunks(max).count();
        for (i, tokens) in tokens.chunks(max).enumerate() {
            let wanted = if wanted == Wanted::Last && i + 1 < steps {
                Wanted::None
            } else {
                wanted
            };
            let seen = seen(tokens.len(), wanted);
            let rows = seen
                .map(|row| (row, rows.next().expect("a row for each token wanted")))
                .collect();
            self.histories[slot].0.push(Chunk {
                tokens: tokens.to_vec(),
                prefill: tokens.len() > DECODE_TOKENS,
                alone: true,
                wanted,
                rows,
            });
        }
        assert!(rows.next().is_none(), "more rows than were wanted");
    }

    /// Tokens from a seed; from 250 on, one that the model does not have.
    fn tokens(&self, n: usize, seed: u8) -> Vec<u32> {
        let vocab = self.session.vocab();
        let draw = |i: usize| ((i * i * 31 + i * 17 + usize::from(seed) * 13 + 5) % vocab) as u32;
        let mut tokens: Vec<u32> = (0..n).map(draw).collect();
        if let (250.., Some(last)) = (seed, tokens.last_mut()) {
            *last = vocab as u32;
        }
        tokens
    }
}

/// Tokens of a segment: mostly few, at times none, or enough to make a ring wrap.
fn length(choices: &mut Choices<'_>) -> usize {
    match choices.below(8) {
        0..=3 => 1 + choices.below(4),
        4 | 5 => choices.below(20),
        6 => choices.below(80),
        _ => choices.below(700),
    }
}

fn wanted(choices: &mut Choices<'_>) -> Wanted {
    choices.one_of(&[Wanted::All, Wanted::Last, Wanted::None])
}

/// Tokens of a segment of `n` whose logits are computed.
fn seen(n: usize, wanted: Wanted) -> std::ops::Range<usize> {
    match wanted {
        Wanted::None => 0..0,
        Wanted::Last => n.saturating_sub(1)..n,
        Wanted::All => 0..n,
    }
}

/// Feeds a sequence from scratch; tokens that were in a step of many are put in one again, with others beside them.
///
/// As long as each step is what it was, its logits have the same bits. Behind a step of several sequences, or one of which a
/// part was cut off, they are the same but for the order of sums, which goes by the number of rows.
fn replay(session: &mut Session, history: &History, tolerance: f32) {
    let mut exact = true;
    let filler = [1; DECODE_TOKENS + 1];
    session.reset(0).expect("a slot that is there");
    for (i, chunk) in history.0.iter().enumerate() {
        session.reset(1).expect("a slot that is there");
        let mut segments = vec![Segment {
            slot: 0,
            tokens: &chunk.tokens,
        }];
        if chunk.prefill && chunk.tokens.len() <= DECODE_TOKENS {
            segments.push(Segment {
                slot: 1,
                tokens: &filler,
            });
        }
        let logits = session
            .step(&segments, chunk.wanted)
            .expect("what could be fed before");
        exact &= chunk.alone;
        // This sequence's rows come first.
        for (i_row, (row, seen)) in chunk.rows.iter().enumerate() {
            let far = distance(logits.row(i_row), seen);
            let most = if exact { 0.0 } else { tolerance };
            assert!(
                far <= most,
                "chunk {i}, row {row}: {far:e}, allowed {most:e}; {history}"
            );
        }
    }
}

/// The largest difference in standard deviations of `b`; 0 for the same bits only.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    if a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()) {
        return 0.0;
    }
    let n = b.len() as f32;
    let mean = b.iter().sum::<f32>() / n;
    let deviation = (b.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
    let most = a
        .iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    (most / deviation).max(f32::MIN_POSITIVE)
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in &self.0 {
            let kind = if c.prefill { "prefill" } else { "decode" };
            let company = if c.alone { "" } else { " in company or cut" };
            write!(f, "{} tokens by {kind}{company}; ", c.tokens.len())?;
        }
        Ok(())
    }
}

impl Compiled {
    fn session(&self, threads: usize, slots: usize) -> Session {
        let options = SessionOptions {
            threads: Some(threads),
            context: None,
            slots,
            ..SessionOptions::default()
        };
        driver::start(self.program.clone(), &self.weights, options).expect("a session")
    }
}

fn compile(loaded: Loaded, cache: CacheType) -> Compiled {
    let options = compile_options(PassOptions::default(), cache);
    let program = driver::compile(&loaded, &options);
    Compiled {
        program: program.expect("code for this processor"),
        weights: Arc::new(loaded.weights),
    }
}

fn mixed(loaded: Loaded) -> Loaded {
    let choice = QuantChoice {
        layers: Quant::Q4,
        head: Quant::Q8,
    };
    quantized(loaded, choice)
}

/// A layer that sees everything, then one with a window that is much shorter than a step.
fn ringed() -> Loaded {
    let text = r#"{
      "extends": "llama", "match": { "model_type": ["ringed"] },
      "layer_kind": "layer % 2 == 0 ? 'dense' : 'limited'",
      "layers": { "limited": [
        { "residual": [
          { "op": "rms_norm", "name": "attention_norm", "eps": "eps", "gain": "model.layers.{i}.input_layernorm.weight" },
          { "op": "attention", "n_heads": "n_heads", "n_kv_heads": "n_kv_heads", "head_dim": "head_dim", "rope": "rope",
            "window": 5, "q": "model.layers.{i}.q.weight", "k": "model.layers.{i}.k.weight",
            "v": "model.layers.{i}.v.weight", "o": "model.layers.{i}.o.weight" } ] } ] },
      "presets": { "tiny": { "vocab_size": 31, "hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 6, "intermediate_size": 24, "max_position_embeddings": 1400 } } }"#;
    let spec = load(SpecSource::Text {
        name: "ringed",
        text,
    })
    .expect("a spec");
    load_preset(&spec, "tiny", 7, None).expect("a preset")
}

/// For every model: some of each operation, and a sequence long enough to fill the context.
pub fn seeds() -> Vec<Vec<u8>> {
    let each = (0..MODELS.len() as u8).flat_map(|model| {
        let mixed: Vec<u8> = (0..90u8)
            .map(|b| b.wrapping_mul(29).wrapping_add(model * 7))
            .collect();
        let long = [
            4, 7, 188, 2, 0, 9, 0, 9, 0, 4, 7, 188, 2, 0, 3, 0, 6, 0, 2, 1, 10, 0, 1, 8, 1, 2, 0,
            2, 0, 1, 0, 4, 7, 1, 8, 2,
        ];
        [
            [&[model], mixed.as_slice()].concat(),
            [&[model], long.as_slice()].concat(),
        ]
    });
    each.collect()
}
