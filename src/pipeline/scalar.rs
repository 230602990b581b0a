//! The single values of a document: each has one form, and says what is wrong with any other.

use std::fmt;
use std::path::PathBuf;

use regex::Regex;
use schemars::{Schema, json_schema};
use url::Url;

use super::convert::{FromScalar, Problem, Shape};
use super::diagnostic::{Kind, nearest};
pub use super::quantity::{Size, duration_text};
use super::record::choice;
use crate::oci::Reference;

/// A whole number from 1 to 1000.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Count(pub u32);

impl FromScalar for Count {
    const WHAT: &'static str = "a count";
    const EXAMPLE: &'static str = "3";
    const SHAPE: Shape = Shape::Number;

    fn parse(text: &str) -> Result<Self, Problem> {
        match text.parse::<u32>() {
            Ok(number @ 1..=1000) => Ok(Self(number)),
            _ => Err(Problem::new("a count is a whole number from 1 to 1000")),
        }
    }

    fn stand_in() -> Self {
        Self(1)
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": 1000})
    }
}

/// How many more attempts a step gets: a whole number from 0 to 100.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attempts(pub u32);

impl FromScalar for Attempts {
    const WHAT: &'static str = "a number of attempts";
    const EXAMPLE: &'static str = "3";
    const SHAPE: Shape = Shape::Number;

    fn parse(text: &str) -> Result<Self, Problem> {
        match text.parse::<u32>() {
            Ok(number @ 0..=100) => Ok(Self(number)),
            _ => Err(Problem::new("it is a whole number from 0 to 100")),
        }
    }

    fn stand_in() -> Self {
        Self(0)
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "integer", "minimum": 0, "maximum": 100})
    }
}

impl FromScalar for bool {
    const WHAT: &'static str = "a boolean";
    const EXAMPLE: &'static str = "true";
    const SHAPE: Shape = Shape::Boolean;

    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            _ => Err(Problem::new("a boolean is `true` or `false`")),
        }
    }

    fn stand_in() -> Self {
        false
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "boolean"})
    }
}

impl FromScalar for String {
    const WHAT: &'static str = "text";
    const EXAMPLE: &'static str = "web";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        if text.is_empty() {
            return Err(Problem::new("the text is empty"));
        }
        Ok(text.to_owned())
    }

    fn stand_in() -> Self {
        "stand-in".to_owned()
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "minLength": 1})
    }
}

impl FromScalar for PathBuf {
    const WHAT: &'static str = "a path";
    const EXAMPLE: &'static str = "keys/cosign.pub";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        if text.is_empty() {
            return Err(Problem::new("the path is empty"));
        }
        if text.contains('\0') {
            return Err(Problem::new("a path cannot hold a NUL character"));
        }
        if text.starts_with('~') {
            return Err(Problem::new(
                "`~` is a shell's word for the home folder, and no shell reads this",
            )
            .helped("write a path relative to the working directory, or an absolute one"));
        }
        if text.contains("://") {
            return Err(Problem::new("it is a URL, and only files are read")
                .helped("download the file and name its path"));
        }
        Ok(Self::from(text))
    }

    fn stand_in() -> Self {
        Self::from("stand-in")
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "minLength": 1})
    }
}

impl FromScalar for Url {
    const WHAT: &'static str = "a URL";
    const EXAMPLE: &'static str = "https://web.example/health";

    fn parse(text: &str) -> Result<Self, Problem> {
        let schemes = "a URL starts with `https://` or `http://` and a host";
        if !text.contains("://") {
            let suggestion = (!text.is_empty() && !text.contains(char::is_whitespace))
                .then(|| format!("https://{}", text.trim_start_matches('/')));
            return Err(Problem {
                suggestion,
                ..Problem::new(format!("it has no scheme; {schemes}"))
            });
        }
        let url = Self::parse(text).map_err(|error| Problem::new(format!("{error}; {schemes}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Problem::new(format!(
                "the scheme is `{}`; {schemes}",
                url.scheme()
            )));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(Problem::new(format!("it has no host; {schemes}")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Problem {
                kind: Kind::PlainSecret,
                ..Problem::new("it holds a user name or a password, which would be shown in logs")
            }
            .helped("put credentials in a header: `headers: {authorization: \"Basic ${secret.basic}\"}`"));
        }
        Ok(url)
    }

    #[expect(clippy::expect_used, reason = "the text is a URL")]
    fn stand_in() -> Self {
        Self::parse("http://stand-in.invalid/").expect("a URL")
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^https?://.+"})
    }
}

impl FromScalar for Reference {
    const WHAT: &'static str = "an image reference";
    const EXAMPLE: &'static str = "ghcr.io/acme/web:v1.2.0";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse()
            .map_err(|error: crate::oci::reference::ReferenceError| {
                let lower = text.to_lowercase();
                let mut problem = Problem::new(error.reason);
                if lower.parse::<Self>().is_ok() {
                    problem.cause = "the names in a reference are lower case".to_owned();
                    problem.suggestion = Some(lower);
                } else if text.contains(char::is_whitespace) {
                    problem.cause = "a reference holds no spaces".to_owned();
                } else if let Some((_, rest)) = text.split_once("://") {
                    problem.suggestion = Some(rest.to_owned());
                } else if text.ends_with(':') {
                    problem.cause = "the tag after the colon is empty".to_owned();
                }
                problem
            })
    }

    fn stand_in() -> Self {
        Self {
            repository: crate::oci::Repository {
                registry: "stand-in.invalid".to_owned(),
                path: "stand-in".to_owned(),
            },
            tag: Some("stand-in".to_owned()),
            digest: None,
        }
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "minLength": 1, "examples": [Self::EXAMPLE]})
    }
}

/// The platform of an image: operating system, architecture and, for some, a variant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Platform {
    /// The operating system, for instance `linux`.
    pub os: String,
    /// The architecture as Go names it, for instance `amd64`.
    pub architecture: String,
    /// The variant, for instance `v7`.
    pub variant: Option<String>,
}

impl FromScalar for Platform {
    const WHAT: &'static str = "a platform";
    const EXAMPLE: &'static str = "linux/amd64";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        let parts: Vec<&str> = text.split('/').collect();
        let sound = parts.iter().all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        });
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] if sound => (*os, *architecture, None),
            [os, architecture, variant] if sound => {
                (*os, *architecture, Some((*variant).to_owned()))
            }
            _ => {
                return Err(Problem::new(
                    "a platform is `os/architecture` or `os/architecture/variant`",
                ));
            }
        };
        let systems = ["linux", "windows", "darwin", "freebsd", "wasip1"];
        if let Some(meant) = nearest(os, systems).filter(|meant| meant != os) {
            return Err(Problem {
                suggestion: Some(format!("{meant}/{architecture}")),
                ..Problem::new(format!("`{os}` is no operating system of images"))
            });
        }
        let meant = match architecture {
            "x86_64" | "x86-64" | "x64" => Some("amd64"),
            "aarch64" | "armv8" => Some("arm64"),
            "i386" | "x86" => Some("386"),
            _ => None,
        };
        if let Some(meant) = meant {
            return Err(Problem {
                suggestion: Some(format!("{os}/{meant}")),
                ..Problem::new(format!(
                    "images name the architecture `{architecture}` otherwise"
                ))
            });
        }
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant,
        })
    }

    fn stand_in() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: None,
        }
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[^/$]+/[^/]+(/[^/]+)?$|\\$\\{.+\\}", "examples": [Self::EXAMPLE]})
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl FromScalar for Pattern {
    const WHAT: &'static str = "a regular expression";
    const EXAMPLE: &'static str = "v[0-9.]+";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        regex::RegexBuilder::new(text)
            .size_limit(1 << 20)
            .build()
            .map(Self)
            .map_err(|error| {
                let reason = error.to_string();
                let last = reason.lines().last().unwrap_or("it cannot be read");
                Problem::new(last.trim_start_matches("error: ").to_owned())
                    .helped("correct it; the syntax is that of Rust's `regex`, without look-around and back references")
            })
    }

    #[expect(clippy::expect_used, reason = "an empty expression is one")]
    fn stand_in() -> Self {
        Self(Regex::new("").expect("an empty expression"))
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "minLength": 1})
    }
}

choice! {
    /// The type of an input.
    pub enum InputType("an input type", later = []) {
        /// Text.
        String = "string",
        /// A whole number.
        Integer = "integer",
        /// A number.
        Number = "number",
        /// `true` or `false`.
        Boolean = "boolean",
        /// A duration with units.
        Duration = "duration",
    }
}

#[cfg(test)]
#[path = "tests/scalar.rs"]
mod tests;
