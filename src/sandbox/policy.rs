//! What a policy takes away from the grants of a pipeline. It can add nothing.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::Host;
use super::pattern::{HostPattern, PathPattern, VariablePattern};
use crate::pipeline::convert::{Context, FromNode, FromScalar, Problem};
use crate::pipeline::interpolate::Scope;
use crate::pipeline::model::Version;
use crate::pipeline::record::record;
use crate::pipeline::tree::{self, Node};
use crate::pipeline::{Diagnostic, Severity, Source};

/// A kind of grant, under the name that the table of grants has for it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A host and port.
    Connect,
    /// A file or folder that is read.
    Read,
    /// A file or folder that is written.
    Write,
    /// A variable.
    Variable,
}

impl Kind {
    /// Returns the name in tables, policies and `--deny`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Read => "read",
            Self::Write => "write",
            Self::Variable => "variable",
        }
    }
}

/// One grant, as a policy looks at it.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A host and port to connect to.
    Connect(&'a Host),
    /// An absolute path, free of links, that is read.
    Read(&'a Path),
    /// An absolute path, free of links, that is written.
    Write(&'a Path),
    /// The name of a variable.
    Variable(&'a str),
}

impl Subject<'_> {
    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Connect(_) => Kind::Connect,
            Self::Read(_) => Kind::Read,
            Self::Write(_) => Kind::Write,
            Self::Variable(_) => Kind::Variable,
        }
    }
}

/// What is taken away: by files, each of which must allow a grant, and by `--deny`.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    files: Vec<(String, PolicyFile)>,
    denied: Vec<Deny>,
}

impl Policy {
    /// Adds a file.
    ///
    /// # Errors
    /// What is wrong with it, as with a pipeline.
    pub fn add_file(&mut self, source: &Source) -> Result<(), Vec<Diagnostic>> {
        let mut found = Vec::new();
        let root = tree::parse(source, &mut found);
        let mut context = Context::new(source, Scope::default());
        let file = root.and_then(|root| PolicyFile::from_node(&root, &mut context));
        found.extend(context.into_diagnostics());
        let sound = found.iter().all(|one| one.severity == Severity::Warning);
        match file.filter(|_| sound) {
            Some(file) => {
                self.files.push((source.name().to_owned(), file));
                Ok(())
            }
            None => Err(found),
        }
    }

    /// Adds what `--deny` names.
    pub fn deny(&mut self, denied: impl IntoIterator<Item = Deny>) {
        self.denied.extend(denied);
    }

    /// Says why a grant is refused, if it is.
    #[must_use]
    pub fn refuses(&self, subject: Subject<'_>, working_folder: &Path) -> Option<String> {
        self.denies(subject, working_folder).or_else(|| {
            let kind = subject.kind();
            let capped = self.files.iter().find(|(_, file)| {
                let allowed = file.allow.patterns(kind);
                allowed.is_some_and(|list| !any(&list, subject, working_folder))
            });
            let (name, _) = capped?;
            let kind = kind.name();
            Some(format!("{name} allows no such thing under `allow.{kind}`"))
        })
    }

    /// Says what denies a grant by name, whether or not anything allows it.
    #[must_use]
    pub fn denies(&self, subject: Subject<'_>, working_folder: &Path) -> Option<String> {
        let hit = |deny: &&Deny| deny.0.matches(subject, working_folder);
        if let Some(deny) = self.denied.iter().find(hit) {
            return Some(format!("--deny {deny}"));
        }
        self.files.iter().find_map(|(name, file)| {
            let kind = subject.kind();
            let denied = file.deny.patterns(kind)?;
            let hit = denied
                .into_iter()
                .find(|one| one.matches(subject, working_folder))?;
            Some(format!("{name} denies `{}: {hit}`", kind.name()))
        })
    }
}

fn any(patterns: &[Pattern], subject: Subject<'_>, working_folder: &Path) -> bool {
    patterns
        .iter()
        .any(|one| one.matches(subject, working_folder))
}

/// One thing that is denied on the command line: `connect:*.example`, `variable:AWS_*`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deny(Pattern);

impl FromStr for Deny {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write KIND:PATTERN, where KIND is connect, read, write or variable";
        let (kind, pattern) = text.split_once(':').ok_or(form)?;
        Ok(Self(match kind {
            "connect" => Pattern::Connect(pattern.parse()?),
            "read" => Pattern::Read(pattern.parse()?),
            "write" => Pattern::Write(pattern.parse()?),
            "variable" => Pattern::Variable(pattern.parse()?),
            _ => return Err(form.to_owned()),
        }))
    }
}

impl fmt::Display for Deny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Pattern::Connect(_) => Kind::Connect,
            Pattern::Read(_) => Kind::Read,
            Pattern::Write(_) => Kind::Write,
            Pattern::Variable(_) => Kind::Variable,
        };
        write!(f, "{}:{}", kind.name(), self.0)
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Pattern {
    Connect(HostPattern),
    Read(PathPattern),
    Write(PathPattern),
    Variable(VariablePattern),
}

impl Pattern {
    fn matches(&self, subject: Subject<'_>, working_folder: &Path) -> bool {
        match (self, subject) {
            (Self::Connect(pattern), Subject::Connect(host)) => pattern.matches(host),
            (Self::Read(pattern), Subject::Read(path))
            | (Self::Write(pattern), Subject::Write(path)) => pattern.matches(path, working_folder),
            (Self::Variable(pattern), Subject::Variable(name)) => pattern.matches(name),
            _ => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(pattern) => pattern.fmt(f),
            Self::Read(pattern) | Self::Write(pattern) => pattern.fmt(f),
            Self::Variable(pattern) => pattern.fmt(f),
        }
    }
}

record! {
    /// Caps what any pipeline may touch, whatever it asks for.
    pub struct PolicyFile("a policy") {
        /// The version of this form: 1.
        version: Version,
        /// What may be granted at all. A kind that is left out is not capped.
        allow: Patterns = Patterns::none(),
        /// What may not be granted, although `allow` has it.
        deny: Patterns = Patterns::none(),
    }
}

record! {
    /// Patterns by the kind of grant.
    pub struct Patterns("a set of patterns") {
        /// Hosts and ports to connect to.
        connect: Option<List<HostPattern>>,
        /// Files and folders that are read, each with everything below it.
        read: Option<List<PathPattern>>,
        /// Files and folders that are written, each with everything below it.
        write: Option<List<PathPattern>>,
        /// Variables.
        variable: Option<List<VariablePattern>>,
    }
}

/// A list that may be empty: nothing at all is allowed then.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T>(Vec<T>);

impl<T: FromNode> FromNode for List<T> {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        if node.sequence().is_some_and(<[Node]>::is_empty) && node.complete {
            return Some(Self(Vec::new()));
        }
        Vec::from_node(node, context).map(Self)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let items = T::schema(generator);
        json_schema!({"type": "array", "items": items})
    }
}

impl Patterns {
    fn none() -> Self {
        Self {
            connect: None,
            read: None,
            write: None,
            variable: None,
        }
    }

    fn patterns(&self, kind: Kind) -> Option<Vec<Pattern>> {
        fn all<T: Clone>(list: Option<&List<T>>, make: fn(T) -> Pattern) -> Option<Vec<Pattern>> {
            Some(list?.0.iter().cloned().map(make).collect())
        }
        match kind {
            Kind::Connect => all(self.connect.as_ref(), Pattern::Connect),
            Kind::Read => all(self.read.as_ref(), Pattern::Read),
            Kind::Write => all(self.write.as_ref(), Pattern::Write),
            Kind::Variable => all(self.variable.as_ref(), Pattern::Variable),
        }
    }
}

/// Lets a pattern stand in a document.
macro_rules! in_documents {
    ($($pattern:ty, $what:literal, $example:literal;)+) => {$(
        impl FromScalar for $pattern {
            const WHAT: &'static str = $what;
            const EXAMPLE: &'static str = $example;

            fn parse(text: &str) -> Result<Self, Problem> {
                text.parse().map_err(|cause: String| Problem::new(cause))
            }

            fn stand_in() -> Self {
                Self::any()
            }

            fn scalar_schema() -> Schema {
                json_schema!({"type": "string"})
            }
        }
    )+};
}

in_documents! {
    HostPattern, "a pattern of hosts", "\"*.example:443\"";
    PathPattern, "a pattern of paths", "keys/*.pub";
    VariablePattern, "a pattern of variables", "GITHUB_*";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<Policy, String> {
        let mut policy = Policy::default();
        policy
            .add_file(&Source::new("policy.yml", text))
            .map_err(|found| {
                let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
                texts.join("\n")
            })?;
        Ok(policy)
    }

    fn refuses(policy: &Policy, subject: Subject<'_>) -> Option<String> {
        policy.refuses(subject, Path::new("/work"))
    }

    const CAPS: &str = "version: 1
allow:
  connect: [\"ghcr.io:443\", \"*.corp.example\"]
  read: [.]
  variable: [\"GHCR_*\"]
deny:
  connect: [secret.corp.example]
";

    #[test]
    fn a_file_caps_the_kinds_that_it_names() {
        let policy = policy(CAPS).unwrap();
        let host = |text: &str| text.parse::<Host>().unwrap();
        assert_eq!(
            refuses(&policy, Subject::Connect(&host("ghcr.io:443"))),
            None
        );
        assert_eq!(
            refuses(&policy, Subject::Connect(&host("evil.example:443"))).as_deref(),
            Some("policy.yml allows no such thing under `allow.connect`")
        );
        assert_eq!(
            refuses(&policy, Subject::Connect(&host("secret.corp.example:443"))).as_deref(),
            Some("policy.yml denies `connect: secret.corp.example`")
        );
        assert_eq!(refuses(&policy, Subject::Read(Path::new("/work/a"))), None);
        assert!(refuses(&policy, Subject::Read(Path::new("/etc/shadow"))).is_some());
        assert_eq!(refuses(&policy, Subject::Write(Path::new("/etc"))), None);
        assert!(refuses(&policy, Subject::Variable("AWS_SECRET_ACCESS_KEY")).is_some());
    }

    #[test]
    fn every_file_must_allow() {
        let mut policy = policy(CAPS).unwrap();
        let narrower = "{\"version\": 1, \"allow\": {\"connect\": [\"quay.io\"]}}";
        policy.add_file(&Source::new("b.json", narrower)).unwrap();
        for host in ["ghcr.io:443", "quay.io:443"] {
            let host = host.parse().unwrap();
            assert!(refuses(&policy, Subject::Connect(&host)).is_some());
        }
    }

    #[test]
    fn a_flag_denies() {
        let mut policy = Policy::default();
        policy.deny(["variable:AWS_*".parse().unwrap()]);
        assert_eq!(
            refuses(&policy, Subject::Variable("AWS_REGION")).as_deref(),
            Some("--deny variable:AWS_*")
        );
        assert_eq!(refuses(&policy, Subject::Variable("HOME")), None);
        for bad in ["AWS_*", "host:a", "connect:", "read:", "variable:A=b"] {
            assert!(bad.parse::<Deny>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_policy_in_the_docs_is_sound() {
        let page = include_str!("../../docs/sandbox.md");
        let (_, rest) = page.split_once("```yaml\n# policy.yml\n").unwrap();
        policy(rest.split_once("```").unwrap().0).unwrap();
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        let policy = policy("version: 1\nallow: {connect: []}\n").unwrap();
        let host = "ghcr.io:443".parse().unwrap();
        assert!(refuses(&policy, Subject::Connect(&host)).is_some());
        assert_eq!(refuses(&policy, Subject::Variable("A")), None);
    }

    #[test]
    fn a_mistake_in_a_policy_is_shown_where_it_stands() {
        insta::assert_snapshot!(policy("version: 1\nallow:\n  conect: [a]\n").unwrap_err(), @"
        error: unknown key `conect` in a set of patterns
         --> policy.yml:3:3
          |
        3 |   conect: [a]
          |   ^^^^^^
          = cause: a set of patterns has the keys `connect`, `read`, `write` and `variable`
          = help: did you mean `connect`?
        ");
        insta::assert_snapshot!(policy("version: 1\nallow: {connect: [\"a*b\"]}\n").unwrap_err(), @r#"
        error: `a*b` is not a pattern of hosts
         --> policy.yml:2:19
          |
        2 | allow: {connect: ["a*b"]}
          |                   ^^^^^
          = cause: write HOST:PORT or HOST, where HOST may be `*` or `*.domain`, and PORT `*`
          = help: write a pattern of hosts, for instance `"*.example:443"`
        "#);
        // A policy that says nothing must not be taken for one that allows everything.
        assert!(policy("").is_err());
        assert!(policy("version: 1\nallow:\n").is_err());
    }
}
