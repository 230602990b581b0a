//! The launcher's own trust policy: who must have signed a component before it runs.
//!
//! It is named on the command line or lies in the launcher's own folder. A pipeline can neither name
//! nor change it: what a component may write is held against it.

use std::path::{Path, PathBuf};

use shipgate::cli::environment::Environment;
use shipgate::cli::sandbox_args::SandboxArgs;
use shipgate::cli::setting;
use shipgate::failure::Failure;
use shipgate::outcome::ExitCode;
use shipgate::pipeline::{Diagnostic, Source, load_trust};
use shipgate::sandbox::{Artifact, Component};
use shipgate::trust::Policy;

use crate::compiled::below;

/// The name of the policy in the launcher's own folder.
const FILE: &str = "trust.yml";

/// A policy that was read.
#[derive(Debug)]
pub struct Trust {
    /// Its path as it was named.
    pub shown: String,
    /// What it says.
    pub policy: Policy,
    /// The file, and those with the keys and trust roots.
    files: Vec<PathBuf>,
}

impl Trust {
    /// Finds and reads the policy, if there is one.
    ///
    /// # Errors
    /// It is there and can't be used; or flags ask for it where there is nothing that it could decide.
    pub fn find(sandbox: &SandboxArgs, environment: &Environment) -> Result<Option<Self>, Failure> {
        if !matches!(sandbox.component, Some(Component::Registry(_))) {
            return unneeded(sandbox).map_or(Ok(None), Err);
        }
        let path = match &sandbox.component_trust {
            Some(path) => Some(path.clone()),
            // Whatever stands there, and were it a folder or a link to nowhere: it is not passed over.
            None => usual(environment).filter(|path| std::fs::symlink_metadata(path).is_ok()),
        };
        match path {
            Some(path) => Self::read(&path).map(Some),
            None if sandbox.require_component_trust => Err(nobody(environment)),
            None => Ok(None),
        }
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let unusable = || {
            let message = format!("the trust policy {shown} can't be used");
            Failure::new(ExitCode::Usage, message)
        };
        let refused = |found: &[Diagnostic]| {
            let causes = found.iter().map(ToString::to_string);
            causes
                .fold(unusable(), Failure::caused_by)
                .hinted("docs/sandbox.md describes what it says")
        };
        let bytes = shipgate::cli::clients::read(path, "").map_err(|failure| Failure {
            message: unusable().message,
            exit: ExitCode::Usage,
            ..failure
        })?;
        let source = Source::from_bytes(&shown, &bytes).map_err(|found| refused(&[found]))?;
        let trust = load_trust(&source).map_err(|found| refused(&found))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let policy = setting::policy_in(folder, &trust).map_err(|failure| {
            let causes = std::iter::once(failure.message).chain(failure.causes);
            Failure {
                causes: causes.collect(),
                message: unusable().message,
                exit: ExitCode::Usage,
                ..failure
            }
        })?;
        let named = trust.files().map(|file| folder.join(file));
        let files = std::iter::once(path.to_owned()).chain(named).collect();
        Ok(Self {
            shown,
            policy,
            files,
        })
    }

    /// Returns the files by which somebody could change what it says.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }
}

/// Returns where the policy is if none is named.
pub fn usual(environment: &Environment) -> Option<PathBuf> {
    Some(
        below(environment, "XDG_CONFIG_HOME", ".config")?
            .join("shipgate-wasm")
            .join(FILE),
    )
}

/// Returns why a policy for a file is refused, if one is asked for: only a registry has signatures.
fn unneeded(sandbox: &SandboxArgs) -> Option<Failure> {
    let flag = if sandbox.component_trust.is_some() {
        "--component-trust"
    } else if sandbox.require_component_trust {
        "--require-component-trust"
    } else {
        return None;
    };
    let message = format!("{flag} is about a component from a registry, and this one is a file");
    Some(
        Failure::new(ExitCode::Usage, message)
            .caused_by("signatures are found in registries alone")
            .hinted(
                "name it with `--component oci://HOST/REPOSITORY@sha256:…`, or leave the flag out",
            ),
    )
}

fn nobody(environment: &Environment) -> Failure {
    let failure = Failure::new(
        ExitCode::Untrusted,
        "nothing says who must have signed the component",
    );
    match usual(environment) {
        Some(path) => failure
            .caused_by(format!("{} does not exist", path.display()))
            .hinted("write it, or name another file with --component-trust FILE"),
        None => failure.hinted("name a file with --component-trust FILE"),
    }
}

/// Says what a component's digest alone stands for.
pub fn by_digest(artifact: &Artifact) -> String {
    format!(
        "sandbox: the component is {artifact}, trusted for its digest alone: no policy says who must have signed it"
    )
}

#[cfg(test)]
mod tests {
    use shipgate::clock::Clock;

    use super::*;

    const PINNED: &str = "oci://ghcr.io/acme/a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn environment(home: &Path) -> Environment {
        let clock = Clock::new(|| unreachable!());
        Environment::given(&[("HOME", home.to_str().unwrap())], clock)
    }

    fn find(home: &Path, change: impl FnOnce(&mut SandboxArgs)) -> Result<Option<Trust>, Failure> {
        let mut sandbox = SandboxArgs {
            component: Some(PINNED.parse().unwrap()),
            ..SandboxArgs::default()
        };
        change(&mut sandbox);
        Trust::find(&sandbox, &environment(home))
    }

    #[test]
    fn what_is_there_is_never_passed_over() {
        let home = tempfile::tempdir().unwrap();
        assert!(find(home.path(), |_| ()).unwrap().is_none());
        let required = find(home.path(), |it| it.require_component_trust = true).unwrap_err();
        assert_eq!(required.exit, ExitCode::Untrusted);
        let usual = usual(&environment(home.path())).unwrap();
        std::fs::create_dir_all(usual.parent().unwrap()).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("nowhere", &usual).unwrap();
            assert_eq!(find(home.path(), |_| ()).unwrap_err().exit, ExitCode::Usage);
            std::fs::remove_file(&usual).unwrap();
        }
        for text in [
            "",
            "version: 1\n",
            "version: 1\ntrust: {signers: {}, images: {}}\n",
            "version: 1\ntrust: {signers: {a: {key: a.pub}}, images: {\"**\": {signed-by: b}}}\n",
            "version: 1\ntrust: {signers: {a: {key: a.pub}}, images: {\"**\": {signed-by: a}}}\n",
            "version: 1\nsteps: []\ntrust: {signers: {a: {key: a.pub}}, images: {\"**\": {signed-by: a}}}\n",
        ] {
            std::fs::write(&usual, text).unwrap();
            let failure = find(home.path(), |_| ()).unwrap_err();
            assert_eq!(failure.exit, ExitCode::Usage, "{text}");
            assert!(failure.message.contains("trust.yml"), "{text}");
            assert!(
                !failure.causes.is_empty() && failure.hint.is_some(),
                "{failure:?}"
            );
        }
    }

    #[test]
    fn the_policy_in_the_docs_is_sound() {
        let page = include_str!("../../docs/sandbox.md");
        let (_, rest) = page.split_once("```yaml\n# trust.yml\n").unwrap();
        let text = rest.split_once("```").unwrap().0;
        let trust = load_trust(&Source::new("trust.yml", text)).unwrap();
        assert_eq!(trust.images.keys().count(), 1);
    }

    #[test]
    fn a_flag_without_effect_is_refused() {
        let home = tempfile::tempdir().unwrap();
        for change in [
            (|it| it.component_trust = Some("a".into())) as fn(&mut SandboxArgs),
            |it| it.require_component_trust = true,
        ] {
            let file = |it: &mut SandboxArgs| {
                it.component = None;
                change(it);
            };
            assert_eq!(find(home.path(), file).unwrap_err().exit, ExitCode::Usage);
        }
    }
}
