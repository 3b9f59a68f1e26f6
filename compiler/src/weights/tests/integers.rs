//! Integers as GPTQ, AWQ and compressed-tensors publish them: panels hold what floats do, bit for bit, and what does not fit is refused.

use super::*;
use crate::weights::{Checkpoint, SafetensorsFile, Source, View, Weights, resolve};
use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use graver_runtime::abi::{Encoding, Quant};

pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/{name}"))
}

pub(super) fn weights(folder: &Path, packs: bool) -> Result<Weights, String> {
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

/// Tensors of a checkpoint: name, type, shape and bytes.
type Tensors = Vec<(String, String, Vec<usize>, Vec<u8>)>;

/// The GPTQ fixture as another architecture, with its tensors as `change` makes them.
fn rearranged(edit: impl Fn(&mut Value), change: impl Fn(Tensors) -> Tensors) -> Folder {
    let source = fixture("llama-gptq");
    let config = fs::read(source.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    edit(&mut config);
    let stored = SafetensorsFile::open(&source.join("model.safetensors")).unwrap();
    let tensors = stored.tensors.iter().map(|(name, header)| {
        let bytes = stored.bytes(header).to_vec();
        let (dtype, shape) = (header.dtype.to_string(), header.shape.clone());
        (name.clone(), dtype, shape, bytes)
    });
    let tensors = change(tensors.collect());
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (&**name, &**dtype, &**shape, bytes.clone()))
        .collect();
    Folder::with(&[
        ("config.json", config.to_string().as_bytes()),
        ("model.safetensors", &file(&tensors)),
    ])
}

/// The fixture's MLP as the three experts of a mixture, whose tensors `edit` may change.
fn mixture(edit: impl Fn(&str, &mut Vec<u8>)) -> Folder {
    let block = "model.layers.0.block_sparse_moe.";
    let config = |config: &mut Value| {
        config["model_type"] = "mixtral".into();
        config["num_local_experts"] = 3.into();
    };
    rearranged(config, |stored| {
        let router = format!("{block}gate.weight");
        let mut tensors: Tensors = vec![(router, "F32".into(), vec![3, 64], vec![0; 3 * 64 * 4])];
        for (name, dtype, shape, bytes) in stored {
            let expert = |e: usize| {
                let names = [("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3")];
                let mlp = name.strip_prefix("model.layers.0.mlp.")?;
                let (old, new) = names.iter().find(|(old, _)| mlp.starts_with(old))?;
                Some(format!("{block}experts.{e}.{}", mlp.replacen(old, new, 1)))
            };
            let names = match expert(0) {
                Some(_) => (0..3).filter_map(expert).collect(),
                None => vec![name.clone()],
            };
            for name in names {
                let mut bytes = bytes.clone();
                edit(&name, &mut bytes);
                tensors.push((name, dtype.clone(), shape.clone(), bytes));
            }
        }
        tensors
    })
}

/// Queries, keys and values in one matrix, gate and up in another: each is rows of panels.
#[test]
fn joined_matrices_are_parts_of_panels() {
    let joined = |name: &str| {
        let parts = [
            ("q_proj", "qkv_proj", 0),
            ("k_proj", "qkv_proj", 1),
            ("v_proj", "qkv_proj", 2),
            ("gate_proj", "gate_up_proj", 0),
            ("up_proj", "gate_up_proj", 1),
        ];
        let part = parts.into_iter().find(|(part, ..)| name.contains(part));
        part.map(|(part, whole, at)| (name.replace(part, whole), at))
    };
    let folder = rearranged(
        |config| config["model_type"] = "phi3".into(),
        |mut stored| {
            stored.sort_by_key(|(name, ..)| joined(name).map_or(0, |(_, at)| at));
            let mut tensors: Tensors = vec![];
            for (name, dtype, shape, bytes) in stored {
                let Some((whole, at)) = joined(&name) else {
                    tensors.push((name, dtype, shape, bytes));
                    continue;
                };
                let begun = tensors.iter_mut().find(|(name, ..)| *name == whole);
                match begun {
                    None => tensors.push((whole, dtype, shape, bytes)),
                    // Groups of inputs are those of all outputs.
                    Some(_) if name.ends_with("g_idx") => assert!(at > 0),
                    // Outputs are columns.
                    Some((_, _, first, rest)) => {
                        let rows = shape[0];
                        let both = rest
                            .chunks(rest.len() / rows)
                            .zip(bytes.chunks(bytes.len() / rows));
                        *rest = both.flat_map(|(a, b)| [a, b].concat()).collect();
                        first[1] += shape[1];
                    }
                }
            }
            tensors
        },
    );
    let packed = weights(&folder.0, true).unwrap();
    let apart = weights(&fixture("llama-gptq"), true).unwrap();
    assert!(packed.widened.is_empty(), "{:?}", packed.widened);
    let mut parts = 0;
    for view in &packed.layers[0] {
        let Encoding::Quantized(quant) = view.encoding else {
            continue;
        };
        let own = apart.layers[0].iter().find(|own| own.slot == view.slot);
        let own = own.unwrap();
        assert_eq!(own.encoding, view.encoding, "{}", view.slot);
        let rows = view.bytes / view.row_stride_bytes * PANEL_ROWS;
        let [a, b] = [(&packed, view), (&apart, own)].map(|(w, v)| unpacked(w, v, quant, rows));
        assert_eq!(a, b, "{}", view.slot);
        parts += usize::from(view.name != own.name);
    }
    assert_eq!(parts, 5);
}

/// Code reads all experts alike, so that they have one layout, whatever zero points each of them has.
#[test]
fn experts_have_one_layout() {
    let folder = mixture(|name, bytes| {
        // Of the second, all zero points are in the middle; they are stored less one.
        if name.contains("experts.1.") && name.ends_with("qzeros") {
            bytes.fill(0x77);
        }
    });
    let [packed, floats] = [true, false].map(|packs| weights(&folder.0, packs).unwrap());
    assert!(packed.widened.is_empty(), "{:?}", packed.widened);
    let mut experts = 0;
    for (view, plain) in packed.layers[0].iter().zip(&floats.layers[0]) {
        if !view.slot.contains("moe") || view.slot.contains("router") {
            continue;
        }
        let quant = Quant::Q4Min;
        assert_eq!(view.encoding, Encoding::Quantized(quant), "{}", view.name);
        let plain = floats.bytes(plain);
        let columns = view.row_stride_bytes / quant.group_bytes() * GROUP;
        let held = unpacked(&packed, view, quant, plain.len() / 4 / columns);
        assert_eq!(f32_bytes(&held), plain, "{}", view.name);
        experts += 1;
    }
    assert_eq!(experts, 9);
}

#[test]
fn one_expert_out_of_order_makes_floats_of_all() {
    let folder = mixture(|name, bytes| {
        if name.contains("experts.2.w3") && name.ends_with("g_idx") {
            bytes.rotate_left(128);
        }
    });
    let weights = weights(&folder.0, true).unwrap();
    let [widened] = &weights.widened[..] else {
        panic!("one family becomes floats: {:?}", weights.widened);
    };
    assert_eq!((widened.storage, widened.tensors), ("INT4", 3));
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
pub(super) fn refused(form: &str, edit: impl Fn(&mut Value)) -> String {
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
