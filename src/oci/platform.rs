//! Platforms in the form `os/architecture/variant`, with the names that Go uses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a machine must be to run an image.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Platform {
    /// The operating system, for instance `linux`.
    #[serde(default)]
    pub os: String,
    /// The processor, for instance `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// The processor's variant, for instance `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The version of the operating system, which Windows images have.
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
}

impl Platform {
    /// Makes a platform of the names that Rust uses (`std::env::consts`), for instance `x86_64`.
    ///
    /// Containers on macOS and in the component run Linux, so only Windows stays what it is.
    #[must_use]
    pub fn of_host(os: &str, architecture: &str) -> Self {
        let os = if os == "windows" { "windows" } else { "linux" };
        let architecture = match architecture {
            "wasm32" => "amd64",
            other => other,
        };
        Self::normal(os, architecture, None)
    }

    /// Returns whether an image for `offered` is what this platform asks for.
    ///
    /// Default variants count as written: `arm64` is `arm64/v8`, `arm` is `arm/v7`, `amd64` is `amd64/v1`.
    #[must_use]
    pub fn matches(&self, offered: &Self) -> bool {
        let offered = Self::normal(
            &offered.os,
            &offered.architecture,
            offered.variant.as_deref(),
        );
        let wanted = Self::normal(&self.os, &self.architecture, self.variant.as_deref());
        wanted == offered
    }

    fn normal(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = variant.filter(|variant| !variant.is_empty());
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("aarch64", variant) => ("arm64", variant),
            ("x86" | "i386" | "i686", variant) => ("386", variant),
            ("armhf" | "arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", None) => ("arm", Some("v6")),
            ("powerpc64" | "powerpc64le", variant) => ("ppc64le", variant),
            (other, variant) => (other, variant),
        };
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            os_version: None,
        }
    }
}

impl Platform {
    /// Says whether it names an operating system or an architecture: artifacts, and images made from nothing, don't.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.os.is_empty() || !self.architecture.is_empty()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

/// A string that is not a platform.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{text}` is not a platform: expected os/architecture, for instance `linux/amd64` or `linux/arm/v7`"
)]
pub struct PlatformError {
    /// What was given, at most 60 characters of it.
    pub text: String,
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.len() <= 32
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        match parts[..] {
            [os, architecture] if parts.iter().all(word) => {
                Ok(Self::normal(os, architecture, None))
            }
            [os, architecture, variant] if parts.iter().all(word) => {
                Ok(Self::normal(os, architecture, Some(variant)))
            }
            _ => Err(PlatformError {
                text: text.chars().take(60).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(wanted: &str, offered: &str) -> bool {
        let wanted: Platform = wanted.parse().unwrap();
        wanted.matches(&offered.parse().unwrap())
    }

    #[test]
    fn default_variants_and_other_names() {
        assert!(matches("linux/arm64", "linux/arm64/v8"));
        assert!(matches("Linux/aarch64/v8", "linux/arm64"));
        assert!(matches("linux/arm", "linux/arm/v7"));
        assert!(!matches("linux/arm", "linux/arm/v6"));
        assert!(!matches("linux/amd64", "linux/amd64/v3"));
        assert!(!matches("linux/amd64", "windows/amd64"));
        assert_eq!(
            Platform::of_host("macos", "aarch64").to_string(),
            "linux/arm64"
        );
        assert_eq!(Platform::of_host("", "wasm32").to_string(), "linux/amd64");
    }

    #[test]
    fn refusals() {
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/am d64", "linux/é"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(text in "[a-z]{1,8}/[a-z0-9]{1,8}(/v[0-9])?") {
            let platform: Platform = text.parse().unwrap();
            prop_assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform.clone());
            prop_assert!(platform.matches(&platform));
        }
    }
}
