//! What the machine tells: variables, home folder, clock. Read here, once, and passed in everywhere else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::clock::Clock;
use crate::report::files::Roots;

/// The environment of the process.
#[derive(Clone, Debug)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// The wall clock.
    pub clock: Clock,
}

impl Environment {
    /// Reads the environment of this process. Variables that are not UTF-8 are left out.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads variables and the clock"
    )]
    #[must_use]
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            variables,
            clock: Clock::new(|| {
                std::time::SystemTime::now()
                    .try_into()
                    .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            }),
        }
    }

    /// Makes an environment of given variables, for tests.
    #[must_use]
    pub fn given(variables: &[(&str, &str)], clock: Clock) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            variables: variables.iter().map(own).collect(),
            clock,
        }
    }

    /// Returns a variable, `None` if it is not set.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// Returns a variable, `None` if it is not set or empty.
    #[must_use]
    pub fn filled(&self, name: &str) -> Option<String> {
        self.variable(name).filter(|value| !value.is_empty())
    }

    /// Returns the cache folder that is used when none is named: `$SHIPGATE_CACHE`, else below
    /// `$XDG_CACHE_HOME`, else below `~/.cache`.
    #[must_use]
    pub fn cache_folder(&self) -> Option<PathBuf> {
        let below = |variable: &str, path: &str| {
            self.filled(variable)
                .map(|root| PathBuf::from(root).join(path))
        };
        self.filled("SHIPGATE_CACHE")
            .map(PathBuf::from)
            .or_else(|| below("XDG_CACHE_HOME", "shipgate"))
            .or_else(|| below("HOME", ".cache/shipgate"))
            .or_else(|| below("LOCALAPPDATA", "shipgate"))
    }

    /// Returns the launcher's own folder, which no component is granted: below `$XDG_STATE_HOME`, else below
    /// `~/.local/state`.
    #[must_use]
    pub fn launcher_state(&self) -> Option<PathBuf> {
        let named = self.filled("XDG_STATE_HOME").map(PathBuf::from);
        let home = || Some(PathBuf::from(self.filled("HOME")?).join(".local/state"));
        let folder = named.filter(|path| path.is_absolute()).or_else(home)?;
        Some(folder.join("shipgate-wasm"))
    }

    /// Returns the folder for what does not outlive the run: `$TMPDIR`, else `$TEMP`, else `/tmp`.
    #[must_use]
    pub fn temporary_folder(&self) -> PathBuf {
        let named = self.filled("TMPDIR").or_else(|| self.filled("TEMP"));
        named.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
    }

    /// Returns where Docker keeps its configuration: `$DOCKER_CONFIG/config.json`, else
    /// `~/.docker/config.json`.
    #[must_use]
    pub fn docker_config(&self) -> Option<PathBuf> {
        let folder = self.filled("DOCKER_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| Some(self.home()?.join(".docker")));
        folder.map(|folder| folder.join("config.json"))
    }

    /// Returns the user's home folder.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        let home = self.filled("HOME").or_else(|| self.filled("USERPROFILE"));
        home.map(PathBuf::from)
    }

    /// Returns where podman and its kin keep logins, the first that is there: `$REGISTRY_AUTH_FILE` alone if it
    /// is set, else `$XDG_RUNTIME_DIR/containers/auth.json`, then `$XDG_CONFIG_HOME/containers/auth.json` or
    /// `~/.config/containers/auth.json`. Each comes with the variable that says so.
    #[must_use]
    pub fn podman_auth(&self) -> Vec<(&'static str, PathBuf)> {
        if let Some(path) = self.filled("REGISTRY_AUTH_FILE") {
            return vec![("REGISTRY_AUTH_FILE", path.into())];
        }
        let below = |variable: &'static str, path: &str| {
            let root = self.filled(variable)?;
            Some((variable, PathBuf::from(root).join(path)))
        };
        let runtime = below("XDG_RUNTIME_DIR", "containers/auth.json");
        let config = below("XDG_CONFIG_HOME", "containers/auth.json")
            .or_else(|| below("HOME", ".config/containers/auth.json"));
        runtime.into_iter().chain(config).collect()
    }

    /// Says whether GitHub Actions runs this process, or something that says so.
    #[must_use]
    pub fn in_github(&self) -> bool {
        self.filled("GITHUB_ACTIONS").as_deref() == Some("true")
    }

    /// Says whether GitLab CI runs this process, or something that says so.
    #[must_use]
    pub fn in_gitlab(&self) -> bool {
        self.filled("GITLAB_CI").as_deref() == Some("true")
    }

    /// Returns where the command stands and where the root of its repository is.
    #[must_use]
    pub fn roots(&self) -> Roots {
        let here = std::env::current_dir().ok();
        let project = ["CI_PROJECT_DIR", "GITHUB_WORKSPACE"]
            .into_iter()
            .find_map(|name| self.filled(name).map(PathBuf::from));
        // The working directory has no symbolic links in its name, so the other must have none either.
        let project = project.map(|path| std::fs::canonicalize(&path).unwrap_or(path));
        Roots {
            project: project.or_else(|| here.clone()),
            here,
        }
    }

    /// Returns the page of the CI job that runs this process, in GitHub and GitLab.
    #[must_use]
    pub fn job_link(&self) -> Option<String> {
        if let Some(link) = self.filled("CI_JOB_URL") {
            return Some(link);
        }
        let server = self.filled("GITHUB_SERVER_URL")?;
        let repository = self.filled("GITHUB_REPOSITORY")?;
        let run = self.filled("GITHUB_RUN_ID")?;
        Some(format!("{server}/{repository}/actions/runs/{run}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(variables: &[(&str, &str)]) -> Environment {
        Environment::given(variables, Clock::fixed(jiff::Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn the_nearest_cache_folder_wins() {
        assert_eq!(given(&[]).cache_folder(), None);
        assert_eq!(
            given(&[("HOME", "/h")]).cache_folder(),
            Some("/h/.cache/shipgate".into())
        );
        let both = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x")];
        assert_eq!(given(&both).cache_folder(), Some("/x/shipgate".into()));
        assert_eq!(
            given(&[("HOME", "/h"), ("XDG_CACHE_HOME", "")]).cache_folder(),
            Some("/h/.cache/shipgate".into())
        );
    }

    #[test]
    fn a_job_has_a_page() {
        let github = [
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "acme/web"),
            ("GITHUB_RUN_ID", "7"),
        ];
        assert_eq!(
            given(&github).job_link().unwrap(),
            "https://github.com/acme/web/actions/runs/7"
        );
        assert_eq!(
            given(&[("CI_JOB_URL", "https://gitlab.example/j/1")])
                .job_link()
                .unwrap(),
            "https://gitlab.example/j/1"
        );
        assert_eq!(given(&[]).job_link(), None);
    }
}
