//! Templates that would loop, recurse or collect without bound end with an error, soon, and on the stack of any thread.

use std::time::{Duration, Instant};

use graver_serve::template::{Conversation, Template, TemplateError, TemplateFiles};
use serde_json::{Map, json};

/// Renders on a thread with a small stack.
fn render(text: &str) -> Result<String, TemplateError> {
    let text = text.to_owned();
    let work = move || {
        let template = Template::new(&TemplateFiles::of(&text, Map::new()))?;
        let conversation = Conversation {
            messages: json!([{"role": "user", "content": "Hi"}]),
            ..Conversation::default()
        };
        template.expect("there is one").render(&conversation)
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(work);
    thread.expect("a thread").join().expect("no panic")
}

/// Most memory of this process so far, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("a peak");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    kib * 1024
}

fn is_stopped(text: &str) {
    let began = Instant::now();
    let result = render(text);
    let shown: String = text.chars().take(100).collect();
    assert!(
        matches!(
            result,
            Err(TemplateError::Limit { .. } | TemplateError::Render { .. })
        ),
        "{shown}: {:?}",
        result.map(|text| text.len())
    );
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{shown}: {:?}",
        began.elapsed()
    );
    assert!(peak_bytes() < 1 << 30, "{shown}: {} bytes", peak_bytes());
}

#[test]
fn loops_end() {
    is_stopped("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}");
    is_stopped("{% for i in range(100000000) %}{% endfor %}");
    is_stopped("{% for a in range(99) recursive %}{{ loop(range(99)) }}{% endfor %}");
    is_stopped(
        "{% set ns = namespace(x='aa') %}{% for i in range(9999) %}{% for j in ns.x %}{% endfor %}{% set ns.x = ns.x ~ 'aaaaaaaaaaaaaaaaaaaaaaaa' %}{% endfor %}",
    );
}

#[test]
fn recursion_ends() {
    is_stopped("{% macro f(x) %}{{ f(x + 1) }}{% endmacro %}{{ f(0) }}");
    is_stopped(
        "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
    );
    is_stopped("{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}");
    is_stopped("{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}");
    is_stopped("{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}");
}

#[test]
fn what_grows_is_stopped() {
    is_stopped(
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    );
    is_stopped(
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    );
    is_stopped(
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    );
    is_stopped(
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    );
    is_stopped(
        "{% set ns = namespace(x=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    );
    is_stopped(
        "{% set ns = namespace(x=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    );
    is_stopped(
        "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    );
    is_stopped(
        "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ [ns.x, ns.y] | sort }}",
    );
    is_stopped("{{ 'a' * 10000000000 }}");
    is_stopped("{{ [1] * 10000000000 }}");
    is_stopped("{{ [] * 10000000000 }}{{ 'a' * 10000000000 }}");
    is_stopped("{{ '%1000000000d' % 3 }}");
    is_stopped("{{ '%.1000000000f' % 3 }}");
    is_stopped("{{ 'a' | center(1000000000) }}");
    is_stopped("{{ 'a'.ljust(1000000000) }}");
    is_stopped("{{ 'a' | indent(1000000000) }}");
    is_stopped("{{ [[1]] | tojson(indent=1000000000) }}");
    is_stopped("{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}");
    is_stopped("{{ ('a' * 1000000).join('b' * 1000000) }}");
    is_stopped("{{ range(100000) | batch(1000000000, 'x') | list }}");
    is_stopped("{{ [1] | slice(1000000000, 'x') | list }}");
    is_stopped("{{ 7 ** 100000000 }}");
    is_stopped("{% for i in range(100000) %}{{ 'a' * 100000 }}{% endfor %}");
    is_stopped("{% for i in range(100000) %}{% set x = range(100000) | list %}{% endfor %}");
    is_stopped("{% for i in range(100000) %}{{ strftime_now('%c' * 10000) }}{% endfor %}");
}

#[test]
fn what_nests_is_stopped() {
    is_stopped(
        "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}",
    );
    is_stopped(
        "{% set ns = namespace(x={}) %}{% for i in range(100000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}",
    );
    is_stopped("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}");
    is_stopped("{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}");
    is_stopped("{% set ns = namespace() %}{% for i in [1] %}{% set ns.x = loop %}{% endfor %}");
    is_stopped("{% set ns = namespace(x=[1].count) %}{% set ns.x = {'m': [ns].count} %}{{ ns }}");
    is_stopped(&"{% if true %}".repeat(100_000));
}

/// Text that nests deeper than anything that is meant is no template.
#[test]
fn deep_text_is_refused() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{1:", "}"),
        ("-", ""),
        ("not ", ""),
        ("1 + (", ")"),
    ] {
        let text = format!(
            "{{{{ {}1{} }}}}",
            open.repeat(100_000),
            close.repeat(100_000)
        );
        assert!(render(&text).is_err(), "{open}");
    }
    for (first, more) in [
        ("1", " + 1"),
        ("1", " or 1"),
        ("1", " if 1"),
        ("1", "|int"),
        ("x", ".x"),
        ("1", " ** 1"),
    ] {
        let text = format!("{{{{ {first}{} }}}}", more.repeat(100_000));
        assert!(render(&text).is_err(), "{more}");
    }
}

/// A conversation may be long: work grows with it.
#[test]
fn long_conversations_are_rendered() {
    let text = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}";
    let template = Template::new(&TemplateFiles::of(text, Map::new()));
    let template = template.expect("Jinja").expect("there is one");
    let content = "words and more words ".repeat(50);
    let messages = vec![json!({"role": "user", "content": content}); 5000];
    let conversation = Conversation {
        messages: messages.into(),
        ..Conversation::default()
    };
    let rendered = template.render(&conversation).expect("text");
    assert!(rendered.len() > 5_000_000);
}

#[test]
fn messages_that_are_none_are_refused() {
    let template = Template::new(&TemplateFiles::of("{{ messages }}", Map::new()));
    let template = template.expect("Jinja").expect("there is one");
    for (messages, found) in [
        (json!("Hi"), "a string"),
        (json!([{}, 3]), "a number as message 2"),
    ] {
        let conversation = Conversation {
            messages,
            ..Conversation::default()
        };
        let error = template.render(&conversation).expect_err("an error");
        assert!(error.to_string().contains(found), "{error}");
    }
}
