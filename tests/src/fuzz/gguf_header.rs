//! Headers of GGUF files, and what is read of their metadata.
//!
//! What is accepted lies inside the file and does not overlap; every value of the metadata can be read or says what it is.

use graver::weights::{Item, parse_gguf};

use crate::gguf::{Writer, kind, text};

/// See the module.
pub fn check(file: &[u8]) {
    let header = match parse_gguf(file) {
        Ok(header) => header,
        Err(message) => return drop(message.to_string()),
    };
    let mut end = 0;
    for t in &header.tensors {
        assert!(t.offset_bytes >= end, "{t:?}");
        end = t.offset_bytes + t.bytes;
        assert!(end <= file.len(), "{t:?}");
        let elements: usize = t.shape.iter().product();
        assert_eq!(
            elements / t.storage.block * t.storage.bytes,
            t.bytes,
            "{t:?}"
        );
    }
    for key in header.metadata.keys() {
        let item = header.metadata.get(file, key).expect("its own key");
        if let Item::List(list) = item {
            assert_eq!(list.items().count(), list.len());
        }
        drop(item.wrong(key, "something else").to_string());
        drop(header.metadata.whole(file, key));
        drop(header.metadata.flag(file, key));
        drop(header.metadata.text(file, key));
        drop(header.metadata.list(file, key));
    }
}

/// Files of every type of value, with tensors of several types.
pub fn seeds() -> Vec<Vec<u8>> {
    let plain = Writer::default();
    let tensors = plain
        .clone()
        .zeros("a", "F32", &[3])
        .zeros("b", "Q4_K", &[2, 256])
        .zeros("c", "Q8_0", &[1, 2, 2, 32]);
    let tokens = [text(b"a"), text(b""), text(b"\xff")];
    let keys = plain
        .clone()
        .text("general.architecture", "llama")
        .whole("llama.block_count", 2)
        .single("llama.rope.freq_base", 1e4)
        .flag("tokenizer.ggml.add_bos_token", true)
        .list("tokenizer.ggml.tokens", kind::TEXT, &tokens)
        .list(
            "tokenizer.ggml.scores",
            kind::F32,
            &[vec![0; 4], vec![1; 4]],
        )
        .raw("big", kind::U64, &[7; 8]);
    let aligned = Writer {
        alignment: 8,
        ..tensors.clone()
    };
    let old = Writer {
        version: 2,
        ..keys.clone()
    };
    let all = [plain, tensors, keys, aligned, old];
    all.map(|w| w.bytes()).into()
}
