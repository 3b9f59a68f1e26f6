//! Views: which bytes of which tensor a slot reads, and what is said when there are none.

use super::*;
use crate::spec::model::Range;
use crate::weights::{Checkpoint, Source, View, Weights, resolve, split_kinds};
use graver_runtime::abi::{Dtype, Encoding};

fn checkpoint(weights: &[u8]) -> (Folder, Checkpoint) {
    let folder = Folder::with(&[("config.json", b"{}"), ("model.safetensors", weights)]);
    let checkpoint = Checkpoint::open(&folder.0).unwrap();
    (folder, checkpoint)
}

fn weights(model: &Model, file: &[u8]) -> Weights {
    resolve(model, Source::Checkpoint(checkpoint(file).1)).unwrap()
}

fn message(model: &Model, file: &[u8]) -> String {
    resolve(model, Source::Checkpoint(checkpoint(file).1))
        .unwrap_err()
        .to_string()
}

fn value(weights: &Weights, view: &View, offset: usize) -> f32 {
    let bytes = weights.bytes(view);
    match view.encoding.float().unwrap() {
        Dtype::F32 => f32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap()),
        Dtype::Bf16 => {
            f32::from_bits(u32::from(u16::from_le_bytes([bytes[offset], bytes[offset + 1]])) << 16)
        }
        Dtype::F16 => panic!("no f16 here"),
    }
}

/// The matrix `[out, in]` that a view stands for, read by its definition.
fn matrix(weights: &Weights, view: &View, [rows, columns]: [usize; 2]) -> Vec<Vec<f32>> {
    let at = |out: usize, inp: usize| {
        let (row, column) = if view.transposed {
            (inp, out)
        } else {
            (out, inp)
        };
        value(
            weights,
            view,
            row * view.row_stride_bytes + column * view.encoding.float().unwrap().size(),
        )
    };
    (0..rows)
        .map(|out| (0..columns).map(|inp| at(out, inp)).collect())
        .collect()
}

fn vector(weights: &Weights, view: &View, n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| value(weights, view, i * view.encoding.float().unwrap().size()))
        .collect()
}

fn counting(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

/// Only a head with one matrix.
fn matrix_model(weight: Weight) -> Model {
    model(vec![], vec![], 0, vec![linear(weight, None)])
}

#[test]
fn a_matrix_as_stored() {
    let model = matrix_model(weight("w", "w", &[2, 3]));
    let weights = weights(
        &model,
        &file(&[("w", "F32", &[2, 3], f32_bytes(&counting(6)))]),
    );
    let view = &weights.head[0];
    assert_eq!(
        (view.row_stride_bytes, view.bytes, view.encoding),
        (12, 24, Encoding::Float(Dtype::F32))
    );
    assert_eq!(
        matrix(&weights, view, [2, 3]),
        [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    );
    assert_eq!(weights.slots(), [weights.bytes(view)]);
}

#[test]
fn misaligned_data_is_taken_as_it_is() {
    // One odd byte before the matrix, in the data.
    let model = Model {
        ignore: vec!["odd".into()],
        ..matrix_model(weight("w", "w", &[1, 2]))
    };
    let tensors: [(&str, &str, &[usize], Vec<u8>); 2] = [
        ("odd", "U8", &[1], vec![9]),
        ("w", "BF16", &[1, 2], bf16_bytes(&[1.5, -2.0])),
    ];
    let weights = weights(&model, &file(&tensors));
    assert_eq!(matrix(&weights, &weights.head[0], [1, 2]), [[1.5, -2.0]]);
}

#[test]
fn rows_of_a_joined_matrix() {
    let mut w = weight("w", "w", &[2, 2]);
    w.part = Some(Range::one(1, 4));
    let weights = weights(
        &matrix_model(w),
        &file(&[("w", "F32", &[4, 2], f32_bytes(&counting(8)))]),
    );
    let view = &weights.head[0];
    assert_eq!((view.row_stride_bytes, view.bytes), (8, 16));
    assert_eq!(matrix(&weights, view, [2, 2]), [[2.0, 3.0], [4.0, 5.0]]);
}

#[test]
fn rows_of_every_head() {
    // Two heads of three rows, of which the last two belong to the part; of the last head nothing follows it.
    let mut w = weight("w", "w", &[4, 2]);
    let heads = Range {
        heads: 2,
        ..Range::one(1, 3)
    };
    w.part = Some(heads);
    let blocks = w.blocks().unwrap();
    assert_eq!([0, 1, 2, 3].map(|r| blocks.place(r)), [0, 1, 3, 4]);
    let weights = weights(
        &matrix_model(w),
        &file(&[("w", "F32", &[6, 2], f32_bytes(&counting(12)))]),
    );
    let view = &weights.head[0];
    assert_eq!((view.row_stride_bytes, view.bytes), (8, 40));
    let rows = matrix(&weights, view, [5, 2]);
    assert_eq!(
        [rows[blocks.place(0)].clone(), rows[blocks.place(3)].clone()],
        [[2.0, 3.0], [10.0, 11.0]]
    );
}

#[test]
fn dimensions_of_one_element_may_be_there_or_not() {
    let weights = weights(
        &matrix_model(weight("w", "w", &[2, 2])),
        &file(&[("w", "F32", &[2, 1, 2], f32_bytes(&counting(4)))]),
    );
    let view = &weights.head[0];
    assert_eq!(matrix(&weights, view, [2, 2]), [[0.0, 1.0], [2.0, 3.0]]);
}

#[test]
fn columns_of_a_transposed_joined_matrix() {
    // Stored [in = 3, out = 5]; the part is outputs 2 and 3.
    let mut w = weight("w", "w", &[2, 3]);
    (w.transposed, w.part) = (true, Some(Range::one(2, 5)));
    let weights = weights(
        &matrix_model(w),
        &file(&[("w", "BF16", &[3, 5], bf16_bytes(&counting(15)))]),
    );
    let view = &weights.head[0];
    // From element 2 to element 13, both included.
    assert_eq!(
        (view.row_stride_bytes, view.bytes, view.transposed),
        (10, 24, true)
    );
    assert_eq!(
        matrix(&weights, view, [2, 3]),
        [[2.0, 7.0, 12.0], [3.0, 8.0, 13.0]]
    );
}

#[test]
fn the_last_columns_end_with_the_tensor() {
    let mut w = weight("w", "w", &[2, 3]);
    (w.transposed, w.part) = (true, Some(Range::one(3, 5)));
    let weights = weights(
        &matrix_model(w),
        &file(&[("w", "F32", &[3, 5], f32_bytes(&counting(15)))]),
    );
    assert_eq!(
        matrix(&weights, &weights.head[0], [2, 3]),
        [[3.0, 8.0, 13.0], [4.0, 9.0, 14.0]]
    );
}

#[test]
fn vectors_become_f32_and_matrices_do_not() {
    let mut bias = weight("linear.bias", "b", &[2]);
    bias.part = Some(Range::one(1, 3));
    let model = model(
        vec![],
        vec![],
        0,
        vec![
            norm(weight("norm", "n", &[3]), false),
            linear(weight("w", "w", &[2, 3]), Some(bias)),
        ],
    );
    let weights = weights(
        &model,
        &file(&[
            ("n", "BF16", &[3], bf16_bytes(&[1.0, 2.0, -3.5])),
            ("b", "F16", &[3], vec![0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00]),
            ("w", "BF16", &[2, 3], bf16_bytes(&counting(6))),
        ]),
    );
    let [n, w, b] = &weights.head[..] else {
        panic!("three slots")
    };
    assert_eq!(
        [n, b, w].map(|v| v.encoding.float().unwrap()),
        [Dtype::F32, Dtype::F32, Dtype::Bf16]
    );
    assert_eq!(vector(&weights, n, 3), [1.0, 2.0, -3.5]);
    // f16 1, -2 and its smallest subnormal, of which the part takes the last two.
    assert_eq!(vector(&weights, b, 2), [-2.0, 2f32.powi(-24)]);
    assert_eq!(weights.bytes(n).as_ptr() as usize % 64, 0);
}

#[test]
fn prefixes_are_tried_in_place_of_the_first() {
    let layer = vec![linear(weight("w", "base.h.{i}.w", &[1, 1]), None)];
    let mut model = model(
        vec![],
        layer,
        2,
        vec![linear(weight("head", "lm_head", &[1, 1]), None)],
    );
    model.prefixes = vec!["base.".into(), "".into()];
    model.ignore = vec!["base.h.*.mask".into()];
    let one = |value| f32_bytes(&[value]);
    for prefix in ["base.", ""] {
        let (a, b, mask) = (
            format!("{prefix}h.0.w"),
            format!("{prefix}h.1.w"),
            format!("{prefix}h.0.mask"),
        );
        let tensors: [(&str, &str, &[usize], Vec<u8>); 4] = [
            (&a, "F32", &[1, 1], one(1.0)),
            (&b, "F32", &[1, 1], one(2.0)),
            ("lm_head", "F32", &[1, 1], one(3.0)),
            (&mask, "BOOL", &[1], vec![1]),
        ];
        let weights = weights(&model, &file(&tensors));
        let values: Vec<f32> = weights
            .views()
            .map(|view| vector(&weights, view, 1)[0])
            .collect();
        assert_eq!(values, [1.0, 2.0, 3.0]);
    }
}

/// An embedding and a head that may share its table.
fn tied_model() -> Model {
    let mut head = weight("head", "lm_head", &[2, 2]);
    head.tensors.push("embed".into());
    model(
        vec![embed(weight("embed", "embed", &[2, 2]))],
        vec![],
        0,
        vec![linear(head, None)],
    )
}

#[test]
fn a_tied_head_is_shared_when_left_out_and_read_when_stored() {
    let table: (&str, &str, &[usize], Vec<u8>) = ("embed", "F32", &[2, 2], f32_bytes(&counting(4)));
    let tied = weights(&tied_model(), &file(std::slice::from_ref(&table)));
    assert_eq!(tied.tensors.len(), 1);
    assert_eq!(tied.embed[0].offset_bytes, tied.head[0].offset_bytes);
    let head: (&str, &str, &[usize], Vec<u8>) = ("lm_head", "F32", &[2, 2], f32_bytes(&[9.0; 4]));
    let untied = weights(&tied_model(), &file(&[table, head]));
    assert_eq!(
        matrix(&untied, &untied.head[0], [2, 2]),
        [[9.0, 9.0], [9.0, 9.0]]
    );
}

#[test]
fn a_missing_tensor_is_named_with_its_nearest() {
    let layer = vec![linear(
        weight("attention.q.weight", "m.layers.{i}.q_proj.weight", &[1, 1]),
        None,
    )];
    let mut model = model(vec![], layer, 2, vec![]);
    model.prefixes = vec!["m.".into(), "".into()];
    let tensors: [(&str, &str, &[usize], Vec<u8>); 2] = [
        ("m.layers.0.q_proj.weight", "F32", &[1, 1], vec![0; 4]),
        ("m.layers.1.qproj.weight", "F32", &[1, 1], vec![0; 4]),
    ];
    assert_eq!(
        message(&model, &file(&tensors)),
        "layers.1.attention.q.weight: no tensor named \"m.layers.1.q_proj.weight\" or \"layers.1.q_proj.weight\"; the nearest name in \
         the checkpoint is \"m.layers.1.qproj.weight\"; check the names in the spec, or whether a file of the checkpoint is missing"
    );
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let stored = |shape: &[usize]| {
        file(&[(
            "w",
            "F32",
            shape,
            vec![0; shape.iter().product::<usize>() * 4],
        )])
    };
    let advice = "config.json and the weights do not belong together, or the spec's shape is wrong";
    assert_eq!(
        message(&matrix_model(weight("w", "w", &[2, 3])), &stored(&[2, 4])),
        format!("tensor \"w\": found shape [2, 4], expected [2, 3] for head.w; {advice}")
    );
    assert_eq!(
        message(&matrix_model(weight("w", "w", &[2, 3])), &stored(&[3, 2])),
        format!(
            "tensor \"w\": found shape [3, 2], expected [2, 3] for head.w; it seems to be stored transposed, which the spec does not say; {advice}"
        )
    );
    let part = Weight {
        part: Some(Range::one(2, 6)),
        ..weight("w", "w", &[2, 3])
    };
    assert_eq!(
        message(&matrix_model(part), &stored(&[4, 3])),
        format!(
            "tensor \"w\": found shape [4, 3], expected [6, 3] for head.w, which is one part of it; {advice}"
        )
    );
}

#[test]
fn a_tensor_of_integers_is_no_weight() {
    assert_eq!(
        message(
            &matrix_model(weight("w", "w", &[1, 1])),
            &file(&[("w", "I64", &[1, 1], vec![0; 8])])
        ),
        "tensor \"w\": found type I64, expected F32, F16 or BF16 for head.w"
    );
}

#[test]
fn left_over_tensors_are_listed() {
    let model = matrix_model(weight("w", "head.weight", &[1, 1]));
    let mut tensors: Vec<(String, Vec<u8>)> = vec![
        ("head.weight".into(), vec![0; 4]),
        ("head.wieght".into(), vec![0; 4]),
    ];
    let bytes = |tensors: &[(String, Vec<u8>)]| {
        let list: Vec<_> = tensors
            .iter()
            .map(|(name, data)| (name.as_str(), "F32", &[1usize, 1][..], data.clone()))
            .collect();
        file(&list)
    };
    assert_eq!(
        message(&model, &bytes(&tensors)),
        "1 tensor of the checkpoint left over: \"head.wieght\" (nearest expected: \"head.weight\"); the spec has no weight for it, \
         nor lists it under `ignore`"
    );
    tensors.extend((0..6).map(|i| (format!("{i}"), vec![0; 4])));
    assert_eq!(
        message(&model, &bytes(&tensors)),
        "7 tensors of the checkpoint left over: \"0\", \"1\", \"2\", \"3\", 3 more; the spec has no weight for them, nor lists them \
         under `ignore`"
    );
    let ignoring = Model {
        ignore: vec!["?".into(), "head.w*ght".into(), "*".into()],
        ..model
    };
    weights(&ignoring, &bytes(&tensors));
}

#[test]
fn ignore_patterns() {
    let model = |pattern: &str| Model {
        ignore: vec![pattern.into()],
        ..matrix_model(weight("w", "w", &[1, 1]))
    };
    let bytes = file(&[
        ("w", "F32", &[1, 1], vec![0; 4]),
        ("h.10.attn.bias", "U8", &[1], vec![0]),
    ]);
    for pattern in [
        "h.10.attn.bias",
        "h.*.attn.bias",
        "*.bias",
        "h.*",
        "*a*a*",
        "**",
    ] {
        weights(&model(pattern), &bytes);
    }
    for pattern in [
        "",
        "h.*.attn",
        "*.weight",
        "attn*",
        "h.10.attn.bias*x",
        "*b*b*",
    ] {
        assert!(
            message(&model(pattern), &bytes).contains("left over"),
            "{pattern}"
        );
    }
}

#[test]
fn weights_that_cannot_be_laid_out() {
    let bytes = file(&[("w", "F32", &[1, 1], vec![0; 4])]);
    let beyond = Weight {
        part: Some(Range::one(usize::MAX, 4)),
        ..weight("w", "w", &[2, 3])
    };
    let cases = [
        (
            weight("w", "w", &[]),
            "shape [] cannot be laid out: a weight needs a dimension",
        ),
        (
            weight("w", "w", &[0, 3]),
            "shape [0, 3] cannot be laid out: no dimension can be zero",
        ),
        (
            beyond,
            "shape [2, 3] cannot be laid out: the part reaches beyond the whole",
        ),
    ];
    for (weight, end) in cases {
        assert_eq!(
            message(&matrix_model(weight), &bytes),
            format!("head.w: the spec's weight of {end}")
        );
    }
}

#[test]
fn kinds_split_where_layers_differ() {
    let layer = vec![linear(weight("w", "{i}", &[1, 2]), None)];
    let mut model = model(vec![], layer, 4, vec![]);
    let row = |name, is_f32| -> (&str, &str, &[usize], Vec<u8>) {
        let (dtype, bytes) = if is_f32 { ("F32", 8) } else { ("BF16", 4) };
        (name, dtype, &[1, 2], vec![0; bytes])
    };
    let weights = weights(
        &model,
        &file(&[
            row("0", true),
            row("1", false),
            row("2", true),
            row("3", false),
        ]),
    );
    split_kinds(&mut model, &weights);
    assert_eq!(model.layers, [0, 1, 0, 1]);
    let names: Vec<&str> = model.kinds.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["dense", "dense.2"]);
    let again = model.clone();
    split_kinds(&mut model, &weights);
    assert_eq!(model, again);
}
