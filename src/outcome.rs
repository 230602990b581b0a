//! How a run can end, as numbers that scripts may rely on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The exit code of a run, the same natively and in the sandbox.
///
/// Codes come in families of ten, with gaps for outcomes that later steps bring.
/// When a run has several outcomes, [`ExitCode::worse`] says which one it ends with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ExitCode {
    /// Everything that was asked for is done.
    Done = 0,
    /// A fault of shipgate or of the machine that no other code describes.
    Unexpected = 1,
    /// The command line is wrong: unknown flag, missing argument, flags that exclude each other.
    Usage = 2,
    /// The pipeline can't be read or is not valid.
    PipelineInvalid = 10,
    /// An input or a secret is missing, or off its pattern.
    InputInvalid = 11,
    /// The lock file is unreadable or belongs to another pipeline, other inputs or another policy.
    LockMismatch = 12,
    /// The sandbox does not have what the pipeline needs, or a policy does not allow it.
    NotGranted = 13,
    /// An image could not be fetched whole.
    PreloadFailed = 20,
    /// A registry that was checked is not healthy.
    RegistryUnhealthy = 21,
    /// An image has no signature at all.
    Unsigned = 30,
    /// An image is signed, but by nobody that the trust rule names.
    WrongSigner = 31,
    /// A signature is there that belongs to another digest, or was altered.
    BadSignature = 32,
    /// The registry could not be asked for signatures: nothing is known about them.
    LookupFailed = 33,
    /// No trust rule covers the image.
    Untrusted = 34,
    /// A signature was made when its certificate, an authority or a log was not valid.
    SignatureExpired = 35,
    /// A signature rests on an authority that is newer than the trust root.
    TrustRootTooOld = 36,
    /// A signature is by the right signer, and nothing proves that a transparency log has it.
    NotLogged = 37,
    /// A signature was made with a certificate that its authority revoked.
    SignatureRevoked = 38,
    /// A deploy failed. No step of this version ends so.
    DeployFailed = 40,
    /// A gate saw the service fail.
    GateFailed = 50,
    /// A gate could not see enough to decide.
    GateInconclusive = 51,
    /// A deploy was taken back. No step of this version ends so.
    RolledBack = 60,
    /// A deploy could not be taken back. No step of this version ends so.
    RollbackFailed = 61,
    /// The run was cancelled by a signal.
    Cancelled = 70,
    /// A notice marked `required` could not be delivered, or `finish` could not deliver one.
    NotifyFailed = 80,
}

impl ExitCode {
    /// Every code, the most dangerous outcome first: the documented precedence.
    pub const BY_PRECEDENCE: [Self; 25] = [
        Self::RollbackFailed,
        Self::RolledBack,
        Self::BadSignature,
        Self::SignatureRevoked,
        Self::SignatureExpired,
        Self::NotLogged,
        Self::WrongSigner,
        Self::Unsigned,
        Self::Untrusted,
        Self::TrustRootTooOld,
        Self::GateFailed,
        Self::DeployFailed,
        Self::GateInconclusive,
        Self::LookupFailed,
        Self::PreloadFailed,
        Self::RegistryUnhealthy,
        Self::LockMismatch,
        Self::InputInvalid,
        Self::PipelineInvalid,
        Self::NotGranted,
        Self::Usage,
        Self::Unexpected,
        Self::Cancelled,
        Self::NotifyFailed,
        Self::Done,
    ];

    /// Returns the number that the process exits with.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Returns the more dangerous of two outcomes.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if self.rank() <= other.rank() {
            self
        } else {
            other
        }
    }

    /// Returns the name used in reports, for instance `gate-failed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::PipelineInvalid => "pipeline-invalid",
            Self::InputInvalid => "input-invalid",
            Self::LockMismatch => "lock-mismatch",
            Self::NotGranted => "not-granted",
            Self::PreloadFailed => "preload-failed",
            Self::RegistryUnhealthy => "registry-unhealthy",
            Self::Unsigned => "unsigned",
            Self::WrongSigner => "wrong-signer",
            Self::BadSignature => "bad-signature",
            Self::LookupFailed => "lookup-failed",
            Self::Untrusted => "untrusted",
            Self::SignatureExpired => "signature-expired",
            Self::TrustRootTooOld => "trust-root-too-old",
            Self::NotLogged => "not-logged",
            Self::SignatureRevoked => "signature-revoked",
            Self::DeployFailed => "deploy-failed",
            Self::GateFailed => "gate-failed",
            Self::GateInconclusive => "gate-inconclusive",
            Self::RolledBack => "rolled-back",
            Self::RollbackFailed => "rollback-failed",
            Self::Cancelled => "cancelled",
            Self::NotifyFailed => "notify-failed",
        }
    }

    /// Returns what the code means, as its documentation says it.
    #[must_use]
    pub fn meaning(self) -> String {
        let schema = schemars::schema_for!(Self);
        let variants = schema.get("oneOf").and_then(|variants| variants.as_array());
        variants
            .into_iter()
            .flatten()
            .find(|variant| variant["const"] == self.name())
            .and_then(|variant| variant["description"].as_str())
            .unwrap_or_default()
            .replace('\n', " ")
    }

    fn rank(self) -> usize {
        Self::BY_PRECEDENCE
            .iter()
            .position(|code| *code == self)
            .unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_ranked_once_and_named_as_serialised() {
        for code in ExitCode::BY_PRECEDENCE {
            let same = ExitCode::BY_PRECEDENCE.iter().filter(|c| **c == code);
            assert_eq!(same.count(), 1, "{code:?}");
            assert_eq!(serde_json::json!(code), code.name());
        }
    }

    /// The page is generated: run the test with `SHIPGATE_BLESS=1` to write it anew.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the test suite, not of the library"
    )]
    fn the_page_of_exit_codes_is_current() {
        let mut codes = ExitCode::BY_PRECEDENCE;
        codes.sort_by_key(|code| code.code());
        let mut page = String::from(PAGE_HEAD);
        for code in codes {
            page += &format!(
                "| {} | `{}` | {} |\n",
                code.code(),
                code.name(),
                code.meaning()
            );
        }
        page += PAGE_PRECEDENCE;
        for code in ExitCode::BY_PRECEDENCE {
            page += &format!("1. `{}` ({})\n", code.name(), code.code());
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/exit-codes.md");
        if std::env::var("SHIPGATE_BLESS").is_ok() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            page,
            "bless docs/exit-codes.md"
        );
    }

    const PAGE_HEAD: &str = "# Exit codes\n\n\
        The same natively and in the sandbox (a stock WASI runtime can only pass on 0 and 1; the last line\n\
        that is printed names the code). They are an API: a number never changes its meaning.\n\n\
        | code | name | meaning |\n| ---: | --- | --- |\n";

    const PAGE_PRECEDENCE: &str = "\n## Precedence\n\n\
        When a run has several outcomes, it ends with the most dangerous one, the first of this list that\n\
        applies. A step with `continue-on-error` does not count.\n\n";

    #[test]
    fn the_more_dangerous_outcome_wins_in_either_order() {
        for (rank, worse) in ExitCode::BY_PRECEDENCE.iter().enumerate() {
            for other in &ExitCode::BY_PRECEDENCE[rank..] {
                assert_eq!(worse.worse(*other), *worse);
                assert_eq!(other.worse(*worse), *worse);
            }
        }
    }
}
