//! What the command learns about where its output goes. The decisions are the printer's.

use std::io::IsTerminal as _;

use super::environment::Environment;
use super::streams;

/// Where output goes, and what the environment says about it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Terminal {
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_is_terminal: bool,
    /// Whether a CI system runs the command: its logs may claim to be terminals.
    pub ci: bool,
    /// Whether that system's logs show colours: GitHub and GitLab.
    pub ci_shows_colors: bool,
    /// Whether it is GitHub Actions, or something that says so (`GITHUB_ACTIONS=true`).
    pub github: bool,
    /// Whether it is GitLab CI (`GITLAB_CI=true`).
    pub gitlab: bool,
    /// Whether standard error is a file, where no system reads it.
    pub stderr_is_file: bool,
    /// Whether the terminal can't move its cursor (`TERM=dumb`).
    pub dumb: bool,
    /// Whether the locale can show more than ASCII.
    pub unicode: bool,
    /// `NO_COLOR` (no-color.org).
    pub no_color: Option<String>,
    /// `FORCE_COLOR` (force-color.org).
    pub force_color: Option<String>,
    /// `CLICOLOR_FORCE` (bixense.com/clicolors).
    pub clicolor_force: Option<String>,
}

impl Terminal {
    /// Looks at the standard streams and at the environment.
    pub fn detect(environment: &Environment) -> Self {
        let said = |name: &str| environment.filled(name);
        let yes = |name: &str| said(name).is_some_and(|value| !is_no(&value));
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| said(name));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        let ci_shows_colors = yes("GITHUB_ACTIONS") || yes("GITLAB_CI");
        Self {
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            ci: ci_shows_colors || yes("CI"),
            ci_shows_colors,
            github: environment.in_github(),
            gitlab: environment.in_gitlab(),
            stderr_is_file: streams::stderr_is_file(),
            dumb: said("TERM").is_some_and(|term| term == "dumb"),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            no_color: environment.variable("NO_COLOR"),
            force_color: environment.variable("FORCE_COLOR"),
            clicolor_force: environment.variable("CLICOLOR_FORCE"),
        }
    }
}

/// Says whether a variable's value means no.
pub(super) fn is_no(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "0" | "false" | "no" | "off"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn detected(variables: &[(&str, &str)]) -> Terminal {
        let clock = Clock::fixed(jiff::Timestamp::UNIX_EPOCH);
        Terminal::detect(&Environment::given(variables, clock))
    }

    #[test]
    fn knows_ci_systems_and_locales() {
        assert!(detected(&[("GITHUB_ACTIONS", "true")]).ci_shows_colors);
        assert!(detected(&[("GITLAB_CI", "true")]).ci);
        assert!(detected(&[("GITHUB_ACTIONS", "true")]).github);
        assert!(detected(&[("GITLAB_CI", "true")]).gitlab);
        assert!(!detected(&[("GITHUB_ACTIONS", "1"), ("GITLAB_CI", "false")]).github);
        assert!(!detected(&[("GITHUB_ACTIONS", "1"), ("GITLAB_CI", "false")]).gitlab);
        let other = detected(&[("CI", "1")]);
        assert!(other.ci && !other.ci_shows_colors);
        assert!(!detected(&[("CI", "false")]).ci);
        assert!(!detected(&[("CI", "")]).ci);
        assert!(detected(&[("LANG", "de_DE.UTF-8")]).unicode);
        assert!(!detected(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]).unicode);
        assert!(detected(&[("TERM", "dumb")]).dumb);
    }
}
