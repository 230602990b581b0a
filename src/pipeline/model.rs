//! The document: what a pipeline says, typed. The JSON Schema is made of these definitions.

use std::path::PathBuf;
use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::address::{Name, NamedHost, RegistryHost, StepId};
use super::condition::Condition;
use super::convert::{Context, FromNode};
use super::diagnostic::Kind;
pub use super::login::{
    CredentialSource, CredentialSources, Login, NamedSource, RegistryAuth, SecretDeclaration,
    SecretSource, SourceFile,
};
use super::map::{Map, OneOrMany};
use super::mirror::{Fallback, Mirror, MirrorFiles};
use super::notary::RevocationHost;
use super::record::record;
use super::scalar::{Attempts, Count, InputType, Pattern, Platform};
use super::signer::RootSource;
pub use super::signer::Signer;
use super::source::{Span, Spanned};
use super::text::Text;
use super::tree::Node;
use super::validate;
use super::way::ConnectTo;
pub use super::way::{NamedProxies, ProxySetting};
use crate::oci::Reference;
use crate::step::Verb;
use crate::trust;

record! {
    /// A pipeline: what is checked, preloaded, verified and gated, in which order, and who is told.
    pub struct Document("a pipeline") {
        /// The version of the document's form: 1.
        version: Version,
        /// The pipeline's name in reports and notices.
        name: Option<String>,
        /// Starts an embedded registry and a small service for this run, and offers their addresses as
        /// `${playground.…}`. Only references to that registry may stand beside it.
        playground: bool = false,
        /// What may differ from run to run: set with `--input NAME=VALUE`.
        inputs: Map<Name, Input> = Map::default(),
        /// Single values from a variable or a file, masked wherever they appear.
        secrets: Map<Name, SecretDeclaration> = Map::default(),
        /// The sources of registry logins, asked in this order for registries without `auth`; `[]` for none.
        credentials: CredentialSources = CredentialSources::usual(),
        /// How every client connects.
        net: Net = Net::default(),
        /// How registries are reached, by host as it stands in references.
        registries: Map<RegistryHost, Registry> = Map::default(),
        /// Where the mirrors stand of registries that have none in the document: configuration of another tool.
        registries_from: Option<MirrorFiles>,
        /// The images, by the names that steps use for them.
        images: Map<Name, Image> = Map::default(),
        /// Who must have signed which images.
        trust: Option<Trust>,
        /// What the run is for. The steps run in order; the first failure goes to `on-failure`.
        steps: Steps,
        /// What runs after a failure.
        on_failure: Steps = Steps::default(),
        /// What runs in any case, also after a failure, a timeout and a cancellation.
        finally: Steps = Steps::default(),
    }
    later = ["state", "clusters", "targets", "deployed", "since"];
    check = validate::document;
}

/// The version of the document's form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Version;

impl FromNode for Version {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Some(scalar) = node.scalar().filter(|scalar| !scalar.is_null()) else {
            context.wrong_type(node, "the version", "1");
            return None;
        };
        if scalar.text == "1" && scalar.plain {
            return Some(Self);
        }
        let text = &scalar.text;
        let diagnostic = context.error(
            Kind::Version,
            node.span,
            format!("version `{text}` is not supported"),
        );
        let diagnostic = match text.trim_start_matches('v') {
            "1" | "1.0" => {
                diagnostic
                    .caused_by("the version is the number 1")
                    .helped(if scalar.plain {
                        "write `version: 1`"
                    } else {
                        "write `version: 1`, without quotes"
                    })
            }
            number if number.ends_with(',') => diagnostic
                .caused_by("the comma is read as a part of the value")
                .helped("write `version: 1`, without a comma"),
            number if number.parse::<f64>().is_ok_and(|number| number > 1.0) => diagnostic
                .caused_by("this program reads version 1 of the document")
                .helped("write `version: 1`, or use a newer shipgate"),
            _ => diagnostic
                .caused_by("this program reads version 1 of the document")
                .helped("write `version: 1`; the pipeline's own version has no place here"),
        };
        context.push(diagnostic);
        None
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"const": 1})
    }
}

record! {
    /// An input: a value that may differ from run to run.
    pub struct Input("an input") {
        /// The type of its values.
        r#type: InputType = InputType::String,
        /// The value where none is given. An input without a default must be given. It may refer to other inputs.
        default: Option<Raw>,
        /// A regular expression that the whole value must match.
        pattern: Option<Spanned<Pattern>>,
        /// The values that are allowed.
        options: Option<Vec<Raw>>,
        /// What it is for.
        description: Option<String>,
    }
    short = default;
    check = validate::input;
}

/// A value of an input, before its type is known: `1.10` stays `1.10`.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    /// The value as it stands in the document.
    pub scalar: super::tree::Scalar,
    /// Where it stands.
    pub span: Span,
}

impl FromNode for Raw {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        match node.scalar() {
            Some(scalar) if !scalar.is_null() => Some(Self {
                scalar: scalar.clone(),
                span: node.span,
            }),
            _ => {
                context.wrong_type(node, "a single value", "v1.2.0");
                None
            }
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"]})
    }
}

record! {
    /// How every client connects.
    pub struct Net("`net`") {
        /// PEM files with certificate authorities to trust besides the usual ones, relative to the working directory.
        ca: Vec<PathBuf> = Vec::new(),
        /// `environment` for what `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say, which is the default, `none`, or a proxy.
        proxy: ProxySetting = ProxySetting::Environment,
    }
}

impl Default for Net {
    fn default() -> Self {
        Self {
            ca: Vec::new(),
            proxy: ProxySetting::Environment,
        }
    }
}

record! {
    /// How a registry is reached.
    pub struct Registry("a registry") {
        /// A user name and a password for it, or `ecr` for a login of AWS's.
        auth: Option<RegistryAuth>,
        /// Connects without TLS, or with TLS to a loopback address, where none is the default.
        plain_http: Option<bool>,
        /// Hosts that it may redirect to, besides those that the table of known hosts has for it.
        blobs_from: Vec<NamedHost> = Vec::new(),
        /// Hosts of its token service, besides those that the table of known hosts has for it. Its credentials may go there.
        tokens_from: Vec<NamedHost> = Vec::new(),
        /// Another host to connect to in its place, as for a private endpoint. Its own name stays in TLS, in `Host` and for logins.
        connect_to: Option<Spanned<ConnectTo>>,
        /// A PEM file with the certificate that it is shown if it asks for one, relative to the working directory.
        client_cert: Option<Spanned<PathBuf>>,
        /// A PEM file with the key of that certificate, not encrypted; without it the key is in the same file.
        client_key: Option<Spanned<PathBuf>>,
        /// Who else has what it has, in the order in which they are asked: for content, by digest.
        mirrors: Option<Vec<Mirror>>,
        /// Whether it may be asked itself beside its mirrors.
        fallback: Option<Spanned<Fallback>>,
    }
    later = [];
    check = validate::registry;
}

record! {
    /// An image.
    pub struct Image("an image") {
        /// Its reference, with a tag or a digest.
        r#ref: Spanned<Reference>,
        /// The platform to take of an image for several; without it, the one of the machine on Linux.
        platform: Option<Platform>,
    }
    short = r#ref;
    later = ["platforms"];
}

record! {
    /// Who must have signed which images.
    pub struct Trust("`trust`") {
        /// Who signs, by name.
        signers: Map<Name, Signer>,
        /// What is asked of images, by a pattern for their repositories. The most specific pattern decides.
        images: Map<trust::Pattern, TrustRule>,
        /// By which trust roots certificates and transparency logs are verified: `sigstore` (the default) and `github`
        /// are compiled in, everything else is the path of a `trusted_root.json`.
        roots: Option<OneOrMany<Spanned<RootSource>>>,
        /// Who may be asked whether certificates of Notary signatures are revoked.
        revocation: Option<TrustRevocation>,
    }
    check = validate::trust;
}

record! {
    /// Who may be asked whether certificates are revoked.
    pub struct TrustRevocation("`revocation`") {
        /// The hosts of OCSP responders and revocation lists, with the port if it is not 80. What a certificate names
        /// beside these is never asked.
        hosts: OneOrMany<Spanned<RevocationHost>>,
    }
}

record! {
    /// A file that says who must have signed, and nothing else.
    pub struct TrustFile("a trust policy") {
        /// The version of the document's form: 1.
        version: Version,
        /// Who must have signed what.
        trust: Trust,
    }
}

record! {
    /// What is asked of an image.
    pub struct TrustRule("a trust rule") {
        /// Who must have signed it.
        signed_by: SignedBy,
    }
    later = ["mode", "attestations"];
}

/// How many of which signers must have signed.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedBy {
    /// How many.
    pub at_least: usize,
    /// Of whom.
    pub of: Vec<Spanned<Name>>,
    /// Where the document says so.
    pub span: Span,
}

record! {
    /// A number of some signers.
    pub struct SomeSigners("`signed-by`") {
        /// How many of them must have signed.
        at_least: Option<Spanned<Count>>,
        /// Of whom.
        of: Option<Vec<Spanned<Name>>>,
        /// One of these must have signed.
        any: Option<Vec<Spanned<Name>>>,
        /// All of these must have signed.
        all: Option<Vec<Spanned<Name>>>,
    }
}

impl FromNode for SignedBy {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let span = context.head(node);
        if node.sequence().is_some() {
            let text = context.source.slice(span).to_owned();
            context.push(
                context
                    .error(
                        Kind::WrongType,
                        span,
                        "a list does not say how many of them must have signed",
                    )
                    .caused_by(
                        "`signed-by` is the name of a signer, or says `any` or `all` of a list",
                    )
                    .helped(format!("write `{{any: {text}}}` or `{{all: {text}}}`")),
            );
            return None;
        }
        if node.mapping().is_none() {
            let one = Spanned::<Name>::from_node(node, context)?;
            return Some(Self {
                at_least: 1,
                of: vec![one],
                span,
            });
        }
        let some = SomeSigners::from_node(node, context)?;
        let read = match (some.at_least, some.of, some.any, some.all) {
            (Some(count), Some(of), None, None) => {
                let count_known = count.known;
                let wanted = usize::try_from(count.value.0).unwrap_or(usize::MAX);
                if count_known && wanted > of.len() {
                    context.push(
                        context
                            .error(
                                Kind::Inconsistent,
                                count.span,
                                format!("{wanted} of {} signers can never have signed", of.len()),
                            )
                            .caused_by("`at-least` is larger than the number of signers in `of`")
                            .helped(format!("write at most {}", of.len())),
                    );
                    return None;
                }
                Some((wanted, of))
            }
            (None, None, Some(any), None) => Some((1, any)),
            (None, None, None, Some(all)) => Some((all.len(), all)),
            _ => None,
        };
        let Some((at_least, of)) = read else {
            context.push(
                context
                    .error(Kind::Conflict, span, "`signed-by` says more or less than one thing")
                    .caused_by("it is `{at-least: n, of: […]}`, `{any: […]}` or `{all: […]}`, or the name of a signer")
                    .helped("keep one of these forms"),
            );
            return None;
        };
        Some(Self { at_least, of, span })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let name = Name::schema(generator);
        let names = Vec::<Spanned<Name>>::schema(generator);
        let count = Count::schema(generator);
        let only = |properties: serde_json::Value, required: serde_json::Value| {
            serde_json::json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            })
        };
        json_schema!({"anyOf": [
            name,
            only(serde_json::json!({"at-least": count, "of": names}), serde_json::json!(["at-least", "of"])),
            only(serde_json::json!({"any": names}), serde_json::json!(["any"])),
            only(serde_json::json!({"all": names}), serde_json::json!(["all"])),
        ]})
    }
}

/// A list of steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps(pub Vec<Step>);

impl FromNode for Steps {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Some(items) = node.sequence().filter(|items| !items.is_empty()) else {
            Vec::<Step>::from_node(node, context);
            return None;
        };
        let mut steps = Vec::new();
        for item in items {
            let position = context.scope.position;
            context.scope.position += 1;
            context.step = Some(position);
            let step = Step::from_node(item, context);
            context.step = None;
            if let Some(mut step) = step {
                if item.entry("id").is_none() {
                    let id = context
                        .scope
                        .names
                        .steps
                        .get(position)
                        .cloned()
                        .unwrap_or_default();
                    step.id = Spanned::new(StepId(id), context.head(item));
                }
                steps.push(step);
            }
        }
        Some(Self(steps))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<Step>::schema(generator)
    }
}

record! {
    /// A step: one verb, and beside it when and how it runs.
    pub struct Step("a step") {
        /// The step's name in conditions, options and reports, unique in the document. Without it, the verb's name.
        id: Spanned<StepId> = StepId::unnamed(),
        /// The step's name for people.
        name: Option<Text>,
        /// When the step runs; without it, whenever its list does.
        r#if: Option<Condition>,
        /// The bound on all attempts together.
        timeout: Option<Spanned<Duration>>,
        /// How many more attempts a failed step gets.
        retry: Option<Retry>,
        /// Goes on after a failure of this step as if it had passed.
        continue_on_error: bool = false,
    }
    one_of {
        /// What the step does.
        verb: Verb
    }
    check = validate::step;
}

record! {
    /// More attempts after a failure.
    pub struct Retry("`retry`") {
        /// How many more.
        times: Attempts,
        /// The pause before the first of them; it doubles each time, up to 30 seconds.
        delay: Duration = Duration::from_secs(1),
    }
    short = times;
}

impl Document {
    /// Returns the steps of all lists in order.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        [&self.steps, &self.on_failure, &self.finally]
            .into_iter()
            .flat_map(|list| &list.0)
    }
}
