//! What the server answers to each kind of request.

use graver_tests::http::{chat, get, greedy, post, raw, request, server, server_with};
use serde_json::{Value, json};

#[test]
fn completions_whole_and_in_pieces_are_the_same() {
    let server = server(4, |_| {});
    let whole = post(&server, "/v1/completions", &greedy(json!({"logprobs": 3}))).json();
    let choice = &whole["choices"][0];
    let text = choice["text"].as_str().unwrap();
    assert!(!text.is_empty());
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 12);
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["tokens"].as_array().unwrap().len(), 12);
    let joined: String = logprobs["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_str().unwrap())
        .collect();
    assert_eq!(joined, text);
    for (logprob, top) in logprobs["token_logprobs"]
        .as_array()
        .unwrap()
        .iter()
        .zip(logprobs["top_logprobs"].as_array().unwrap())
    {
        let best = top
            .as_object()
            .unwrap()
            .values()
            .map(|v| v.as_f64().unwrap())
            .fold(f64::MIN, f64::max);
        assert_eq!(top.as_object().unwrap().len(), 3);
        assert_eq!(logprob.as_f64().unwrap(), best);
    }
    let asked = greedy(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let pieces = post(&server, "/v1/completions", &asked).events();
    let joined: String = pieces
        .iter()
        .filter_map(|p| p["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(joined, text);
    assert_eq!(pieces.last().unwrap()["usage"]["completion_tokens"], 12);
    assert_eq!(
        pieces[pieces.len() - 2]["choices"][0]["finish_reason"],
        "length"
    );
}

#[test]
fn several_prompts_and_choices_are_numbered_through() {
    let server = server(4, |_| {});
    let asked = greedy(json!({"prompt": ["And God said", [10, 20, 30]], "n": 2, "echo": true}));
    let answer = post(&server, "/v1/completions", &asked);
    assert_eq!(answer.status, 400, "{answer:?}");
    let asked = greedy(json!({"prompt": ["And God said", "The king"], "n": 2, "echo": true}));
    let answer = post(&server, "/v1/completions", &asked).json();
    let texts: Vec<&str> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts.len(), 4);
    assert!(
        texts[0].starts_with("And God said") && texts[2].starts_with("The king"),
        "{texts:?}"
    );
    assert_eq!((texts[0], texts[2]), (texts[1], texts[3]));
    let ids = post(
        &server,
        "/v1/completions",
        &greedy(json!({"prompt": [[10, 20, 30], [40]]})),
    )
    .json();
    assert_eq!(ids["usage"]["prompt_tokens"], 4);
}

#[test]
fn embeddings_are_of_unit_length_and_in_the_order_of_their_texts() {
    let server = server(1, |_| {});
    let ask = |more: Value| post(&server, "/v1/embeddings", &more);
    let vector = |answer: &Value, at: usize| -> Vec<f64> {
        serde_json::from_value(answer["data"][at]["embedding"].clone()).unwrap()
    };
    let texts = ["In the beginning", "And the LORD said", "In the beginning"];
    let answer = ask(json!({ "input": texts })).json();
    let [one, two, three] = [0, 1, 2].map(|at| vector(&answer, at));
    assert_eq!(one, three);
    assert!(one != two && one.len() > 16, "{answer}");
    let length: f64 = one.iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    let ids = post(&server, "/tokenize", &json!({ "content": texts[0] })).json();
    let of_ids = ask(json!({ "input": ids["tokens"] })).json();
    assert_eq!(vector(&of_ids, 0), one);
    assert_eq!(of_ids["usage"]["prompt_tokens"], ids["count"]);
    for (wrong, said) in [
        (
            json!({ "input": [] }),
            "input: 0 of them, expected 1 to 256",
        ),
        (json!({ "input": [[]] }), "input: number 0 has no tokens"),
        (
            json!({ "input": "x", "dimensions": 3 }),
            "dimensions: found 3, expected",
        ),
        (json!({ "input": [1_000_000] }), "outside the vocabulary"),
        (json!({ "input": vec![5; 5000] }), "context"),
    ] {
        let answer = ask(wrong);
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.error().contains(said), "{}", answer.error());
    }
}

#[test]
fn conversations_whole_and_in_pieces_are_the_same() {
    let server = server(4, |_| {});
    let asked = chat(json!({"logprobs": true, "top_logprobs": 2, "n": 2}));
    let whole = post(&server, "/v1/chat/completions", &asked).json();
    assert_eq!(whole["object"], "chat.completion");
    let message = &whole["choices"][1]["message"];
    let text = message["content"].as_str().unwrap();
    assert_eq!(message["role"], "assistant");
    let content = whole["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(content.len(), 12);
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(whole["usage"]["completion_tokens"], 24);
    let pieces = post(
        &server,
        "/v1/chat/completions",
        &chat(json!({"stream": true})),
    )
    .events();
    assert_eq!(pieces[0]["choices"][0]["delta"]["role"], "assistant");
    let joined: String = pieces
        .iter()
        .filter_map(|p| p["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(joined, text);
    // The same again, with another turn, is read once.
    let longer = chat(
        json!({"messages": [{"role": "user", "content": "Who was Moses?"},
        {"role": "assistant", "content": text}, {"role": "user", "content": [{"type": "text", "text": "And?"}]}]}),
    );
    let again = post(&server, "/v1/chat/completions", &longer).json();
    let cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .unwrap();
    assert!(cached > 8, "{again}");
}

#[test]
fn what_is_asked_wrongly_is_told_where() {
    let server = server(1, |_| {});
    let completion = |more| post(&server, "/v1/completions", &greedy(more));
    for (more, status, expected) in [
        (json!({"model": "other"}), 404, "unknown model `other`"),
        (json!({"temperature": -1}), 400, "temperature: found -1"),
        (json!({"temperature": "hot"}), 400, "hot"),
        (json!({"top_p": 0}), 400, "top_p"),
        (json!({"n": 0}), 400, "0 choices"),
        (json!({"n": 1000}), 400, "1000 choices"),
        (json!({"logprobs": 21}), 400, "21 alternatives"),
        (json!({"logit_bias": {"x": 1}}), 400, "logit_bias: x"),
        (json!({"logit_bias": {"70000": 1}}), 400, "70000"),
        (json!({"prompt": []}), 400, "prompt: 0 of them"),
        (json!({"prompt": 5}), 400, "prompt"),
        (json!({"prompt": [99999]}), 400, "99999"),
        (
            json!({"prompt": "word ".repeat(3000)}),
            400,
            "context has room for 512",
        ),
        (json!({"suffix": "end"}), 400, "suffix"),
        (json!({"best_of": 3}), 400, "best_of"),
        (json!({"stop": vec!["x"; 17]}), 400, "17 strings"),
    ] {
        let answer = completion(more.clone());
        assert_eq!(answer.status, status, "{more}: {answer:?}");
        assert!(answer.error().contains(expected), "{more}: {answer:?}");
    }
    for (more, expected) in [
        (json!({"messages": []}), "found none"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            "image_url",
        ),
        (json!({"tools": "none"}), "tools"),
        (json!({"tool_choice": "required"}), "tool_choice"),
    ] {
        let answer = post(&server, "/v1/chat/completions", &chat(more.clone()));
        assert_eq!(answer.status, 400, "{more}: {answer:?}");
        assert!(answer.error().contains(expected), "{more}: {answer:?}");
    }
    assert_eq!(get(&server, "/v1/nothing").status, 404);
    assert_eq!(get(&server, "/v1/completions").status, 405);
}

#[test]
fn the_smaller_paths_answer() {
    let server = server(2, |_| {});
    assert_eq!(get(&server, "/health").json()["status"], "ok");
    let models = get(&server, "/v1/models").json();
    assert_eq!(models["data"][0]["id"], "scripture");
    assert_eq!(
        get(&server, "/v1/models/scripture").json()["max_model_len"],
        512
    );
    assert_eq!(get(&server, "/v1/models/other").status, 404);
    let ids = post(&server, "/tokenize", &json!({"content": "And God said"})).json();
    let text = post(&server, "/detokenize", &json!({"tokens": ids["tokens"]})).json();
    assert_eq!(text["content"], "And God said");
    let plain = post(
        &server,
        "/tokenize",
        &json!({"content": "And God said", "add_special": false, "with_pieces": true}),
    )
    .json();
    assert_eq!(plain["tokens"][0]["piece"], "And");
    post(&server, "/v1/completions", &greedy(json!({})));
    let metrics = get(&server, "/metrics").body;
    for line in [
        "graver_generated_tokens_total 12",
        "graver_slots 2",
        "graver_choices_finished_total 1",
        "# TYPE graver_slots_busy gauge",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn a_key_is_asked_for_and_pages_of_others_only_where_that_is_wanted() {
    let guarded = server(1, |o| o.key = Some("secret".into()));
    let ask = |more: &str| {
        raw(
            guarded.address(),
            request("GET", "/v1/models", more, "").as_bytes(),
        )
    };
    for wrong in [
        "",
        "Authorization: Bearer secre\r\n",
        "Authorization: Basic secret\r\n",
    ] {
        let answer = ask(wrong);
        assert_eq!(answer.status, 401, "{wrong}");
        assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
    }
    let answer = ask("Authorization: Bearer secret\r\nOrigin: https://elsewhere\r\n");
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains("access-control"), "{answer:?}");
    assert_eq!(get(&guarded, "/health").status, 200);
    assert_eq!(get(&guarded, "/metrics").status, 401);
    let open = server(1, |o| {
        (o.key, o.cors) = (Some("secret".into()), Some("*".parse().unwrap()));
    });
    let first = raw(
        open.address(),
        request("OPTIONS", "/v1/models", "", "").as_bytes(),
    );
    assert_eq!(first.status, 204);
    assert!(first.headers.contains("access-control-allow-origin: *"));
}

#[test]
fn answers_follow_schemas_and_grammars() {
    let server = server(2, |_| {});
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8},
        "kind": {"enum": ["king", "prophet"]}}, "required": ["name", "kind"], "additionalProperties": false});
    let wanted =
        json!({"type": "json_schema", "json_schema": {"name": "person", "schema": schema}});
    for temperature in [0.0, 1.5] {
        let asked = chat(
            json!({"response_format": wanted, "max_tokens": 200, "temperature": temperature, "n": 2}),
        );
        let answer = post(&server, "/v1/chat/completions", &asked).json();
        for choice in answer["choices"].as_array().unwrap() {
            assert_eq!(choice["finish_reason"], "stop", "{answer}");
            let text = choice["message"]["content"].as_str().unwrap();
            let person: Value =
                serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert!(
                ["king", "prophet"].contains(&person["kind"].as_str().unwrap()),
                "{text}"
            );
        }
    }
    // The least integer has no opposite.
    for (limits, status) in [
        (json!({"minimum": i64::MIN, "maximum": 3}), 200),
        (json!({"const": i64::MIN}), 400),
    ] {
        let mut schema = limits.clone();
        schema["type"] = "integer".into();
        let wanted = json!({"type": "json_schema", "json_schema": {"schema": schema}});
        let asked = chat(json!({"response_format": wanted, "max_tokens": 3}));
        assert_eq!(
            post(&server, "/v1/chat/completions", &asked).status,
            status,
            "{limits}"
        );
    }
    let grammar = "start: \"yes\" | \"no, \" /[a-z]{3}/";
    let answer = post(
        &server,
        "/v1/completions",
        &greedy(json!({"grammar": grammar})),
    )
    .json();
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert!(
        text == "yes" || text.len() == 7 && text.starts_with("no, "),
        "{text}"
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let object = json!({"response_format": {"type": "json_object"}, "max_tokens": 3});
    let answer = post(&server, "/v1/chat/completions", &chat(object)).json();
    assert!(
        answer["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .starts_with('{')
    );
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let server = server(1, |o| o.key = Some("secret".into()));
    let page = get(&server, "/");
    assert_eq!(page.status, 200);
    assert!(
        page.headers
            .contains("content-security-policy: default-src 'none'")
    );
    assert!(page.body.contains("v1/chat/completions"));
    for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.body.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn calls_can_be_forced() {
    let server = server(2, |_| {});
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}},
        "required": ["name"], "additionalProperties": false});
    let tool = |name| json!({"type": "function", "function": {"name": name, "parameters": schema}});
    let tools = [tool("look_up"), tool("forget")];
    let named = json!({"type": "function", "function": {"name": "forget"}});
    for (choice, names) in [
        (json!("required"), &["look_up", "forget"][..]),
        (named, &["forget"]),
    ] {
        let mut asked = chat(json!({"tools": tools, "tool_choice": choice, "max_tokens": 200}));
        let whole = post(&server, "/v1/chat/completions", &asked).json();
        let found = &whole["choices"][0];
        assert_eq!(found["finish_reason"], "tool_calls", "{whole}");
        assert_eq!(found["message"]["content"], Value::Null);
        let function = &found["message"]["tool_calls"][0]["function"];
        assert!(
            names.contains(&function["name"].as_str().unwrap()),
            "{whole}"
        );
        let arguments = function["arguments"].as_str().unwrap();
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        assert!(arguments["name"].is_string());
        asked["stream"] = json!(true);
        let events = post(&server, "/v1/chat/completions", &asked).events();
        let calls = events
            .iter()
            .map(|e| &e["choices"][0]["delta"]["tool_calls"][0]["function"]);
        let calls: Vec<&Value> = calls.filter(|call| !call.is_null()).collect();
        assert_eq!(calls, [function]);
    }
    let unknown = chat(
        json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "x"}}}),
    );
    let answer = post(&server, "/v1/chat/completions", &unknown);
    assert!(answer.error().contains("no tool named `x`"), "{answer:?}");
}

/// The forms that well-known templates name, with the small model, which has none of their tokens and spells them.
#[test]
fn calls_can_be_forced_in_every_form() {
    let schema = json!({"type": "object", "properties": {"place": {"type": "string", "maxLength": 6}},
        "required": ["place"], "additionalProperties": false});
    let tool = |name| json!({"type": "function", "function": {"name": name, "parameters": schema}});
    let tools = [tool("go"), tool("go_back")];
    for template in [
        "<tool_call> </tool_call>",
        "<｜tool▁sep｜> ```json",
        "<｜tool▁sep｜>",
        "[TOOL_CALLS] [ARGS]",
        "[TOOL_CALLS]",
        "\"parameters\": ",
        "<|channel|>analysis<|message|>",
    ] {
        let text =
            format!("{{# {template} #}}{{% for m in messages %}}{{{{ m.content }}}}{{% endfor %}}");
        let server = server_with(&text, 1, |_| {});
        for (choice, name) in [
            (json!("required"), None),
            (
                json!({"type": "function", "function": {"name": "go_back"}}),
                Some("go_back"),
            ),
        ] {
            let asked = chat(json!({"tools": tools, "tool_choice": choice, "max_tokens": 300}));
            let whole = post(&server, "/v1/chat/completions", &asked).json();
            let found = &whole["choices"][0];
            assert_eq!(found["finish_reason"], "tool_calls", "{template}: {whole}");
            assert_eq!(
                found["message"]["content"],
                Value::Null,
                "{template}: {whole}"
            );
            let function = &found["message"]["tool_calls"][0]["function"];
            let called = function["name"].as_str().unwrap();
            assert!(
                name.map_or(called.starts_with("go"), |name| name == called),
                "{whole}"
            );
            let arguments: Value =
                serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
            assert!(arguments["place"].is_string(), "{template}: {whole}");
        }
    }
}

/// A message that has the text of a special token in it is read as that text: the model reads more tokens, and answers all the same.
#[test]
fn special_tokens_in_messages_are_text() {
    let server = server_with(
        "{% for m in messages %}{{ m.content }}</s>{% endfor %}",
        1,
        |_| {},
    );
    let tokens = |content: &str| {
        let asked = chat(json!({"messages": [{"role": "user", "content": content}]}));
        let answer = post(&server, "/v1/chat/completions", &asked).json();
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let count = |text: &str| {
        let asked = json!({"content": text, "add_special": false});
        post(&server, "/tokenize", &asked).json()["count"]
            .as_u64()
            .unwrap()
    };
    let (said, ended) = ("And he said", "And he said</s> unto him");
    assert_eq!(count("</s>"), 1);
    assert_eq!(tokens(said), count(said) + 1);
    assert!(
        tokens(ended) > count(ended) + 1,
        "{} {}",
        tokens(ended),
        count(ended)
    );
}

/// Grammars in the notation that other servers take.
#[test]
fn grammars_in_gbnf_are_followed() {
    let server = server(1, |_| {});
    let grammar =
        "root ::= \"I am \" name (\", \" name){0,2} \".\" # who\nname ::= [A-Z] [a-z]{2,5}";
    let asked = greedy(json!({"grammar": grammar, "max_tokens": 60}));
    let answer = post(&server, "/v1/completions", &asked).json();
    let text = answer["choices"][0]["text"].as_str().unwrap();
    let names = text
        .strip_prefix("I am ")
        .and_then(|text| text.strip_suffix('.'));
    let names = names.unwrap_or_else(|| panic!("{answer}"));
    for name in names.split(", ") {
        assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
        assert!(
            (3..=6).contains(&name.len()) && name[1..].chars().all(|c| c.is_ascii_lowercase()),
            "{text}"
        );
    }
    let asked = greedy(json!({"grammar": "root ::= \"a\" |\n  \"b"}));
    let answer = post(&server, "/v1/completions", &asked);
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .error()
            .contains("line 2, column 3: an unterminated string"),
        "{}",
        answer.error()
    );
}
