//! The clients of a run, made of what the flags, the document and the machine say.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::environment::Environment;
use super::hosted::Brief;
use super::logins::Machine;
use super::ways::Ways;
use crate::cache::Cache;
use crate::engine::image::Images;
use crate::engine::lock::Lock;
use crate::engine::world::{RunNames, State, World};
use crate::failure::Failure;
use crate::net::{self, Authority};
use crate::oci::error::Login;
use crate::oci::hosts::Named;
use crate::oci::{self, Credential, Credentials, Hosts, Mirrors, PlatformRule, Reference};
use crate::outcome::ExitCode;
use crate::pipeline::mask::Learned;
use crate::pipeline::model::CredentialSources;
use crate::report::{Detail, Emitter, NoMask, words};
use crate::trust::Policy;

/// What a world is made of.
#[derive(Default)]
pub struct Parts {
    /// What the run is called.
    pub run: RunNames,
    /// The images: name, reference, platform.
    pub images: Vec<(String, Reference, PlatformRule)>,
    /// Credentials that the document gives, by registry.
    pub given: BTreeMap<String, Credential>,
    /// Registries that have their logins of AWS.
    pub ecr: Vec<String>,
    /// Where to look for the credentials of the others.
    pub sources: CredentialSources,
    /// Registries that are spoken to without TLS, or with TLS although they are on loopback.
    pub plain_http: BTreeMap<String, bool>,
    /// Hosts that the document lists for what registries may name, by registry.
    pub listed: BTreeMap<String, Named>,
    /// Who else may be asked for what registries have.
    pub mirrors: Mirrors,
    /// Files with certificate authorities to trust besides.
    pub authorities: Vec<PathBuf>,
    /// By which ways hosts are reached.
    pub ways: Ways,
    /// Who must have signed what.
    pub policy: Option<Policy>,
    /// The digests to use.
    pub lock: Option<Lock>,
    /// The cache folder, where one was named.
    pub cache: Option<PathBuf>,
    /// What may be done with the cache.
    pub access: Access,
    /// Where secrets go that the run comes to know, to be masked.
    pub learned: Learned,
}

/// What may be done with a cache.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Access {
    /// It is made if it is not there.
    #[default]
    Fill,
    /// Nothing is written.
    Look,
}

/// The largest file of certificates or credentials that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

impl Parts {
    /// Makes the world.
    ///
    /// # Errors
    /// A file that can't be read or used, or no place for the cache.
    pub fn build(
        self,
        environment: &Environment,
        events: &Emitter,
        brief: Option<&Brief>,
    ) -> Result<World, Failure> {
        let http = match brief.and_then(|brief| Some((brief, brief.egress.clone()?))) {
            None => http(&self.authorities, &self.ways, environment, &self.learned)?,
            Some((brief, egress)) => {
                self.trusted(brief)?;
                self.led(brief)?;
                client(net::Config {
                    egress: Some(egress),
                    ..net::Config::default()
                })?
            }
        };
        let registries = self.client(&http, environment, events)?;
        Ok(World {
            clock: environment.clock.clone(),
            run: self.run,
            http,
            registries,
            cache: open_cache(self.cache, self.access, environment)?,
            images: Images::new(self.images, self.lock),
            docker_host: environment.filled("DOCKER_HOST"),
            policy: self.policy,
            state: State::default(),
            mask: Arc::new(NoMask),
        })
    }

    /// Makes the client for registries alone, for who needs no world.
    ///
    /// # Errors
    /// A file that can't be read or used.
    pub fn registries(
        &self,
        environment: &Environment,
        events: &Emitter,
    ) -> Result<oci::Client, Failure> {
        let http = http(&self.authorities, &self.ways, environment, &self.learned)?;
        self.client(&http, environment, events)
    }

    fn client(
        &self,
        http: &net::Client,
        environment: &Environment,
        events: &Emitter,
    ) -> Result<oci::Client, Failure> {
        Ok(oci::Client::new(oci::Config {
            credentials: self.credentials(http, environment, events)?,
            plain_http: self.plain_http.clone(),
            hosts: Hosts::new(
                self.listed.clone(),
                self.lock
                    .as_ref()
                    .map(|lock| lock.hosts.clone())
                    .unwrap_or_default(),
            ),
            mirrors: self.mirrors.clone(),
            notices: notices(events),
            ..oci::Config::new(http.clone(), environment.clock.clone())
        }))
    }

    /// Checks that the launcher, which speaks TLS, trusts all that is to be trusted.
    fn trusted(&self, brief: &Brief) -> Result<(), Failure> {
        let mut names = self
            .authorities
            .iter()
            .map(|path| path.display().to_string());
        match names.find(|name| !brief.trusted.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Failure::new(
                ExitCode::Usage,
                format!("the launcher does not trust the certificate authority {name}"),
            )
            .caused_by("it speaks TLS itself, and was not told of that file")
            .hinted("set SSL_CERT_FILE to the file where the launcher is started")),
        }
    }

    /// Checks that the launcher, which makes the connections, makes them as is to be.
    fn led(&self, brief: &Brief) -> Result<(), Failure> {
        let said = self.ways.said();
        match said.iter().find(|way| !brief.ways.contains(way)) {
            None => Ok(()),
            Some(way) => Err(Failure::new(
                ExitCode::Usage,
                format!("the launcher does not know of this way: {way}"),
            )
            .caused_by(
                "it makes the connections itself, and was not told what the pipeline says of them",
            )
            .hinted("let it read the pipeline: `shipgate-wasm PIPELINE`, without grants by hand")),
        }
    }

    fn credentials(
        &self,
        http: &net::Client,
        environment: &Environment,
        events: &Emitter,
    ) -> Result<Credentials, Failure> {
        let machine = Machine {
            environment,
            events,
            http,
            learned: &self.learned,
        };
        let sources = machine.sources(&self.sources, &self.ecr, &self.plain_http)?;
        let learned = self.learned.clone();
        Ok(Credentials::heard(
            self.given.clone(),
            sources,
            move |secret, user| learned.add(secret.expose(), user),
        ))
    }
}

/// Returns a client that trusts the authorities in these files, and those in `SSL_CERT_FILE`, and goes by
/// these ways.
///
/// # Errors
/// A file that can't be read, or holds no certificate; a variable that is no proxy.
pub fn http(
    authorities: &[PathBuf],
    ways: &Ways,
    environment: &Environment,
    learned: &Learned,
) -> Result<net::Client, Failure> {
    let mut files = authorities.to_vec();
    // curl, Go and OpenSSL mind this variable, and so do the machines that set it.
    files.extend(environment.filled("SSL_CERT_FILE").map(PathBuf::from));
    let ca: Result<Vec<_>, Failure> = files.iter().map(|path| authority(path)).collect();
    let mut config = net::Config {
        ca: ca?,
        ..net::Config::default()
    };
    ways.apply(&mut config, environment, learned)?;
    client(config)
}

fn client(config: net::Config) -> Result<net::Client, Failure> {
    net::Client::new(config).map_err(|error| {
        Failure::explained(
            ExitCode::PipelineInvalid,
            "a certificate authority can't be used",
            &error,
        )
    })
}

/// Opens the cache, in the folder that was named or in the usual one.
///
/// # Errors
/// The folder is none, or can't be made or used.
fn open_cache(
    named: Option<PathBuf>,
    access: Access,
    environment: &Environment,
) -> Result<Cache, Failure> {
    let folder = named
        .or_else(|| environment.cache_folder())
        .ok_or_else(|| {
            Failure::new(ExitCode::Usage, "there is no place for the cache")
                .caused_by("neither SHIPGATE_CACHE, XDG_CACHE_HOME nor HOME is set")
                .hinted("name a folder with --cache DIR")
        })?;
    let cache = match access {
        Access::Fill => Cache::open(&folder),
        Access::Look => Cache::view(&folder),
    };
    cache.map_err(|error| {
        let message = format!("the cache in {} can't be used", folder.display());
        Failure::explained(ExitCode::PreloadFailed, message, &error)
    })
}

/// Opens the cache to look at what is there.
///
/// # Errors
/// As `open_cache`. None of them is a failure to preload: nothing was to be fetched.
pub fn view_cache(named: Option<PathBuf>, environment: &Environment) -> Result<Cache, Failure> {
    open_cache(named, Access::Look, environment).map_err(|failure| match failure.exit {
        ExitCode::PreloadFailed => Failure {
            exit: ExitCode::Unexpected,
            ..failure
        },
        _ => failure,
    })
}

/// Tells of the transport's waits and warnings.
fn notices(events: &Emitter) -> Arc<dyn Fn(oci::Notice) + Send + Sync> {
    let events = events.clone();
    Arc::new(move |notice| {
        events.emit(match notice {
            oci::Notice::QuotaLow { host, quota } => Detail::Warned {
                message: format!("{host} has {quota}"),
                hint: Some(format!("log in to {host}, or use a mirror")),
            },
            oci::Notice::Retrying {
                host,
                reason,
                wait,
                shared,
                attempt,
                of,
            } => {
                let wait = words::duration(wait);
                Detail::Waiting {
                    on: if shared {
                        format!("{host}, which is left alone for {wait}: {reason}")
                    } else {
                        format!("{host}, {wait} before attempt {} of {of}: {reason}", attempt + 1)
                    },
                }
            }
            oci::Notice::Silent {
                host,
                address,
                what,
                lasted,
                patience,
            } => {
                let at = address.map(|address| format!(" at {}", address.ip()));
                Detail::Waiting {
                    on: format!(
                        "{host}{}, which has sent nothing of {what} for {} (of at most {}); asked on a second connection too",
                        at.unwrap_or_default(),
                        words::duration(lasted),
                        words::duration(patience),
                    ),
                }
            }
            oci::Notice::Login { registry, login } => match login {
                Login::Anonymous => Detail::RegistryLogin {
                    registry,
                    username: None,
                    origin: None,
                },
                Login::With { username, origin } => Detail::RegistryLogin {
                    registry,
                    username,
                    origin: Some(origin),
                },
            },
            oci::Notice::Warning { message } => Detail::Warned {
                message,
                hint: None,
            },
        });
    })
}

fn authority(path: &Path) -> Result<Authority, Failure> {
    Ok(Authority {
        name: path.display().to_string(),
        pem: read(
            path,
            &format!("the certificate authority {} can't be read", path.display()),
        )?,
    })
}

/// Reads a small file whole.
///
/// # Errors
/// The file can't be read, or is larger than any file of its kind.
pub fn read(path: &Path, message: &str) -> Result<Vec<u8>, Failure> {
    let failed = |cause: String, hint: &str| {
        Failure::new(ExitCode::InputInvalid, message)
            .caused_by(cause)
            .hinted(hint)
    };
    let mut bytes = Vec::new();
    // The size that the system tells is no bound: devices and pipes have none.
    let read =
        fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        failed(
            error.to_string(),
            "check the path and the file's permissions",
        )
    })?;
    if bytes.len() as u64 > MAX_FILE {
        let cause = format!("it has more than the {MAX_FILE} bytes that are read");
        return Err(failed(
            cause,
            "name another file: none of this kind is so large",
        ));
    }
    Ok(bytes)
}
