//! A private certificate authority, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority with one server certificate for 127.0.0.1 and localhost.
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// Makes keys and certificates.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = "
            set -e
            openssl ecparam -name prime256v1 -genkey -noout -out ca.key
            openssl req -x509 -new -key ca.key -sha256 -days 30 -subj /CN=test-authority -out ca.pem \
              -addext keyUsage=critical,keyCertSign
            openssl ecparam -name prime256v1 -genkey -noout -out server.key
            openssl pkcs8 -topk8 -nocrypt -in server.key -out server.pkcs8
            openssl req -new -key server.key -subj /CN=localhost -out server.csr
            printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:false\n' >server.ext
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 20 -sha256 \
              -extfile server.ext -out server.pem";
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self { folder }
    }

    /// Returns the path of the authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Returns the path of the server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.file("server.pem")
    }

    /// Returns the path of the server's key.
    pub fn key(&self) -> PathBuf {
        self.file("server.key")
    }

    /// Returns the path of the server's key as PKCS#8.
    pub fn pkcs8(&self) -> PathBuf {
        self.file("server.pkcs8")
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }
}
