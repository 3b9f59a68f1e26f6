//! What an archive of this runtime exports to C: the functions of `include/graver.h`, and the generated executable's `main`.
//!
//! Nothing gets through to C but return values: errors and panics become a text that the caller can ask for. What callers
//! have to keep to is said in the header: a handle comes from `graver_open` and has not been closed, is used by one thread
//! at a time, and arrays have the lengths given. The `SAFETY` comments call that the header's rules. What can be seen to break
//! them is an error: NULL, an address that no such array can have, options of another header.

mod guard;
mod handle;
mod text;

use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

use self::guard::{LAST_ERROR, Misuse, Outcome, guarded, not_null, slice, status};
use self::handle::{Handle, Text, number};
use crate::Error;
use crate::abi::CompiledModel;
use crate::artifact::modes::{Entry, Modes};
use crate::artifact::{self, Artifact};
use crate::session::{Logits, Segment, Session, SessionOptions, Wanted};
use crate::tokenizer::{Missing, Source};

unsafe extern "C" {
    /// The model that this archive is linked with.
    static graver_model: CompiledModel;
}

/// `main` of a generated executable, called by the one in its object, with the modes it was compiled with: entries, or NULL.
#[unsafe(no_mangle)]
unsafe extern "C" fn graver_main(
    argc: c_int,
    argv: *const *const c_char,
    chat: Option<Entry>,
    serve: Option<Entry>,
) -> c_int {
    // A reader that has gone is not an error, as in any Rust program; C's start leaves the signal on.
    // SAFETY: the signal is one that may be ignored, and no other thread runs yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let argument = |i: usize| {
        // SAFETY: the system passes `argc` strings that live as long as the process.
        OsStr::from_bytes(unsafe { CStr::from_ptr(*argv.add(i)) }.to_bytes()).to_owned()
    };
    let main = || {
        let arguments = (0..usize::try_from(argc).unwrap_or(0)).map(argument);
        artifact::main(arguments.collect(), Modes { chat, serve }, open_artifact)
    };
    // What happened has been printed by then.
    catch_unwind(AssertUnwindSafe(main)).map_or(1, c_int::from)
}

/// `graver_options` of the header.
#[repr(C)]
#[derive(Clone, Copy)]
struct Options {
    size: usize,
    weights: *const c_char,
    threads: usize,
    context: usize,
    sequences: usize,
    pin: c_int,
}

impl Options {
    /// What NULL stands for.
    const DEFAULT: Options = Options {
        size: 0,
        weights: std::ptr::null(),
        threads: 0,
        context: 0,
        sequences: 0,
        pin: 0,
    };
}

/// `graver_segment` of the header.
#[repr(C)]
struct CSegment {
    sequence: usize,
    tokens: *const u32,
    n_tokens: usize,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_open(options: *const Options) -> *mut Handle {
    let open = || {
        // SAFETY: the header's rules: NULL, or options whose path, if there is one, ends with a zero.
        let handle = unsafe { open(options) }?;
        Ok(Box::into_raw(Box::new(handle)))
    };
    guarded("graver_open", open).unwrap_or(std::ptr::null_mut())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_close(model: *mut Handle) {
    guarded("graver_close", || {
        if !model.is_null() {
            // SAFETY: the header's rules: it came from `graver_open` and is not used any more.
            drop(unsafe { Box::from_raw(model) });
        }
        Ok(())
    });
}

#[unsafe(no_mangle)]
extern "C" fn graver_error() -> *const c_char {
    // The text is replaced only by calls of the same thread, and gone only when the thread is about to be.
    let text = LAST_ERROR.try_with(|text| text.borrow().as_ptr());
    text.unwrap_or(c"the thread has ended".as_ptr())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_feed(
    model: *mut Handle,
    sequence: usize,
    tokens: *const u32,
    n_tokens: usize,
    wanted: c_int,
) -> c_int {
    const NAME: &str = "graver_feed";
    status(NAME, || {
        // SAFETY: the header's rules.
        let (model, tokens) = unsafe { (model.as_mut(), slice(NAME, "tokens", tokens, n_tokens)?) };
        let model = not_null(NAME, "model", model)?;
        let wanted = wanted_of(NAME, wanted)?;
        let logits = model.session.feed(sequence, tokens, wanted)?;
        (model.logits, model.rows) = rows(&logits);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_step(
    model: *mut Handle,
    segments: *const CSegment,
    n_segments: usize,
    wanted: c_int,
) -> c_int {
    const NAME: &str = "graver_step";
    let segment = |s: &CSegment| {
        // SAFETY: the header's rules.
        let tokens = unsafe { slice(NAME, "a segment's tokens", s.tokens, s.n_tokens) }?;
        let slot = s.sequence;
        Ok(Segment { slot, tokens })
    };
    status(NAME, || {
        // SAFETY: the header's rules.
        let (model, segments) = unsafe {
            (
                model.as_mut(),
                slice(NAME, "segments", segments, n_segments)?,
            )
        };
        let model = not_null(NAME, "model", model)?;
        let wanted = wanted_of(NAME, wanted)?;
        let segments = segments.iter().map(segment);
        let segments = segments.collect::<Result<Vec<_>, Misuse>>()?;
        let logits = model.session.step(&segments, wanted)?;
        (model.logits, model.rows) = rows(&logits);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_rows(model: *const Handle) -> usize {
    // SAFETY: the header's rules.
    number(unsafe { model.as_ref() }, |model| model.rows)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_logits(model: *const Handle, row: usize) -> *const f32 {
    // SAFETY: the header's rules.
    let Some(model) = (unsafe { model.as_ref() }).filter(|model| row < model.rows) else {
        return std::ptr::null();
    };
    // SAFETY: `rows` rows begin at `logits`, and the row is one of them.
    unsafe { model.logits.add(row * model.session.vocab()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_vocab(model: *const Handle) -> usize {
    // SAFETY: the header's rules.
    number(unsafe { model.as_ref() }, |model| model.session.vocab())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_context(model: *const Handle) -> usize {
    // SAFETY: the header's rules.
    number(unsafe { model.as_ref() }, |model| model.session.context())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_max_step(model: *const Handle) -> usize {
    // SAFETY: the header's rules.
    number(unsafe { model.as_ref() }, |model| model.session.max_step())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_position(model: *const Handle, sequence: usize) -> usize {
    // SAFETY: the header's rules.
    number(unsafe { model.as_ref() }, |model| {
        model.session.position(sequence).unwrap_or(0)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_expect(model: *mut Handle, sequence: usize, n_tokens: usize) -> c_int {
    // SAFETY: the header's rules.
    let model = unsafe { model.as_mut() };
    change("graver_expect", model, |session| {
        session.expect(sequence, n_tokens)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_reset(model: *mut Handle, sequence: usize) -> c_int {
    // SAFETY: the header's rules.
    let model = unsafe { model.as_mut() };
    change("graver_reset", model, |session| session.reset(sequence))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_truncate(model: *mut Handle, sequence: usize, to: usize) -> c_int {
    // SAFETY: the header's rules.
    let model = unsafe { model.as_mut() };
    change("graver_truncate", model, |session| {
        session.truncate(sequence, to)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_copy(model: *mut Handle, from: usize, to: usize) -> c_int {
    // SAFETY: the header's rules.
    let model = unsafe { model.as_mut() };
    change("graver_copy", model, |session| session.copy(from, to))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn graver_manifest(model: *const Handle) -> *const c_char {
    // SAFETY: the header's rules.
    let model = unsafe { model.as_ref() };
    model.map_or(std::ptr::null(), |model| model.manifest.as_ptr())
}

fn open_artifact() -> Result<Artifact, Error> {
    // SAFETY: whoever links this archive links it with a compiled object, which defines the symbol as read-only data.
    unsafe { Artifact::open(&graver_model) }
}

/// # Safety
/// `options` is NULL or points to options whose path, if there is one, ends with a zero.
unsafe fn open(options: *const Options) -> Outcome<Handle> {
    // SAFETY: `options` is NULL or points to options, as the caller promises.
    let options = unsafe { read_options(options) }?;
    let given = |number: usize| (number != 0).then_some(number);
    let weights = options.weights;
    // SAFETY: a path that is there ends with a zero, as the caller promises.
    let weights = (!weights.is_null()).then(|| unsafe { CStr::from_ptr(weights) });
    let options = SessionOptions {
        threads: given(options.threads),
        context: given(options.context),
        slots: options.sequences.max(1),
        pin: options.pin != 0,
        alone: true,
        ..SessionOptions::default()
    };
    let artifact = open_artifact()?;
    let weights = weights.map(|path| Path::new(OsStr::from_bytes(path.to_bytes())));
    let manifest = artifact.manifest();
    let source = match artifact.tokenizer(weights) {
        // Code whose file is lost runs all the same, if its weights are elsewhere.
        Err(Error::OwnFile { .. }) => Source::Missing(Missing::Artifact {
            place: "the library".into(),
        }),
        found => found?,
    };
    let text = Text {
        source,
        tokenizer: OnceLock::new(),
        eos: manifest.eos.clone(),
        bos: manifest.bos,
    };
    Ok(Handle {
        session: artifact.session(weights, options)?,
        manifest: CString::new(serde_json::to_string(&**manifest)?)?,
        text,
        logits: std::ptr::null(),
        rows: 0,
    })
}

/// # Safety
/// `options` is NULL or points to a size and, if that is the right one, to options.
unsafe fn read_options(options: *const Options) -> Result<Options, Misuse> {
    if options.is_null() {
        return Ok(Options::DEFAULT);
    }
    // Only the size, until these are known to be options of this header.
    // SAFETY: options begin with their size, which the caller promises is there.
    let size = unsafe { slice("graver_open", "options", options.cast::<usize>(), 1) }?;
    let found = size[0];
    let expected = size_of::<Options>();
    if found != 0 && found != expected {
        return Err(Misuse::Size { found, expected });
    }
    // SAFETY: the size is that of options, which the caller promises are there then; the address is aligned (checked).
    Ok(unsafe { options.read() })
}

fn wanted_of(function: &'static str, wanted: c_int) -> Result<Wanted, Misuse> {
    match wanted {
        0 => Ok(Wanted::None),
        1 => Ok(Wanted::Last),
        2 => Ok(Wanted::All),
        found => Err(Misuse::Wanted { function, found }),
    }
}

fn rows(logits: &Logits<'_>) -> (*const f32, usize) {
    (logits.values().as_ptr(), logits.n_rows())
}

fn change(
    function: &'static str,
    model: Option<&mut Handle>,
    change: impl FnOnce(&mut Session) -> Result<(), Error>,
) -> c_int {
    status(function, || {
        let model = not_null(function, "model", model)?;
        Ok(change(&mut model.session)?)
    })
}
