//! What a run would do, before it does it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::grants::Grants;
use crate::failure::Failure;
use crate::oci::Digest;

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
    /// What the run may touch.
    pub grants: Grants,
    /// What registries and token services would be asked, by `host:port`.
    pub requests: BTreeMap<String, Cost>,
    /// The same, summed up.
    pub total: Cost,
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
