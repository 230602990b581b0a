//! The system's certificate store.

use std::path::Path;

use rustls_pki_types::CertificateDer;

/// Returns the certificates of the system's store; one that can't be read counts as empty, since
/// the compiled-in roots remain.
pub(super) async fn system() -> Vec<CertificateDer<'static>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "reads files; this file is native only"
    )]
    let load = tokio::task::spawn_blocking(load);
    load.await.unwrap_or_default()
}

#[cfg(all(unix, not(target_vendor = "apple")))]
fn load() -> Vec<CertificateDer<'static>> {
    // By path and not by `load_native_certs`, which would read SSL_CERT_FILE by itself: the
    // environment is the caller's.
    BUNDLES
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .map(|path| rustls_native_certs::load_certs_from_paths(Some(path), None).certs)
        .unwrap_or_default()
}

#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn load() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

#[cfg(all(unix, not(target_vendor = "apple")))]
const BUNDLES: [&str; 5] = [
    // Debian, Ubuntu, Arch, Gentoo.
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL.
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // SUSE.
    "/etc/ssl/ca-bundle.pem",
    // Alpine, the BSDs.
    "/etc/ssl/cert.pem",
];
