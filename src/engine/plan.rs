//! What a run would do, before it does it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::grants::Grants;
use super::task::{Task, Tasks};
use super::world::Context;
use crate::failure::Failure;
use crate::net::RequestLog;
use crate::oci::error::Login;
use crate::oci::{Client, Digest, Quota, hosts};
use crate::outcome::ExitCode;
use crate::report::model::LoginReport;

/// A plan: the steps rehearsed, the digests resolved, the grants and the cost.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The version of this form.
    pub version: u32,
    /// The pipeline's name.
    pub pipeline: String,
    /// The steps in the order in which they would run.
    pub steps: Vec<PlannedStep>,
    /// The images that the steps name.
    pub images: BTreeMap<String, PlannedImage>,
    /// Whose credentials satisfied the registries that asked for some.
    pub logins: Vec<LoginReport>,
    /// What the run may touch.
    pub grants: Grants,
    /// What registries and token services would be asked, by `host:port`.
    pub requests: BTreeMap<String, Cost>,
    /// The same, summed up.
    pub total: Cost,
    /// How many requests registries still allow, by `host:port`, as far as they say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub quotas: BTreeMap<String, Quota>,
}

/// A step of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStep {
    /// The id.
    pub id: String,
    /// The verb.
    pub verb: String,
    /// `steps`, `on-failure` or `finally`.
    pub list: String,
    /// The line of the pipeline file that it stands on, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// When the step runs, if the document says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Whether it is asked for.
    pub selected: bool,
    /// What it would do.
    pub lines: Vec<String>,
    /// Why it would fail, as far as that can be known before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl PlannedStep {
    /// The one line of a step that a run would not come to.
    pub const NOT_REACHED: &'static str = "not reached: an earlier step would not pass";
}

/// An image of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedImage {
    /// The reference as written.
    pub reference: String,
    /// What it resolves to now.
    pub digest: Digest,
}

/// Requests and the bytes of their answers' bodies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Cost {
    /// The number of requests.
    pub requests: u64,
    /// The bytes of the bodies.
    pub bytes: u64,
}

impl Cost {
    /// Adds another cost.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
    }
}

/// Rehearses the tasks and returns what a run would do, with the exit code that it would earn as
/// far as that can be known before.
///
/// Asks registries what a run would ask them, and writes nothing. The requests that are counted
/// are those of this rehearsal, which a run makes again, and those that only a run makes.
pub async fn plan(
    tasks: &Tasks,
    selected: &[bool],
    mut grants: Grants,
    context: &Context,
) -> (Plan, ExitCode) {
    let mut steps = Vec::new();
    let mut expected = Vec::new();
    let mut exit = ExitCode::Done;
    let mut stopped = false;
    for (list, tasks) in [("steps", &tasks.steps), ("finally", &tasks.finally)] {
        for (place, task) in tasks.iter().enumerate() {
            let asked = list != "steps" || selected.get(place).copied().unwrap_or_default();
            // A run skips what comes behind a step that does not pass.
            let reached = list != "steps" || !stopped;
            let (mut step, costs) = rehearse(task, list, asked && reached, context).await;
            if asked && !reached {
                step.selected = true;
                step.lines = vec![PlannedStep::NOT_REACHED.to_owned()];
            }
            if let Some(failure) = step.failure.as_ref().filter(|_| !task.continue_on_error) {
                exit = exit.worse(failure.exit);
                stopped = true;
            }
            steps.push(step);
            expected.extend(costs);
        }
    }
    let mut requests = costs(&context.world.registries.log());
    for (host, cost) in expected {
        requests.entry(host).or_default().add(cost);
    }
    // A run in which nothing fails asks for none of this: it is shown, not counted.
    let at = tasks.steps.len();
    for (place, task) in tasks.on_failure.iter().enumerate() {
        let (step, _) = rehearse(task, "on-failure", true, context).await;
        steps.insert(at + place, step);
    }
    // Token services and storage hosts are named by the registries themselves.
    add_met(&mut grants, context);
    for host in requests.keys() {
        grants
            .hosts
            .entry(host.clone())
            .or_insert_with(|| ["named by a registry".to_owned()].into());
    }
    let mut total = Cost::default();
    requests.values().for_each(|cost| total.add(*cost));
    let images = context.world.images.resolved().into_iter();
    let plan = Plan {
        version: 1,
        pipeline: context.world.run.pipeline.clone(),
        steps,
        images: images
            .map(|(name, reference, digest)| (name, PlannedImage { reference, digest }))
            .collect(),
        logins: context
            .world
            .registries
            .logins()
            .into_iter()
            .map(planned_login)
            .collect(),
        grants,
        requests,
        total,
        quotas: quotas(&context.world.registries),
    };
    (plan, exit)
}

fn planned_login((registry, login): (String, Login)) -> LoginReport {
    let (username, origin) = match login {
        Login::Anonymous => (None, None),
        Login::With { username, origin } => (username, Some(origin)),
    };
    LoginReport {
        registry,
        username,
        origin,
    }
}

/// Adds the hosts that registries have named so far, with the line that lists them if nobody does.
pub fn add_met(grants: &mut Grants, context: &Context) {
    for (registry, named) in context.world.registries.met() {
        for (role, place) in named.all() {
            let reason = format!(
                "{} of {registry}: not listed, the sandbox needs {}",
                role.what(),
                hosts::line(&registry, role, place)
            );
            grants.host_unless_known(place.host(), place.port(), reason);
        }
    }
}

async fn rehearse(
    task: &Task,
    list: &str,
    selected: bool,
    context: &Context,
) -> (PlannedStep, BTreeMap<String, Cost>) {
    let mut step = PlannedStep {
        id: task.id.clone(),
        verb: task.action.verb().to_owned(),
        list: list.to_owned(),
        line: task.line,
        condition: task.condition.as_ref().map(|when| when.text().to_owned()),
        selected,
        lines: Vec::new(),
        failure: None,
    };
    if !selected {
        return (step, BTreeMap::new());
    }
    let context = &Context {
        deadline: Instant::now().checked_add(task.timeout),
        ..context.clone()
    };
    match timeout(task.timeout, task.action.rehearse(context)).await {
        Ok(Ok(rehearsal)) => {
            step.lines = rehearsal.lines;
            return (step, rehearsal.costs);
        }
        Ok(Err(failure)) => step.failure = Some(failure),
        Err(_) => {
            let message = format!("step `{}` could not be planned within its timeout", task.id);
            step.failure = Some(Failure::new(task.action.family(), message));
        }
    }
    (step, BTreeMap::new())
}

/// Sums up a request log by host and port.
#[must_use]
pub fn costs(log: &RequestLog) -> BTreeMap<String, Cost> {
    let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
    for record in log.records() {
        costs.entry(place(&record.url)).or_default().add(Cost {
            requests: 1,
            bytes: record.body_bytes,
        });
    }
    costs
}

/// Returns the host and port of a URL.
#[must_use]
pub fn place(url: &str) -> String {
    let parsed = url::Url::parse(url).ok();
    let place = parsed
        .as_ref()
        .and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    place.map_or_else(|| url.to_owned(), |(host, port)| format!("{host}:{port}"))
}

/// Returns how many requests registries still allow, by host and port.
#[must_use]
pub fn quotas(registries: &Client) -> BTreeMap<String, Quota> {
    let quotas = registries.quotas().into_iter();
    let with_port = |(host, quota): (String, Quota)| {
        let named = url::Url::parse(&format!("none://{host}")).is_ok_and(|it| it.port().is_some());
        // A port is left out where it is the usual one, with TLS or without.
        let ends: &[&str] = if named { &[""] } else { &[":443", ":80"] };
        let entry = |end: &&str| (format!("{host}{end}"), quota.clone());
        ends.iter().map(entry).collect::<Vec<_>>()
    };
    quotas.flat_map(with_port).collect()
}

impl Plan {
    /// Writes the plan for people. `bytes` turns a number of bytes into words.
    #[must_use]
    pub fn text(&self, bytes: impl Fn(u64) -> String) -> String {
        let mut text = format!("plan for {}\n\nsteps\n", self.pipeline);
        for step in &self.steps {
            let list = if step.list == "steps" {
                String::new()
            } else {
                format!("  ({})", step.list)
            };
            let skipped = if step.selected { "" } else { "  not asked for" };
            let condition = step
                .condition
                .as_ref()
                .map_or_else(String::new, |when| format!("  if {when}"));
            push(
                &mut text,
                &format!(
                    "  {:<12} {:<8}{list}{condition}{skipped}",
                    step.id, step.verb
                ),
            );
            for line in &step.lines {
                push(&mut text, &format!("      {line}"));
            }
            if let Some(failure) = &step.failure {
                push(&mut text, &format!("      would fail: {}", failure.message));
                for cause in &failure.causes {
                    push(&mut text, &format!("        because: {cause}"));
                }
                if let Some(hint) = &failure.hint {
                    push(&mut text, &format!("        hint: {hint}"));
                }
            }
        }
        if !self.images.is_empty() {
            text.push_str("\nimages\n");
            for (name, image) in &self.images {
                push(
                    &mut text,
                    &format!(
                        "  {name:<12} {}\n  {:<12} {}",
                        image.reference, "", image.digest
                    ),
                );
            }
        }
        if !self.logins.is_empty() {
            text.push_str("\nlogins\n");
            for login in &self.logins {
                push(&mut text, &format!("  {:<48} {login}", login.registry));
            }
        }
        text.push_str("\ngrants\n");
        for (kind, name, reasons) in self.grants.lines() {
            push(&mut text, &format!("  {kind:<9} {name:<48} {reasons}"));
        }
        text.push_str("\nregistry requests of a run from here\n");
        if self.requests.is_empty() {
            text.push_str("  none\n");
        }
        for (host, cost) in &self.requests {
            push(
                &mut text,
                &format!(
                    "  {host:<48} {:>5} requests  {}",
                    cost.requests,
                    bytes(cost.bytes)
                ),
            );
            if let Some(quota) = self.quotas.get(host) {
                push(&mut text, &format!("  {:<48} {quota}", ""));
            }
        }
        if self.requests.len() > 1 {
            push(
                &mut text,
                &format!(
                    "  {:<48} {:>5} requests  {}",
                    "together",
                    self.total.requests,
                    bytes(self.total.bytes)
                ),
            );
        }
        text
    }
}

fn push(text: &mut String, line: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(text, "{}", line.trim_end());
}
