//! Under which name an image of the cache is served.

use crate::oci::{Reference, Repository};

/// Returns the path that a repository has below a server's address: the registry's name and its own
/// path, with `_` before a port, since a path has no colons: `127.0.0.1_5000/acme/web`.
#[must_use]
pub fn served_name(repository: &Repository) -> String {
    let registry = repository.registry.replace(':', "_");
    // Addresses of IPv6 have brackets, which paths don't have either.
    let registry = registry.replace(['[', ']'], "");
    format!("{registry}/{}", repository.path)
}

/// How well a name that was asked for fits an image, the best first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Fit {
    /// Registry and path.
    Whole,
    /// The path, of Docker Hub: Docker Engine asks its mirrors so.
    Hub,
    /// The path alone.
    Path,
}

/// Says how a name fits a repository. `registry` is the one that containerd means (`?ns=`).
pub(super) fn fit(repository: &Repository, name: &str, registry: Option<&str>) -> Option<Fit> {
    let same_path = repository.path == name;
    match registry {
        Some(registry) => (same_path && repository.registry == registry).then_some(Fit::Whole),
        None if served_name(repository) == name => Some(Fit::Whole),
        None if !same_path => None,
        None if repository.registry == "docker.io" => Some(Fit::Hub),
        None => Some(Fit::Path),
    }
}

/// Reads the reference of an entry of the cache, which other tools may have written in other forms.
pub(super) fn reference(text: &str) -> Option<Reference> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_by_registry_and_path() {
        let repository = |text: &str| text.parse::<Reference>().unwrap().repository;
        let local = repository("127.0.0.1:5000/acme/web");
        assert_eq!(served_name(&local), "127.0.0.1_5000/acme/web");
        assert_eq!(
            fit(&local, "127.0.0.1_5000/acme/web", None),
            Some(Fit::Whole)
        );
        assert_eq!(
            fit(&local, "acme/web", Some("127.0.0.1:5000")),
            Some(Fit::Whole)
        );
        assert_eq!(fit(&local, "acme/web", Some("ghcr.io")), None);
        assert_eq!(fit(&local, "acme/web", None), Some(Fit::Path));
        assert_eq!(fit(&local, "acme", None), None);
        let hub = repository("nginx");
        assert_eq!(fit(&hub, "library/nginx", None), Some(Fit::Hub));
        assert_eq!(fit(&hub, "docker.io/library/nginx", None), Some(Fit::Whole));
    }
}
