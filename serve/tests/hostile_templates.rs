//! Templates that would loop, recurse or collect without bound end with an error, soon, and on the stack of any thread.

use std::time::{Duration, Instant};

use graver_serve::template::{Conversation, Limit, Template, TemplateError, TemplateFiles};
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

/// Renders a template, which has to end soon, for a reason that `is_right`. Returns how it begins.
fn ends_with(text: &str, is_right: impl Fn(&TemplateError) -> bool) -> String {
    let began = Instant::now();
    let result = render(text);
    let shown: String = text.chars().take(300).collect();
    assert!(
        result.as_ref().is_err_and(is_right),
        "{shown}: {:?}",
        result.map(|text| text.len())
    );
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{shown}: {:?}",
        began.elapsed()
    );
    shown
}

fn is_stopped(text: &str) {
    let shown = ends_with(text, |error| {
        matches!(
            error,
            TemplateError::Limit { .. } | TemplateError::Render { .. }
        )
    });
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

/// Stopped for the work alone, however long a step of it is.
fn runs_out_of_work(text: &str) {
    let is_work = |limit: &Limit| matches!(limit, Limit::Work(_));
    ends_with(
        text,
        |error| matches!(error, TemplateError::Limit { limit, .. } if is_work(limit)),
    );
}

/// A round is short, and what it looks at is long.
#[test]
fn looks_at_long_texts_are_paid_for() {
    let set = "{% set x = 'a' * 4000000 %}{% set y = 'a' * 4000000 %}{% set z = '0' * 4000000 %}\
        {% set k = x ~ 'c' %}{% set d = {x ~ 'b': 1} %}{% set f = '%(' ~ x ~ 'b)s' %}";
    for look in [
        "x|length",
        "x|count",
        "['a']|map('replace', x, 'b')|list",
        "[x]|map('length')|list",
        "x|int",
        "z|int",
        "z|int(base=2)",
        "z|float",
        "x is lower",
        "z is upper",
        "x is sameas y",
        "x == y",
        "x <= y",
        "[x] == [y]",
        "{1: x} == {1: y}",
        "x in [y]",
        "[y].count(x)",
        "[x, y]|unique|list",
        "[x, y]|sort",
        "[x, y]|min",
        "d[k]",
        "k in d",
        "d.get(k)",
        "{}[k]",
        "[][k]",
        "namespace()[k]",
        "messages|map(attribute=k)|list",
        "messages|map(attribute=z, default=1)|list",
        "[{}]|sort(attribute=z)",
        "{}|tojson(indent=x) ~ [1]|tojson(indent=x)",
        "{x: 1}|tojson",
        "f % d",
        "'%c' % x",
        "'a'.find(x)",
        "'a'.rfind(x)",
        "'a'.count(x)",
        "'a'.replace(x, 'b')",
        "'a'|replace(x, 'b')",
        "'a'.split(x)",
        "'a'.rsplit(x)",
        "'a'.partition(x)",
        "'a'.rpartition(x)",
        "'a'.strip(x)",
        "'a'|trim(x)",
        "x.isalpha()",
        "'a'|truncate(0, true, x, 0)",
        "x[0]",
        "x[1:2]",
        "x|first",
        "x|reverse",
        "x|wordcount",
        "x in y",
    ] {
        let rounds = "{% for i in range(100000) %}{% if ";
        runs_out_of_work(&format!(
            "{set}{rounds}{look} %}}{{% endif %}}{{% endfor %}}"
        ));
    }
}

/// So are many looks of one step, and long searches.
#[test]
fn many_looks_are_paid_for() {
    let numbered = |count: usize, one: &dyn Fn(usize) -> String| -> String {
        (0..count).map(one).collect::<Vec<_>>().join("")
    };
    let rounds = |set: &str, of: &str| {
        format!("{set}{{% for i in range(100000) %}}{{% if {of} %}}{{% endif %}}{{% endfor %}}")
    };
    let named = numbered(20_000, &|at| format!(", a{at}=1"));
    let many = [
        rounds("{% set r = range(100000) %}", "r|sum"),
        rounds("{% set r = range(100000) %}", "r|sort"),
        rounds("{% set r = range(100000) %}", "r|max"),
        rounds("{% set s = ',' * 100000 %}", "[1]|sort(attribute=s)"),
        rounds(
            "{% set s = '.' * 100000 %}",
            "[1]|map(attribute=s, default=[])|list",
        ),
        rounds("", "1e308|round(300) ~ 1e307|round(300) ~ 1e306|round(300)"),
        rounds("", "'%.1000f%.1000f' % (1e-300, 1e-299)"),
        "{{ ('a' * 4000000).strip('b' * 4000000 ~ 'a') }}".into(),
        "{{ ('a' * 4000000)|trim('b' * 4000000 ~ 'a') }}".into(),
        "{{ ('a' * 4000000).startswith(('a' * 3999999 ~ 'b',) * 100000) }}".into(),
        format!("{{{{ ('{{z}}' * 1000000).format(z=1{named}) }}}}"),
        format!("{{{{ ('{{a19999}}' * 1000000).format(z=1{named}) }}}}"),
        format!("{{{{ range(100000)|map('format'{named})|list|length }}}}"),
        numbered(80_000, &|at| format!("{{% set a{at} = 1 %}}")),
        "{% set ns = namespace() %}".to_owned()
            + &numbered(80_000, &|at| format!("{{% set ns.a{at} = 1 %}}")),
        format!(
            "{{% macro f(z{}) %}}{{% endmacro %}}{{{{ f(z=1{}) }}}}",
            numbered(80_000, &|at| format!(", a{at}")),
            numbered(80_000, &|at| format!(", a{at}=1")),
        ),
        rounds(
            &format!("{{% macro f(z{}) %}}{{% endmacro %}}", ", z".repeat(20_000)),
            "f()",
        ),
        format!(
            "{{% set l = [1] * 20001 %}}{{% for i in range(100000) %}}{{% set a{} = l %}}{{% endfor %}}",
            ", a".repeat(20_000)
        ),
        format!(
            "{{% set l = [1] * 20001 %}}{{% set ns = namespace() %}}{{% for i in range(100000) %}}{{% set ns.a{} = l %}}{{% endfor %}}",
            ", ns.a".repeat(20_000)
        ),
    ];
    for text in &many {
        runs_out_of_work(text);
    }
    let name = "a".repeat(1_000_000);
    for of in ["", "n.", "{}.", "[]."] {
        let set =
            format!("{{% set n = namespace() %}}{{% set {name}b = 1 %}}{{% set n.{name}b = 1 %}}");
        runs_out_of_work(&rounds(&set, &format!("{of}{name}c")));
    }
    let deep = "{% with %}".repeat(100)
        + &rounds("", "q or q or q or q").replace("100000", "9999")
        + &"{% endwith %}".repeat(100);
    assert!(render(&deep).is_ok_and(|text| text.is_empty()));
}

/// What is ordinary costs about what it did, and sorting bears numbers that are none.
#[test]
fn what_is_ordinary_is_rendered() {
    let names: String = (0..300)
        .map(|at| format!("{{% set a{at} = {at} %}}"))
        .collect();
    for (text, expected) in [
        (
            &*format!(
                "{names}{{% for i in range(9999) %}}{{% set x = a0 + a299 %}}{{% endfor %}}{{{{ a299 }}}}"
            ),
            "299",
        ),
        (
            "{{ '--a-b-'.strip('-') }},{{ 'abcba'.lstrip('ab') }},{{ 'abcba'.rstrip('ab') }},{{ '\n a '|trim }}.",
            "a-b,cba,abc,a.",
        ),
        (
            "{{ [3, 1, 2, 1]|sort }}{{ [3, 1, 2]|sort(reverse=true) }}{{ []|sort }}{{ ['b', 'A', 'a']|sort }}",
            "[1, 1, 2, 3][3, 2, 1][]['A', 'a', 'b']",
        ),
        (
            "{{ [('b', 1), ('a', 2), ('b', 0)]|sort(attribute=0) }}",
            "[('a', 2), ('b', 1), ('b', 0)]",
        ),
        (
            "{{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }}{{ range(100000)|sort|last }}",
            "{\"a\": 2, \"b\": 1}99999",
        ),
        (
            "{{ 2.675|round(2) }} {{ '%.3f %.1e %c' % (1e3, 12345.0, 'x') }} {{ namespace(a=1) }}",
            "2.67 1000.000 1.2e+04 x <Namespace {'a': 1}>",
        ),
    ] {
        assert_eq!(render(text).expect(text), expected, "{text}");
    }
    let mut seed = 1u64;
    for _ in 0..100 {
        let mut draw = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 40
        };
        let numbers = (0..200).map(|_| match draw() {
            none if none % 10 == 0 => "n, ".into(),
            number => format!("{number}, "),
        });
        let numbers: String = numbers.collect();
        let text = format!("{{% set n = 'nan'|float %}}{{{{ [{numbers}]|sort|length }}}}");
        assert_eq!(render(&text).expect("text"), "200");
    }
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
