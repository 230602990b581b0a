use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;
use crate::pipeline::secret::SecretString;

fn mask_of(value: &str, users: &[&str]) -> Mask {
    Mask::new(&[SecretValue {
        name: "s".into(),
        value: SecretString::new(value),
        users: users.iter().map(|user| (*user).to_owned()).collect(),
    }])
}

fn in_chunks(mask: &Mask, text: &str, sizes: &[usize]) -> String {
    let mut masker = Masker::new(Arc::new(mask.clone()));
    let mut shown = Vec::new();
    let mut rest = text.as_bytes();
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
        shown.extend(masker.push(&rest[..size]));
        assert!(masker.buffer.len() <= mask.hold_back());
        rest = &rest[size..];
    }
    shown.extend(masker.flush());
    String::from_utf8(shown).unwrap()
}

#[test]
fn every_form_is_masked() {
    let value = "p@ss/w\"rd +é1";
    let mask = mask_of(value, &["ci"]);
    let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let mut parsed = url::Url::parse("http://h/").unwrap();
    parsed.set_query(Some(&format!("q={value}")));
    parsed.set_password(Some(value)).unwrap();
    for shown in [
        format!("token {value}."),
        serde_json::json!({ "t": value }).to_string(),
        format!("a={form}&b=1"),
        format!("a={}&b=1", form.to_lowercase()),
        parsed.to_string(),
        STANDARD.encode(format!("ci:{value}")),
        URL_SAFE.encode(format!("ci:{value}")),
    ] {
        let masked = mask.text(&shown);
        assert!(masked.contains(STARS), "{shown} -> {masked}");
        for part in ["p@ss", "w\\\"rd", "%22rd", "%22RD", "w%22"] {
            assert!(!masked.contains(part), "{shown} -> {masked}");
        }
    }
}

#[test]
fn base64_is_masked_wherever_the_secret_stands_in_it() {
    let value = "s3cr3t-value";
    let mask = mask_of(value, &[]);
    for before in ["", "a", "ab", "abc", "abcd"] {
        for after in ["", "\n", "xy", "xyz"] {
            for engine in [&STANDARD, &URL_SAFE] {
                let masked = mask.text(&engine.encode(format!("{before}{value}{after}")));
                assert!(masked.contains(STARS), "{before} {after} {masked}");
                // What is left holds at most the bits of the characters at both ends.
                assert!(
                    masked.len() <= before.len() * 4 / 3 + after.len() * 4 / 3 + 3 + 8,
                    "{masked}"
                );
            }
        }
    }
}

#[test]
fn lines_are_masked_alone_if_they_are_long_enough() {
    let mask = mask_of("first line\r\n  second line\nend", &[]);
    assert_eq!(mask.text("a first line b"), "a *** b");
    assert_eq!(mask.text("second line"), "***");
    assert_eq!(mask.text("the end"), "the end");
    assert_eq!(mask.text("first line\r\n  second line\nend"), "***");
}

#[test]
fn overlapping_secrets_leave_nothing_between_them() {
    let mask = mask_of("abcabcabc", &[]);
    assert_eq!(mask.text("xabcabcabcabcy"), "x***y");
    assert_eq!(in_chunks(&mask, "xabcabcabcabcabcabcy", &[1]), "x***y");
}

#[test]
fn what_an_excerpt_cuts_off_is_masked() {
    let mask = mask_of("first-of-lines\nsecond-of-lines", &[]);
    for (text, masked) in [
        ("it said second-of-li… and more", "it said ***… and more"),
        ("it said second… and more", "it said ***… and more"),
        // Too little to tell it from other words.
        ("it said secon… and more", "it said secon… and more"),
        (
            "it said second-of-li and more",
            "it said second-of-li and more",
        ),
        ("it said second-of-lines… and more", "it said ***… and more"),
    ] {
        assert_eq!(mask.text(text), masked);
        for sizes in [&[1][..], &[2, 3], &[17], &[20, 1]] {
            assert_eq!(in_chunks(&mask, text, sizes), masked, "{sizes:?}");
        }
    }
    let encoded = STANDARD.encode("xfirst-of-lines\nsecond-of-lines");
    let shown = mask.text(&format!("{}…", &encoded[..34]));
    assert!(!shown.contains(&encoded[24..30]), "{shown}");
}

#[test]
fn nothing_is_masked_without_secrets() {
    let mask = Mask::new(&[]);
    assert_eq!(mask.text("all is well"), "all is well");
    assert_eq!(mask.hold_back(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_chunking_lets_a_secret_through(
        secret in "[a-zA-Z0-9/+ \"\\\\é\n]{6,40}",
        pieces in prop::collection::vec("[a-z0-9 \n]{0,12}", 1..5),
        sizes in prop::collection::vec(1usize..9, 1..6),
        form in 0usize..6,
    ) {
        prop_assume!(secret.trim().chars().count() >= MINIMUM_CHARACTERS);
        let mask = mask_of(&secret, &["user"]);
        let shown_as = match form {
            0 => secret.clone(),
            1 => serde_json::json!(secret).to_string(),
            2 => url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            3 => percent(&secret, "-._~", false),
            4 => STANDARD.encode(format!("user:{secret}")),
            _ => URL_SAFE_NO_PAD.encode(format!("xy{secret}")),
        };
        let text = pieces.join(&shown_as);
        let masked = in_chunks(&mask, &text, &sizes);
        prop_assert_eq!(&masked, &mask.text(&text));
        prop_assert!(!masked.contains(&secret));
        prop_assert!(pieces.len() == 1 || masked.contains(STARS));
        if matches!(form, 0..=4) && pieces.len() > 1 {
            prop_assert!(!masked.contains(shown_as.trim_matches('"').trim_end_matches('=')));
        }
    }
}
