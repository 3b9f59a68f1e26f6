//! Programs with one rule broken, and what the verifier says of each.

use graver_runtime::abi::CacheType;

use crate::graph::{Block, Program, ProgramKind, RecurrentDecl, parse};
use crate::spec::model::Rope;

const EMBED: &str = "
    weight @embed.table: f32[16, 8]
    %h = embed @embed.table {scale=1}
    %s = embed @embed.table {scale=2}
    %rope0 = rope_angles {rope=0 dim=4}
    output h = %h
    output s = %s
    output rope0 = %rope0";

const OWN: &str = "
    state kv: f32 heads=1 key=8 value=8
    %h = input: [T, 8]
    %rope0 = input: [T, 4]
    %k = rope %h, angles=%rope0 {head_dim=8 dim=4}
    %c = cache_write %k, %h {state=s0}
    %y = attention %h, after=%c {heads=1 kv_heads=1 head_dim=8 scale=0.5 state=s0}
    output h = %y
    output s = %k";

const SHARING: &str = "
    state other_name: f32 heads=1 key=8 value=8
    %h = input: [T, 8]
    %c = cache_read {state=s0}
    %y = attention %h, after=%c {heads=1 kv_heads=1 head_dim=8 scale=0.5 state=s0}
    output h = %y";

const HEAD: &str = "
    weight @logits.weight: f32[16, 8]
    %h = input: [T, 8]
    %s = input: [T, 8]
    %rows = gather_rows %h
    %others = gather_rows %s
    %sum = add %rows, %others
    %logits = matmul %sum, w0=@logits.weight {part(rows=16)}
    output logits = %logits";

/// Two layers of which the second reads the first one's state, between an embedding and a head.
fn sound() -> Program {
    let blocks = [
        ("embed", EMBED),
        ("own", OWN),
        ("sharing", SHARING),
        ("head", HEAD),
    ];
    Program {
        kind: ProgramKind::Decode,
        blocks: blocks.map(|(name, text)| block(name, text)).to_vec(),
        layers: vec![1, 2],
        sources: vec![None, Some(0)],
        ropes: vec![Rope {
            name: "rope".into(),
            theta: 10_000.0,
            scaling: None,
            freqs: vec![1.0; 2],
            scale: 1.0,
            interleaved: false,
            long: None,
        }],
    }
}

fn block(name: &str, text: &str) -> Block {
    Block {
        name: name.into(),
        graph: parse(text).unwrap_or_else(|e| panic!("{name}: {e}")),
    }
}

/// What is said of a program in which the text of block `at` has `new` in the place of `old`.
#[track_caller]
fn with(at: usize, old: &str, new: &str) -> String {
    let text = [EMBED, OWN, SHARING, HEAD][at];
    assert!(text.contains(old), "{old} is not in {text}");
    let mut program = sound();
    program.blocks[at] = block(&program.blocks[at].name, &text.replace(old, new));
    said_of(&program)
}

#[track_caller]
fn said_of(program: &Program) -> String {
    program.verify().expect_err("a broken rule").to_string()
}

#[test]
fn a_sound_program_is_valid() {
    sound().verify().unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn layers_are_blocks_between_embedding_and_head() {
    for odd in [0, 3, 7] {
        let mut program = sound();
        program.layers[1] = odd;
        let said = said_of(&program);
        assert_eq!(
            said,
            format!("layers: block {odd} is the embedding, the head, or none")
        );
    }
    let mut program = sound();
    program.sources.pop();
    assert_eq!(
        said_of(&program),
        "layers: 2 layers with 1 sources in 4 blocks"
    );
}

#[test]
fn every_block_is_verified() {
    let said = with(3, "f32[16, 8]", "f32[16, 8] stride=4");
    assert_eq!(
        said,
        "head, %4: w0 of matmul is @logits.weight, whose rows of 32 bytes begin every 4 bytes"
    );
}

#[test]
fn embedding_and_head_keep_no_state() {
    let state = "state kv: f32 heads=1 key=8 value=8\n%h = ";
    assert_eq!(
        with(0, "%h = ", state),
        "embed, kv: is state, which only layers keep"
    );
    assert_eq!(
        with(3, "%h = ", state),
        "head, kv: is state, which only layers keep"
    );
    for b in [0, 3] {
        let mut program = sound();
        program.blocks[b].graph.recurrent.push(RecurrentDecl {
            name: "past".into(),
            heads: 1,
            rows: 2,
            columns: 8,
        });
        let said = said_of(&program);
        assert!(
            said.ends_with(", past: is state, which only layers keep"),
            "{said}"
        );
    }
}

#[test]
fn the_head_has_rows_of_logits_alone() {
    for (op, found) in [
        ("embed @logits.weight {scale=1}", "embed gives [T, 8]"),
        (
            "position_rows @logits.weight {offset=0}",
            "position_rows gives [T, 8]",
        ),
        ("rope_angles {rope=0 dim=4}", "rope_angles gives [T, 4]"),
        ("route %h {experts=8 top_k=2 softmax}", "route gives [T, 4]"),
        ("silu %h", "silu gives [T, 8]"),
    ] {
        let said = with(3, "%rows =", &format!("%odd = {op}\n%rows ="));
        assert_eq!(
            said,
            format!("head, %1: {found} in the head, expected rows of logits")
        );
    }
}

#[test]
fn rows_of_logits_are_in_the_head_alone() {
    for b in [1, 2] {
        let said = with(b, "output h", "%odd = gather_rows %h\noutput h");
        assert!(
            said.ends_with("has rows of logits, which only the head has"),
            "{said}"
        );
    }
}

#[test]
fn logits_are_what_the_head_gives_and_nothing_else() {
    let renamed = with(3, "output logits", "output y");
    assert_eq!(
        renamed,
        "head, outputs: gives [\"y\"], expected `logits` alone"
    );
    let more = with(3, "output logits", "output s = %others\noutput logits");
    assert_eq!(
        more,
        "head, outputs: gives [\"s\", \"logits\"], expected `logits` alone"
    );
    let not_rows = with(3, "output logits = %logits", "output logits = %h");
    assert_eq!(not_rows, "head, logits: is [T, 8], expected rows of logits");
    for (b, place) in [(0, "embed"), (1, "layers.own"), (2, "layers.sharing")] {
        let said = with(b, "output h", "output logits");
        let what = "is what the head gives, and no other block";
        assert_eq!(said, format!("{place}, logits: {what}"));
    }
}

#[test]
fn blocks_read_what_was_handed_on() {
    let nothing = with(2, "%h = input", "%x = input: [T, 8]\n%h = input");
    assert_eq!(
        nothing,
        "layers.sharing: `x` is [T, 8] here; what runs before hands on nothing"
    );
    let narrow = with(2, "%h = input", "%s = input: [T, 6]\n%h = input");
    assert_eq!(
        narrow,
        "layers.sharing: `s` is [T, 6] here; what runs before hands on [T, 8]"
    );
    // What a layer makes, layers behind it read, and none before it.
    let late = |order: [usize; 2]| {
        let mut program = sound();
        program.blocks[1] = block("own", &OWN.replace("output s", "output late"));
        let reads = SHARING.replace("%h = input", "%late = input: [T, 8]\n%h = input");
        program.blocks[2] = block("sharing", &reads);
        program.layers = order.to_vec();
        program
    };
    late([1, 2]).verify().unwrap();
    let mut early = late([2, 1]);
    early.sources = vec![None, None];
    assert_eq!(
        said_of(&early),
        "layers.sharing: `late` is [T, 8] here; what runs before hands on nothing"
    );
    let wide = with(
        1,
        "output s = %k",
        "%l = slice %k {start=0 len=4}\noutput s = %l",
    );
    assert_eq!(
        wide,
        "layers.own: `s` is [T, 4] here; what runs before hands on [T, 8]"
    );
    let first = with(0, "output h", "%x = input: [T, 8]\noutput h");
    assert_eq!(
        first,
        "embed, %x: is handed to the embedding, which is first"
    );
}

#[test]
fn what_is_handed_on_has_a_place_of_its_own() {
    let mut program = sound();
    program.blocks[1].graph.outputs[1].0 = "h".into();
    assert_eq!(said_of(&program), "layers.own, h: is handed on twice");
    let no_rows = with(1, "output s = %k", "output s = %c");
    assert_eq!(no_rows, "layers.own, s: is [], expected rows of tokens");
}

#[test]
fn angles_are_those_of_the_ropes() {
    let unknown = with(0, "rope=0", "rope=1");
    assert_eq!(unknown, "embed, %3: is of rope 1 of 1");
    let wide = with(0, "rope=0 dim=4", "rope=0 dim=6");
    assert_eq!(wide, "embed, %3: has 6 components, rope 0 has 4");
    let late = with(2, "output h", "%a = rope_angles {rope=0 dim=4}\noutput h");
    assert!(
        late.ends_with("is made in a layer; the embedding makes angles"),
        "{late}"
    );
    // A carried value under the name of angles.
    let other = with(0, "output rope0 = %rope0", "output rope0 = %s");
    assert_eq!(other, "embed: hands on no angles of rope rope as `rope0`");
}

#[test]
fn sources_come_before_and_have_state_of_their_own() {
    for (sources, layer, source) in [([None, Some(1)], 1, 1), ([Some(0), None], 0, 0)] {
        let mut program = sound();
        program.sources = sources.to_vec();
        assert_eq!(
            said_of(&program),
            format!(
                "layers: layer {layer} reads the state of layer {source}, which has none of its own before it"
            )
        );
    }
    let mut program = sound();
    program.layers = vec![1, 2, 2];
    program.sources = vec![None, Some(0), Some(1)];
    let said = said_of(&program);
    assert!(
        said.contains("layer 2 reads the state of layer 1"),
        "{said}"
    );
}

#[test]
fn a_state_that_is_only_read_has_a_source() {
    let mut program = sound();
    program.sources[1] = None;
    assert_eq!(
        said_of(&program),
        "layers.sharing, layer 1: reads a state that no layer has written"
    );
}

#[test]
fn a_layer_with_a_source_writes_no_state() {
    let mut program = sound();
    program.layers = vec![1, 1];
    assert_eq!(
        said_of(&program),
        "layers.own, layer 1: writes state in the place of layer 0's"
    );
    let mut program = sound();
    program.blocks[2].graph.recurrent.push(RecurrentDecl {
        name: "past".into(),
        heads: 1,
        rows: 2,
        columns: 8,
    });
    let said = said_of(&program);
    assert!(said.contains("writes state in the place"), "{said}");
}

#[test]
fn a_sharer_declares_what_its_source_declares() {
    let dtype = |p: &mut Program| p.blocks[2].graph.states[0].dtype = CacheType::F16;
    let shared = |p: &mut Program| p.blocks[2].graph.states[0].shared = true;
    let ring = |p: &mut Program| {
        let text = SHARING.replace("value=8\n", "value=8 ring=8\n");
        p.blocks[2] = block(
            "sharing",
            &text.replace("state=s0}\n    output", "window=8 state=s0}\n    output"),
        );
    };
    let heads = |p: &mut Program| {
        let text = SHARING.replace("key=8 value=8", "key=16 value=8");
        let text = text.replace("[T, 8]", "[T, 8]\n%w = cache_read {state=s0}");
        let text = text.replace(
            "%y = attention %h",
            "%q = head_concat %h, %h {heads=1 left=8 right=8}\n%y = attention %q",
        );
        let text = text.replace("head_dim=8", "head_dim=16 value_dim=8");
        p.blocks[2] = block("sharing", &text);
    };
    let more = |p: &mut Program| {
        let decl = p.blocks[2].graph.states[0].clone();
        p.blocks[2].graph.states.push(decl);
    };
    type Edit = fn(&mut Program);
    let edits: [(Edit, &str); 5] = [
        (ring, "state 0 is"),
        (dtype, "state 0 is"),
        (shared, "state 0 is"),
        (heads, "state 0 is"),
        (more, "state 1 is"),
    ];
    for (i, (edit, what)) in edits.into_iter().enumerate() {
        let mut program = sound();
        edit(&mut program);
        let said = said_of(&program);
        let place = format!("layers.sharing, layer 1: {what}");
        assert!(said.starts_with(&place), "edit {i}: {said}");
        assert!(said.contains("that of layer 0 is"), "edit {i}: {said}");
    }
}

#[test]
#[should_panic(expected = "after pass that breaks things: the decode program is broken: embed, kv")]
fn a_broken_program_names_who_broke_it() {
    let text = EMBED.replacen("%h", "state kv: f32 heads=1 key=8 value=8\n%h", 1);
    let mut program = sound();
    program.blocks[0] = block("embed", &text);
    program.expect_valid("after pass that breaks things");
}
