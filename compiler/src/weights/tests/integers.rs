//! Integers as GPTQ, AWQ and compressed-tensors publish them: panels hold what floats do, bit for bit, and what does not fit is refused.

use super::*;
use crate::weights::{Checkpoint, Source, View, Weights, resolve};
use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use graver_runtime::abi::{Encoding, Quant};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/{name}"))
}

fn weights(folder: &Path, packs: bool) -> Result<Weights, String> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let spec = crate::spec::for_config(&checkpoint.config).unwrap();
    let model = spec.bind(&checkpoint.config).unwrap();
    let checkpoint = Checkpoint {
        packs,
        ..checkpoint
    };
    resolve(&model, Source::Checkpoint(checkpoint)).map_err(|e| e.to_string())
}

/// The values of a matrix in panels, row after row.
fn unpacked(weights: &Weights, view: &View, quant: Quant, rows: usize) -> Vec<f32> {
    let (bytes, panel_bytes) = (weights.bytes(view), view.row_stride_bytes);
    let groups = panel_bytes / quant.group_bytes();
    let value = |row: usize, column: usize| {
        let panel = &bytes[row / PANEL_ROWS * panel_bytes..];
        quant.value(panel, row % PANEL_ROWS, column)
    };
    let place = |i: usize| (i / (groups * GROUP), i % (groups * GROUP));
    let all = (0..rows * groups * GROUP).map(place);
    all.map(|(row, column)| value(row, column)).collect()
}

#[test]
fn panels_hold_the_values_that_floats_have() {
    for (form, expected) in [
        ("gptq", Quant::Q4Min),
        ("awq", Quant::Q4Min),
        ("int4", Quant::Q4Min),
        ("int4-zeros", Quant::Q4Min),
        ("int8", Quant::Q8Half),
    ] {
        let folder = fixture(&format!("llama-{form}"));
        let (packed, floats) = (weights(&folder, true), weights(&folder, false));
        let (packed, floats) = (packed.unwrap(), floats.unwrap());
        assert!(packed.widened.is_empty(), "{form}");
        let mut matrices = 0;
        for (view, plain) in packed.layers[0].iter().zip(&floats.layers[0]) {
            let Encoding::Quantized(quant) = view.encoding else {
                continue;
            };
            assert_eq!(quant, expected, "{form} {}", view.slot);
            let plain_bytes = floats.bytes(plain).chunks_exact(4);
            let plain: Vec<u32> = plain_bytes
                .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            let rows = plain.len() / (view.row_stride_bytes / quant.group_bytes() * GROUP);
            let held = unpacked(&packed, view, quant, rows);
            let held: Vec<u32> = held.iter().map(|v| v.to_bits()).collect();
            assert_eq!(held, plain, "{form} {}", view.slot);
            matrices += 1;
        }
        assert_eq!(matrices, 7, "{form}");
    }
}

#[test]
fn groups_out_of_order_become_floats() {
    let weights = weights(&fixture("llama-gptq-order"), true).unwrap();
    let [widened] = &weights.widened[..] else {
        panic!("one type becomes floats: {:?}", weights.widened);
    };
    assert_eq!((widened.storage, widened.tensors), ("INT4", 7));
}

/// A copy of a fixture with another config, and what is said of it.
fn refused(form: &str, edit: impl Fn(&mut Value)) -> String {
    let source = fixture(&format!("llama-{form}"));
    let config = fs::read(source.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    edit(&mut config["quantization_config"]);
    let tensors = fs::read(source.join("model.safetensors")).unwrap();
    let folder = Folder::with(&[
        ("config.json", config.to_string().as_bytes()),
        ("model.safetensors", &tensors),
    ]);
    weights(&folder.0, true).expect_err("a config to be refused")
}

#[test]
fn sizes_and_formats_that_are_not_known_are_refused_by_name() {
    let start = "config.json: quantization_config.";
    let end = "; use the checkpoint's unquantised form";
    for (form, key, value, expected) in [
        ("gptq", "bits", json!(3), "bits: found 3, expected 4 or 8"),
        (
            "gptq",
            "checkpoint_format",
            json!("marlin"),
            "checkpoint_format: found marlin, expected gptq or gptq_v2",
        ),
        (
            "awq",
            "version",
            json!("gemv"),
            "version: found gemv, expected gemm",
        ),
        ("awq", "bits", json!(8), "bits: found 8, expected 4"),
        (
            "int4",
            "format",
            json!("marlin-24"),
            "format: found marlin-24, expected float-quantized or pack-quantized",
        ),
    ] {
        let said = refused(form, |q| q[key] = value.clone());
        assert_eq!(said, format!("{start}{expected}{end}"));
    }
    let said = refused("gptq", |q| q["quant_method"] = "bitsandbytes".into());
    assert!(said.contains("`bitsandbytes` cannot be read"), "{said}");
}

#[test]
fn tensors_that_do_not_fit_the_sizes_are_refused() {
    let said = refused("gptq", |q| q["group_size"] = 16.into());
    assert!(
        said.contains("_proj.scales\": for layers.0.")
            && said.contains("found F16 [2, 64], expected F16 [4, 64]"),
        "{said}"
    );
    let said = refused("int4", |q| {
        q["config_groups"]["group_0"]["weights"]["num_bits"] = 8.into();
    });
    assert!(
        said.contains("found I32 [64, 8], expected I32 [64, 16]"),
        "{said}"
    );
}

#[test]
fn the_second_format_of_gptq_stores_zero_points_as_they_are() {
    let source = fixture("llama-gptq");
    let first = weights(&source, false).unwrap();
    let config = fs::read_to_string(source.join("config.json")).unwrap();
    let config = config.replace(
        "\"quant_method\": \"gptq\"",
        "\"quant_method\": \"gptq\", \"checkpoint_format\": \"gptq_v2\"",
    );
    let tensors = fs::read(source.join("model.safetensors")).unwrap();
    let folder = Folder::with(&[
        ("config.json", config.as_bytes()),
        ("model.safetensors", &tensors),
    ]);
    let second = weights(&folder.0, false).unwrap();
    let value = |weights: &Weights, slot: usize| {
        let bytes = weights.bytes(&weights.layers[0][slot]);
        f32::from_le_bytes(bytes[..4].try_into().unwrap())
    };
    let slot = first.layers[0]
        .iter()
        .position(|view| view.slot.contains("attention.q"))
        .unwrap();
    // A zero point that is smaller by one makes every value larger by a scale.
    assert!(value(&second, slot) > value(&first, slot));
}
