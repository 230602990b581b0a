//! Keys, authorities and signatures of the real notation, and the services that its authorities run, by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Answer, Request, Sandbox, Service, Tool};

/// A home of notation: signing keys, trust stores, a trust policy, and the authorities behind them.
pub struct Notary {
    folder: Arc<Sandbox>,
}

/// What a certificate says beside its name.
#[derive(Clone, Copy, Default)]
pub struct Extensions<'a> {
    /// Where OCSP is asked.
    pub responder: Option<&'a str>,
    /// Where the revocation list is.
    pub list: Option<&'a str>,
    /// When it ends; in some days if there is none.
    pub end: Option<&'a str>,
}

impl Notary {
    /// Makes an empty home.
    pub fn new() -> Self {
        let notary = Self {
            folder: Arc::new(Sandbox::new()),
        };
        std::fs::create_dir_all(notary.config()).unwrap();
        notary
    }

    /// Returns the folder of its configuration, with `trustpolicy.json` and `truststore`.
    pub fn config(&self) -> PathBuf {
        self.folder.home().join(".config/notation")
    }

    /// Returns a file that openssl made.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes an authority, and trusts it in the store of its name.
    pub fn authority(&self, name: &str, kind: &str) {
        let folder = self.config().join("truststore/x509").join(kind).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        self.folder.write(
            &format!("{name}.cnf"),
            format!(
                "[ca]\ndefault_ca = it\n[it]\ndatabase = {name}.index\nserial = {name}.serial\nnew_certs_dir = .\n\
                 certificate = {name}.crt\nprivate_key = {name}.key\ndefault_md = sha256\npolicy = any\n\
                 default_days = 30\ndefault_crl_days = 5\nunique_subject = no\n[any]\ncountryName = optional\n\
                 stateOrProvinceName = optional\norganizationName = optional\ncommonName = optional\n"
            ),
        );
        self.folder.write(&format!("{name}.index"), "");
        self.folder.write(&format!("{name}.serial"), "1000\n");
        self.shell(&format!(
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key
            openssl req -new -key {name}.key -subj '/C=US/ST=WA/O=acme/CN={name}' -out {name}.csr
            printf 'basicConstraints=critical,CA:true\\nkeyUsage=critical,keyCertSign,cRLSign\\n' >{name}.ext
            openssl ca -batch -notext -selfsign -config {name}.cnf -startdate 20250101000000Z -enddate 20350101000000Z \
              -extfile {name}.ext -in {name}.csr -out {name}.crt
            cp {name}.crt '{}'",
            folder.join("root.crt").display()
        ));
    }

    /// Makes a key of a kind (`RSA:2048`, `P-256`) and a certificate for it, and tells notation of both.
    pub fn signer(&self, name: &str, authority: &str, kind: &str, extensions: Extensions<'_>) {
        let usage = "keyUsage=critical,digitalSignature\\nextendedKeyUsage=codeSigning";
        self.issue(name, authority, kind, usage, extensions);
        let path = self.config().join("signingkeys.json");
        let mut keys: Value = std::fs::read(&path).map_or_else(
            |_| json!({"keys": []}),
            |it| serde_json::from_slice(&it).unwrap(),
        );
        keys["keys"].as_array_mut().unwrap().push(json!({
            "name": name,
            "keyPath": self.file(&format!("{name}.key")),
            "certPath": self.file(&format!("{name}.chain")),
        }));
        std::fs::write(path, keys.to_string()).unwrap();
    }

    /// Makes a certificate that signs time stamps.
    pub fn stamper(&self, name: &str, authority: &str) {
        let usage = "keyUsage=critical,digitalSignature\\nextendedKeyUsage=critical,timeStamping";
        self.issue(name, authority, "P-256", usage, Extensions::default());
        self.folder.write(
            &format!("{name}.tsa"),
            format!(
                "[tsa]\ndefault_tsa = it\n[it]\nserial = {name}.tsserial\nsigner_cert = {name}.crt\n\
                 signer_key = {name}.key\ncerts = {name}.chain\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\n\
                 digests = sha256, sha384, sha512\naccuracy = secs:1\ness_cert_id_alg = sha256\n"
            ),
        );
        self.folder.write(&format!("{name}.tsserial"), "01\n");
    }

    fn issue(
        &self,
        name: &str,
        authority: &str,
        kind: &str,
        usage: &str,
        extensions: Extensions<'_>,
    ) {
        let key = match kind.split_once(':') {
            Some((_, bits)) => format!("RSA -pkeyopt rsa_keygen_bits:{bits}"),
            None => format!("EC -pkeyopt ec_paramgen_curve:{kind}"),
        };
        let mut more = String::new();
        if let Some(url) = extensions.responder {
            more += &format!("\\nauthorityInfoAccess=OCSP;URI:{url}");
        }
        if let Some(url) = extensions.list {
            more += &format!("\\ncrlDistributionPoints=URI:{url}");
        }
        let end = extensions
            .end
            .map_or_else(String::new, |end| format!("-enddate {end}"));
        // It has to be valid a while before it signs: authorities tell the time to a second.
        self.shell(&format!(
            "openssl genpkey -algorithm {key} -out {name}.key
            openssl req -new -key {name}.key -subj '/C=US/ST=WA/O=acme/CN={name}' -out {name}.csr
            printf 'basicConstraints=critical,CA:false\\n{usage}{more}\\n' >{name}.ext
            openssl ca -batch -notext -config {authority}.cnf -startdate 20250101000000Z {end} -extfile {name}.ext \
              -in {name}.csr -out {name}.crt
            cat {name}.crt {authority}.crt >{name}.chain"
        ));
    }

    /// Revokes a certificate.
    pub fn revoke(&self, name: &str, authority: &str) {
        self.shell(&format!(
            "openssl ca -config {authority}.cnf -revoke {name}.crt -crl_reason keyCompromise"
        ));
    }

    /// Answers OCSP requests (`/ocsp`) and has the revocation list (`/crl`) of an authority, as they are at that time.
    pub fn authority_service(&self, authority: &str) -> Service {
        let (folder, authority) = (self.folder.clone(), authority.to_owned());
        Service::start(move |request| {
            let number = uuid();
            let script = if request.target.starts_with("/ocsp") {
                folder.write(&format!("{number}.req"), asked(request));
                format!(
                    "openssl ocsp -index {authority}.index -CA {authority}.crt -rsigner {authority}.crt \
                     -rkey {authority}.key -nmin 60 -resp_no_certs -reqin {number}.req -respout {number}.out"
                )
            } else {
                format!(
                    "openssl ca -gencrl -config {authority}.cnf -out {number}.pem
                    openssl crl -in {number}.pem -outform DER -out {number}.out"
                )
            };
            run(folder.path(), &script);
            let answer = std::fs::read(folder.path().join(format!("{number}.out"))).unwrap();
            Answer::Reply(200, Vec::new(), answer)
        })
    }

    /// Answers requests for time stamps.
    pub fn stamping_service(&self, stamper: &str) -> Service {
        let (folder, stamper) = (self.folder.clone(), stamper.to_owned());
        Service::start(move |request| {
            let number = uuid();
            folder.write(&format!("{number}.req"), &request.body);
            run(
                folder.path(),
                &format!(
                    "openssl ts -reply -config {stamper}.tsa -queryfile {number}.req -out {number}.out"
                ),
            );
            let answer = std::fs::read(folder.path().join(format!("{number}.out"))).unwrap();
            let kind = ("Content-Type".into(), "application/timestamp-reply".into());
            Answer::Reply(200, vec![kind], answer)
        })
    }

    /// Signs a reference by digest.
    pub fn sign(&self, reference: &str, key: &str, arguments: &[&str]) {
        assert!(reference.contains('@'), "sign digests, not tags");
        self.tool()
            .args(["sign", "--insecure-registry", "--key", key])
            .args(arguments)
            .args([reference])
            .run();
    }

    /// Writes a trust policy of one statement for every repository.
    pub fn policy(&self, verification: Value, stores: &[&str], identities: &[&str]) {
        let document = json!({
            "version": "1.0",
            "trustPolicies": [{
                "name": "all",
                "registryScopes": ["*"],
                "signatureVerification": verification,
                "trustStores": stores,
                "trustedIdentities": identities,
            }],
        });
        std::fs::write(self.config().join("trustpolicy.json"), document.to_string()).unwrap();
    }

    /// Says whether notation itself accepts a reference, and what it said.
    pub fn accepts(&self, reference: &str) -> (bool, String) {
        let cache = self.folder.home().join(".cache");
        // What it keeps of revocation lists would hide what they say now.
        let _ = std::fs::remove_dir_all(cache.join("notation"));
        let output = self
            .tool()
            .env("XDG_CACHE_HOME", &cache)
            .args(["verify", "--insecure-registry", "-v", reference])
            .attempt();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    }

    fn tool(&self) -> Tool {
        Tool::new(&self.folder, "notation")
    }

    fn shell(&self, script: &str) {
        run(self.folder.path(), script);
    }
}

/// Returns the OCSP request, which short ones have in their path.
fn asked(request: &Request) -> Vec<u8> {
    if request.method == "POST" {
        return request.body.clone();
    }
    let text = request.target.trim_start_matches("/ocsp/");
    let text = text
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    BASE64_STANDARD.decode(text).unwrap()
}

/// A name that no other request has.
fn uuid() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("request-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn run(folder: &Path, script: &str) {
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
