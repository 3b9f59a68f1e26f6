#![no_main]

libfuzzer_sys::fuzz_target!(
    init: graver_tests::fuzz::begin("graph_text"),
    |data: &[u8]| graver_tests::fuzz::graph_text::check(data)
);
