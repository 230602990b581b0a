//! A component has no certificate store: the compiled-in roots and the given ones are all.

use rustls_pki_types::CertificateDer;

#[expect(clippy::unused_async, reason = "the native twin awaits a thread")]
pub(super) async fn system() -> Vec<CertificateDer<'static>> {
    Vec::new()
}
