//! What must hold between the parts of a document.

use std::collections::HashSet;

use super::address::{ImageName, Name};
use super::convert::Context;
use super::diagnostic::Kind;
use super::interpolate::undefined;
use super::model::{Document, Input, Registry, Step, Trust};
use super::scalar::InputType;
use super::source::Spanned;
use super::tree::Node;
use super::{PlaygroundNames, inputs, mirror};
use crate::step::Verb;

/// Checks a whole document.
pub fn document(document: &Document, node: &Node, context: &mut Context<'_>) {
    if document.playground {
        playground(document, node, context);
    }
    let verifies = document
        .all_steps()
        .filter_map(|step| match &step.verb {
            Verb::Verify(verify) => verify.images.first(),
            _ => None,
        })
        .next();
    if let (Some(image), None, None) = (verifies, &document.trust, node.entry("trust")) {
        context.push(
            context
                .error(Kind::MissingKey, image.0.span, "there is no rule to verify by")
                .caused_by("`verify` checks images by the rules under `trust`, and the document has no `trust`")
                .helped("add `trust` with `signers` and `images`, or remove the step"),
        );
    }
    super::mirror::check_logins(document, context);
    unused(document, context);
}

/// Checks how a registry is reached.
pub fn registry(registry: &Registry, node: &Node, context: &mut Context<'_>) {
    mirror::check_registry(registry, node, context);
    if let (None, Some(key)) = (&registry.client_cert, &registry.client_key) {
        let alone = context
            .error(Kind::MissingKey, key.span, "a key without its certificate")
            .caused_by("a registry is shown a certificate, and the key proves that it is ours")
            .helped("add `client-cert`, or remove `client-key`");
        context.push(alone);
    }
    if let (Some(true), Some(certificate)) = (registry.plain_http, &registry.client_cert) {
        let useless = context
            .error(
                Kind::Conflict,
                certificate.span,
                "a client certificate without TLS",
            )
            .caused_by("`plain-http: true` leaves TLS out, and certificates are a part of it")
            .helped("remove one of the two");
        context.push(useless);
    }
}

/// Warns of what is declared and not used.
fn unused(document: &Document, context: &mut Context<'_>) {
    if !context.scope.names.complete {
        return;
    }
    let images: HashSet<&str> = document
        .all_steps()
        .flat_map(|step| match &step.verb {
            Verb::Preload(preload) => preload.images.as_slice(),
            Verb::Verify(verify) => verify.images.as_slice(),
            _ => &[],
        })
        .map(ImageName::as_str)
        .collect();
    let mut found: Vec<(&str, &Spanned<Name>)> = Vec::new();
    let scope = &context.scope;
    found.extend(
        document
            .inputs
            .keys()
            .filter(|name| !scope.used_inputs.contains(&name.0))
            .map(|name| ("input", name)),
    );
    found.extend(
        document
            .secrets
            .keys()
            .filter(|name| !scope.used_secrets.contains(&name.0))
            .map(|name| ("secret", name)),
    );
    found.extend(
        document
            .images
            .keys()
            .filter(|name| !images.contains(name.0.as_str()))
            .map(|name| ("image", name)),
    );
    let warnings: Vec<_> = found
        .into_iter()
        .map(|(what, name)| {
            context
                .error(
                    Kind::Unused,
                    name.span,
                    format!("the {what} `{}` is not used", name.value),
                )
                .caused_by("nothing in the document refers to it")
                .helped("use it or remove it; check that no name is misspelt")
                .as_warning()
        })
        .collect();
    for warning in warnings {
        context.push(warning);
    }
}

/// A playground may not stand beside anything real.
fn playground(document: &Document, node: &Node, context: &mut Context<'_>) {
    if let Some(registries) = node.entry("registries") {
        let span = node
            .mapping()
            .and_then(|entries| entries.iter().find(|entry| entry.key == "registries"))
            .map_or(registries.span, |entry| entry.key_span);
        context.push(
            context
                .error(
                    Kind::Conflict,
                    span,
                    "a playground cannot stand beside registries",
                )
                .caused_by(
                    "`playground: true` is for trying things out, with a registry of its own",
                )
                .helped("remove `registries`, or remove `playground: true`"),
        );
    }
    let own = context.scope.playground.as_ref().map_or_else(
        || PlaygroundNames::stand_in("registry").to_owned(),
        |names| names.registry.clone(),
    );
    let mut foreign: Vec<(Spanned<String>, &str)> = Vec::new();
    for image in document.images.values() {
        let host = image.r#ref.value.repository.registry.clone();
        foreign.push((
            Spanned {
                value: host,
                span: image.r#ref.span,
                known: true,
            },
            "an image of another registry",
        ));
    }
    for step in document.all_steps() {
        if let Verb::Check(check) = &step.verb {
            let host = check.registry.value.0.clone();
            foreign.push((
                Spanned {
                    value: host,
                    span: check.registry.span,
                    known: true,
                },
                "another registry",
            ));
        }
    }
    for (host, what) in foreign {
        let inputs_only = context.source.slice(host.span).contains("${input.");
        if host.value == own || (inputs_only && context.scope.mode == super::Mode::Validate) {
            continue;
        }
        context.push(
            context
                .error(
                    Kind::Conflict,
                    host.span,
                    format!("a playground cannot stand beside {what}"),
                )
                .labelled(format!("on {}", host.value))
                .caused_by(
                    "`playground: true` is for trying things out, with a registry of its own",
                )
                .helped(
                    "write `${playground.registry}` for the host, or remove `playground: true`",
                ),
        );
    }
}

/// Checks the declaration of an input.
pub fn input(input: &Input, _: &Node, context: &mut Context<'_>) {
    if let Some(pattern) = &input.pattern
        && input.r#type != InputType::String
    {
        context.push(
            context
                .error(Kind::Inconsistent, pattern.span, "only text has a pattern")
                .caused_by(format!("the input's type is `{}`", input.r#type.word()))
                .helped("remove the pattern, or make the type `string`"),
        );
    }
    let without = Input {
        options: None,
        ..input.clone()
    };
    for option in input.options.iter().flatten() {
        if let Err(problem) = inputs::check(&without, &option.scalar.text) {
            context.push(
                context
                    .error(
                        Kind::InputInvalid,
                        option.span,
                        format!("the option `{}` is not allowed", option.scalar.text),
                    )
                    .caused_by(problem.cause)
                    .helped("change the option, or the declaration"),
            );
        }
    }
}

/// Checks that rules and signers fit each other.
pub fn trust(trust: &Trust, node: &Node, context: &mut Context<'_>) {
    for (key, what) in [("signers", "a signer"), ("images", "a rule")] {
        if let Some(empty) = node
            .entry(key)
            .filter(|node| node.mapping().is_some_and(<[_]>::is_empty) && node.complete)
        {
            context.push(
                context
                    .error(Kind::Empty, empty.span, format!("`{key}` is empty"))
                    .caused_by("without it nothing could be verified")
                    .helped(format!("add {what}, or remove `trust`")),
            );
        }
    }
    let patterns: Vec<_> = trust.images.keys().collect();
    for (index, later) in patterns.iter().enumerate() {
        let tie = patterns[..index]
            .iter()
            .find(|earlier| earlier.specificity(later).is_eq() && earlier.overlaps(later));
        if let Some(earlier) = tie {
            context.push(
                context
                    .error(
                        Kind::Inconsistent,
                        later.span,
                        format!(
                            "the patterns `{}` and `{}` are equally specific",
                            earlier.value, later.value
                        ),
                    )
                    .caused_by(
                        "an image that both match would have two rules, and neither would win",
                    )
                    .helped("make one of them more specific, or put both rules into one"),
            );
        }
    }
    let declared = context.scope.names.signers.clone();
    let complete = context.scope.names.complete;
    let mut used = HashSet::new();
    for (_, rule) in trust.images.iter() {
        let mut seen = HashSet::new();
        for name in &rule.signed_by.of {
            used.insert(name.value.0.as_str());
            if complete && name.known && !declared.contains(&name.value.0) {
                let diagnostic = undefined(
                    context.source,
                    name.span,
                    "signer",
                    &name.value.0,
                    &declared,
                );
                context.push(diagnostic);
            }
            if !seen.insert(name.value.0.as_str()) {
                let diagnostic = twice(context, name, "signer");
                context.push(diagnostic);
            }
        }
    }
    for name in trust
        .signers
        .keys()
        .filter(|name| complete && !used.contains(name.0.as_str()))
    {
        context.push(
            context
                .error(
                    Kind::Unused,
                    name.span,
                    format!("the signer `{}` is not used", name.value),
                )
                .caused_by("no rule under `trust.images` names it")
                .helped("name it in a rule, or remove it")
                .as_warning(),
        );
    }
}

/// Checks a step's siblings.
pub fn step(step: &Step, _: &Node, context: &mut Context<'_>) {
    let Some(timeout) = &step.timeout else { return };
    if !timeout.known {
        return;
    }
    if timeout.value.is_zero() {
        context.push(
            context
                .error(Kind::Inconsistent, timeout.span, "`timeout` is zero")
                .caused_by("the step would end before it starts")
                .helped("write a longer duration, or remove the key"),
        );
        return;
    }
    if let Verb::Gate(gate) = &step.verb
        && gate.within.known
        && timeout.value < gate.within.value
    {
        context.push(
            context
                .error(
                    Kind::Inconsistent,
                    timeout.span,
                    "`timeout` is shorter than the gate's `within`",
                )
                .caused_by("the step would end before the gate could decide")
                .helped("make `timeout` longer than `within`, or remove it"),
        );
    }
}

/// Checks that no image stands in a list twice.
pub fn distinct_images(images: &[ImageName], context: &mut Context<'_>) {
    let mut seen = HashSet::new();
    for image in images {
        if image.0.known && !seen.insert(image.as_str()) {
            let diagnostic = twice(context, &image.0, "image");
            context.push(diagnostic);
        }
    }
}

fn twice(context: &Context<'_>, name: &Spanned<Name>, what: &str) -> super::Diagnostic {
    context
        .error(
            Kind::DuplicateName,
            name.span,
            format!("the {what} `{}` stands in the list twice", name.value),
        )
        .caused_by("the second one has no effect")
        .helped("remove one of the two")
}
