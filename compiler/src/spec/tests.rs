//! Tests of the stage as a whole.

use super::*;

#[test]
fn every_preset_of_every_builtin_spec_binds() {
    for name in builtin_names() {
        let spec = load(SpecSource::Builtin(name)).unwrap();
        assert!(
            spec.presets().contains(&"tiny"),
            "{name} has no preset `tiny`"
        );
        for preset in spec.presets() {
            let config = spec.preset(preset).unwrap();
            assert_eq!(for_config(&config).unwrap().name(), name);
            spec.bind(&config)
                .unwrap_or_else(|e| panic!("{name}, preset {preset}: {e}"));
        }
    }
}
