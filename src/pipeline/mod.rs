//! The document: from text to a typed pipeline, with every fault found in one go.
//!
//! A document is parsed to a tree that remembers places, its templates are filled in with what is known
//! before the run, and the tree is converted node by node. May not know how steps run, and reads no file
//! and no variable by itself: see [`Given`].

pub mod address;
mod builder;
pub mod condition;
mod condition_parser;
pub mod convert;
pub mod diagnostic;
mod excerpt;
mod fields;
mod inputs;
pub mod interpolate;
pub mod login;
pub mod map;
pub mod mask;
pub mod mirror;
mod misshapen;
pub mod model;
mod names;
pub mod notary;
mod quantity;
pub mod record;
pub mod scalar;
mod schema;
pub mod secret;
pub mod signer;
pub mod source;
mod syntax;
pub mod template;
pub mod text;
pub mod tree;
mod unfilled;
pub mod validate;
mod way;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use condition::{Condition, Ending, Facts, Standing};
use convert::{Context, FromNode};
pub use diagnostic::{Diagnostic, Kind, Severity};
pub use interpolate::{Late, LateName};
pub use mask::{Mask, Masker};
pub use model::Document;
pub use schema::{SCHEMA_PATH, schema};
pub use secret::{SecretString, SecretValue};
pub use source::{Source, Span, Spanned};
pub use text::Text;

use interpolate::Scope;
use names::Names;
use record::OneOf;

/// What a document is loaded for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// To run it: inputs and secrets must have their values.
    #[default]
    Run,
    /// To check it, without variables and files: what is not known is only checked for its form.
    Validate,
}

/// Everything from outside that a document may depend on.
pub struct Given<'a> {
    /// The values of inputs.
    pub inputs: BTreeMap<String, String>,
    /// Reads an environment variable; called for secrets only, and not in [`Mode::Validate`].
    pub variables: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file, relative to the working directory; called for secrets only, and not in [`Mode::Validate`].
    pub read_file: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// What the run is called.
    pub run: RunNames,
    /// What the playground offers, if one was started.
    pub playground: Option<PlaygroundNames>,
    /// What the document is loaded for.
    pub mode: Mode,
}

/// What the run is called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RunNames {
    /// The run's id: `${run.id}`.
    pub id: String,
    /// The page of the job that runs it: `${run.link}`.
    pub link: Option<String>,
}

/// What a playground offers to the document.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlaygroundNames {
    /// `${playground.registry}`: the registry's host and port.
    pub registry: String,
    /// `${playground.service}`: the base of the service's URLs, without a slash at its end.
    pub service: String,
    /// `${playground.service-address}`: the service's host and port.
    pub service_address: String,
    /// `${playground.key}`: the path of the public key that signed the seeded images.
    pub key: String,
    /// `${playground.webhook}`: the URL that takes notices.
    pub webhook: String,
}

impl PlaygroundNames {
    /// The names under `playground`.
    pub const NAMES: [&'static str; 5] =
        ["registry", "service", "service-address", "key", "webhook"];

    /// Returns the value of a name.
    pub fn value(&self, name: &str) -> Option<&str> {
        match name {
            "registry" => Some(&self.registry),
            "service" => Some(&self.service),
            "service-address" => Some(&self.service_address),
            "key" => Some(&self.key),
            "webhook" => Some(&self.webhook),
            _ => None,
        }
    }

    /// Returns a value of the same form, where no playground was started.
    pub fn stand_in(name: &str) -> &'static str {
        match name {
            "registry" => "127.0.0.1:5000",
            "service" => "http://127.0.0.1:8080",
            "service-address" => "127.0.0.1:8080",
            "webhook" => "http://127.0.0.1:8080/webhook",
            _ => "playground.pub",
        }
    }
}

/// A document that was read.
#[derive(Debug)]
pub struct Loaded {
    /// The document, if it has no errors.
    pub document: Option<Document>,
    /// What was found, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The values of secrets, for masking. They are there even if the document has errors.
    pub secrets: Vec<SecretValue>,
}

/// Reads a document.
pub fn load(source: &Source, given: &Given<'_>) -> Loaded {
    let mut diagnostics = Vec::new();
    let root = tree::parse(source, &mut diagnostics);
    // Behind a syntax error the structure is a guess, and so would be the findings there.
    let broken = diagnostics
        .iter()
        .filter(|found| found.kind.is_syntax())
        .filter_map(|found| Some(found.place.as_ref()?.start.line))
        .min();
    let Some(root) = root else {
        diagnostic::sort(&mut diagnostics);
        return Loaded {
            document: None,
            diagnostics,
            secrets: Vec::new(),
        };
    };
    let names = Names::of(source, &root, crate::step::Verb::NAMES, &mut diagnostics);
    let scope = Scope {
        mode: given.mode,
        run: given.run.clone(),
        playground: given.playground.clone(),
        names,
        ..Scope::default()
    };
    let mut context = Context::new(source, scope);
    inputs::inputs(&root, &given.inputs, &mut context);
    let mut secrets = inputs::secrets(&root, given, &mut context);
    let document = Document::from_node(&root, &mut context);
    diagnostics.extend(context.into_diagnostics().into_iter().filter(|found| {
        let line = found.place.as_ref().map(|place| place.start.line);
        broken.is_none_or(|broken| line.is_some_and(|line| line < broken))
    }));
    diagnostic::sort(&mut diagnostics);
    let sound = diagnostics
        .iter()
        .all(|found| found.severity == Severity::Warning);
    if !sound {
        // What is not used may be meant for what is wrong.
        diagnostics.retain(|found| found.severity == Severity::Error);
    }
    if let Some(document) = &document {
        add_users(document, &mut secrets);
    }
    Loaded {
        document: document.filter(|_| sound),
        diagnostics,
        secrets,
    }
}

/// Reads a file that has nothing but a `trust` section, in the words of the document's.
///
/// # Errors
/// What is wrong with it.
pub fn load_trust(source: &Source) -> Result<model::Trust, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let file = tree::parse(source, &mut found).and_then(|root| {
        let names = Names::of(source, &root, &[], &mut found);
        let scope = Scope {
            names,
            ..Scope::default()
        };
        let mut context = Context::new(source, scope);
        let file = model::TrustFile::from_node(&root, &mut context);
        found.extend(context.into_diagnostics());
        file
    });
    diagnostic::sort(&mut found);
    let sound = found.iter().all(|one| one.severity == Severity::Warning);
    file.filter(|_| sound).map(|file| file.trust).ok_or(found)
}

/// Says whether a document asks for a playground, which must be started before it can be loaded to run.
pub fn wants_playground(source: &Source) -> bool {
    tree::parse(source, &mut Vec::new())
        .as_ref()
        .and_then(|root| root.entry("playground"))
        .and_then(tree::Node::scalar)
        .is_some_and(|scalar| scalar.plain && scalar.text == "true")
}

/// Notes which user names stand before which secrets, since the pair is sent in base64.
fn add_users(document: &Document, secrets: &mut [SecretValue]) {
    for registry in document.registries.values() {
        let Some(model::RegistryAuth::Login(login)) = &registry.auth else {
            continue;
        };
        for secret in secrets.iter_mut() {
            if login.password.0.expose().contains(secret.value.expose()) {
                secret.users.push(login.username.clone());
            }
        }
    }
}

#[cfg(test)]
#[path = "tests"]
mod tests {
    mod broken;
    mod meaning;
    mod support;
}
