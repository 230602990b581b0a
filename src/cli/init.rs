//! A first pipeline, made of a few answers.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use super::args::InitArgs;
use super::document::checked;
use super::session::Session;
use crate::failure::Failure;
use crate::oci::Reference;
use crate::outcome::ExitCode;
use crate::pipeline::{Severity, Source};

/// What a first pipeline is made of. Every answer may be missing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answers {
    /// The image's reference, with a tag.
    pub image: Option<String>,
    /// The path of the public key that signed it.
    pub key: Option<String>,
    /// The URL that answers 200 when the service is up.
    pub url: Option<String>,
    /// The variable that holds a Slack incoming webhook.
    pub slack_variable: Option<String>,
}

/// A question of `init`, asked on a terminal where the flag was not given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Question {
    /// What is asked.
    pub text: &'static str,
    /// An example of an answer.
    pub example: &'static str,
}

/// The questions in the order of the fields of [`Answers`].
pub const QUESTIONS: [Question; 4] = [
    Question {
        text: "Image to preload",
        example: "ghcr.io/acme/web:v1.2.0",
    },
    Question {
        text: "Public key that signed it (empty: nothing is verified)",
        example: "keys/cosign.pub",
    },
    Question {
        text: "URL that answers 200 when the service is up (empty: no gate)",
        example: "https://web.example/health",
    },
    Question {
        text: "Variable that holds a Slack incoming webhook (empty: nobody is told)",
        example: "SLACK_WEBHOOK_URL",
    },
];

/// Writes a first pipeline, asking for what the flags leave open if a person sits at the terminal.
///
/// # Errors
/// The file is there already, or can't be written, or an answer makes no pipeline.
pub fn init(arguments: &InitArgs, session: &Session) -> Result<ExitCode, Failure> {
    let to_stdout = arguments.file == Path::new("-");
    if !to_stdout && !arguments.force && arguments.file.exists() {
        let message = format!("{} is there already", arguments.file.display());
        return Err(Failure::new(ExitCode::Usage, message)
            .hinted("name another file, or overwrite it with --force"));
    }
    let answers = answers(arguments, session)?;
    if let Some(image) = &answers.image {
        image.parse::<Reference>().map_err(|error| {
            Failure::new(ExitCode::Usage, error.to_string())
                .hinted("for instance --image ghcr.io/acme/web:v1")
        })?;
    }
    let text = first_pipeline(&answers);
    let source = Source::new(arguments.file.display().to_string(), text.clone());
    let loaded = checked(&source, &session.environment);
    let mut found = loaded.diagnostics.iter();
    let mistake = found.find(|found| found.severity == Severity::Error);
    if let Some(found) = mistake {
        return Err(
            Failure::new(ExitCode::Usage, "the answers make no valid pipeline")
                .caused_by(found.message.clone())
                .hinted("correct that answer; `shipgate init --help` says what each one is"),
        );
    }
    if to_stdout {
        session.data(&text)?;
        return Ok(ExitCode::Done);
    }
    fs::write(&arguments.file, text).map_err(|error| {
        Failure::new(
            ExitCode::Unexpected,
            format!("{} can't be written", arguments.file.display()),
        )
        .caused_by(error.to_string())
        .hinted("name a file in a folder that this user may write to, or `-` to print it")
    })?;
    let name = arguments.file.display();
    session.printer.note(&format!(
        "wrote {name}; next: `shipgate validate {name}`, then `shipgate plan {name}`"
    ));
    Ok(ExitCode::Done)
}

fn answers(arguments: &InitArgs, session: &Session) -> Result<Answers, Failure> {
    let key = arguments
        .key
        .as_ref()
        .map(|path| path.display().to_string());
    let mut given = [
        arguments.image.clone(),
        key,
        arguments.url.clone(),
        arguments.slack_env.clone(),
    ];
    let nothing_given = given.iter().all(Option::is_none);
    if nothing_given && io::stdin().is_terminal() && io::stderr().is_terminal() {
        for (answer, question) in given.iter_mut().zip(QUESTIONS) {
            // Not in brackets: those promise that an empty answer means what stands in them.
            let asked = format!("{}, for instance {}", question.text, question.example);
            session.printer.note(&asked);
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map_err(|error| {
                Failure::new(ExitCode::Usage, "the answer can't be read")
                    .caused_by(error.to_string())
            })?;
            *answer = Some(line.trim().to_owned()).filter(|line| !line.is_empty());
        }
    }
    let [image, key, url, slack_variable] = given;
    Ok(Answers {
        image,
        key,
        url,
        slack_variable,
    })
}

/// Writes the pipeline.
///
/// The image's tag becomes an input, so that the file need not change for a release.
#[must_use]
pub fn first_pipeline(answers: &Answers) -> String {
    let image = answers
        .image
        .as_deref()
        .unwrap_or("ghcr.io/acme/web:v1.2.0");
    let (name, tag) = split_tag(image);
    // Trust patterns are of the whole name, `docker.io` included.
    let (registry, repository) = image.parse::<Reference>().map_or_else(
        |_| (image.to_owned(), name.to_owned()),
        |reference| {
            let repository = reference.repository;
            (repository.registry.clone(), repository.to_string())
        },
    );
    let mut text = String::new();
    let mut line = |content: &str| {
        text.push_str(content);
        text.push('\n');
    };

    line("# yaml-language-server: $schema=./schema/pipeline.schema.json");
    line("# `shipgate validate` checks this file, `shipgate plan` shows what a run would do.");
    line("version: 1");
    line("name: web");
    line("");
    if let Some(tag) = tag {
        line("inputs:");
        line(&format!(
            "  tag: {{type: string, default: {}}}",
            quoted(tag)
        ));
        line("");
    }
    if let Some(variable) = &answers.slack_variable {
        line("secrets:");
        line(&format!("  slack: {{env: {variable}}}"));
        line("");
    }
    line("images:");
    match tag {
        Some(_) => line(&format!("  web: \"{}:${{input.tag}}\"", escaped(name))),
        None => line(&format!("  web: {}", quoted(image))),
    }
    line("");
    if let Some(key) = &answers.key {
        line("trust:");
        line("  signers:");
        line(&format!("    release: {{key: {}}}", quoted(key)));
        line("  images:");
        line(&format!(
            "    {}: {{signed-by: release}}",
            quoted(&repository)
        ));
        line("");
    }
    line("steps:");
    line(&format!("  - check: {{registry: {}}}", quoted(&registry)));
    line("  - preload: {images: [web]}");
    if answers.key.is_some() {
        line("  - verify: {images: [web]}");
    }
    if let Some(url) = &answers.url {
        line("  - id: live");
        line("    gate:");
        line("      within: 5m");
        line("      every: 5s");
        line("      hold: 30s");
        line("      probes:");
        line("        http:");
        line(&format!(
            "          http: {{url: {}, status: 200}}",
            quoted(url)
        ));
        line("          rule: {consecutive: 3}");
    }
    if answers.slack_variable.is_some() {
        line("");
        line("finally:");
        line("  - notify:");
        line("      slack: {webhook: \"${secret.slack}\"}");
        line("      on: [failure]");
    }
    text
}

/// Splits a reference at its tag; a colon before a slash belongs to a port.
fn split_tag(image: &str) -> (&str, Option<&str>) {
    if image.contains('@') {
        return (image, None);
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    }
}

/// Quotes a scalar for YAML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// Escapes text for a double-quoted scalar, and a `$` so that it is not taken for a template.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        Answers {
            image: Some("127.0.0.1:5000/acme/web:v1".into()),
            key: Some("cosign.pub".into()),
            url: Some("http://127.0.0.1:8080/health".into()),
            slack_variable: Some("SLACK_WEBHOOK_URL".into()),
        }
    }

    #[test]
    fn every_answer_has_its_place() {
        insta::assert_snapshot!(first_pipeline(&answers()), @r#"
        # yaml-language-server: $schema=./schema/pipeline.schema.json
        # `shipgate validate` checks this file, `shipgate plan` shows what a run would do.
        version: 1
        name: web

        inputs:
          tag: {type: string, default: "v1"}

        secrets:
          slack: {env: SLACK_WEBHOOK_URL}

        images:
          web: "127.0.0.1:5000/acme/web:${input.tag}"

        trust:
          signers:
            release: {key: "cosign.pub"}
          images:
            "127.0.0.1:5000/acme/web": {signed-by: release}

        steps:
          - check: {registry: "127.0.0.1:5000"}
          - preload: {images: [web]}
          - verify: {images: [web]}
          - id: live
            gate:
              within: 5m
              every: 5s
              hold: 30s
              probes:
                http:
                  http: {url: "http://127.0.0.1:8080/health", status: 200}
                  rule: {consecutive: 3}

        finally:
          - notify:
              slack: {webhook: "${secret.slack}"}
              on: [failure]
        "#);
    }

    #[test]
    fn a_digest_needs_no_input() {
        let image = format!("ghcr.io/acme/web@sha256:{}", "0".repeat(64));
        let text = first_pipeline(&Answers {
            image: Some(image),
            ..Answers::default()
        });
        assert!(!text.contains("inputs:"));
        assert!(!text.contains("gate:"));
    }

    #[test]
    fn a_short_name_is_trusted_by_its_whole_one() {
        let text = first_pipeline(&Answers {
            image: Some("acme/web".into()),
            key: Some("release.pub".into()),
            ..Answers::default()
        });
        assert!(
            text.contains("\"docker.io/acme/web\": {signed-by: release}"),
            "{text}"
        );
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(
            split_tag("localhost:5000/web"),
            ("localhost:5000/web", None)
        );
        assert_eq!(
            split_tag("localhost:5000/web:v1"),
            ("localhost:5000/web", Some("v1"))
        );
    }
}
