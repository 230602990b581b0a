//! The reference registry, a process of its own.

use std::fs;
use std::sync::Arc;

use super::{Authority, Process, Service, tokens, tool};

/// The user of a registry that asks for a password.
pub const USER: &str = "acme";
/// The password of [`USER`].
pub const PASSWORD: &str = "s3cret-password";
/// `htpasswd` line of the two: the registry takes bcrypt only.
const HTPASSWD: &str = "acme:$2y$05$abcdefghijklmnopqrstuuUXKlvQTwfK/kphhjbeRlh5zvpJx1LLu\n";

/// A running `docker-registry` with its storage.
pub struct Registry {
    _process: Process,
    address: String,
    storage: Arc<tempfile::TempDir>,
    _folder: tempfile::TempDir,
}

impl Registry {
    /// Starts an open registry over plain HTTP.
    pub fn start() -> Self {
        Self::on(Arc::new(tempfile::tempdir().unwrap()), "")
    }

    /// Starts a second door to the same images that asks for [`USER`] and [`PASSWORD`].
    pub fn with_password(&self) -> Self {
        let file = self.storage.path().join("htpasswd");
        fs::write(&file, HTPASSWD).unwrap();
        let auth = format!(
            "auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n",
            file.display()
        );
        Self::on(self.storage.clone(), &auth)
    }

    /// Starts a second door to the same images that speaks TLS.
    pub fn with_tls(&self, authority: &Authority) -> Self {
        let tls = format!(
            "  tls: {{certificate: '{}', key: '{}'}}\n",
            authority.certificate().display(),
            authority.key().display()
        );
        Self::on(self.storage.clone(), &tls)
    }

    /// Starts a pull-through cache of the registry at a host and port, which is empty.
    pub fn cache_of(upstream: &str) -> Self {
        let rest = format!("proxy: {{remoteurl: 'http://{upstream}'}}\n");
        Self::on(Arc::new(tempfile::tempdir().unwrap()), &rest)
    }

    /// Returns the host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Starts a second door to the same images that asks for tokens of [`USER`], and the service that gives them.
    pub fn with_tokens(&self, authority: &Authority) -> (Self, Service) {
        let service = tokens::serve(authority);
        let auth = format!(
            "auth: {{token: {{realm: '{}', service: {}, issuer: {}, rootcertbundle: '{}'}}}}\n",
            service.url("/token"),
            tokens::AUDIENCE,
            tokens::ISSUER,
            authority.ca().display()
        );
        (Self::on(self.storage.clone(), &auth), service)
    }

    /// `rest` follows the `http` section, so that indented lines belong to it.
    fn on(storage: Arc<tempfile::TempDir>, rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("registry.yml");
        fs::write(
            &configuration,
            format!(
                "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: '{}'}}\n  delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:0\n  relativeurls: true\n  secret: loopback\n{rest}",
                storage.path().display()
            ),
        )
        .unwrap();
        let mut process = Process::server(
            &tool("docker-registry"),
            &["serve", configuration.to_str().unwrap()],
            &folder.path().join("log"),
        );
        let address = process.wait_for("the registry to listen", |log| {
            let (_, rest) = log.split_once("listening on ")?;
            Some(rest.split(['"', ',']).next()?.trim().to_owned())
        });
        Self {
            _process: process,
            address,
            storage,
            _folder: folder,
        }
    }
}
