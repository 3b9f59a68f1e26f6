//! Values of options: each parser says what it found and what it expected.

/// A value that an option does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected {expected}")]
pub(super) struct ValueError {
    found: String,
    expected: &'static str,
}

type Parsed<T> = Result<T, ValueError>;

pub(super) fn token(text: &str) -> Parsed<u32> {
    parse(text, "token ids separated by commas, such as 1,2,3", |_| {
        true
    })
}

pub(super) fn count(text: &str) -> Parsed<usize> {
    parse(text, "a whole number, 0 or more", |_| true)
}

pub(super) fn positive(text: &str) -> Parsed<usize> {
    parse(text, "a whole number, 1 or more", |&n: &usize| n > 0)
}

pub(super) fn seed(text: &str) -> Parsed<u64> {
    parse(text, "a whole number, 0 or more", |_| true)
}

pub(super) fn temperature(text: &str) -> Parsed<f32> {
    number(text, "a number, 0 or more", |t| t >= 0.0)
}

pub(super) fn top_p(text: &str) -> Parsed<f32> {
    number(text, "a number above 0 and at most 1", |p| {
        p > 0.0 && p <= 1.0
    })
}

pub(super) fn min_p(text: &str) -> Parsed<f32> {
    number(text, "a number from 0 to 1", |p| (0.0..=1.0).contains(&p))
}

pub(super) fn penalty(text: &str) -> Parsed<f32> {
    number(text, "a number above 0", |p| p > 0.0)
}

fn number(text: &str, expected: &'static str, ok: impl Fn(f32) -> bool) -> Parsed<f32> {
    parse(text, expected, |&x: &f32| x.is_finite() && ok(x))
}

fn parse<T: std::str::FromStr>(
    text: &str,
    expected: &'static str,
    ok: impl Fn(&T) -> bool,
) -> Parsed<T> {
    let value = text.trim().parse().ok().filter(ok);
    value.ok_or_else(|| ValueError {
        found: text.into(),
        expected,
    })
}
