//! What the command line itself reads of the environment, whatever the document says.
//!
//! The launcher passes these variables on, and nothing else that was not granted. None of them holds
//! a secret: they say where things are, how output looks, and which CI system runs the command.

/// Variables that the launcher passes on if they are set, each with what it is for.
pub const VARIABLES: [(&str, &str); 20] = [
    ("CI", "whether a CI system runs it"),
    ("CI_PROJECT_DIR", "what paths in reports are relative to"),
    ("CLICOLOR_FORCE", "colours"),
    ("DOCKER_CONFIG", "where Docker's configuration is"),
    ("FORCE_COLOR", "colours"),
    ("GITHUB_ACTIONS", "whether GitHub runs it"),
    ("GITHUB_OUTPUT", "where a step's outputs go"),
    ("GITHUB_STEP_SUMMARY", "where a step's summary goes"),
    ("GITHUB_WORKSPACE", "what paths in reports are relative to"),
    ("GITLAB_CI", "whether GitLab runs it"),
    ("HOME", "where the cache and Docker's configuration are"),
    ("LANG", "which characters can be shown"),
    ("LC_ALL", "which characters can be shown"),
    ("LC_CTYPE", "which characters can be shown"),
    ("LOCALAPPDATA", "where the cache is"),
    ("NO_COLOR", "colours"),
    ("SHIPGATE_CACHE", "where the cache is"),
    ("TERM", "whether the cursor can be moved"),
    ("USERPROFILE", "where Docker's configuration is"),
    ("XDG_CACHE_HOME", "where the cache is"),
];

/// Variables whose values are files of the CI system that a run appends to. The component gets an
/// empty one; the launcher appends what it wrote there to the real one.
pub const APPENDED: [&str; 2] = ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"];

/// Variables that the command line reads and that are granted by name where they are used.
pub const GRANTED: [&str; 8] = [
    "CI_JOB_URL",
    "GITHUB_REPOSITORY",
    "GITHUB_RUN_ID",
    "GITHUB_SERVER_URL",
    "REGISTRY_AUTH_FILE",
    "SSL_CERT_FILE",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
];

/// Variables that registry logins are made of. They are granted for the registries that they are for,
/// and policies judge them as they judge secrets.
pub const LOGINS: [&str; 7] = [
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "CI_DEPENDENCY_PROXY_SERVER",
    "CI_JOB_TOKEN",
    "CI_REGISTRY",
    "GITHUB_ACTOR",
    "GITHUB_TOKEN",
];

/// Says whether the command line reads a variable by itself, whatever the document says.
#[must_use]
pub fn is_own(name: &str) -> bool {
    VARIABLES.iter().any(|(own, _)| *own == name) || GRANTED.contains(&name)
}

/// Variables that mean something outside the sandbox alone.
pub const OUTSIDE: [&str; 4] = ["DOCKER_HOST", "TEMP", "TMPDIR", "XDG_STATE_HOME"];

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn every_variable_that_the_command_line_reads_is_accounted_for() {
        let name = Regex::new(r#""([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)""#).unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy();
            // `init` names variables for a document that is yet to be written.
            if !file.ends_with(".rs") || file.contains("tests") || file == "init.rs" {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for found in name.captures_iter(code) {
                let name = &found[1];
                if name.starts_with("CARGO") {
                    continue;
                }
                seen += 1;
                let known = is_own(name) || LOGINS.contains(&name) || OUTSIDE.contains(&name);
                // Constants in capitals that are no variables would need a word here.
                assert!(
                    known || !name.contains('_') && !["CI", "TERM", "HOME", "LANG"].contains(&name),
                    "{}: say in sandbox::front what becomes of {name} in the sandbox",
                    path.display()
                );
            }
        }
        assert!(seen > 15, "{seen}");
    }

    #[test]
    fn the_list_is_sorted_and_holds_no_secret() {
        let names: Vec<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
        assert!(names.is_sorted());
        for name in names {
            for word in ["TOKEN", "PASSWORD", "SECRET", "KEY"] {
                assert!(!name.contains(word), "{name}");
            }
        }
        for name in APPENDED {
            assert!(VARIABLES.iter().any(|(known, _)| *known == name));
        }
    }
}
