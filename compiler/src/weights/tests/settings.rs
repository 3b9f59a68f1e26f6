//! What `quantization_config` says and the tensors do not: refused with the place, rather than not looked at.

use super::integers::{fixture, refused, weights};
use super::*;
use crate::weights::SafetensorsFile;

const START: &str = "config.json: quantization_config.";
const END: &str = "; use the checkpoint's unquantised form";
const GROUP: &str = "config_groups.group_0";

fn assert_refused(form: &str, edit: impl Fn(&mut Value), expected: &str) {
    assert_eq!(refused(form, edit), format!("{START}{expected}{END}"));
}

/// A fixture whose tensors with this ending have other bytes.
fn changed(form: &str, ending: &str, change: impl Fn(&mut Vec<u8>)) -> Folder {
    let source = fixture(&format!("llama-{form}"));
    let stored = SafetensorsFile::open(&source.join("model.safetensors")).unwrap();
    let tensors: Vec<_> = stored
        .tensors
        .iter()
        .map(|(name, header)| {
            let mut bytes = stored.bytes(header).to_vec();
            if name.ends_with(ending) {
                change(&mut bytes);
            }
            (&**name, header.dtype.to_string(), &*header.shape, bytes)
        })
        .collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, &**dtype, *shape, bytes.clone()))
        .collect();
    let config = fs::read(source.join("config.json")).unwrap();
    Folder::with(&[
        ("config.json", &config),
        ("model.safetensors", &file(&tensors)),
    ])
}

#[test]
fn sizes_of_groups_are_whole_numbers_or_minus_one() {
    let positive = "at least 1, or -1 for one group of all inputs";
    for (found, said, expected) in [
        (json!(0), "0", positive),
        (json!(-5), "-5", positive),
        (json!(32.5), "32.5", "a whole number"),
        (json!("32"), "\"32\"", "a whole number"),
        (json!(1u64 << 63), "9223372036854775808", "a whole number"),
        (json!([32]), "[32]", "a whole number"),
    ] {
        let expected = format!("group_size: found {said}, expected {expected}");
        assert_refused("gptq", |q| q["group_size"] = found.clone(), &expected);
    }
    // One group for all inputs would have other scales.
    let said = refused("gptq", |q| q["group_size"] = json!(-1));
    assert!(
        said.contains("found F16 [2, 64], expected F16 [1, 64]"),
        "{said}"
    );
}

#[test]
fn numbers_of_bits_are_said_as_they_stand() {
    let expected = "bits: found 4.0, expected a whole number";
    assert_refused("gptq", |q| q["bits"] = json!(4.0), expected);
    let expected = "bits: found \"4\", expected a whole number";
    assert_refused("awq", |q| q["bits"] = json!("4"), expected);
    let expected = "bits: found nothing, expected 4 or 8";
    assert_refused("gptq", |q| q["bits"] = Value::Null, expected);
}

#[test]
fn what_groups_say_has_to_be_known() {
    let weights = [
        ("num_bits", json!(4.5), "4.5, expected a whole number"),
        ("type", json!("float"), "float, expected int"),
        (
            "strategy",
            json!("tensor_group"),
            "tensor_group, expected channel or group",
        ),
        ("strategy", json!(5), "5, expected channel or group"),
        (
            "group_size",
            json!(-1),
            "-1, expected at least 1, as strategy is group",
        ),
        ("symmetric", json!("no"), "no, expected true or false"),
    ];
    for (key, value, said) in weights {
        let expected = format!("{GROUP}.weights.{key}: found {said}");
        let edit = |q: &mut Value| q["config_groups"]["group_0"]["weights"][key] = value.clone();
        assert_refused("int4", edit, &expected);
    }
    let expected =
        format!("{GROUP}.weights.group_size: found 32, expected -1, as strategy is channel");
    let edit = |q: &mut Value| q["config_groups"]["group_0"]["weights"]["group_size"] = json!(32);
    assert_refused("int8", edit, &expected);
    assert_refused(
        "int4",
        |q| q["config_groups"] = json!(["group_0"]),
        "config_groups: found [\"group_0\"], expected an object of groups",
    );
    let said = refused("int4", |q| {
        q["config_groups"]["group_1"] = json!({ "weights": { "num_bits": 8 } });
    });
    let start = "config_groups.group_1.weights: found {\"num_bits\":8}, expected as in config_groups.group_0.weights, {";
    assert!(said.starts_with(&format!("{START}{start}")), "{said}");
}

/// Products are computed with activations in float32 or rounded to int8, which is as exact as what 8 bits ask for.
#[test]
fn activations_of_fewer_bits_are_refused() {
    let activations = |form: &str, value: Value| {
        refused(form, |q| {
            q["config_groups"]["group_0"]["input_activations"] = value.clone();
        })
    };
    for (form, value, said) in [
        (
            "int4",
            json!({ "num_bits": 4 }),
            ".num_bits: found 4, expected 8 or more",
        ),
        (
            "fp8-channels",
            json!({ "num_bits": 4 }),
            ".num_bits: found 4, expected 8 or more",
        ),
        (
            "int4",
            json!({ "num_bits": "8" }),
            ".num_bits: found \"8\", expected a whole number",
        ),
        ("int4", json!(4), ": found 4, expected an object, or null"),
    ] {
        let expected = format!("{START}{GROUP}.input_activations{said}{END}");
        assert_eq!(activations(form, value), expected);
    }
    let source = fixture("llama-fp8-channels");
    let config = fs::read(source.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    let group = &mut config["quantization_config"]["config_groups"]["group_0"];
    group["input_activations"] = json!({ "num_bits": 8, "type": "float", "dynamic": true });
    let tensors = fs::read(source.join("model.safetensors")).unwrap();
    let folder = Folder::with(&[
        ("config.json", config.to_string().as_bytes()),
        ("model.safetensors", &tensors),
    ]);
    weights(&folder.0, true).unwrap();
}

#[test]
fn types_of_eight_bits_have_to_be_the_one_that_is_read() {
    let weights = |key: &'static str, value: Value| {
        move |q: &mut Value| q["config_groups"]["group_0"]["weights"][key] = value.clone()
    };
    for (key, value, said) in [
        (
            "strategy",
            json!("foo"),
            "foo, expected block or channel or tensor",
        ),
        ("type", json!("int"), "int, expected float"),
        ("num_bits", json!(4), "4, expected 8"),
    ] {
        let expected = format!("{GROUP}.weights.{key}: found {said}");
        assert_refused("fp8-channels", weights(key, value), &expected);
    }
    let source = fixture("deepseek-v3-fp8");
    let tensors = fs::read(source.join("model.safetensors")).unwrap();
    let config = fs::read_to_string(source.join("config.json")).unwrap();
    let other = config.replace("\"e4m3\"", "\"e5m2\"");
    assert_ne!(config, other);
    let folder = Folder::with(&[
        ("config.json", other.as_bytes()),
        ("model.safetensors", &tensors),
    ]);
    let said = weights_of(&folder);
    let expected = "fmt: found e5m2, expected e4m3 or e4m3fn or float8_e4m3fn";
    assert_eq!(said, format!("{START}{expected}{END}"));
}

fn weights_of(folder: &Folder) -> String {
    weights(&folder.0, true).expect_err("a checkpoint to be refused")
}

#[test]
fn a_configuration_that_is_no_object_is_refused() {
    for found in ["5", "false", "[]", "\"gptq\""] {
        let value: Value = serde_json::from_str(found).unwrap();
        let said = refused("int4", |q| *q = value.clone());
        assert_eq!(
            said,
            format!(
                "config.json: quantization_config: found {found}, expected an object, or null for a checkpoint that is not quantised"
            )
        );
    }
    let said = refused("gptq", |q| q["quant_method"] = json!(5));
    assert!(said.contains("quant_method: `5` cannot be read"), "{said}");
    let expected = "format: found 5, expected float-quantized or pack-quantized";
    assert_refused("int4", |q| q["format"] = json!(5), expected);
    let expected = "checkpoint_format: found 2, expected gptq or gptq_v2";
    assert_refused("gptq", |q| q["checkpoint_format"] = json!(2), expected);
}

#[test]
fn a_shape_that_is_said_again_has_to_be_the_same() {
    let shapes = |sizes: [i64; 2]| {
        changed("int4", "q_proj.weight_shape", move |bytes| {
            *bytes = sizes.iter().flat_map(|n| n.to_le_bytes()).collect();
        })
    };
    weights(&shapes([64, 64]).0, true).unwrap();
    for sizes in [[64, 128], [1 << 40, 64], [-1, -1]] {
        let said = weights_of(&shapes(sizes));
        let expected =
            format!("found {sizes:?}, expected [64, 64], the shape of the codes, in I64");
        assert!(
            said.contains("q_proj.weight_shape\": for layers.0."),
            "{said}"
        );
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn zero_points_that_are_asked_for_have_to_be_there() {
    let said = refused("int4", |q| {
        q["config_groups"]["group_0"]["weights"]["symmetric"] = json!(false);
    });
    assert!(
        said.contains(".weight_zero_point\": for layers.0.")
            && said.contains("found nothing, expected I32 ["),
        "{said}"
    );
}
