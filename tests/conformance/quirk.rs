//! Quirks of registries, read from their files and played by the server that misbehaves.
//!
//! It stands on the fault proxy beside it (`fault`), which a client reaches as its HTTP proxy: so a
//! quirk can have several hosts, and what is sent to each of them is seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::digest::{SHA256, digest as hash};
use serde_json::{Map, Value, json};

use super::fault::{Content, Exchange, Fault, FaultProxy, Length, RangeLie, Rule, Seen, TokenRule};

/// The host of the registry, over plain HTTP.
pub const REGISTRY: &str = "registry.acme.test";
/// The repository.
pub const REPOSITORY: &str = "acme/web";
/// The login, where a quirk has one.
pub const LOGIN: (&str, &str) = ("ci", "pa55word-of-ci");

/// A quirk as its file says it.
pub struct Quirk {
    /// Its name: the file's, without the ending.
    pub name: String,
    /// Everything in the file.
    pub file: Value,
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, (String, Vec<u8>)>,
}

/// A quirk that is being served.
pub struct Served {
    /// The proxy that clients go through.
    pub proxy: FaultProxy,
    quirk: Arc<Quirk>,
}

/// Returns the files of all quirks, sorted by name.
pub fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/quirks");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .collect();
    files.sort();
    files
}

impl Quirk {
    /// Reads a file.
    pub fn read(path: &Path) -> Self {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let file = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut quirk = Self {
            name,
            file,
            blobs: BTreeMap::new(),
            manifests: BTreeMap::new(),
        };
        quirk.make_blobs();
        quirk.make_manifests();
        quirk
    }

    fn make_blobs(&mut self) {
        let usual = json!({
            "config": {"json": {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}},
            "layer": {"size": 60_000},
            "second": {"size": 3000},
        });
        let blobs = self.file.get("blobs").unwrap_or(&usual).as_object();
        for (name, blob) in blobs.unwrap() {
            let bytes = match (blob.get("size"), blob.get("json"), blob.get("text")) {
                (Some(size), ..) => noise(name, size.as_u64().unwrap()),
                (_, Some(json), _) => json.to_string().into_bytes(),
                (_, _, Some(text)) => text.as_str().unwrap().as_bytes().to_vec(),
                _ => panic!("{}: the blob {name} has no content", self.name),
            };
            self.blobs.insert(name.clone(), bytes);
        }
    }

    /// Makes manifests in the order in which they stand in the file: later ones refer to earlier ones.
    fn make_manifests(&mut self) {
        let usual = json!({"v1": {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"$blob": "config", "mediaType": "application/vnd.oci.image.config.v1+json"},
            "layers": [
                {"$blob": "layer", "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"},
                {"$blob": "second", "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"},
            ],
        }});
        let manifests = self.file.get("manifests").unwrap_or(&usual).clone();
        for (name, manifest) in manifests.as_object().unwrap() {
            let media_type = manifest["mediaType"].as_str();
            let media_type = media_type.unwrap_or("application/vnd.oci.image.manifest.v1+json");
            let mut body = self.described(manifest).to_string();
            if let Some(padding) = self.file["pad-to"].as_u64() {
                let room = usize::try_from(padding).unwrap().saturating_sub(body.len());
                body += &" ".repeat(room);
            }
            let served = (media_type.to_owned(), body.into_bytes());
            self.manifests.insert(name.clone(), served);
        }
    }

    /// Fills in descriptors: `$blob` and `$manifest` stand for a digest, a size and a media type, each of
    /// which may be said otherwise beside it.
    fn described(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let mut made = Map::new();
                let blob = fields
                    .get("$blob")
                    .map(|name| self.blob(name.as_str().unwrap()));
                let manifest = fields.get("$manifest").map(|name| {
                    let (media_type, bytes) = &self.manifests[name.as_str().unwrap()];
                    made.insert("mediaType".into(), media_type.as_str().into());
                    bytes.as_slice()
                });
                if let Some(bytes) = blob.or(manifest) {
                    made.insert("digest".into(), sha256(bytes).into());
                    made.insert("size".into(), bytes.len().into());
                }
                for (name, field) in fields.iter().filter(|(name, _)| !name.starts_with('$')) {
                    made.insert(name.clone(), self.described(field));
                }
                Value::Object(made)
            }
            Value::Array(items) => items.iter().map(|item| self.described(item)).collect(),
            other => other.clone(),
        }
    }

    fn blob(&self, name: &str) -> &[u8] {
        let blob = self.blobs.get(name);
        blob.unwrap_or_else(|| panic!("{}: no blob {name}", self.name))
    }

    /// Returns the bytes that a sound client ends up with, by digest.
    pub fn wanted(&self) -> BTreeMap<String, Vec<u8>> {
        let named = |key: &str, usual: Vec<String>| -> Vec<String> {
            let list = self.file["expect"][key].as_array();
            list.map_or(usual, |list| {
                list.iter()
                    .map(|name| name.as_str().unwrap().to_owned())
                    .collect()
            })
        };
        let blobs = named("blobs", self.blobs.keys().cloned().collect());
        let manifests = named("manifests", self.manifests.keys().cloned().collect());
        let blobs = blobs.iter().map(|name| self.blob(name).to_vec());
        let manifests = manifests.iter().map(|name| self.manifests[name].1.clone());
        blobs
            .chain(manifests)
            .map(|bytes| (sha256(&bytes), bytes))
            .collect()
    }

    /// Says whether the client has a login for the registry.
    pub fn has_login(&self) -> bool {
        self.file["client"]["login"] == true
    }

    /// Returns the reference that the client is to pull.
    pub fn reference(&self) -> String {
        match self.file["client"]["by-digest"].as_str() {
            Some(name) => {
                let digest = sha256(&self.manifests[name].1);
                format!("{REGISTRY}/{REPOSITORY}@{digest}")
            }
            None => format!("{REGISTRY}/{REPOSITORY}:v1"),
        }
    }

    /// Serves it until the value that comes back is dropped.
    pub fn serve(self) -> Served {
        let quirk = Arc::new(self);
        let playing = quirk.clone();
        let counts: Mutex<BTreeMap<usize, u64>> = Mutex::default();
        let proxy = FaultProxy::serving(move |request| playing.answer(request, &counts));
        for fault in quirk.file["faults"].as_array().into_iter().flatten() {
            proxy.add(quirk.rule(fault));
        }
        if let Some(uses) = quirk.file["tokens-good-for"].as_u64() {
            proxy.require_tokens(TokenRule {
                uses,
                expires_in: None,
            });
        }
        Served { proxy, quirk }
    }

    fn answer(&self, request: &Seen, counts: &Mutex<BTreeMap<usize, u64>>) -> Content {
        let answers = self.file["answers"].as_array();
        for (place, answer) in answers.into_iter().flatten().enumerate() {
            if !self.matches(answer, request) {
                continue;
            }
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(place).or_default();
            *count += 1;
            let (first, last) = numbers(answer);
            if (first..=last).contains(count) {
                return self.content(answer);
            }
        }
        self.honest(request)
    }

    fn matches(&self, answer: &Value, request: &Seen) -> bool {
        let on = self.filled(answer["on"].as_str().unwrap());
        let method = answer["method"].as_str();
        // A header that must be there, or begin like that, or must not be there.
        let header = |key: &str| answer[key].as_str().map(|name| request.header(name));
        glob(&on, request.path())
            && method.is_none_or(|method| method == request.method)
            && header("with").is_none_or(|value| value.is_some())
            && header("without").is_none_or(|value| value.is_none())
    }

    fn content(&self, answer: &Value) -> Content {
        let status = u16::try_from(answer["status"].as_u64().unwrap_or(200)).unwrap();
        let body = match (
            &answer["json"],
            &answer["text"],
            &answer["blob"],
            &answer["manifest"],
        ) {
            (json @ (Value::Object(_) | Value::Array(_)), ..) => {
                self.filled(&json.to_string()).into_bytes()
            }
            (_, Value::String(text), ..) => self.filled(text).into_bytes(),
            (_, _, Value::String(name), _) => self.blob(name).to_vec(),
            (.., Value::String(name)) => self.manifests[name].1.clone(),
            _ => Vec::new(),
        };
        let mut content = Content::new(status, body);
        for (name, value) in answer["headers"].as_object().into_iter().flatten() {
            let values = match value {
                Value::Array(values) => values.clone(),
                value => vec![value.clone()],
            };
            for value in values {
                content = content.header(name, &self.filled(value.as_str().unwrap()));
            }
        }
        content
    }

    /// Answers as a registry without quirks does.
    fn honest(&self, request: &Seen) -> Content {
        let path = request.path();
        let missing = || {
            Content::new(
                404,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#,
            )
            .header("Content-Type", "application/json")
        };
        // Only the registry and hosts that hold copies for it have anything.
        let Some((host, rest)) = path
            .strip_prefix("http://")
            .and_then(|it| it.split_once('/'))
        else {
            return missing();
        };
        let has_content = host == REGISTRY || self.file["copies-at"] == host;
        if !has_content {
            return missing();
        }
        if rest == "v2/" {
            return Content::ok("{}").header("Content-Type", "application/json");
        }
        let end = rest.rsplit('/').next().unwrap_or_default();
        let manifest = rest.contains("/manifests/").then(|| {
            let mut all = self.manifests.iter();
            all.find(|(tag, (_, bytes))| *tag == end || sha256(bytes) == end)
        });
        if let Some(Some((_, (media_type, bytes)))) = manifest {
            let mut content = Content::ok(bytes.clone());
            if self.file["without-type"] != true {
                content = content.header("Content-Type", media_type);
            }
            if self.file["without-digest"] != true {
                content = content.header("Docker-Content-Digest", &sha256(bytes));
            }
            return content;
        }
        let absent = self.file["absent"].as_array();
        let absent = |name: &String| {
            let mut absent = absent.into_iter().flatten();
            absent.any(|other| other == name)
        };
        let mut blobs = self.blobs.iter();
        match blobs.find(|(name, bytes)| sha256(bytes) == end && !absent(name)) {
            Some((_, bytes)) => {
                Content::ok(bytes.clone()).header("Content-Type", "application/octet-stream")
            }
            None => missing(),
        }
    }

    fn rule(&self, fault: &Value) -> Rule {
        let (first, last) = numbers(fault);
        let mut rule = Rule::on(&self.filled(fault["on"].as_str().unwrap())).requests(first..=last);
        if let Some(method) = fault["method"].as_str() {
            rule = rule.method(method);
        }
        if let Some(ranged) = fault["ranged"].as_bool() {
            rule = rule.ranged(ranged);
        }
        let number = |value: &Value| value.as_u64().unwrap();
        let (kind, value) = fault["fault"].as_object().unwrap().iter().next().unwrap();
        rule.fault(match kind.as_str() {
            "close-after" => Fault::Close {
                after: number(value),
            },
            "corrupt-at" => Fault::Corrupt { at: number(value) },
            "delay-ms" => Fault::Delay(Duration::from_millis(number(value))),
            "forget-tokens" => Fault::ForgetTokens,
            "hang-up" => Fault::HangUp,
            "header" => {
                let header = |at: usize| self.filled(value[at].as_str().unwrap());
                Fault::header(&header(0), &header(1))
            }
            "length" if value == "missing" => Fault::Length(Length::Missing),
            "length" => Fault::Length(Length::Wrong(number(value))),
            "range" if value == "ignored" => Fault::Range(RangeLie::Whole),
            "range" if value == "unlabelled" => Fault::Range(RangeLie::Unlabelled),
            "range-offset" => Fault::Range(RangeLie::Offset(value.as_i64().unwrap())),
            "range-short" => Fault::Range(RangeLie::Short(number(value))),
            "range-status" => Fault::Range(RangeLie::Status(u16::try_from(number(value)).unwrap())),
            "range-total" => Fault::Range(RangeLie::Total(number(value))),
            "reset-after" => Fault::Reset {
                after: number(value),
            },
            other => panic!("{}: no fault is called {other}", self.name),
        })
    }

    /// Fills in `{registry}`, `{repository}`, and the digests of blobs and manifests by their names.
    pub fn filled(&self, text: &str) -> String {
        let mut text = text
            .replace("{registry}", REGISTRY)
            .replace("{repository}", REPOSITORY);
        for (name, bytes) in &self.blobs {
            text = text.replace(&format!("{{{name}}}"), &sha256(bytes));
        }
        for (name, (_, bytes)) in &self.manifests {
            text = text.replace(&format!("{{{name}}}"), &sha256(bytes));
        }
        text
    }
}

impl Served {
    /// Returns the quirk.
    pub fn quirk(&self) -> &Quirk {
        &self.quirk
    }

    /// Returns what a client did so far that a sound one does not do.
    pub fn faults_of_the_client(&self) -> Vec<String> {
        let exchanges = self.proxy.exchanges();
        let mut found = self.leaks(&exchanges);
        let expect = &self.quirk.file["expect"];
        for rule in expect["requests"].as_array().into_iter().flatten() {
            let on = self.quirk.filled(rule["on"].as_str().unwrap());
            let method = rule["method"].as_str();
            let matching = exchanges.iter().filter(|it| {
                glob(&on, it.request.path())
                    && method.is_none_or(|method| method == it.request.method)
            });
            let count = matching.count() as u64;
            let method = method.unwrap_or("any");
            let most = rule["at-most"].as_u64();
            if most.is_some_and(|most| count > most) {
                found.push(format!(
                    "{count} requests ({method} {on}), at most {most:?}"
                ));
            }
            let least = rule["at-least"].as_u64();
            if least.is_some_and(|least| count < least) {
                found.push(format!(
                    "{count} requests ({method} {on}), at least {least:?}"
                ));
            }
        }
        for rule in expect["waits"].as_array().into_iter().flatten() {
            let status = rule["after-status"].as_u64().unwrap();
            let wait = Duration::from_millis(rule["ms"].as_u64().unwrap());
            let limited = exchanges
                .iter()
                .position(|it| it.status.map(u64::from) == Some(status));
            let Some(limited) = limited else {
                found.push(format!("it was never told {status}"));
                continue;
            };
            let begun = exchanges[limited].at;
            // What was asked for at the same time is no breach: nobody had been told.
            let early = exchanges[limited + 1..]
                .iter()
                .filter(|it| it.at > begun + Duration::from_millis(200) && it.at < begun + wait);
            found.extend(
                early.map(|it| format!("{} came before the {wait:?} were over", it.line())),
            );
        }
        let mind_encodings = expect["identity"] == true;
        for exchange in exchanges.iter().filter(|_| mind_encodings) {
            let encoding = exchange.request.header("accept-encoding");
            if exchange.is_blob() && encoding != Some("identity") {
                let line = exchange.line();
                found.push(format!("{line} lets the body be encoded: {encoding:?}"));
            }
        }
        found
    }

    /// Returns where logins and tokens went that they are not for.
    fn leaks(&self, exchanges: &[Exchange]) -> Vec<String> {
        let mut own = vec![REGISTRY.to_owned()];
        let tokens = self.quirk.file["tokens-at"].as_array();
        own.extend(
            tokens
                .into_iter()
                .flatten()
                .map(|host| host.as_str().unwrap().to_owned()),
        );
        let (_, password) = LOGIN;
        let mut found = Vec::new();
        for exchange in exchanges {
            let target = exchange.request.target.strip_prefix("http://");
            let host = target
                .and_then(|it| it.split('/').next())
                .unwrap_or("this machine");
            let sent = exchange.request.header("authorization").is_some()
                || exchange.request.target.contains(password)
                || String::from_utf8_lossy(&exchange.request.body).contains(password);
            if sent && !own.iter().any(|name| name == host) {
                found.push(format!(
                    "a login or a token went to {host}: {}",
                    exchange.line()
                ));
            }
        }
        found
    }
}

/// Returns bytes that look like nothing, the same ones for the same name.
fn noise(name: &str, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut block = hash(&SHA256, name.as_bytes());
    while (bytes.len() as u64) < size {
        bytes.extend_from_slice(block.as_ref());
        block = hash(&SHA256, block.as_ref());
    }
    bytes.truncate(usize::try_from(size).unwrap());
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(hash(&SHA256, bytes)))
}

/// Returns which of the matching requests are meant, counted from 1.
fn numbers(rule: &Value) -> (u64, u64) {
    match (&rule["nth"], &rule["first"]) {
        (Value::Number(nth), _) => (nth.as_u64().unwrap(), nth.as_u64().unwrap()),
        (_, Value::Number(first)) => (1, first.as_u64().unwrap()),
        _ => (1, u64::MAX),
    }
}

/// Says whether a text is what a pattern says, where `*` stands for any characters.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((front, rest)) => text.strip_prefix(front).is_some_and(|text| {
            (0..=text.len())
                .filter(|at| text.is_char_boundary(*at))
                .any(|at| glob(rest, &text[at..]))
        }),
    }
}
