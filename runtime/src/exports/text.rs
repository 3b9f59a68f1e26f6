//! Text for C: a prompt to token ids, ids to text, and texts that go on, piece by piece through a callback.

use std::ffi::{CStr, c_char, c_int, c_void};

use super::guard::{Misuse, Outcome, guarded, not_null, slice, status};
use super::handle::Handle;
use crate::generate::Limits;
use crate::sampling::{Sampler, SamplingOptions};
use crate::sequence::Sequence;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::writing::Writing;

/// `graver_sampling` of the header.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sampling {
    size: usize,
    max_tokens: usize,
    temperature: f32,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
    top_k: usize,
    seed: u64,
    ignore_eos: c_int,
}

impl Sampling {
    /// What NULL stands for: the likeliest token each time.
    const DEFAULT: Sampling = Sampling {
        size: 0,
        max_tokens: 0,
        temperature: 0.0,
        top_p: 0.0,
        min_p: 0.0,
        repeat_penalty: 0.0,
        top_k: 0,
        seed: 0,
        ignore_eos: 0,
    };

    fn options(&self) -> SamplingOptions {
        let or_one = |x: f32| if x == 0.0 { 1.0 } else { x };
        SamplingOptions {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: or_one(self.top_p),
            min_p: self.min_p,
            repeat_penalty: or_one(self.repeat_penalty),
            seed: self.seed,
        }
    }
}

/// `graver_piece` of the header.
type Callback =
    unsafe extern "C" fn(data: *mut c_void, token: u32, text: *const c_char, bytes: usize) -> c_int;

/// `GRAVER_NO_TOKEN` of the header.
const NO_TOKEN: u32 = u32::MAX;
/// What functions that count return where they fail: `GRAVER_FAILED` of the header.
const FAILED: usize = usize::MAX;

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_tokenize(
    model: *const Handle,
    text: *const c_char,
    tokens: *mut u32,
    room: usize,
) -> usize {
    const NAME: &str = "graver_tokenize";
    let call = || {
        // SAFETY: the header's rules.
        let model = not_null(NAME, "model", unsafe { model.as_ref() })?;
        let (function, argument) = (NAME, "text");
        if text.is_null() {
            return Err(Misuse::Null { function, argument }.into());
        }
        // SAFETY: the header's rules: a text ends with a zero.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        let text = std::str::from_utf8(text).map_err(|source| Misuse::Utf8 { function, source })?;
        let mut ids = model.text.tokenizer()?.encode(text)?;
        if ids.is_empty() {
            ids.extend(model.text.bos);
        }
        // SAFETY: the header's rules: there is room for so many.
        unsafe { copy_out(NAME, "tokens", &ids, tokens, room) }?;
        Ok(ids.len())
    };
    guarded(NAME, call).unwrap_or(FAILED)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_detokenize(
    model: *const Handle,
    tokens: *const u32,
    n_tokens: usize,
    text: *mut c_char,
    room: usize,
) -> usize {
    const NAME: &str = "graver_detokenize";
    let call = || {
        // SAFETY: the header's rules.
        let (model, tokens) = unsafe { (model.as_ref(), slice(NAME, "tokens", tokens, n_tokens)?) };
        let model = not_null(NAME, "model", model)?;
        let decoded = model.text.tokenizer()?.decode(tokens)?;
        // The zero ends what there was room for; where the text has none itself, callers see all of it.
        let whole = decoded.len();
        let shown = decoded.floor_char_boundary(whole.min(room.saturating_sub(1)));
        let mut bytes = decoded.into_bytes();
        bytes.truncate(shown);
        bytes.push(0);
        // SAFETY: the header's rules: there is room for so many.
        unsafe { copy_out(NAME, "text", &bytes, text.cast::<u8>(), room) }?;
        Ok(whole)
    };
    guarded(NAME, call).unwrap_or(FAILED)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_generate(
    model: *mut Handle,
    sequence: usize,
    tokens: *const u32,
    n_tokens: usize,
    sampling: *const Sampling,
    callback: Option<Callback>,
    data: *mut c_void,
) -> c_int {
    const NAME: &str = "graver_generate";
    status(NAME, || {
        // SAFETY: the header's rules.
        let (model, tokens) = unsafe { (model.as_mut(), slice(NAME, "tokens", tokens, n_tokens)?) };
        let model = not_null(NAME, "model", model)?;
        // SAFETY: the header's rules: NULL, or a size and, if that is the right one, options.
        let sampling = unsafe { read_sampling(sampling) }?;
        let callback = not_null(NAME, "callback", callback)?;
        let mut piece = |token: Option<u32>, text: &str| {
            let token = token.unwrap_or(NO_TOKEN);
            // SAFETY: the header's rules: the function is called as it is declared there, with a text that lives as long as the call.
            unsafe { callback(data, token, text.as_ptr().cast(), text.len()) != 0 }
        };
        generate(model, sequence, tokens, &sampling, &mut piece)
    })
}

/// Writes until there is a reason to stop, or `piece` says that it has enough.
fn generate(
    model: &mut Handle,
    sequence: usize,
    tokens: &[u32],
    sampling: &Sampling,
    piece: &mut dyn FnMut(Option<u32>, &str) -> bool,
) -> Outcome<()> {
    // A sequence that there is not is an error before anything else is.
    let held = model.session.position(sequence)?;
    let max_tokens = match sampling.max_tokens {
        0 => model.session.context() - held,
        most => most,
    };
    let eos = match sampling.ignore_eos {
        0 => model.text.eos.clone(),
        _ => vec![],
    };
    let limits = Limits { max_tokens, eos };
    let sampler = Sampler::new(sampling.options())?;
    let tokenizer: Option<&Tokenizer> = match model.text.tokenizer() {
        Ok(tokenizer) => Some(tokenizer),
        Err(TokenizerError::Missing(_)) => None,
        Err(other) => return Err(other.into()),
    };
    // What the steps to come write over.
    model.rows = 0;
    let sequence = Sequence::in_slot(&mut model.session, sequence);
    for written in Writing::start(sequence, tokens, tokenizer, sampler, limits)? {
        let written = written?;
        if piece(written.token, &written.text) {
            break;
        }
    }
    Ok(())
}

/// # Safety
/// `sampling` is NULL or points to a size and, if that is the right one, to options.
unsafe fn read_sampling(sampling: *const Sampling) -> Result<Sampling, Misuse> {
    if sampling.is_null() {
        return Ok(Sampling::DEFAULT);
    }
    // SAFETY: options begin with their size, which the caller promises is there.
    let size = unsafe { slice("graver_generate", "sampling", sampling.cast::<usize>(), 1) }?;
    let (found, expected) = (size[0], size_of::<Sampling>());
    if found != 0 && found != expected {
        return Err(Misuse::SamplingSize { found, expected });
    }
    // SAFETY: the size is that of options, which the caller promises are there then; the address is aligned (checked).
    Ok(unsafe { sampling.read() })
}

/// Copies as much as there is room for.
///
/// # Safety
/// `to`, if it is an address that `room` elements can have, is that of `room` elements that may be written.
unsafe fn copy_out<T: Copy>(
    function: &'static str,
    argument: &'static str,
    from: &[T],
    to: *mut T,
    room: usize,
) -> Result<(), Misuse> {
    // SAFETY: nothing is read; what is wrong with the address is seen before.
    unsafe { slice(function, argument, to.cast_const(), room) }?;
    let n = from.len().min(room);
    if n == 0 {
        return Ok(());
    }
    // SAFETY: the caller promises `room` elements at `to`, of which `n` are written; they are not `from`'s, which is this library's.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, n) };
    Ok(())
}
