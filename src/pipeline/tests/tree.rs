use proptest::prelude::*;

use super::*;
use crate::pipeline::{Given, Mode, RunNames, load};

fn read(text: &str) -> (Option<Node>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let root = parse(&Source::new("p.yml", text), &mut diagnostics);
    (root, diagnostics)
}

#[test]
fn the_text_of_a_value_is_kept() {
    let (root, diagnostics) = read("a: 1.10\nb: \"1.10\"\nc: 0x1F\nd: yes\ne:\n");
    assert!(diagnostics.is_empty());
    let root = root.unwrap();
    let scalar = |key: &str| root.entry(key).unwrap().scalar().unwrap().clone();
    assert_eq!(scalar("a").text, "1.10");
    assert!(scalar("a").is_number() && !scalar("b").is_number());
    assert!(scalar("c").is_number());
    assert_eq!(scalar("d").describe(), "text");
    assert!(scalar("e").is_null());
}

#[test]
fn an_alias_stands_where_it_is_written() {
    let source = Source::new("p.yml", "a: &x {k: v}\nb: *x\n");
    let root = parse(&source, &mut Vec::new()).unwrap();
    let b = root.entry("b").unwrap();
    assert_eq!(source.slice(b.span), "*x");
    assert_eq!(b.entry("k").unwrap().scalar().unwrap().text, "v");
}

#[test]
fn what_was_read_before_a_syntax_error_is_kept() {
    let (root, diagnostics) = read("a: {b: c}\nd: [e, f\ng: h\n");
    assert_eq!(diagnostics.len(), 1);
    let root = root.unwrap();
    assert!(!root.complete && root.entry("a").unwrap().complete);
}

#[test]
fn numbers_are_those_of_yaml_1_2() {
    for number in [
        "0", "-1", "+2", "3.14", ".5", "1e3", "0o17", "0x1f", ".inf", ".nan", "5.",
    ] {
        assert!(looks_numeric(number), "{number}");
    }
    for text in [
        "", "-", "1.2.3", "0x", "1h", "v1", "e3", "1_000", "12:30", "+", ".", "infinity", "nan",
    ] {
        assert!(!looks_numeric(text), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(source) = Source::from_bytes("p.yml", &bytes) {
            check(&source);
        }
    }

    #[test]
    fn no_text_of_yaml_makes_it_panic(
        text in prop::collection::vec(
            prop_oneof![
                Just("version: 1\n"), Just("steps:\n"), Just("  - "), Just("check: "), Just("{"), Just("}"), Just("["),
                Just("]"), Just("\n"), Just("  "), Just("\t"), Just("\""), Just("'"), Just("${input.a}"), Just("${"),
                Just("&a "), Just("*a"), Just("!t "), Just("<<: "), Just("# c"), Just("---\n"), Just("|\n"), Just(": "),
                Just("é"), Just("gate: "), Just("within: 5m"), Just("probes: "), Just("inputs: "), Just("a: "), Just(","),
                Just("images: "), Just("trust: "), Just("if: failed("), Just("on-failure:\n"), Just("?"), Just("\r\n"),
            ],
            0..40,
        )
    ) {
        check(&Source::new("p.yml", text.concat()));
    }
}

/// Loads a document; whatever is found must be a place in it, and can be shown.
fn check(source: &Source) {
    let given = Given {
        inputs: std::collections::BTreeMap::new(),
        variables: &|_| None,
        read_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
        run: RunNames::default(),
        playground: None,
        mode: Mode::Validate,
    };
    let loaded = load(source, &given);
    assert!(loaded.document.is_some() || !loaded.diagnostics.is_empty());
    for found in loaded.diagnostics {
        if let Some(place) = &found.place {
            assert!(place.span.start <= place.span.end, "{found}");
            assert!(
                source.text().get(place.span.range()).is_some(),
                "{found} {:?}",
                place.span
            );
        }
        assert!(!found.to_string().is_empty());
    }
}
