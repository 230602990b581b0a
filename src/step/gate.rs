//! `gate`: watches a service until it is good, or is not.

use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use url::Url;

use crate::gate::{self, Settings, Spec, SpecError};
use crate::pipeline::address::{HeaderName, HostPort, Name};
use crate::pipeline::convert::{Context, FromNode, FromScalar, Problem, Shape};
use crate::pipeline::diagnostic::Kind;
use crate::pipeline::interpolate::undefined;
use crate::pipeline::map::{Map, OneOrMany};
use crate::pipeline::record::{choice, one_of, record};
use crate::pipeline::scalar::{Count, Pattern, Size, duration_text};
use crate::pipeline::secret::SecretText;
use crate::pipeline::source::{Span, Spanned};
use crate::pipeline::tree::Node;
use crate::probe::{Comparison, JsonTest, Statuses};

record! {
    /// Watches a service until it is good, or is not, or that cannot be told.
    pub struct Gate("`gate`") {
        /// The time after which a service that is not good yet has failed.
        within: Spanned<Duration>,
        /// The time from one round of questions to the next.
        every: Spanned<Duration> = Spanned::new(Duration::from_secs(5), Span::default()),
        /// The time before the first round.
        start_after: Spanned<Duration> = Spanned::new(Duration::ZERO, Span::default()),
        /// How long the service must stay good before the gate passes.
        hold: Spanned<Duration> = Spanned::new(Duration::ZERO, Span::default()),
        /// The questions that are asked, by name.
        probes: Map<Name, Probe>,
        /// Which probes must be good; without it, all. Every probe must be used.
        pass: Option<Pass>,
        /// Asks a target that is known to be good, to tell a broken service from a prober that sees nothing.
        control: Option<Question>,
    }
    later = ["inconclusive", "baseline", "since"];
    check = check;
}

record! {
    /// A question, and when its answers count as good.
    pub struct Probe("a probe") {
        /// When the answers count as good or bad.
        rule: Rule = Rule { consecutive: Count(1) },
    }
    one_of {
        /// The question.
        question: Question
    }
}

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

impl FromNode for Box<HttpProbe> {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        HttpProbe::from_node(node, context).map(Self::new)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        HttpProbe::schema(generator)
    }
}

record! {
    /// When a probe's answers count.
    pub struct Rule("a rule") {
        /// How many answers in a row must be alike.
        consecutive: Count,
    }
    later = ["successes", "failures", "of", "sequential"];
}

record! {
    /// Which probes must be good. What is said by several keys must all hold.
    pub struct Pass("`pass`") {
        /// All of these.
        all: Option<Vec<Spanned<Name>>>,
        /// One of these.
        any: Option<Vec<Spanned<Name>>>,
        /// A number of these.
        at_least: Option<AtLeast>,
    }
}

record! {
    /// A number of some probes.
    pub struct AtLeast("`at-least`") {
        /// How many.
        count: Spanned<Count>,
        /// Of which.
        of: Vec<Spanned<Name>>,
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
        contains: Option<String>,
        /// Something that this regular expression matches.
        matches: Option<Pattern>,
    }
    check = |body: &Body, node, context| {
        if body.contains.is_none() && body.matches.is_none() && node.mapping().is_some_and(<[_]>::is_empty) {
            refuse_empty(node, context, "`body` asks nothing", "add `contains: …` or `matches: …`");
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
    /// Returns what is asked of the value.
    #[must_use]
    pub fn comparisons(&self) -> Vec<Comparison> {
        let equals = self
            .equals
            .iter()
            .map(|value| Comparison::Equals(value.0.clone()));
        let not_equals = self
            .not_equals
            .iter()
            .map(|value| Comparison::NotEquals(value.0.clone()));
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

fn check_json(rule: &JsonRule, _: &Node, context: &mut Context<'_>) {
    if !rule.path.known {
        return;
    }
    if let Err(error) = JsonTest::try_new(&rule.path.value, rule.comparisons()) {
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

/// A single JSON value.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonValue(pub serde_json::Value);

impl FromNode for JsonValue {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Some(scalar) = node.scalar() else {
            context.wrong_type(node, "a single value", "ok");
            return None;
        };
        if scalar.is_null() {
            return Some(Self(serde_json::Value::Null));
        }
        let literal = scalar.is_number() || matches!(scalar.text.as_str(), "true" | "false");
        let text = context.plain_text(node, "a value to compare with")?;
        Some(Self(if scalar.plain && literal {
            serde_json::from_str(&text.value).unwrap_or(serde_json::Value::String(text.value))
        } else {
            serde_json::Value::String(text.value)
        }))
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

/// Checks a gate; what its own module refuses besides is noted only if nothing else is wrong with it.
fn check(gate: &Gate, node: &Node, context: &mut Context<'_>) {
    let before = context.count();
    check_times(gate, context);
    check_names(gate, node, context);
    let times = [&gate.within, &gate.every, &gate.start_after, &gate.hold];
    if context.count() > before || !node.complete || times.iter().any(|time| !time.known) {
        return;
    }
    // A probe that could not be read leaves a gate that is not the one that was meant.
    let written = node
        .entry("probes")
        .and_then(Node::mapping)
        .map_or(0, <[_]>::len);
    if written != gate.probes.len() {
        return;
    }
    for error in Spec::try_new(gate.settings()).err().unwrap_or_default() {
        let span = match node.entry("within") {
            Some(within) if matches!(error, SpecError::NeverPasses { .. }) => within.span,
            _ => context.head(node),
        };
        context.push(
            context
                .error(Kind::Inconsistent, span, "the gate cannot do what it says")
                .caused_by(error.to_string())
                .helped(error.hint()),
        );
    }
}

impl Gate {
    /// Returns what the gate's own module takes.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let names = |list: &Option<Vec<Spanned<Name>>>| -> Vec<String> {
            list.iter()
                .flatten()
                .map(|name| name.value.0.clone())
                .collect()
        };
        Settings {
            within: self.within.value,
            every: self.every.value,
            start_after: self.start_after.value,
            hold: self.hold.value,
            probes: self
                .probes
                .iter()
                .map(|(name, probe)| {
                    (
                        name.value.0.clone(),
                        gate::Rule::Consecutive(probe.rule.consecutive.0),
                    )
                })
                .collect(),
            pass: self.pass.as_ref().map(|pass| gate::Pass {
                all: names(&pass.all),
                any: names(&pass.any),
                at_least: pass.at_least.as_ref().map(|some| {
                    let of = some.of.iter().map(|name| name.value.0.clone()).collect();
                    (some.count.value.0, of)
                }),
            }),
            control: self.control.is_some(),
        }
    }
}

fn check_names(gate: &Gate, node: &Node, context: &mut Context<'_>) {
    let probes = node.entry("probes");
    let declared: Vec<String> = probes
        .and_then(Node::mapping)
        .map(|entries| entries.iter().map(|entry| entry.key.clone()).collect())
        .unwrap_or_default();
    if let Some(probes) = probes.filter(|probes| declared.is_empty() && probes.complete) {
        refuse_empty(
            probes,
            context,
            "the gate asks nothing",
            "add a probe, for instance `web: {http: \"https://web.example/health\"}`",
        );
        return;
    }
    let Some(pass) = &gate.pass else { return };
    let at_least = pass.at_least.iter().flat_map(|some| &some.of);
    let used: Vec<&Spanned<Name>> = pass
        .all
        .iter()
        .chain(&pass.any)
        .flatten()
        .chain(at_least)
        .collect();
    if used.is_empty() {
        if let Some(node) = node
            .entry("pass")
            .filter(|node| node.mapping().is_some_and(<[_]>::is_empty))
        {
            refuse_empty(
                node,
                context,
                "`pass` names no probe",
                "remove it to demand all probes, or add `all: […]`",
            );
        }
        return;
    }
    for name in used
        .iter()
        .filter(|name| name.known && !declared.contains(&name.value.0))
    {
        let diagnostic = undefined(context.source, name.span, "probe", &name.value.0, &declared);
        context.push(diagnostic);
    }
    for (name, _) in gate.probes.iter() {
        if !used
            .iter()
            .any(|other| other.value == name.value || !other.known)
        {
            context.push(
                context
                    .error(
                        Kind::Unused,
                        name.span,
                        format!("the probe `{}` is not used", name.value),
                    )
                    .caused_by("`pass` does not name it, so its answers would make no difference")
                    .helped(format!(
                        "add `{}` to `pass`, or remove the probe",
                        name.value
                    )),
            );
        }
    }
    if let Some(some) = &pass.at_least {
        let count = usize::try_from(some.count.value.0).unwrap_or(usize::MAX);
        if some.count.known && count > some.of.len() {
            context.push(
                context
                    .error(
                        Kind::Inconsistent,
                        some.count.span,
                        format!("{count} of {} probes can never be good", some.of.len()),
                    )
                    .caused_by("`count` is larger than the number of probes in `of`")
                    .helped(format!("write at most {}", some.of.len())),
            );
        }
    }
}

fn check_times(gate: &Gate, context: &mut Context<'_>) {
    for (key, time) in [("within", &gate.within), ("every", &gate.every)] {
        if time.known && time.value.is_zero() {
            context.push(
                context
                    .error(Kind::Inconsistent, time.span, format!("`{key}` is zero"))
                    .caused_by("a gate needs time to ask")
                    .helped("write a longer duration, for instance `5s`"),
            );
        }
    }
    let within = &gate.within;
    let longer = [
        (
            "every",
            &gate.every,
            "there would be one round of questions at most",
        ),
        (
            "start-after",
            &gate.start_after,
            "the time would be over before the first question",
        ),
        (
            "hold",
            &gate.hold,
            "the service could not stay good that long within the time",
        ),
    ];
    for (key, time, cause) in longer {
        if !(time.known && within.known && time.value > within.value) {
            continue;
        }
        // A default has no place of its own: the key that contradicts it has.
        let span = if time.span == Span::default() {
            within.span
        } else {
            time.span
        };
        let limit = duration_text(within.value);
        context.push(
            context
                .error(
                    Kind::Inconsistent,
                    span,
                    format!(
                        "`{key}` ({}) is longer than `within` ({limit})",
                        duration_text(time.value)
                    ),
                )
                .caused_by(cause)
                .helped(format!(
                    "make `{key}` shorter than {limit}, or `within` longer"
                )),
        );
    }
    let both = gate.start_after.value + gate.hold.value;
    let each = gate.start_after.value.max(gate.hold.value);
    let known = within.known && gate.start_after.known && gate.hold.known;
    if known && both > within.value && each <= within.value {
        context.push(
            context
                .error(
                    Kind::Inconsistent,
                    gate.hold.span,
                    format!(
                        "`start-after` and `hold` together ({}) are longer than `within` ({})",
                        duration_text(both),
                        duration_text(within.value)
                    ),
                )
                .caused_by("the service could not stay good that long within the time")
                .helped("make one of them shorter, or `within` longer"),
        );
    }
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

fn refuse_empty(node: &Node, context: &mut Context<'_>, message: &str, help: &str) {
    let span = context.head(node);
    context.push(
        context
            .error(Kind::Empty, span, message)
            .caused_by("the map is empty")
            .helped(help),
    );
}
