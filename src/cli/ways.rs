//! By which ways the clients of a run reach hosts: what the document and the variables say.

use std::path::PathBuf;

use url::Url;

use super::clients::read;
use super::environment::Environment;
use crate::engine::grants::Grants;
use crate::failure::Failure;
use crate::net::{self, Bypass, Identity, IdentityFiles, Peer, Proxies, Routes};
use crate::oci::reference::api_host;
use crate::outcome::ExitCode;
use crate::pipeline::Document;
use crate::pipeline::mask::Learned;
use crate::pipeline::model::ProxySetting;

/// What is to be known to make the connections of a run.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    proxy: ProxySetting,
    hosts: Vec<Host>,
}

/// How one registry is reached.
#[derive(Clone, Debug)]
struct Host {
    /// As references write it.
    registry: String,
    peer: Peer,
    connect_to: Option<Peer>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl Ways {
    /// Takes what a document says.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        let hosts = document.registries.iter().filter_map(|(name, registry)| {
            let name = &name.value.0;
            let peer = peer(name, registry.plain_http)?;
            let connect_to = registry.connect_to.as_ref();
            let identity = registry.client_cert.as_ref().map(|certificate| {
                let key = registry.client_key.as_ref().unwrap_or(certificate);
                (certificate.value.clone(), key.value.clone())
            });
            Some(Host {
                registry: name.clone(),
                connect_to: connect_to.map(|to| to.value.instead_of(&peer)),
                peer,
                identity,
            })
        });
        Self {
            proxy: document.net.proxy.clone(),
            hosts: hosts.collect(),
        }
    }

    /// Finds the ways, and who this side is to whom. What is secret in them is learned, to be masked.
    ///
    /// # Errors
    /// A variable that is no proxy, or a certificate that can't be used.
    pub fn apply(
        &self,
        config: &mut net::Config,
        environment: &Environment,
        learned: &Learned,
    ) -> Result<(), Failure> {
        let proxies = self.proxies(environment)?;
        for (proxy, _) in proxies.all() {
            if let Some((username, password)) = proxy.login() {
                learned.add(password, Some(username));
            }
        }
        let moved = self
            .hosts
            .iter()
            .filter_map(|host| Some((host.peer.clone(), host.connect_to.clone()?)));
        config.routes = Routes {
            proxies,
            connect_to: moved.collect(),
        };
        for host in &self.hosts {
            if let Some(identity) = host.identity(environment)? {
                config.identities.insert(host.peer.clone(), identity);
            }
        }
        Ok(())
    }

    /// Adds what the connections need besides the hosts that are meant.
    pub fn grant(&self, grants: &mut Grants, environment: &Environment) {
        // A variable that is no proxy ends the run later, with its name.
        let proxies = self.proxies(environment).unwrap_or_default();
        for (proxy, schemes) in proxies.all() {
            let reason = format!("proxy for {schemes} ({})", proxy.origin());
            grants.connecting_host(proxy.host(), proxy.port(), &reason);
        }
        if self.proxy == ProxySetting::Environment && !proxies.all().is_empty() {
            let names = Proxies::VARIABLES.into_iter().flatten();
            for name in names.filter(|name| environment.filled(name).is_some()) {
                grants.connecting_variable(name, "proxy");
            }
        }
        for host in &self.hosts {
            if let Some(to) = &host.connect_to {
                let reason = format!("connect-to of {}", host.registry);
                grants.connecting_host(to.host(), to.port(), &reason);
            }
            for path in host.files() {
                let reason = format!("client certificate for {}", host.registry);
                grants.connecting_file(&path.display().to_string(), &reason);
            }
        }
    }

    /// Returns what the document says of the ways, one text each: whoever makes the connections must
    /// have been told all of it.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        let mut said = Vec::new();
        match &self.proxy {
            ProxySetting::Environment => {}
            ProxySetting::None => said.push("no proxy".to_owned()),
            ProxySetting::Named(named) => {
                let (http, https) = named.proxies();
                let all = http.iter().chain(https.iter());
                said.extend(all.map(|proxy| format!("the proxy {proxy}")));
            }
        }
        for host in &self.hosts {
            let to = host.connect_to.iter();
            said.extend(to.map(|to| format!("{} at {to}", host.peer)));
            let files = host.files().into_iter();
            said.extend(files.map(|path| format!("{} shown {}", host.peer, path.display())));
        }
        said
    }

    fn proxies(&self, environment: &Environment) -> Result<Proxies, Failure> {
        match &self.proxy {
            ProxySetting::None => Ok(Proxies::default()),
            ProxySetting::Named(named) => {
                let (http, https) = named.proxies();
                let rules = named.no_proxy.iter().map(|rule| rule.0.clone());
                Ok(Proxies {
                    http,
                    https,
                    bypass: Bypass::of(rules),
                })
            }
            ProxySetting::Environment => {
                Proxies::of_variables(|name| environment.variable(name)).map_err(|error| {
                    let message = format!("the proxy in {} can't be used", error.origin);
                    Failure::new(ExitCode::InputInvalid, message)
                        .caused_by(error.to_string())
                        .hinted(format!(
                            "write {}=http://HOST:PORT, or `net: {{proxy: none}}` in the pipeline to do without",
                            error.origin
                        ))
                })
            }
        }
    }
}

impl Host {
    fn files(&self) -> Vec<&PathBuf> {
        match &self.identity {
            None => Vec::new(),
            Some((certificate, key)) if certificate == key => vec![certificate],
            Some((certificate, key)) => vec![certificate, key],
        }
    }

    fn identity(&self, environment: &Environment) -> Result<Option<Identity>, Failure> {
        let Some((certificate, key)) = &self.identity else {
            return Ok(None);
        };
        let message = format!("the client certificate for {} can't be used", self.registry);
        let identity = Identity::read(
            IdentityFiles {
                certificate_name: &certificate.display().to_string(),
                certificate: &read(certificate, &message)?,
                key_name: &key.display().to_string(),
                key: &read(key, &message)?,
            },
            environment.clock.now(),
        );
        identity
            .map(Some)
            .map_err(|error| Failure::explained(ExitCode::InputInvalid, message, &error))
    }
}

/// Returns who answers for a registry.
fn peer(registry: &str, plain_http: Option<bool>) -> Option<Peer> {
    let url = Url::parse(&format!("https://{}/", api_host(registry))).ok()?;
    let host = url.host_str()?;
    let is_local = crate::pipeline::secret::is_loopback(&url);
    let usual = if plain_http.unwrap_or(is_local) {
        80
    } else {
        443
    };
    // A URL leaves out the port that is usual for its scheme, also where it was written.
    let written = registry.ends_with(":443").then_some(443);
    Some(Peer::new(host, url.port().or(written).unwrap_or(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_who_its_name_leads_to() {
        let shown = |registry, plain| peer(registry, plain).unwrap().to_string();
        assert_eq!(shown("docker.io", None), "registry-1.docker.io:443");
        assert_eq!(shown("r.example", Some(true)), "r.example:80");
        assert_eq!(shown("r.example:443", Some(true)), "r.example:443");
        assert_eq!(shown("r.example:5000", None), "r.example:5000");
        assert_eq!(shown("[::1]:5000", None), "[::1]:5000");
        assert_eq!(shown("localhost", None), "localhost:80");
    }
}
