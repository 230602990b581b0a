//! From what was named to a component that is ready to run.

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

/// Gets and compiles the component, and returns it with what it is called.
///
/// # Errors
/// There is none, it is none that may run, or it takes too long.
pub async fn load(
    sandbox: &SandboxArgs,
    plain_http: Option<bool>,
    trust: Option<&Trust>,
    places: Option<Places>,
    session: &Session,
) -> Result<(PathBuf, compiled::Loaded), Failure> {
    let (path, fetched) = match &sandbox.component {
        Some(Component::Registry(artifact)) => {
            let origin = Origin {
                artifact,
                trust,
                plain_http,
                kept: places.as_ref().map(|places| places.components.as_path()),
            };
            let bytes = origin.obtain(session).await?;
            (artifact.to_string().into(), Some(bytes))
        }
        Some(Component::File(path)) => (path.clone(), None),
        None => (component_beside()?, None),
    };
    let name = path.clone();
    if fetched.is_none() {
        // What can't be looked at can't be read either, which is said there.
        match std::fs::metadata(&path) {
            Ok(found) if !found.is_file() => {
                return Err(failure::component(&path, "it is no regular file"));
            }
            Ok(found) if found.len() > LARGEST => {
                return Err(failure::too_large(&path, LARGEST));
            }
            _ => {}
        }
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

/// Returns the line that says what runs, as `sha256sum` would check it.
pub fn running(path: &Path, digest: &str) -> String {
    format!("sandbox: it is {}, sha256:{digest}", path.display())
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
