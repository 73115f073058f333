//! Configurations as they might be mistyped: nothing panics, every mistake has a place inside the text, and the same
//! text is read the same way twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_tests::config_text;

fuzz_target!(|text: &str| config_text::hold(text));
