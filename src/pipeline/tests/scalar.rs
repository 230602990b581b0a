use proptest::prelude::*;

use std::time::Duration;

use super::*;
use crate::pipeline::quantity::{LONGEST, SIZES};

proptest! {
    #[test]
    fn durations_are_read_as_they_are_written(milliseconds in 0u64..LONGEST.as_secs() * 1000) {
        let duration = Duration::from_millis(milliseconds);
        prop_assert_eq!(Duration::parse(&duration_text(duration)), Ok(duration));
    }

    #[test]
    fn sizes_are_read_as_they_are_written(bytes in any::<u64>()) {
        prop_assert_eq!(Size::parse(&Size(bytes).to_string()), Ok(Size(bytes)));
    }

    #[test]
    fn whole_sizes_are_written_with_their_unit(number in 1u64..1000, unit in 0usize..4) {
        let text = format!("{number}{}", SIZES[unit].0);
        prop_assert_eq!(Size::parse(&text).unwrap().0, number * SIZES[unit].1);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,20}") {
        let _ = Duration::parse(&text);
        let _ = Size::parse(&text);
        let _ = <Url as FromScalar>::parse(&text);
        let _ = Platform::parse(&text);
        let _ = Reference::parse(&text);
    }
}

#[test]
fn durations_have_units() {
    let milliseconds = |text: &str| Duration::parse(text).map(|duration| duration.as_millis());
    assert_eq!(milliseconds("1h30m"), Ok(5_400_000));
    assert_eq!(milliseconds("250ms"), Ok(250));
    assert_eq!(milliseconds("0s"), Ok(0));
    assert_eq!(milliseconds("1d2h3m4s5ms"), Ok(93_784_005));
    for text in [
        "",
        "5",
        "5 m",
        "m",
        "1.5h",
        "-5s",
        "5s5s",
        "5m1h",
        "5min",
        "18446744073709551616s",
        "999999d",
        "5µs",
    ] {
        assert!(milliseconds(text).is_err(), "{text}");
    }
}

#[test]
fn near_misses_name_what_was_meant() {
    let meant = |text: &str| Duration::parse(text).unwrap_err().suggestion;
    assert_eq!(meant("5min").as_deref(), Some("5m"));
    assert_eq!(meant("5S").as_deref(), Some("5s"));
    assert_eq!(
        Size::parse("10MB").unwrap_err().suggestion.as_deref(),
        Some("10MiB")
    );
    assert_eq!(
        Platform::parse("linux/x86_64")
            .unwrap_err()
            .suggestion
            .as_deref(),
        Some("linux/amd64")
    );
    assert_eq!(
        <Url as FromScalar>::parse("web.example/health")
            .unwrap_err()
            .suggestion
            .as_deref(),
        Some("https://web.example/health")
    );
}
