//! Grammars in both notations stand for the same texts: compared with a reader that tries everything.

use std::collections::BTreeSet;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv};
use llguidance::{Matcher, ParserFactory};

use super::node::{Node, Rule};
use super::{is_gbnf, read, to_lark};

/// JSON without blanks at its ends.
const JSON: &str = r##"# Any value.
root   ::= value
value  ::= "null" | "true" | "false" | number | string | list | object
object ::= "{" ws ( pair ( "," ws pair )* )? "}" ws
pair   ::= string ":" ws value
list   ::= "[" ws ( value ( "," ws value )* )? "]" ws
string ::= "\"" ( [^"\\\x00-\x1f] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} ) )* "\"" ws
number ::= "-"? ( "0" | [1-9] [0-9]* ) ( "." [0-9]+ )? ( [eE] [-+]? [0-9]+ )? ws
ws     ::= [ \t\n]*
"##;

const ARITHMETIC: &str = "
root    ::= ( sum \"=\" blank number end )+
sum     ::= product ( [-+] blank product )*
product ::= factor ( [*/] blank factor )*   # binds tighter
factor  ::= number | name blank
          | \"(\" blank sum \")\" blank
number  ::= [0-9]{1,3} blank
name    ::= [a-z] [a-z0-9_]{0,}
blank   ::= \" \"?
end     ::= \"\\n\"";

const CHESS: &str = r#"root ::= turn{1,40}
turn ::= [1-9] [0-9]? ". " half " " half "\n"
half ::= (pawn | piece | castle) [+#]?
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBRQ])?
piece ::= [NBRQK] [a-h]? [1-8]? "x"? [a-h] [1-8]
castle ::= "O-O" "-O"?
"#;

/// Where a lexeme that is as long as it can be would be too long.
const GREEDY: [&str; 9] = [
    r#"root ::= plural "." | plural " " root
plural ::= [a-z]* "s""#,
    r#"root ::= "a" tail | "ab" root
tail ::= "." | "b" tail"#,
    r#"root ::= "!" | "if" " " root | name " " root
name ::= [a-z]+"#,
    r#"root ::= "x" | [é] root | [è-ê]+ "è" root"#,
    r#"root ::= line* end
line ::= [^\n]* "\n" end?
end ::= "." | "\n" end"#,
    r#"root ::= "." | [ab]* "b" [ab]* "c" root"#,
    r#"root ::= ( [a]+ "b"? )* tail
tail ::= "d" | "c" tail"#,
    r#"root ::= "x" | "(" ws root ws ")" ws
ws ::= " "*"#,
    "root ::= \".\" | .* \"€\" [^a-z]{2} root",
];

fn random(state: &mut u64) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// Places in a text where a part can end that begins at `at`.
fn ends(rules: &[Rule], node: &Node, text: &[char], at: usize) -> BTreeSet<usize> {
    let all = |part: &Node, from: &BTreeSet<usize>| -> BTreeSet<usize> {
        let each = from.iter().map(|&at| ends(rules, part, text, at));
        each.flatten().collect()
    };
    match node {
        Node::Class(class) => {
            let found = text.get(at).filter(|&&c| class.contains(c));
            found.map(|_| at + 1).into_iter().collect()
        }
        Node::Rule(rule) => ends(rules, &rules[*rule].body, text, at),
        Node::Lexeme(part) => ends(rules, part, text, at),
        Node::Choice(parts) => {
            let each = parts.iter().map(|part| ends(rules, part, text, at));
            each.flatten().collect()
        }
        Node::Sequence(parts) => {
            let start = BTreeSet::from([at]);
            parts.iter().fold(start, |from, part| all(part, &from))
        }
        Node::Repeat(part, least, most) => {
            let mut now = BTreeSet::from([at]);
            let mut found = BTreeSet::new();
            for times in 0..=text.len() as u32 + least {
                if times >= *least {
                    found.extend(&now);
                }
                if most.is_some_and(|most| times >= most) {
                    break;
                }
                now = all(part, &now);
            }
            found
        }
    }
}

/// A text of a grammar.
fn draw(rules: &[Rule], node: &Node, depth: usize, state: &mut u64, out: &mut String) {
    let deeper = depth + 1;
    match node {
        Node::Class(class) => {
            let likely = [
                'a', 's', 'b', '.', '0', '1', ' ', '"', 'é', 'ê', '€', 'x', 'u',
            ];
            let likely: Vec<char> = likely.into_iter().filter(|&c| class.contains(c)).collect();
            match likely.len() {
                0 => out.push(class.first()),
                n => out.push(likely[random(state) % n]),
            }
        }
        Node::Rule(rule) => draw(rules, &rules[*rule].body, deeper, state, out),
        Node::Lexeme(part) => draw(rules, part, depth, state, out),
        Node::Sequence(parts) => parts
            .iter()
            .for_each(|part| draw(rules, part, depth, state, out)),
        Node::Choice(parts) => {
            // The first alternatives of these grammars are the ones that end.
            let one = if depth > 6 {
                0
            } else {
                random(state) % parts.len()
            };
            draw(rules, &parts[one], deeper, state, out);
        }
        Node::Repeat(part, least, most) => {
            let more = if depth > 6 { 0 } else { random(state) % 3 };
            let times = (*least as usize + more).min(most.map_or(usize::MAX, |m| m as usize));
            (0..times).for_each(|_| draw(rules, part, deeper, state, out));
        }
    }
}

struct Both {
    rules: Vec<Rule>,
    lark: String,
    factory: ParserFactory,
}

impl Both {
    fn new(grammar: &str) -> Both {
        assert!(is_gbnf(grammar), "{grammar}");
        // A token for each byte.
        let env: TokEnv = ApproximateTokEnv::single_byte_env();
        let mut factory = ParserFactory::new_simple(&env).unwrap();
        factory.quiet();
        Both {
            rules: read::read(grammar).unwrap(),
            lark: to_lark(grammar).unwrap(),
            factory,
        }
    }

    fn by_hand(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        ends(&self.rules, &self.rules[0].body, &text, 0).contains(&text.len())
    }

    fn by_library(&self, text: &str) -> bool {
        let grammar = TopLevelGrammar::from_lark(self.lark.clone());
        let parser = self.factory.create_parser(grammar);
        let mut matcher = Matcher::new(Ok(parser.unwrap_or_else(|e| panic!("{e}: {}", self.lark))));
        let fits = text
            .bytes()
            .all(|byte| matcher.consume_token(u32::from(byte)).is_ok());
        fits && matcher.is_accepting().unwrap_or(false)
    }
}

/// Texts of each grammar, and texts that are nearly such, are judged alike.
#[test]
fn both_notations_stand_for_the_same_texts() {
    for grammar in [JSON, ARITHMETIC, CHESS].into_iter().chain(GREEDY) {
        let both = Both::new(grammar);
        let (mut state, mut fitting, mut others) = (1, 0, 0);
        for round in 0..120 {
            let mut text = String::new();
            draw(&both.rules, &both.rules[0].body, 0, &mut state, &mut text);
            let mut letters: Vec<char> = text.chars().take(60).collect();
            if round % 2 == 1 && !letters.is_empty() {
                let at = random(&mut state) % letters.len();
                match random(&mut state) % 3 {
                    0 => drop(letters.remove(at)),
                    1 => letters.insert(at, letters[random(&mut state) % letters.len()]),
                    _ => letters[at] = ['a', 'b', 's', ' ', '"', 'è'][random(&mut state) % 6],
                }
            }
            let text: String = letters.into_iter().collect();
            let expected = both.by_hand(&text);
            assert_eq!(
                both.by_library(&text),
                expected,
                "{text:?} of {grammar}\n{}",
                both.lark
            );
            *(if expected { &mut fitting } else { &mut others }) += 1;
        }
        assert!(
            fitting > 20 && others > 5,
            "{fitting} and {others} of {grammar}"
        );
    }
}

#[test]
fn texts_that_people_know_are_told_apart() {
    let json = Both::new(JSON);
    for (text, fits) in [
        (r#"{"a": [1, -2.5e+10, "x\u00e9\n"], "b": {}}"#, true),
        ("[]", true),
        ("01", false),
        (r#"{"a": }"#, false),
        ("\"a", false),
        ("\"\u{1}\"", false),
    ] {
        assert_eq!(json.by_library(text), fits, "{text}");
    }
    let arithmetic = Both::new(ARITHMETIC);
    assert!(arithmetic.by_library("(a+b1)*3 = 12\n1=1\n"));
    assert!(!arithmetic.by_library("1234=1\n"));
    let chess = Both::new(CHESS);
    assert!(chess.by_library("1. e4 e5\n2. Nf3 exd4+\n3. O-O-O Qh4#\n"));
    assert!(!chess.by_library("1. e9 e5\n"));
}

/// What can be a lexeme is one, and what cannot is not.
#[test]
fn regular_parts_are_lexemes_where_that_changes_nothing() {
    for (grammar, lark) in [
        (
            r#"root ::= "ab"+ [0-9]?"#,
            "start: r0\nr0: /(?:ab)+(?:[\\x{30}-\\x{39}])?/\n",
        ),
        (
            "root ::= \"(\" root \")\" | word*\nword ::= [a-z]{2,3} \" \"",
            "start: r0\nr0: /[\\x{28}]/ r0 /[\\x{29}]/ | /(?:(?:[\\x{61}-\\x{7A}]){2,3}[\\x{20}])+/?\n",
        ),
        (
            "root ::= [a-z]+ \"s\" root | \"\"",
            "start: r0\ng0: /[\\x{61}-\\x{7A}]/+ /s/\nr0: g0 r0 | \"\"\n",
        ),
        (
            "root ::= [a-z]* \"s \" root | \"\"",
            "start: r0\nr0: /(?:(?:[\\x{61}-\\x{7A}])+)?s[\\x{20}]/ r0 | \"\"\n",
        ),
    ] {
        assert_eq!(to_lark(grammar).unwrap(), lark);
    }
    let strings = to_lark(JSON).unwrap();
    assert!(strings.contains(r"/[\x{22}](?:(?:(?:[\x{20}-"), "{strings}");
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (grammar, expected) in [
        ("root = \"a\"", None),
        (
            "root ::= \"a",
            Some("line 1, column 10: an unterminated string"),
        ),
        (
            "root ::= [a",
            Some("line 1, column 10: an unterminated character class"),
        ),
        (
            "root ::= []",
            Some("line 1, column 10: an empty character class"),
        ),
        (
            "root ::= [z-a]",
            Some("line 1, column 11: the range z-a is reversed"),
        ),
        (
            "root ::= \"\\q\"",
            Some("line 1, column 11: expected one of \\n, \\r"),
        ),
        (
            "root ::= \"\\x4\"",
            Some("line 1, column 14: found `\\\"`, expected 2 hexadecimal digits"),
        ),
        (
            "root ::= \"\\uD800\"",
            Some("line 1, column 11: U+D800 is not a character"),
        ),
        (
            "root ::= (\"a\"\n  | \"b\"",
            Some("line 2, column 8: found the end of the grammar, expected | or )"),
        ),
        (
            "root ::= \"a\")",
            Some("line 1, column 13: found `)`, expected a \"text\""),
        ),
        (
            "root ::= \"a\"{3,2}",
            Some("line 1, column 13: the repetition {3,2} is reversed"),
        ),
        (
            "root ::= \"a\"{2",
            Some("line 1, column 15: found the end of the grammar, expected }"),
        ),
        (
            "root ::= \"a\"{99999999}",
            Some("line 1, column 14: more than 10000 repetitions"),
        ),
        (
            "root ::= \"a\"?????????",
            Some("line 1, column 18: more than 4 repetition operators"),
        ),
        (
            "root ::= *",
            Some("line 1, column 10: found `*`, expected a \"text\""),
        ),
        (
            "root ::= a\n\n# b\na ::= b c",
            Some("line 4, column 7: no rule named `b`"),
        ),
        ("a ::= \"b\"", Some("no rule named `root`")),
        (
            "root ::= \"a\"\nroot ::= \"b\"",
            Some("line 2, column 1: `root` is defined twice, first on line 1"),
        ),
        (
            "root ::= \"a\" root",
            Some("line 1, column 1: `root` never terminates"),
        ),
        (
            "root ::= <think>",
            Some("line 1, column 10: tokens as < > are not read here"),
        ),
        (
            "root ::= \"a\"\n  b c",
            Some("line 2, column 5: found `c`, expected ::= after the name `b`"),
        ),
    ] {
        match expected {
            None => assert!(!is_gbnf(grammar)),
            Some(expected) => {
                let error = to_lark(grammar).unwrap_err().to_string();
                assert!(error.contains(expected), "{grammar}: {error}");
            }
        }
    }
}

#[test]
fn the_two_notations_are_told_apart() {
    for (grammar, expected) in [
        ("\n# comment\n  root ::= \"a\"", true),
        ("ws::=[ ]\nroot ::= ws", true),
        ("start: \"a ::= b\"", false),
        ("// comment\nstart: rule\nrule: \"::=\"", false),
        ("a::_ : \"b\"", false),
        ("", false),
    ] {
        assert_eq!(is_gbnf(grammar), expected, "{grammar}");
    }
}

/// Grammars that would become too large, or would be looked at for too long, are read in bounded time.
#[test]
fn grammars_that_explode_do_not() {
    let doubling: String = (0..200)
        .map(|i| format!("a{i} ::= a{} a{}\n", i + 1, i + 1))
        .collect();
    let doubling = format!("root ::= a0\n{doubling}a200 ::= \"x\"\n");
    let letters: Vec<String> = (0..900).map(|i| format!("\"{}\"", i % 10)).collect();
    let pairs = format!(
        "root ::= (all all)* root | \"x\"\nall ::= {} | all \"y\"\n",
        letters.join(" | ")
    );
    let parts = "word ".repeat(100_000);
    let long = format!("root ::= {parts}\nword ::= {}\n", "[a-z]".repeat(500));
    let chain: String = (0..2000)
        .map(|i| format!("b{i} ::= b{} \"x\" | \"y\" b{i}\n", i + 1))
        .collect();
    let chain = format!("root ::= b0\n{chain}b2000 ::= \"z\"\n");
    for grammar in [doubling, pairs, long, chain] {
        let begun = std::time::Instant::now();
        let lark = to_lark(&grammar).unwrap();
        assert!(lark.len() < 8 * grammar.len() + 1_000_000, "{}", lark.len());
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
    for grammar in [
        "(".repeat(100_000),
        "root ::= ".to_owned() + &"(".repeat(100_000),
    ] {
        assert!(to_lark(&grammar).is_err());
    }
}
