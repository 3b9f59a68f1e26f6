use super::*;
use crate::abi::StepContext;

const MAPS: &str = "\
55e0c8a00000-55e0c8a2f000 r--p 00000000 fe:00 11 /usr/bin/some model
55e0c8a2f000-55e0c8b00000 r-xp 0002f000 fe:00 11                         /usr/bin/some model
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 
7f0000001000-7f0000002000 rw-p 00000000 00:00 0                          [heap]
7f0000002000-7f0000003000 r--p 00000000 fe:00 12                         /tmp/libmodel.so (deleted)
";

#[test]
fn the_mapping_of_an_address_is_found() {
    let path = |address| mapping_of(MAPS, address).map(|m| (m.inode, m.path));
    assert_eq!(path(0x55e0_c8a0_0000), Some((11, "/usr/bin/some model")));
    assert_eq!(path(0x55e0_c8a2_f123), Some((11, "/usr/bin/some model")));
    assert_eq!(
        path(0x7f00_0000_2fff),
        Some((12, "/tmp/libmodel.so (deleted)"))
    );
    assert_eq!(path(0x7f00_0000_3000), None);
    assert_eq!(path(0), None);
    assert!(mapping_of("garbage\n-\n1-2\n", 1).is_none());
}

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

/// A packed manifest with the checksum it should have, which is none nevertheless.
fn refused(packed: Vec<u8>) {
    let checksum = Checksum::of(&packed);
    let text = message(model(ABI_VERSION.into(), packed.leak(), checksum));
    assert!(text.starts_with("broken manifest: "), "{text}");
    assert!(text.ends_with(": compile the model again"), "{text}");
}
