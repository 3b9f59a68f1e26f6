//! Probabilities of tokens, in the two forms that the API has.

use graver_runtime::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use crate::engine::{Scored, Token};

/// Of a conversation: each token with its bytes and alternatives.
pub(super) fn of_chat(tokenizer: &Tokenizer, tokens: &[Token]) -> Value {
    let entry = |id: u32, logprob: f32| {
        let bytes = tokenizer.bytes_of(id).unwrap_or_default();
        json!({"token": String::from_utf8_lossy(&bytes), "logprob": logprob, "bytes": bytes})
    };
    let scored = tokens
        .iter()
        .filter_map(|t| Some((t.id, t.scored.as_ref()?)));
    let content = scored.map(|(id, scored)| {
        let mut token = entry(id, scored.logprob);
        let alternatives = scored.alternatives.iter();
        let alternatives: Vec<Value> = alternatives.map(|&(id, p)| entry(id, p)).collect();
        token["top_logprobs"] = alternatives.into();
        token
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}

/// Of a completion: lists of tokens, of probabilities, of alternatives and of places in the text, which goes on from byte `offset`.
pub(super) fn of_completion(tokenizer: &Tokenizer, tokens: &[Token], offset: &mut usize) -> Value {
    let text = |id: u32| {
        let bytes = tokenizer.bytes_of(id).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (mut names, mut logprobs, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
    for token in tokens {
        let Some(Scored {
            logprob,
            alternatives,
        }) = &token.scored
        else {
            continue;
        };
        let name = text(token.id);
        let top: Map<String, Value> = alternatives
            .iter()
            .map(|&(id, p)| (text(id), json!(p)))
            .collect();
        offsets.push(*offset);
        *offset += name.chars().count();
        names.push(name);
        logprobs.push(*logprob);
        tops.push(top);
    }
    json!({"tokens": names, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets})
}
