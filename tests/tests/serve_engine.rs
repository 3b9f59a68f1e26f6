//! Many requests on one session: answers are those of each request alone, slots come back, prompts that begin alike are read once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use graver::driver::{self, CompileOptions, ModelSource, Purpose};
use graver::embedded;
use graver::passes::PassOptions;
use graver_runtime::session::{Session, SessionOptions, Wanted};
use graver_runtime::tokenizer::Tokenizer;
use graver_serve::engine::{
    Engine, EngineOptions, Event, Finish, Request, RequestError, Sampling, Submitted, Usage,
};
use graver_tests::{compile, tiny};

/// Leads under which another order of sums may choose another token.
const LEAD: f32 = 1e-2;

fn options(slots: usize) -> SessionOptions {
    SessionOptions {
        threads: Some(2),
        slots,
        alone: true,
        ..SessionOptions::default()
    }
}

fn embedded_session(slots: usize) -> Session {
    let loaded = driver::load(&ModelSource::Embedded, Purpose::Run, None, &|_, _, _| {}).unwrap();
    driver::open(loaded, &CompileOptions::native().unwrap(), options(slots)).unwrap()
}

fn tokenizer() -> Arc<Tokenizer> {
    Arc::new(Tokenizer::load(&embedded::tokenizer()).unwrap())
}

fn engine(slots: usize, change: impl FnOnce(&mut EngineOptions)) -> Engine {
    let mut options = EngineOptions::default();
    change(&mut options);
    Engine::start(embedded_session(slots), Some(tokenizer()), options).unwrap()
}

fn prompt(text: &str) -> Vec<u32> {
    tokenizer().encode(text).unwrap()
}

/// What came of one choice.
#[derive(Clone, Debug, Default, PartialEq)]
struct Answer {
    tokens: Vec<u32>,
    text: String,
    reason: Option<Finish>,
    usage: Usage,
}

/// Everything that comes of a request.
fn collect(mut submitted: Submitted, choices: usize) -> Vec<Answer> {
    let mut answers = vec![Answer::default(); choices];
    while let Some(event) = submitted.events.blocking_recv() {
        match event {
            Event::Piece {
                choice,
                text,
                token,
            } => {
                answers[choice].tokens.push(token.id);
                answers[choice].text.push_str(&text);
            }
            Event::Finished {
                choice,
                text,
                reason,
                usage,
            } => {
                let answer = &mut answers[choice];
                answer.text.push_str(&text);
                (answer.reason, answer.usage) = (Some(reason), usage);
            }
            Event::Failed(error) => panic!("{error}"),
        }
    }
    assert!(answers.iter().all(|a| a.reason.is_some()), "{answers:?}");
    answers
}

fn answer(engine: &Engine, request: Request) -> Answer {
    collect(engine.submit(request).unwrap(), 1).remove(0)
}

/// The likeliest continuation, and by how much each of its tokens led.
fn alone(session: &mut Session, prompt: &[u32], n: usize) -> Vec<(u32, f32)> {
    session.reset(0).unwrap();
    let mut next = prompt.to_vec();
    let mut found = vec![];
    for _ in 0..n {
        let logits = session.feed(0, &next, Wanted::Last).unwrap();
        let row = logits.row(0);
        let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
        let best = best.unwrap();
        let others = (0..row.len()).filter(|&i| i != best).map(|i| row[i]);
        let second = others.fold(f32::NEG_INFINITY, f32::max);
        found.push((best as u32, row[best] - second));
        next = vec![best as u32];
    }
    found
}

/// Fails where an answer leaves the lone one although that had a lead.
fn assert_agrees(found: &[u32], lone: &[(u32, f32)]) {
    assert_eq!(found.len(), lone.len());
    for (place, (token, (expected, lead))) in found.iter().zip(lone).enumerate() {
        if *lead < LEAD && token != expected {
            return;
        }
        assert_eq!(token, expected, "token {place}, which led by {lead}");
    }
}

const TEXTS: [&str; 6] = [
    "In the beginning God created the heaven and the earth",
    "And it came to pass",
    "The LORD said unto Moses",
    "Blessed are they that",
    "In the beginning God created",
    "Then answered the king and said unto all the people that were gathered together in the city",
];

fn greedy(text: &str, n: usize) -> Request {
    Request {
        ignore_eos: true,
        ..Request::greedy(prompt(text), n)
    }
}

#[test]
fn answers_together_are_those_of_each_request_alone() {
    let mut lone = embedded_session(1);
    let expected = TEXTS.map(|text| alone(&mut lone, &prompt(text), 40));
    for (slots, prefill) in [(1, 128), (4, 3), (16, 128)] {
        let engine = engine(slots, |o| o.max_prefill_per_step = prefill);
        let all = (0..3).flat_map(|_| TEXTS.iter().zip(&expected));
        let submitted: Vec<_> = all
            .map(|(text, lone)| (engine.submit(greedy(text, 40)).unwrap(), lone))
            .collect();
        for (submitted, lone) in submitted {
            let answer = collect(submitted, 1).remove(0);
            assert_agrees(&answer.tokens, lone);
            assert_eq!(answer.reason, Some(Finish::Length));
            assert_eq!(answer.usage.generated_tokens, 40);
            assert_eq!(answer.text, tokenizer().decode(&answer.tokens).unwrap());
        }
        assert_eq!(engine.counts().finished.get(), 18);
    }
}

/// Nothing is read beside them, and no more rows than the decode program takes: the same code computes the same rows.
#[test]
fn up_to_eight_that_decode_together_get_the_same_bits() {
    let lone = engine(1, |_| {});
    let together = engine(8, |_| {});
    let sampled = |seed| Request {
        sampling: Sampling {
            temperature: 1.0,
            seed: Some(seed),
            ..Sampling::default()
        },
        logprobs: Some(0),
        ..greedy("And", 30)
    };
    // One prompt, which is read once and then copied.
    let several = Request {
        choices: 8,
        ..sampled(5)
    };
    let answers = collect(together.submit(several).unwrap(), 8);
    for (choice, found) in answers.iter().enumerate() {
        let expected = answer(&lone, sampled(5 + choice as u64));
        assert_eq!(found.tokens, expected.tokens, "choice {choice}");
        assert_eq!(found.text, expected.text);
    }
    assert_ne!(answers[0].tokens, answers[1].tokens);
}

#[test]
fn more_choices_than_slots_are_all_answered() {
    let engine = engine(2, |_| {});
    let request = Request {
        choices: 5,
        ..greedy(TEXTS[0], 12)
    };
    let answers = collect(engine.submit(request).unwrap(), 5);
    assert!(answers.iter().all(|a| a.tokens == answers[0].tokens));
    assert_idle(&engine);
}

fn assert_idle(engine: &Engine) {
    let start = Instant::now();
    let busy = || {
        (
            engine.gauges().slots_busy.get(),
            engine.gauges().waiting.get(),
        )
    };
    while busy() != (0, 0) {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", busy());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn readers_that_leave_free_their_slots_and_the_others_are_answered() {
    let engine = engine(3, |_| {});
    let mut kept = vec![];
    for i in 0..24 {
        let mut submitted = engine.submit(greedy(TEXTS[i % 6], 30)).unwrap();
        match i % 3 {
            0 => drop(submitted),
            1 if i % 2 == 0 => drop(submitted.events.blocking_recv()),
            _ => kept.push(submitted),
        }
    }
    let answered = kept.len();
    for submitted in kept {
        assert_eq!(collect(submitted, 1)[0].tokens.len(), 30);
    }
    assert_idle(&engine);
    let counts = engine.counts();
    // One that left may have been answered before.
    let (finished, abandoned) = (
        counts.finished.get() as usize,
        counts.abandoned.get() as usize,
    );
    assert!(finished >= answered && finished + abandoned <= 24);
    assert_eq!(counts.failed.get(), 0);
}

#[test]
fn a_reader_that_leaves_is_noticed_within_a_step() {
    let engine = engine(1, |_| {});
    for _ in 0..3 {
        let mut endless = engine.submit(greedy("And", 500)).unwrap();
        endless.events.blocking_recv().unwrap();
        drop(endless);
        // The step under way, and those that the loop begins before it looks.
        let steps = engine.counts().steps.get();
        let next = answer(&engine, greedy("The", 1));
        assert_eq!(next.tokens.len(), 1);
        assert!(engine.counts().steps.get() <= steps + 3);
    }
    assert_eq!(engine.counts().abandoned.get(), 3);
}

#[test]
fn a_conversation_is_read_once() {
    let engine = engine(2, |_| {});
    let mut said = prompt(TEXTS[5]);
    let first = answer(&engine, Request::greedy(said.clone(), 10));
    assert_eq!(first.usage.cached_tokens, 0);
    said.extend(&first.tokens);
    let before = said.len();
    said.extend(&prompt(" and the people")[1..]);
    let second = answer(&engine, Request::greedy(said.clone(), 10));
    // All but the last token that was chosen, which no step has taken.
    assert_eq!(second.usage.cached_tokens, before - 1);
    // Whoever asks the same again reads one token.
    let again = answer(&engine, Request::greedy(said.clone(), 10));
    assert_eq!(again.usage.cached_tokens, said.len() - 1);
    assert_agrees(
        &again.tokens,
        &alone(&mut embedded_session(1), &said, again.tokens.len()),
    );
}

/// Long beginnings that are shared are copied rather than cut off where they lie.
#[test]
fn what_others_go_on_from_stays() {
    let engine = engine(2, |_| {});
    let system = TEXTS.join(" ");
    let system_tokens = prompt(&system).len();
    let long = answer(&engine, greedy(&format!("{system} one"), 200));
    assert_eq!(long.usage.cached_tokens, 0);
    let other = answer(&engine, greedy(&format!("{system} two"), 5));
    assert!(other.usage.cached_tokens >= system_tokens - 1);
    // The first is still there.
    let whole = [prompt(&format!("{system} one")), long.tokens].concat();
    let on = answer(&engine, Request::greedy(whole.clone(), 5));
    assert_eq!(on.usage.cached_tokens, whole.len() - 1);
}

/// State that cannot be cut: the end of a prompt, and where prompts part, are kept as snapshots.
#[test]
fn recurrent_state_goes_on_from_snapshots() {
    let session = || compile(tiny("qwen3_next"), PassOptions::default(), options(2));
    let ids = |n: u32, seed: u32| (0..n).map(move |i| (i * i * 31 + i * 17 + seed) % 211);
    let with = |tail: u32| -> Vec<u32> { ids(90, 5).chain(ids(20, tail)).collect() };
    let mut lone = session();
    let engine = Engine::start(session(), None, EngineOptions::default()).unwrap();
    let mut cached = vec![];
    for tail in [100, 101, 102, 101, 103] {
        let prompt = with(tail);
        let found = answer(&engine, Request::greedy(prompt.clone(), 12));
        assert_agrees(&found.tokens, &alone(&mut lone, &prompt, 12));
        cached.push(found.usage.cached_tokens);
    }
    // The second is read again and leaves a snapshot where they part, from which the third goes on; the fourth was there before.
    assert_eq!(cached[0..2], [0, 0]);
    assert!(cached[2] >= 90 && cached[4] >= 90, "{cached:?}");
    assert_eq!(cached[3], 109);
    assert!(engine.gauges().snapshot_bytes.get() > 0);
}

#[test]
fn a_full_queue_turns_requests_away() {
    let engine = engine(1, |o| o.queue = 2);
    let mut running = engine.submit(greedy("And", 400)).unwrap();
    running.events.blocking_recv().unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| engine.submit(greedy("The", 2)).unwrap())
        .collect();
    let refused = engine.submit(greedy("The", 2)).err().unwrap();
    assert!(
        matches!(refused, RequestError::Busy { waiting: 2, .. }),
        "{refused}"
    );
    // Whoever has left makes room.
    drop(waiting);
    let taken = engine.submit(greedy("The", 2)).unwrap();
    drop(running);
    assert_eq!(collect(taken, 1)[0].tokens.len(), 2);
    assert_eq!(engine.counts().refused.get(), 1);
}

#[test]
fn draining_finishes_what_was_taken() {
    let engine = engine(2, |_| {});
    // The first is long, so that the engine has not ended by the time that a request is refused.
    let lengths = [400, 20, 20, 20, 20];
    let taken: Vec<_> = lengths
        .iter()
        .map(|&length| engine.submit(greedy("And", length)).unwrap())
        .collect();
    engine.drain();
    let refused = engine.submit(greedy("The", 2)).err().unwrap();
    assert!(matches!(refused, RequestError::Draining), "{refused}");
    engine.wait();
    for (submitted, length) in taken.into_iter().zip(lengths) {
        assert_eq!(collect(submitted, 1)[0].tokens.len(), length);
    }
    let refused = engine.submit(greedy("The", 2)).err().unwrap();
    assert!(matches!(refused, RequestError::Stopped), "{refused}");
}

#[test]
fn texts_to_stop_at_end_an_answer_and_are_not_shown() {
    let engine = engine(1, |_| {});
    let whole = answer(&engine, greedy(TEXTS[0], 40));
    let words: Vec<&str> = whole.text.split(' ').collect();
    let stop = format!("{} {}", words[4], words[5]);
    let end = whole.text.find(&stop).unwrap();
    let request = Request {
        stop: vec!["not there".into(), stop],
        ..greedy(TEXTS[0], 40)
    };
    let found = answer(&engine, request);
    assert_eq!(found.text, whole.text[..end]);
    assert_eq!(found.reason, Some(Finish::Stop));
    assert!(found.tokens.len() < 40);
}

#[test]
fn the_context_ends_an_answer() {
    let engine = engine(1, |_| {});
    let context = engine.context();
    let long: Vec<u32> = (0..context as u32).map(|i| 2 + i % 900).collect();
    let request = |tokens: &[u32]| Request {
        ignore_eos: true,
        ..Request::greedy(tokens.to_vec(), usize::MAX)
    };
    for left in [0, 1, 5] {
        let found = answer(&engine, request(&long[..context - left]));
        assert_eq!(found.reason, Some(Finish::Length));
        assert_eq!(found.tokens.len(), left + 1);
    }
    let refused = engine
        .submit(request(&[&long[..], &[2]].concat()))
        .err()
        .unwrap();
    assert!(matches!(refused, RequestError::TooLong { .. }), "{refused}");
    let refused = engine.submit(request(&[])).err().unwrap();
    assert!(matches!(refused, RequestError::Empty), "{refused}");
    let refused = engine.submit(request(&[70_000])).err().unwrap();
    assert!(
        matches!(refused, RequestError::UnknownToken { .. }),
        "{refused}"
    );
}
