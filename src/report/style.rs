//! Colours and marks. Colour only ever adds: every word says the same without it.

/// What a piece of text is, for those who see colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Failed, refused.
    Bad,
    /// Less important than the rest of the line.
    Dim,
    /// Passed, verified, alive.
    Good,
    /// The id of a step.
    Step,
    /// Worth a look: warnings, waits, unknown samples.
    Warn,
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Style {
    /// Whether colours are wanted.
    pub color: bool,
    /// Whether marks beyond ASCII can be shown. Only progress bars use any.
    pub unicode: bool,
}

impl Style {
    /// Returns the text in the colour of its role.
    ///
    /// The text must have been escaped before.
    #[must_use]
    pub fn paint(self, role: Role, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match role {
            Role::Bad => "1;31",
            Role::Dim => "2",
            Role::Good => "32",
            Role::Step => "36",
            Role::Warn => "33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Returns a bar of a fixed width for a share of the whole.
    #[must_use]
    pub fn bar(self, part: u64, whole: u64, width: usize) -> String {
        let share = u128::from(part.min(whole)) * width as u128;
        let filled = share
            .checked_div(u128::from(whole))
            .map_or(width, |filled| usize::try_from(filled).unwrap_or(width));
        let rest = width - filled.min(width);
        let (full, tip) = if self.unicode {
            ("━", "╸")
        } else {
            ("=", ">")
        };
        let tip = if rest > 0 { tip } else { "" };
        let done = self.paint(Role::Step, &format!("{}{tip}", full.repeat(filled)));
        // With colours, what is left can be seen as a fainter line.
        let empty = if self.unicode && self.color {
            "━"
        } else {
            " "
        };
        let left = self.paint(Role::Dim, &empty.repeat(rest.saturating_sub(1)));
        if self.unicode {
            format!("{done}{left}")
        } else {
            format!("[{done}{left}]")
        }
    }

    /// Returns one picture of a mark that turns ten times a second.
    #[must_use]
    pub fn spinner(self, elapsed: std::time::Duration) -> &'static str {
        let pictures: &[&str] = if self.unicode {
            &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"]
        } else {
            &["-", "\\", "|", "/"]
        };
        let turn = elapsed.as_millis() / 100 % pictures.len() as u128;
        pictures[usize::try_from(turn).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_there_is_only_text() {
        assert_eq!(Style::default().paint(Role::Bad, "failed"), "failed");
    }

    #[test]
    fn bars_have_one_width_and_fill_only_when_all_is_there() {
        let style = Style::default();
        assert_eq!(style.bar(0, 10, 10), "[>         ]");
        assert_eq!(style.bar(5, 10, 10), "[=====>    ]");
        assert_eq!(style.bar(999, 1_000, 10), "[=========>]");
        assert_eq!(style.bar(10, 10, 10), "[==========]");
        assert_eq!(style.bar(99, 10, 10), "[==========]");
        assert_eq!(style.bar(0, 0, 10), "[==========]");
    }
}
