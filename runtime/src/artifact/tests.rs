use super::*;
use crate::abi::StepContext;

extern "C" fn nothing(_: *const StepContext, _: usize) {}

fn model(abi: u64, manifest: &'static [u8], checksum: u64) -> &'static CompiledModel {
    Box::leak(Box::new(CompiledModel {
        abi,
        decode: nothing,
        prefill: nothing,
        manifest: manifest.as_ptr(),
        manifest_bytes: manifest.len(),
        manifest_checksum: checksum,
        has_appendix: 0,
    }))
}

fn message(model: &'static CompiledModel) -> String {
    // SAFETY: no object made this model, but none of its functions is called.
    let opened = unsafe { Artifact::open(model) };
    opened.err().expect("an error").to_string()
}

#[test]
fn code_of_another_interface_is_refused_before_anything_is_read() {
    let text = message(model(u64::from(ABI_VERSION) + 1, b"", 0));
    let expected = format!(
        "the model was compiled for runtime interface {}, this runtime has {ABI_VERSION}: compile the model again",
        ABI_VERSION + 1
    );
    assert_eq!(text, expected);
}

#[test]
fn a_manifest_that_was_changed_is_refused() {
    let text = message(model(ABI_VERSION.into(), b"{}", 5));
    assert!(
        text.starts_with("broken manifest: its checksum is "),
        "{text}"
    );
    assert!(
        text.ends_with("expected 0000000000000005: compile the model again"),
        "{text}"
    );
}

#[test]
fn a_manifest_that_does_not_parse_is_refused() {
    for garbage in ["", "{", "[1, 2]", "{\"abi\": \"x\"}", "\u{0}"] {
        refused(lz4_flex::compress_prepend_size(garbage.as_bytes()));
    }
}

#[test]
fn a_manifest_that_does_not_unpack_is_refused() {
    let whole = lz4_flex::compress_prepend_size("{} ".repeat(100).as_bytes());
    for end in 0..whole.len() {
        refused(whole[..end].to_vec());
    }
}

/// What is not a manifest, packed, with the checksum it should have.
fn refused(packed: Vec<u8>) {
    let checksum = Checksum::of(&packed);
    let text = message(model(ABI_VERSION.into(), packed.leak(), checksum));
    assert!(text.starts_with("broken manifest: "), "{text}");
    assert!(text.ends_with(": compile the model again"), "{text}");
}
