//! Why AWS gave no login.

use std::time::Duration;

use crate::net;

/// A login that could not be had, and how far the way to it went.
#[derive(Clone, Debug, thiserror::Error)]
#[error("AWS gives no login with keys of {source_name}: {reason}")]
pub(super) struct Error {
    /// The source of the keys, for people.
    pub(super) source_name: String,
    /// What went wrong.
    pub(super) reason: Reason,
}

/// What went wrong on the way to a login.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Reason {
    /// A file can't be read.
    #[error("{path} can't be read: {detail}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// An address that keys or logins may not come from.
    #[error("{variable} can't be used: {detail}")]
    Address {
        /// Where it stands.
        variable: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// An answer is not what the service's documentation says.
    #[error("{host} sent something else than {what}")]
    Malformed {
        /// Who answered.
        host: String,
        /// What was expected.
        what: &'static str,
    },
    /// A setting that is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// No source has keys.
    #[error("there are none")]
    NoKeys,
    /// A program gave no keys.
    #[error("`{program}` gave none: {detail}")]
    Program {
        /// The program.
        program: String,
        /// What it did.
        detail: String,
    },
    /// The service does not give it.
    #[error("{host} answered {status} to {action}: {code}{}{}", words(.message), skewed(.skew))]
    Refused {
        /// Who answered.
        host: String,
        /// What was asked for.
        action: &'static str,
        /// The status.
        status: u16,
        /// The service's code.
        code: String,
        /// The service's words.
        message: String,
        /// How far this machine's clock is behind (positive) or ahead of the service's, in seconds.
        skew: Option<i64>,
    },
    /// Nobody answered.
    #[error("{host} can't be asked: {source}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// Why.
        source: net::Error,
    },
    /// A way that is known and not built.
    #[error("{what} is not supported")]
    Unsupported {
        /// The way.
        what: String,
    },
}

impl Reason {
    /// Returns the edit or the command that helps.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::File { .. } => "check the path and the file's permissions".into(),
            Self::Address { .. } => {
                "write an https URL; plain HTTP only to this machine, or to where containers and instances \
                 get their keys"
                    .into()
            }
            Self::Malformed { host, .. } => {
                format!("look at what answers for {host}: a proxy may stand in for the service")
            }
            Self::Missing(what) if what.contains("region") => {
                "set AWS_REGION to the region of the registry".into()
            }
            Self::Missing(what) => format!("set {what}, or name another profile with AWS_PROFILE"),
            Self::NoKeys => {
                "give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, a web identity \
                 (AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE), or a role of the container or instance"
                    .into()
            }
            Self::Program { program, .. } => format!("run `{program}` by hand to see what it says"),
            Self::Unsupported { .. } => {
                "run `aws configure export-credentials --format env` and pass the variables on".into()
            }
            Self::Unreachable { host, .. } if host.starts_with("169.254.") || host.starts_with("[fd00:ec2:") => {
                format!(
                    "{}; in a container on an instance, raise the hop limit of its metadata to 2",
                    Self::NoKeys.hint()
                )
            }
            Self::Unreachable { .. } => {
                "check the network's way to it: in a private subnet it takes a VPC endpoint, or \
                 AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL_STS"
                    .into()
            }
            Self::Refused { host, action, code, message, skew, .. } => match code.as_str() {
                _ if self.is_passing() => "run again later: the service is busy".into(),
                UNSAID => format!("look at what answers for {host}: a proxy may stand in for the service"),
                "SignatureDoesNotMatch" | "InvalidSignatureException" | "RequestExpired"
                | "RequestTimeTooSkewed"
                    if skew.is_some_and(is_skew) || message.contains("expired") =>
                {
                    "set this machine's clock: signatures are valid for five minutes".into()
                }
                "SignatureDoesNotMatch" | "InvalidSignatureException" => {
                    "check the secret access key: it is not the one of this access key id".into()
                }
                "ExpiredToken" | "ExpiredTokenException" | "ExpiredTokenCredentials" => {
                    "get new temporary keys: these have ended".into()
                }
                "UnrecognizedClientException" | "InvalidClientTokenId" => {
                    "check the access key id, the session token, and that the account may use this region".into()
                }
                _ if *action == PUBLIC_ACTION => {
                    "allow `ecr-public:GetAuthorizationToken` and `sts:GetServiceBearerToken` to these keys".into()
                }
                _ => format!("allow `{action}` to these keys; for roles, check the trust policy"),
            },
        }
    }

    /// Says whether the same question may be answered later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.is_retryable(),
            Self::Refused { status, code, .. } => {
                *status >= 500 || *status == 429 || code.contains("Throttl")
            }
            _ => false,
        }
    }
}

/// The IAM action that gives logins of private registries.
pub(super) const PRIVATE_ACTION: &str = "ecr:GetAuthorizationToken";
/// The IAM action that gives logins of the public registry.
pub(super) const PUBLIC_ACTION: &str = "ecr-public:GetAuthorizationToken";

/// The difference of clocks from which it is worth a word; AWS refuses from five minutes on.
const WORTH_A_WORD: Duration = Duration::from_secs(120);

/// The code of a refusal without one.
pub(super) const UNSAID: &str = "no reason given";

/// Says whether a code may be due to a clock that is wrong.
pub(super) fn is_about_time(code: &str) -> bool {
    ["Signature", "Expired", "Skewed"]
        .iter()
        .any(|word| code.contains(word))
}

fn is_skew(seconds: i64) -> bool {
    seconds.unsigned_abs() >= WORTH_A_WORD.as_secs()
}

fn skewed(skew: &Option<i64>) -> String {
    match skew {
        Some(seconds) if is_skew(*seconds) => format!(
            "; this machine's clock is {} s {} that of AWS",
            seconds.unsigned_abs(),
            if *seconds > 0 { "behind" } else { "ahead of" }
        ),
        _ => String::new(),
    }
}

fn words(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(" ({message})")
    }
}
