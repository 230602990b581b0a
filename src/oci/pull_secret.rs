//! Kubernetes' pull secrets: a manifest of kind Secret, or the file that is mounted from one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::auth_file::{DockerConfig, DockerConfigError, Keys};

/// Reads the logins of a pull secret: its manifest, or what stands in it as it is mounted. Both forms
/// are known: `kubernetes.io/dockerconfigjson` and the older `kubernetes.io/dockercfg`.
///
/// # Errors
///
/// It is another object, or its content is not as docker writes it. No value is shown.
pub fn parse(file: &Value) -> Result<DockerConfig, PullSecretError> {
    let Some(kind) = file.get("kind").filter(|kind| kind.is_string()) else {
        return content(file.to_string().as_bytes(), file.get("auths").is_some());
    };
    if kind != "Secret" {
        let found = kind.as_str().unwrap_or_default().chars().take(40).collect();
        return Err(PullSecretError::Kind { found });
    }
    for (key, is_current) in [(".dockerconfigjson", true), (".dockercfg", false)] {
        let text = |field: &str| file.get(field)?.get(key)?.as_str();
        // What is written plainly wins, as it does when the object is created.
        if let Some(plain) = text("stringData") {
            return content(plain.as_bytes(), is_current);
        }
        if let Some(encoded) = text("data") {
            let encoded: String = encoded.split_whitespace().collect();
            let plain = STANDARD
                .decode(encoded)
                .map_err(|_| PullSecretError::Encoding { key })?;
            return content(&plain, is_current);
        }
    }
    let found = file.get("type").and_then(Value::as_str);
    Err(PullSecretError::Type {
        found: found.unwrap_or("none").chars().take(80).collect(),
    })
}

fn content(bytes: &[u8], is_current: bool) -> Result<DockerConfig, PullSecretError> {
    let config = if is_current {
        DockerConfig::parse_as(bytes, Keys::Kubernetes)
    } else {
        DockerConfig::parse_legacy(bytes, Keys::Kubernetes)
    };
    config.map_err(PullSecretError::Content)
}

/// A file that is no pull secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PullSecretError {
    /// The logins in it can't be read.
    #[error(transparent)]
    Content(DockerConfigError),
    /// A value of the manifest is not encoded.
    #[error("its `{key}` is not base64")]
    Encoding {
        /// The key.
        key: &'static str,
    },
    /// It is a manifest of another kind.
    #[error("it is a `{found}`, not a Secret")]
    Kind {
        /// The kind.
        found: String,
    },
    /// It is a secret for something else.
    #[error("it has neither `.dockerconfigjson` nor `.dockercfg`: its type is `{found}`")]
    Type {
        /// The type.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::auth_file::AuthFile;
    use super::super::credentials::{Credential, Credentials, Source};
    use super::*;

    async fn user(file: &Value, host: &str) -> Option<String> {
        let file = AuthFile::without_helpers("the pull secret", parse(file).unwrap());
        let credentials = Credentials::new([], vec![Source::File(file)]);
        match credentials.lookup(host, None).await.found?.credential {
            Credential::Basic { username, .. } => Some(username),
            _ => None,
        }
    }

    #[tokio::test]
    async fn every_form_gives_the_login() {
        let logins = json!({"r.example": {"auth": STANDARD.encode("u:p")}});
        let config = json!({"auths": logins});
        let secret = |key: &str, value: &Value| {
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"},
                "data": {key: STANDARD.encode(value.to_string())},
            })
        };
        for form in [
            secret(".dockerconfigjson", &config),
            secret(".dockercfg", &logins),
            json!({"kind": "Secret", "stringData": {".dockerconfigjson": config.to_string()}}),
            config.clone(),
            logins.clone(),
        ] {
            assert_eq!(
                user(&form, "r.example").await.as_deref(),
                Some("u"),
                "{form}"
            );
            assert_eq!(user(&form, "other.example").await, None);
        }
    }

    #[test]
    fn other_files_are_refused_without_their_values() {
        let refused = |file: Value| parse(&file).unwrap_err().to_string();
        insta::assert_snapshot!(refused(json!({"kind": "ConfigMap"})), @"it is a `ConfigMap`, not a Secret");
        insta::assert_snapshot!(
            refused(json!({"kind": "Secret", "type": "Opaque", "data": {"password": "czNjcmV0"}})),
            @"it has neither `.dockerconfigjson` nor `.dockercfg`: its type is `Opaque`"
        );
        insta::assert_snapshot!(
            refused(json!({"kind": "Secret", "data": {".dockercfg": "s3cret!"}})),
            @"its `.dockercfg` is not base64"
        );
        insta::assert_snapshot!(
            refused(json!({"kind": "Secret", "stringData": {".dockerconfigjson": "s3cret"}})),
            @"it can't be read as a file of logins: line 1 column 1 is not as docker writes it"
        );
        insta::assert_snapshot!(
            refused(json!(["s3cret"])),
            @"it can't be read as a file of logins: line 1 column 0 is not as docker writes it"
        );
    }
}
