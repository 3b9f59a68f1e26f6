//! Weights that are not finite, or too large for a scale: refused by name and place, however they are packed.

use super::quantize::{Q8, matrix_model, ramp};
use super::*;
use crate::spec::model::Range;
use crate::weights::{
    Checkpoint, QuantChoice, Source, Weights, quantize, quantize_when_written, resolve,
};
use graver_runtime::abi::Quant;

const Q4: QuantChoice = QuantChoice {
    layers: Quant::Q4,
    head: Quant::Q4,
};

fn resolved(model: &Model, file: &[u8]) -> Weights {
    let folder = Folder::with(&[("config.json", b"{}"), ("model.safetensors", file)]);
    let checkpoint = Checkpoint::open(folder.as_ref()).unwrap();
    resolve(model, Source::Checkpoint(checkpoint)).unwrap()
}

/// What is said when the model is packed in memory and when it is packed as it is written, which is the same.
fn refused(model: &Model, file: &[u8], choice: QuantChoice) -> String {
    let at_once = quantize(model, resolved(model, file), &choice.into(), &|_, _| {});
    let at_once = at_once.unwrap_err().to_string();
    let later = quantize_when_written(model, resolved(model, file), &choice.into());
    let later = match later {
        Err(error) => error.to_string(),
        Ok(weights) => {
            let errors = weights.tensors.iter().filter_map(|tensor| {
                let written = weights.byte_source(tensor).write(&mut std::io::sink());
                Some(written.err()?.to_string())
            });
            errors.into_iter().next().expect("an error")
        }
    };
    assert_eq!(at_once, later);
    at_once
}

fn accepted(model: &Model, file: &[u8], choice: QuantChoice) {
    quantize(model, resolved(model, file), &choice.into(), &|_, _| {}).unwrap();
}

type Stored = (&'static str, fn(&[f32]) -> Vec<u8>);
const TYPES: [Stored; 3] = [("F32", f32_bytes), ("BF16", bf16_bytes), ("F16", f16_bytes)];

#[test]
fn what_is_not_finite_is_refused_wherever_it_stands() {
    let (rows, k) = (19, 70);
    let model = matrix_model(weight("w", "w", &[rows, k]));
    for (name, bytes) in TYPES {
        for (bad, said) in [
            (f32::NAN, "NaN"),
            (f32::INFINITY, "inf"),
            (f32::NEG_INFINITY, "-inf"),
        ] {
            // The first of all, the last of a panel, one in the last columns, the last of all.
            for (row, column) in [(0, 0), (7, 31), (9, 64), (18, 69)] {
                let mut numbers: Vec<f32> = vec![0.5; rows * k];
                numbers[row * k + column] = bad;
                let file = file(&[("w", name, &[rows, k], bytes(&numbers))]);
                for choice in [Q8, Q4] {
                    assert_eq!(
                        refused(&model, &file, choice),
                        format!(
                            "tensor \"w\": row {row}, column {column}: found {said}, expected a finite number; download the checkpoint again"
                        )
                    );
                }
            }
        }
    }
}

#[test]
fn what_no_scale_reaches_is_refused() {
    let model = matrix_model(weight("w", "w", &[2, 40]));
    let of = |value: f32| {
        let mut numbers = ramp(80);
        numbers[40 + 35] = value;
        file(&[("w", "F32", &[2, 40], f32_bytes(&numbers))])
    };
    let minima = QuantChoice {
        layers: Quant::Q4Super,
        head: Quant::Q4Super,
    };
    for (choice, name, limit) in [
        (Q8, "q8", 8_319_008.0),
        (Q4, "q4", 524_032.0),
        (minima, "q4s", 16_703_520.0),
    ] {
        for sign in [1.0, -1.0] {
            accepted(&model, &of(sign * limit), choice);
            let found = sign * limit * 1.001;
            assert_eq!(
                refused(&model, &of(found), choice),
                format!(
                    "tensor \"w\": row 1, column 35: found {found:e}, expected a magnitude of at most {limit}, the largest in {name}; choose another --quantize, or none"
                )
            );
        }
    }
}

/// The place is that of the stored tensor, whichever part of it is read, and in which order.
#[test]
fn places_are_those_of_the_tensor() {
    let (rows, columns) = (12, 40);
    let at = |row: usize, column: usize| {
        let mut numbers = ramp(rows * columns);
        numbers[row * columns + column] = f32::NAN;
        file(&[("w", "F32", &[rows, columns], f32_bytes(&numbers))])
    };
    let transposed = Weight {
        transposed: true,
        ..weight("w", "w", &[columns, rows])
    };
    let part = Weight {
        part: Some(Range::one(4, rows)),
        ..weight("w", "w", &[8, columns])
    };
    let strip = Weight {
        columns: Some(Range::one(8, columns)),
        ..weight("w", "w", &[rows, 16])
    };
    let heads = Weight {
        part: Some(Range {
            heads: 2,
            ..Range::one(2, 6)
        }),
        ..weight("w", "w", &[8, columns])
    };
    for (weight, row, column) in [
        (transposed, 3, 17),
        (part, 9, 5),
        (strip, 11, 20),
        (heads, 9, 39),
    ] {
        let said = refused(&matrix_model(weight), &at(row, column), Q8);
        let start = format!("tensor \"w\": row {row}, column {column}: found NaN");
        assert!(said.starts_with(&start), "{said}");
    }
}

/// What is next to a part is not its affair.
#[test]
fn only_what_is_read_counts() {
    let part = Weight {
        part: Some(Range::one(8, 16)),
        ..weight("w", "w", &[8, 4])
    };
    let mut numbers = ramp(16 * 4);
    numbers[7 * 4] = f32::NAN;
    let file = file(&[("w", "F32", &[16, 4], f32_bytes(&numbers))]);
    accepted(&matrix_model(part), &file, Q8);
}

/// Of several, the first is named, however many threads look for them.
#[test]
fn the_first_of_several_is_named() {
    let (rows, k) = (900, 33);
    let model = matrix_model(weight("w", "w", &[rows, k]));
    let mut numbers = ramp(rows * k);
    for row in (300..rows).step_by(7) {
        numbers[row * k + 32] = f32::NAN;
    }
    let file = file(&[("w", "F32", &[rows, k], f32_bytes(&numbers))]);
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let said = pool.build().unwrap().install(|| refused(&model, &file, Q8));
        assert!(
            said.starts_with("tensor \"w\": row 300, column 32:"),
            "{said}"
        );
    }
}

/// Vectors stay in floats, but products with them are rounded.
#[test]
fn what_stays_in_floats_is_checked_as_well() {
    let model = model(
        vec![embed(weight("table", "e", &[6, 4]))],
        vec![
            norm(weight("gain", "g", &[4]), false),
            linear(weight("w", "w", &[4, 4]), Some(weight("bias", "b", &[4]))),
        ],
        1,
        vec![linear(weight("head", "e", &[6, 4]), None)],
    );
    for (stored, bytes) in TYPES {
        for bad in ["g", "b"] {
            let vector = |name: &'static str| {
                let mut numbers = ramp(4);
                if name == bad {
                    numbers[2] = f32::INFINITY;
                }
                (name, stored, &[4][..], bytes(&numbers))
            };
            let file = file(&[
                ("e", "F32", &[6, 4], f32_bytes(&ramp(24))),
                vector("g"),
                ("w", "F32", &[4, 4], f32_bytes(&ramp(16))),
                vector("b"),
            ]);
            let said = refused(&model, &file, Q8);
            let start = format!("tensor \"{bad}\": row 0, column 2: found inf");
            assert!(said.starts_with(&start), "{said}");
        }
    }
}
