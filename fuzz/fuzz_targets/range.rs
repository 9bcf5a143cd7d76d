#![no_main]
#![expect(missing_docs, reason = "what this target looks at stands in the module of its name")]

libfuzzer_sys::fuzz_target!(|input: &[u8]| distmirror_fuzz::range::check(input));
