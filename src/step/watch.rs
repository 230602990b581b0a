//! `gate` at work: the document's gate made ready, then round after round until its judge decides.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::gate::Gate;
use super::headers::headers;
use super::question::{self as document, HttpProbe, Known, Question, TcpProbe};
use super::sources;
use crate::engine::grants::Grants;
use crate::engine::task::{Action, Rehearsal};
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::gate::{self, Decision, Judge, Spec, SpecError};
use crate::outcome::ExitCode;
use crate::pipeline::LateName;
use crate::pipeline::scalar::duration_text;
use crate::probe::{self, Answer, Asked, BodyTest, HttpSettings, JsonTest, Probe, Statuses};
use crate::report::Detail;

/// What a gate's step may take beyond the gate's own deadline.
const MARGIN: Duration = Duration::from_secs(60);

/// A gate that is ready to run.
pub struct Watch {
    spec: Spec,
    gate: Gate,
    /// The questions as far as they are known before the run.
    asked: Questions,
}

/// What a gate asks.
struct Questions {
    probes: BTreeMap<String, Probe>,
    control: Option<Probe>,
}

impl Watch {
    /// Makes a gate of the document ready.
    ///
    /// # Errors
    /// The gate could never pass, or a probe could never be good.
    pub fn new(gate: &Gate) -> Result<Self, Failure> {
        Ok(Self {
            spec: Spec::try_new(gate.settings()).map_err(|errors| impossible(&errors))?,
            asked: Questions::of(gate, &|_| None)?,
            gate: gate.clone(),
        })
    }

    /// Says when the gate asks, for how long, and how long the service must stay good.
    fn times(&self) -> String {
        let time = duration_text;
        let (spec, zero) = (&self.spec, Duration::ZERO);
        let mut said = format!(
            "within {}, every {}",
            time(spec.within()),
            time(spec.every())
        );
        if spec.start_after() > zero {
            said += &format!(", the first time after {}", time(spec.start_after()));
        }
        if spec.hold() > zero {
            said += &format!(", and must stay good for {}", time(spec.hold()));
        }
        said
    }

    /// Says which probes must be good.
    fn demand(&self) -> String {
        let pass = self.spec.pass();
        let mut parts = Vec::new();
        if !pass.all.is_empty() {
            parts.push(format!("all of {}", pass.all.join(", ")));
        }
        if !pass.any.is_empty() {
            parts.push(format!("one of {}", pass.any.join(", ")));
        }
        if let Some((count, of)) = &pass.at_least {
            parts.push(format!("{count} of {}", of.join(", ")));
        }
        format!("passes by {}", parts.join(", and "))
    }

    /// Returns the names that only the run can fill in and that have no default.
    fn demanded(&self) -> impl Iterator<Item = &LateName> {
        let probes = self.gate.probes.values().map(|probe| &probe.question);
        let questions = probes.chain(&self.gate.control);
        questions.flat_map(Question::demanded)
    }

    /// Returns the images among them.
    fn images(&self) -> impl Iterator<Item = &str> {
        self.demanded().filter_map(|name| match name {
            LateName::ImageDigest(image) | LateName::ImageRef(image) => Some(image.as_str()),
            _ => None,
        })
    }

    /// Resolves the images that no step before has resolved.
    async fn resolve(&self, context: &Context) -> Result<(), Failure> {
        for image in self.images() {
            let resolved = context.world.images.resolve(image, context).await;
            resolved.map_err(|error| error.failure(image, self.family()))?;
        }
        Ok(())
    }

    /// Completes the questions with what the run knows: comparing with a placeholder would call a
    /// sound service bad.
    async fn completed(&self, context: &Context) -> Result<Questions, Failure> {
        self.resolve(context).await?;
        let world = &context.world;
        if let Some(name) = self.demanded().find(|name| world.late(name).is_none()) {
            let message = format!("the gate compares with `{name}`, which is not known here");
            return Err(Failure::new(self.family(), message)
                .hinted(format!("give it a default: `${{{name}:-…}}`")));
        }
        Questions::of(&self.gate, &|name| world.late(name))
    }
}

impl Questions {
    fn of(gate: &Gate, known: Known<'_>) -> Result<Self, Failure> {
        let probes = gate.probes.iter().map(|(name, probe)| {
            let ready = question(&probe.question, &format!("probe `{}`", name.value), known)?;
            Ok((name.value.0.clone(), ready))
        });
        let control = gate.control.as_ref();
        let control = control.map(|asked| question(asked, "the control probe", known));
        Ok(Self {
            probes: probes.collect::<Result<_, Failure>>()?,
            control: control.transpose()?,
        })
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Probe)> {
        let probes = self
            .probes
            .iter()
            .map(|(name, probe)| (name.as_str(), probe));
        probes.chain(
            self.control
                .as_ref()
                .map(|control| (gate::CONTROL, control)),
        )
    }
}

impl Action for Watch {
    fn verb(&self) -> &'static str {
        "gate"
    }

    fn family(&self) -> ExitCode {
        ExitCode::GateInconclusive
    }

    fn needs(&self) -> Duration {
        self.spec.within() + MARGIN
    }

    fn grants(&self, grants: &mut Grants, context: &Context) {
        for (name, probe) in self.asked.all() {
            for (host, port) in probe.endpoints() {
                grants.host(&host, port, format!("probe {name}"));
            }
        }
        for image in self.images() {
            if let Some(reference) = context.world.images.reference(image) {
                let host = &reference.repository.registry;
                sources(host, "digest for a gate", grants, context);
            }
        }
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        self.watch(context).boxed()
    }

    fn rehearse<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<Rehearsal, Failure>> {
        let mut lines = vec![self.times(), self.demand()];
        lines.extend(self.asked.all().map(|(name, probe)| {
            let question = format!("{name}: {}", probe.question());
            match self.spec.probes().get(name).map(|rule| rule.needed()) {
                None | Some(1) => question,
                Some(needed) => format!("{question}, {needed} times in a row"),
            }
        }));
        async move {
            self.resolve(context).await?;
            Ok(lines.into_iter().map(Rehearsal::said).collect())
        }
        .boxed()
    }
}

impl Watch {
    async fn watch(&self, context: &Context) -> Result<(), Failure> {
        let asked = self.completed(context).await?;
        let began = Instant::now();
        let mut judge = Judge::new(self.spec.clone());
        let mut said = String::new();
        loop {
            let now = began.elapsed();
            match judge.decide(now) {
                Decision::Wait { reason, until } => {
                    if reason != said {
                        context.events.emit(Detail::Waiting { on: reason.clone() });
                        said = reason;
                    }
                    sleep_until(began + until).await;
                }
                decided => {
                    let (verdict, reason) = in_words(decided, self.spec.hold());
                    context.events.emit(Detail::GateJudged {
                        verdict: verdict.to_owned(),
                        reason,
                    });
                    return judge.failure(now).map_or(Ok(()), Err);
                }
            }
            let (http, control) = (&context.world.http, asked.control.as_ref());
            let answers =
                probe::ask_all(&asked.probes, control, http, began, self.spec.within()).await;
            tell(&answers, context);
            judge.feed(&answers.round);
        }
    }
}

fn in_words(decision: Decision, hold: Duration) -> (&'static str, String) {
    match decision {
        Decision::Failed { reason } => ("failed", reason),
        Decision::Inconclusive { reason } => ("inconclusive", reason),
        Decision::Passed if hold.is_zero() => ("passed", "all that it asks for is good".to_owned()),
        Decision::Passed => {
            let held = duration_text(hold);
            (
                "passed",
                format!("all that it asks for stayed good for {held}"),
            )
        }
        Decision::Wait { reason, .. } => ("waiting", reason),
    }
}

fn tell(asked: &Asked, context: &Context) {
    let control = asked.control.iter().map(|answer| (gate::CONTROL, answer));
    let answers = asked
        .answers
        .iter()
        .map(|(name, answer)| (name.as_str(), answer));
    for (probe, answer) in answers.chain(control) {
        context.events.emit(sampled(probe, answer));
    }
}

fn sampled(probe: &str, answer: &Answer) -> Detail {
    Detail::Sampled {
        probe: probe.to_owned(),
        sample: answer.value.name().to_owned(),
        found: answer.found.clone(),
        took: answer.took,
    }
}

fn question(question: &Question, name: &str, known: Known<'_>) -> Result<Probe, Failure> {
    match question {
        Question::Http(http) => http_probe(http, name, known),
        Question::Tcp(tcp) => tcp_probe(tcp, name),
    }
}

fn tcp_probe(tcp: &TcpProbe, name: &str) -> Result<Probe, Failure> {
    let address = tcp.address.value.to_string();
    let parsed = address
        .parse::<probe::TcpProbe>()
        .map_err(|error| refused(name, &error, None))?;
    Ok(Probe::Tcp(parsed.timeout(tcp.timeout.value)))
}

fn http_probe(http: &HttpProbe, name: &str, known: Known<'_>) -> Result<Probe, Failure> {
    let statuses = http.status.0.iter().map(|status| status.0.as_str());
    let status = Statuses::try_new(statuses).map_err(|error| refused(name, &error, None))?;
    let json = http.json.as_ref().map(|rule| {
        JsonTest::try_new(&rule.path.value, rule.comparisons(known))
            .map_err(|error| refused(name, &error, Some(error.hint())))
    });
    let settings = HttpSettings {
        method: method(http.method),
        headers: headers(&http.headers, name)?,
        status,
        body: BodyTest {
            contains: http
                .body
                .as_ref()
                .and_then(|body| Some(body.contains.as_ref()?.complete(known))),
            matches: http
                .body
                .as_ref()
                .and_then(|body| body.matches.as_ref().map(|pattern| pattern.0.clone())),
        },
        json: json.transpose()?.into_iter().collect(),
        redirects: match http.redirects {
            document::Redirects::Follow => probe::Redirects::Follow,
            document::Redirects::Refuse => probe::Redirects::Refuse,
        },
        timeout: http.timeout.value,
        max_body: usize::try_from(http.max_body.0).unwrap_or(usize::MAX),
        ..HttpSettings::get(http.url.value.clone())
    };
    let ready = probe::HttpProbe::try_new(settings);
    let ready = ready.map_err(|error| refused(name, &error, Some(error.hint())))?;
    Ok(Probe::Http(Box::new(ready)))
}

fn method(method: document::Method) -> http::Method {
    match method {
        document::Method::Get => http::Method::GET,
        document::Method::Head => http::Method::HEAD,
        document::Method::Options => http::Method::OPTIONS,
        document::Method::Post => http::Method::POST,
    }
}

fn refused(what: &str, error: &dyn std::error::Error, hint: Option<&str>) -> Failure {
    let failure = Failure::new(ExitCode::PipelineInvalid, format!("{what} can't be asked"))
        .caused_by(error.to_string());
    match hint {
        Some(hint) => failure.hinted(hint),
        None => failure,
    }
}

/// Makes one failure of everything that is wrong with a gate.
fn impossible(errors: &[SpecError]) -> Failure {
    let failure = Failure::new(ExitCode::PipelineInvalid, "the gate could never pass");
    let failure = errors.iter().fold(failure, |failure, error| {
        failure.caused_by(error.to_string())
    });
    match errors.first() {
        Some(first) => failure.hinted(first.hint()),
        None => failure,
    }
}
