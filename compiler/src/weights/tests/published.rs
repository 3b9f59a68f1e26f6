//! Built-in specs on whole checkpoints, and on none.

use super::*;
use crate::spec::{SpecSource, builtin_names, for_config, load};
use crate::weights::{Checkpoint, RandomWeights, Source, resolve};

#[test]
fn every_fixture_resolves() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let mut resolved = 0;
    for entry in fs::read_dir(fixtures).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.join("config.json").exists() {
            continue;
        }
        let checkpoint = Checkpoint::open(&dir).unwrap();
        // Families whose spec is still to come are not this test's business.
        let Ok(spec) = for_config(&checkpoint.config) else {
            continue;
        };
        let model = spec.bind(&checkpoint.config).unwrap();
        let weights = resolve(&model, Source::Checkpoint(checkpoint)).unwrap();
        assert_eq!(weights.layers.len(), model.layers.len());
        resolved += 1;
    }
    assert!(resolved >= 6, "{resolved}");
}

#[test]
fn tiny_presets_resolve_without_a_checkpoint() {
    for name in builtin_names() {
        let spec = load(SpecSource::Builtin(name)).unwrap();
        let model = spec.bind(&spec.preset("tiny").unwrap()).unwrap();
        let random = RandomWeights::new(0, RandomWeights::default_dtype(&model));
        let weights = resolve(&model, Source::Random(random)).unwrap();
        assert!(weights.total_bytes() > 0);
    }
}
