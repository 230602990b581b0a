//! What a gate's probes ask: the document's part of it.

use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use url::Url;

use super::gate::refuse_empty;
use crate::pipeline::LateName;
use crate::pipeline::address::{HeaderName, HostPort};
use crate::pipeline::convert::{Context, FromNode, FromScalar, Problem, Shape};
use crate::pipeline::diagnostic::Kind;
use crate::pipeline::map::{Map, OneOrMany};
use crate::pipeline::record::{choice, one_of, record};
use crate::pipeline::scalar::{Pattern, Size};
use crate::pipeline::secret::SecretText;
use crate::pipeline::source::{Span, Spanned};
use crate::pipeline::text::Text;
use crate::pipeline::tree::Node;
use crate::probe::{Comparison, JsonTest, Statuses};

one_of! {
    /// A question that is asked once a round.
    pub enum Question("a kind of probe", later = [
        "kubernetes", "prometheus", "grpc", "loki", "elasticsearch", "registry", "argocd", "command", "exec", "dns",
    ]) {
        /// An HTTP request, and what its response must be like.
        Http(Box<HttpProbe>) = "http",
        /// Whether a TCP connection can be opened.
        Tcp(TcpProbe) = "tcp",
    }
}

impl Question {
    /// Returns the names in it that only the run can fill in and that have no default.
    pub fn demanded(&self) -> Vec<&LateName> {
        let Self::Http(http) = self else {
            return Vec::new();
        };
        let body = http.body.iter().flat_map(|body| &body.contains);
        let rules = http.json.iter();
        let values = rules.flat_map(|rule| [&rule.equals, &rule.not_equals]);
        let values = values.flatten().filter_map(|value| match value {
            JsonValue::Literal(_) => None,
            JsonValue::Text(text) => Some(text),
        });
        body.chain(values).flat_map(Text::demanded).collect()
    }
}

impl FromNode for Box<HttpProbe> {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        HttpProbe::from_node(node, context).map(Self::new)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        HttpProbe::schema(generator)
    }
}

record! {
    /// An HTTP request, and what its response must be like.
    pub struct HttpProbe("an HTTP probe") {
        /// The URL.
        url: Spanned<Url>,
        /// The method.
        method: Method = Method::Get,
        /// Headers to send; their values may hold secrets.
        headers: Map<HeaderName, SecretText> = Map::default(),
        /// The status that is good: a number, a class such as `2xx`, a range such as `200-399`, or a list of them.
        status: OneOrMany<Status> = OneOrMany(vec![Status("2xx".to_owned())]),
        /// What the body must hold.
        body: Option<Body>,
        /// What a value in a JSON body must be.
        json: Option<JsonRule>,
        /// What happens on a redirect.
        redirects: Redirects = Redirects::Follow,
        /// The time after which a request counts as unanswered.
        timeout: Spanned<Duration> = Spanned::new(Duration::from_secs(5), Span::default()),
        /// How much of a body is read at most.
        max_body: Size = Size(64 << 10),
    }
    short = url;
    later = ["tls", "resolve", "from", "http2", "basic-auth"];
    check = check_http;
}

choice! {
    /// A method that asks, without changing anything, or that the probe's author vouches for.
    pub enum Method("a method", later = []) {
        /// GET
        Get = "GET",
        /// HEAD
        Head = "HEAD",
        /// POST
        Post = "POST",
        /// OPTIONS
        Options = "OPTIONS",
    }
}

choice! {
    /// What happens on a redirect.
    pub enum Redirects("a treatment of redirects", later = []) {
        /// It is followed, on the same host only and at most five times.
        Follow = "follow",
        /// It is an answer like any other.
        Refuse = "refuse",
    }
}

/// A status, a class or a range of them: `200`, `2xx`, `200-399`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status(pub String);

impl FromScalar for Status {
    const WHAT: &'static str = "an HTTP status";
    const EXAMPLE: &'static str = "200";

    fn parse(text: &str) -> Result<Self, Problem> {
        match Statuses::try_new([text]) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(Problem::new(
                "a status is a number from 100 to 599, a class such as `2xx` or a range such as `200-399`",
            )),
        }
    }

    fn stand_in() -> Self {
        Self("2xx".to_owned())
    }

    fn scalar_schema() -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 100, "maximum": 599},
            {"type": "string", "pattern": "^[1-5]([0-9][0-9](-[1-5][0-9][0-9])?|xx)$"}
        ]})
    }
}

record! {
    /// What a body must hold.
    pub struct Body("`body`") {
        /// This text.
        contains: Option<Text>,
        /// Something that this regular expression matches.
        matches: Option<Pattern>,
    }
    check = |body: &Body, node, context| {
        if body.contains.is_none() && body.matches.is_none() && node.mapping().is_some_and(<[_]>::is_empty) {
            refuse_empty(node, context, "`body` asks nothing", "add `contains: …` or `matches: …`");
        }
        if let (Some(contains), Some(at)) = (&body.contains, node.entry("contains")) && contains.is_empty() {
            refuse_empty(at, context, "`contains` is empty", "every body holds it: write the text that must be there");
        }
    };
}

record! {
    /// What a value in a JSON body must be.
    pub struct JsonRule("`json`") {
        /// Where the value is, as a JSONPath of RFC 9535: `$.checks[0].status`.
        path: Spanned<String>,
        /// It is this. A number or boolean without quotes is one, everything else is text.
        equals: Option<JsonValue>,
        /// It is there, and not this.
        not_equals: Option<JsonValue>,
        /// It is a number above this one.
        above: Option<Number>,
        /// It is a number below this one.
        below: Option<Number>,
        /// It is there, or it is not.
        exists: Option<bool>,
    }
    later = ["matches", "contains"];
    check = check_json;
}

impl JsonRule {
    /// Returns what is asked of the value; `known` gives what only the run knows.
    #[must_use]
    pub fn comparisons(&self, known: Known<'_>) -> Vec<Comparison> {
        let equals = self
            .equals
            .iter()
            .map(|value| Comparison::Equals(value.complete(known)));
        let not_equals = self
            .not_equals
            .iter()
            .map(|value| Comparison::NotEquals(value.complete(known)));
        let above = self.above.map(|number| Comparison::Above(number.0));
        let below = self.below.map(|number| Comparison::Below(number.0));
        let exists = self.exists.map(Comparison::Exists);
        equals
            .chain(not_equals)
            .chain(above)
            .chain(below)
            .chain(exists)
            .collect()
    }
}

fn check_json(rule: &JsonRule, node: &Node, context: &mut Context<'_>) {
    // A comparison that could not be read is noted already, and leaves a rule that was not meant.
    let written = node.mapping().map_or(0, <[_]>::len);
    let read = 1 + rule.comparisons(&|_| None).len();
    if !rule.path.known || read < written {
        return;
    }
    if let Err(error) = JsonTest::try_new(&rule.path.value, rule.comparisons(&|_| None)) {
        context.push(
            context
                .error(
                    Kind::BadValue,
                    rule.path.span,
                    "the JSON rule cannot be asked",
                )
                .caused_by(error.to_string())
                .helped(error.hint()),
        );
    }
}

/// A number with or without a fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl FromScalar for Number {
    const WHAT: &'static str = "a number";
    const EXAMPLE: &'static str = "0.5";
    const SHAPE: Shape = Shape::Number;

    fn parse(text: &str) -> Result<Self, Problem> {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Self(number)),
            _ => Err(Problem::new(
                "a number is written in digits, with a point before the fraction",
            )),
        }
    }

    fn stand_in() -> Self {
        Self(1.0)
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "number"})
    }
}

/// Gives what only the run knows: the digest that an image was resolved to, for instance.
pub type Known<'a> = &'a dyn Fn(&LateName) -> Option<String>;

/// A single JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonValue {
    /// A number, a boolean or null.
    Literal(serde_json::Value),
    /// Text, which the run completes.
    Text(Text),
}

impl JsonValue {
    /// Returns the value, completed.
    #[must_use]
    pub fn complete(&self, known: Known<'_>) -> serde_json::Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Text(text) => serde_json::Value::String(text.complete(known)),
        }
    }
}

impl FromNode for JsonValue {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Some(scalar) = node.scalar() else {
            context.wrong_type(node, "a single value", "ok");
            return None;
        };
        if scalar.is_null() {
            return Some(Self::Literal(serde_json::Value::Null));
        }
        if scalar.is_number() || scalar.is_boolean() {
            let text = || serde_json::Value::String(scalar.text.clone());
            let value = serde_json::from_str(&scalar.text).unwrap_or_else(|_| text());
            return Some(Self::Literal(value));
        }
        Text::from_node(node, context).map(Self::Text)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean", "null"]})
    }
}

record! {
    /// Whether a TCP connection can be opened.
    pub struct TcpProbe("a TCP probe") {
        /// The host and the port.
        address: Spanned<HostPort>,
        /// The time after which an attempt counts as unanswered.
        timeout: Spanned<Duration> = Spanned::new(Duration::from_secs(5), Span::default()),
    }
    short = address;
}

fn check_http(probe: &HttpProbe, node: &Node, context: &mut Context<'_>) {
    if probe.method == Method::Head && (probe.body.is_some() || probe.json.is_some()) {
        let at = node
            .entry("body")
            .or_else(|| node.entry("json"))
            .unwrap_or(node);
        let span = context.head(at);
        context.push(
            context
                .error(Kind::Inconsistent, span, "a response to `HEAD` has no body")
                .caused_by("the probe asks with `method: HEAD` and wants to look into the body")
                .helped("use `method: GET`, or remove `body` and `json`"),
        );
    }
    if probe.timeout.known && probe.timeout.value.is_zero() {
        context.push(
            context
                .error(Kind::Inconsistent, probe.timeout.span, "`timeout` is zero")
                .caused_by("no server answers in no time")
                .helped("write a longer duration, for instance `5s`"),
        );
    }
}
