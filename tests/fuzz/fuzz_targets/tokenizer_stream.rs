#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        graver_tests::fuzz::begin("tokenizer_stream");
        // The library's panics become errors, and are none of ours: only one that gets out ends the process.
        if std::env::var_os("GRAVER_FUZZ_SHOW").is_none() {
            std::panic::set_hook(Box::new(|_| ()));
        }
    },
    |data: &[u8]| graver_tests::fuzz::tokenizer_stream::check(data)
);
