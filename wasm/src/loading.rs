//! The component on its way in: from its file or a registry, compiled earlier or now.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shipgate::cli::sandbox_args::SandboxArgs;
use shipgate::cli::session::Session;
use shipgate::failure::Failure;
use shipgate::sandbox::Component;

use crate::artifact::LARGEST;
use crate::compiled::{self, Bytes, Places};
use crate::source::Origin;
use crate::trust::Trust;
use crate::{component, failure};

/// How long it may take to compile a component: shipgate's own take some seconds.
const COMPILE_TIME: Duration = Duration::from_secs(600);

/// What decides which component is loaded.
pub struct Loading<'a> {
    /// The command line.
    pub sandbox: &'a SandboxArgs,
    /// Who must have signed it.
    pub trust: Option<&'a Trust>,
    /// Whether registries are spoken to without TLS, where the command line says so.
    pub plain_http: Option<bool>,
    /// What was begun.
    pub early: Option<Early>,
}

/// A component that was compiled earlier, loaded while it is still found out what it is to get.
pub type Early = tokio::task::JoinHandle<Option<compiled::Loaded>>;

/// Begins to load the component, where that is no question of registries and trust. Whether it runs is decided later.
pub fn begin(sandbox: &SandboxArgs, session: &Session) -> Option<Early> {
    let path = component_file(sandbox)?.ok()?;
    let places = Places::usual(&session.environment)?;
    check_size(&path).ok()?;
    #[expect(clippy::disallowed_methods, reason = "the launcher itself is native")]
    Some(tokio::task::spawn_blocking(move || {
        let engine = component::engine().ok()?;
        compiled::load_kept(&engine, &Bytes::File(path), &places)
    }))
}

impl Loading<'_> {
    /// Gets and compiles the component, and returns it with what it is called.
    ///
    /// # Errors
    /// It is not there, not trusted, or none.
    pub async fn finish(
        self,
        places: Option<Places>,
        session: &Session,
    ) -> Result<(PathBuf, compiled::Loaded), Failure> {
        let (path, fetched) = match (component_file(self.sandbox), &self.sandbox.component) {
            (None, Some(Component::Registry(artifact))) => {
                let origin = Origin {
                    artifact,
                    trust: self.trust,
                    plain_http: self.plain_http,
                    kept: places.as_ref().map(|places| places.components.as_path()),
                };
                let bytes = origin.obtain(session).await?;
                (artifact.to_string().into(), Some(bytes))
            }
            (Some(path), _) => (path?, None),
            (None, _) => (component_beside()?, None),
        };
        let name = path.clone();
        if let Some(early) = self.early
            && let Ok(Some(loaded)) = early.await
        {
            return Ok((name, loaded));
        }
        if fetched.is_none() {
            check_size(&path)?;
        }
        // On a thread of its own: a signal must not have to wait for it.
        #[expect(clippy::disallowed_methods, reason = "the launcher itself is native")]
        let loading = tokio::task::spawn_blocking(move || {
            let bytes = match fetched {
                Some(bytes) => Bytes::Here(bytes),
                None => Bytes::File(path.clone()),
            };
            let engine = component::engine().map_err(failure::host)?;
            compiled::load(&engine, bytes, places.as_ref())
                .map_err(|error| failure::load(&path, &error))
        });
        let loaded = tokio::time::timeout(COMPILE_TIME, loading).await;
        let loaded = loaded.map_err(|_| failure::compiling(&name, COMPILE_TIME))?;
        Ok((name, loaded.map_err(failure::host)??))
    }
}

/// Returns the line that says what runs, as `sha256sum` would check it.
pub fn running(path: &Path, digest: &str) -> String {
    format!("sandbox: it is {}, sha256:{digest}", path.display())
}

/// Refuses what is no file, or one that no component needs to be as large as.
fn check_size(path: &Path) -> Result<(), Failure> {
    // What can't be looked at can't be read either, which is said there.
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(failure::component(path, "it is no regular file")),
        Ok(found) if found.len() > LARGEST => Err(failure::too_large(path, LARGEST)),
        _ => Ok(()),
    }
}

/// Returns the component's file, unless it comes from a registry.
fn component_file(sandbox: &SandboxArgs) -> Option<Result<PathBuf, Failure>> {
    match &sandbox.component {
        Some(Component::Registry(_)) => None,
        Some(Component::File(path)) => Some(Ok(path.clone())),
        None => Some(component_beside()),
    }
}

/// Returns the component beside this program, the one that is made for the launcher first.
///
/// # Errors
/// There is none.
pub fn component_beside() -> Result<PathBuf, Failure> {
    let Ok(program) = std::env::current_exe() else {
        return Err(failure::no_component(None));
    };
    let beside = BESIDE.map(|name| program.with_file_name(name));
    match beside.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => Err(failure::no_component(Some(&beside[0]))),
    }
}

/// What components are called.
const BESIDE: [&str; 2] = ["shipgate-hosted.wasm", "shipgate.wasm"];
