//! `verify`: has the digest that this run works on been signed by whom the trust rules name?

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, TryFutureExt};

use super::sources;
use crate::engine::grants::Grants;
use crate::engine::task::{Action, Rehearsal};
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::address::ImageName;
use crate::pipeline::record::record;
use crate::report::Detail;
use crate::trust::{self, Outcome};

record! {
    /// Verifies the signatures of images by the rules under `trust`.
    pub struct Verify("`verify`") {
        /// The images, by their names under `images`.
        images: Vec<ImageName>,
    }
    check = |verify, _, context| crate::pipeline::validate::distinct_images(&verify.images, context);
}

impl Verify {
    /// Makes one of the names of images, for commands that have no document.
    #[must_use]
    pub fn of(images: Vec<String>) -> Self {
        Self {
            images: images.into_iter().map(super::unplaced).collect(),
        }
    }
}

impl Action for Verify {
    fn verb(&self) -> &'static str {
        "verify"
    }

    fn family(&self) -> ExitCode {
        ExitCode::LookupFailed
    }

    fn grants(&self, grants: &mut Grants, context: &Context) {
        for image in &self.images {
            if let Some(reference) = context.world.images.reference(image.as_str()) {
                sources(&reference.repository.registry, "verify", grants, context);
            }
        }
        if let Some(policy) = &context.world.policy {
            for place in policy.revocation().hosts() {
                grants.host(&place.host, place.port, "revocation of certificates");
            }
        }
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        self.judge(context).map_ok(|_| ()).boxed()
    }

    fn rehearse<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<Rehearsal, Failure>> {
        self.judge(context)
            .map_ok(|verdicts| verdicts.into_iter().map(Rehearsal::said).collect())
            .boxed()
    }
}

impl Verify {
    /// Verifies every image, and says of each who signed it, or fails with the most dangerous refusal.
    async fn judge(&self, context: &Context) -> Result<Vec<String>, Failure> {
        let judged = join_all(self.images.iter().map(|name| judge(name.as_str(), context))).await;
        let (good, bad): (Vec<_>, Vec<_>) = judged.into_iter().partition(Result::is_ok);
        let bad = bad.into_iter().filter_map(Result::err);
        match bad.reduce(the_worse) {
            None => Ok(good.into_iter().filter_map(Result::ok).collect()),
            Some(failure) => Err(failure),
        }
    }
}

/// Makes sure that an image satisfies its trust rule before it leaves the cache. Says so if a rule
/// matches it; an image that none matches may go anywhere.
pub(super) async fn prove(name: &str, context: &Context) -> Result<Option<String>, Failure> {
    let world = &context.world;
    let image = world.images.resolve(name, context).await;
    let image = image.map_err(|error| error.failure(name, ExitCode::LookupFailed))?;
    let policy = world.policy.as_ref();
    let Some(rule) = policy.and_then(|policy| policy.rule_for(&image.reference.repository)) else {
        return Ok(None);
    };
    if !world.state.is_proven(name, image.digest) {
        judge(name, context).await?;
    }
    Ok(Some(rule.pattern.to_string()))
}

async fn judge(name: &str, context: &Context) -> Result<String, Failure> {
    let world = &context.world;
    let Some(policy) = &world.policy else {
        return Err(Failure::new(
            ExitCode::Untrusted,
            format!("nothing says who must have signed `{name}`"),
        )
        .hinted("add a `trust` section with a signer and a rule for the image"));
    };
    let image = world.images.resolve(name, context).await;
    let image = image.map_err(|error| error.failure(name, ExitCode::LookupFailed))?;
    let verdict = trust::verify(
        &context.registries(),
        policy,
        &image.reference.repository,
        image.digest,
    )
    .await;
    for candidate in &verdict.candidates {
        context.events.emit(Detail::SignatureChecked {
            image: name.to_owned(),
            place: candidate.place.to_string(),
            digest: candidate.manifest,
            verdict: candidate.check.verdict().to_owned(),
            signer: candidate.check.signer().map(str::to_owned),
            found: candidate.check.found(),
        });
    }
    if let Some(failure) = verdict.failure() {
        return Err(failure.fact("image", name));
    }
    world.state.proven(name, image.digest);
    let rule = verdict.rule.map(|rule| rule.pattern).unwrap_or_default();
    let warned = |message: String| {
        context.events.emit(Detail::Warned {
            message,
            hint: None,
        });
    };
    let signers: Vec<String> = match verdict.outcome {
        Outcome::Verified { signers } => signers.into_iter().collect(),
        Outcome::Skipped { signer, statement } => {
            let skipped = format!(
                "{name}: nothing was verified, since the trust policy of {signer} says `skip` in the statement `{statement}`"
            );
            warned(skipped.clone());
            return Ok(format!("{skipped} (rule {rule})"));
        }
        Outcome::Refused(_) => Vec::new(),
    };
    let mut line = format!("{name}: signed by {} (rule {rule})", signers.join(", "));
    for candidate in &verdict.candidates {
        let (signer, warnings) = (candidate.check.signer(), candidate.check.warnings());
        for warning in warnings {
            let signer = signer.unwrap_or_default();
            let message = format!("{name}: not enforced for {signer}: {warning}");
            line.push_str(&format!("\n  warning: {message}"));
            warned(message);
        }
    }
    context.events.emit(Detail::ImageVerified {
        image: name.to_owned(),
        digest: image.digest,
        rule,
        signers,
    });
    Ok(line)
}

/// Keeps the more dangerous of two failures, and mentions the other.
fn the_worse(one: Failure, other: Failure) -> Failure {
    let (kept, mentioned) = if one.exit.worse(other.exit) == one.exit {
        (one, other)
    } else {
        (other, one)
    };
    let why = mentioned.causes.first().map_or("", String::as_str);
    let kept = kept.caused_by(format!("besides, {}: {why}", mentioned.message));
    match mentioned.hint {
        Some(hint) => kept.caused_by(format!("for that one, {hint}")),
        None => kept,
    }
}
