//! Build script: tells the compiler's own where this package's source is, which it builds once more, as the archive that compiled
//! models are linked with.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::metadata=folder={folder}");
}
