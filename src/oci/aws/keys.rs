//! Getting keys from the place that has them.

use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;
use url::Url;

use super::super::credentials::{HelperRunner, Secret};
use super::call::{Answer, Caller, host_of};
use super::error::Reason;
use super::profile::text;
use super::sign::{Keys, sign};
use super::source::{ContainerToken, KeySource, Way};
use crate::net::{Request, Timeouts};

/// What it takes to get keys.
pub(super) struct Getter<'a> {
    pub(super) caller: &'a Caller,
    pub(super) programs: &'a dyn HelperRunner,
    /// The service that gives keys for roles.
    pub(super) roles: Url,
    /// Its region.
    pub(super) region: &'a str,
}

impl Getter<'_> {
    /// Returns keys.
    pub(super) fn get<'b>(&'b self, source: &'b KeySource) -> BoxFuture<'b, Result<Keys, Reason>> {
        Box::pin(async move {
            match &source.way {
                Way::AssumeRole {
                    base,
                    role,
                    session,
                    external_id,
                    seconds,
                } => {
                    let base = self.get(base).await?;
                    let seconds = seconds.map(|seconds| seconds.to_string());
                    let form = self.form(
                        "AssumeRole",
                        role,
                        session.as_deref(),
                        &[
                            ("ExternalId", external_id.as_deref()),
                            ("DurationSeconds", seconds.as_deref()),
                        ],
                    );
                    let ask = |at| {
                        let mut request = self.role_request(&form);
                        sign(&mut request, &base, self.region, "sts", at);
                        request
                    };
                    role_keys(&self.caller.ask("sts:AssumeRole", ask).await?)
                }
                Way::Container { url, token } => self.container(url, token).await,
                Way::Instance { base } => self.instance(base).await,
                Way::Process { words } => self.process(words).await,
                Way::Static { keys } => Ok(keys.clone()),
                Way::WebIdentity {
                    role,
                    token_file,
                    session,
                } => {
                    let token = text(token_file)?;
                    let form = self.form(
                        "AssumeRoleWithWebIdentity",
                        role,
                        session.as_deref(),
                        &[("WebIdentityToken", Some(token.trim()))],
                    );
                    let action = "sts:AssumeRoleWithWebIdentity";
                    let ask = |_| self.role_request(&form);
                    role_keys(&self.caller.ask(action, ask).await?)
                }
            }
        })
    }

    fn form(
        &self,
        action: &str,
        role: &str,
        session: Option<&str>,
        more: &[(&str, Option<&str>)],
    ) -> String {
        let usual = format!("shipgate-{}", self.caller.clock.now().as_second());
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action)
            .append_pair("Version", "2011-06-15")
            .append_pair("RoleArn", role)
            .append_pair("RoleSessionName", session.unwrap_or(&usual));
        for (name, value) in more {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        form.finish()
    }

    fn role_request(&self, form: &str) -> Request {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        Request::new(Method::POST, self.roles.clone())
            .header(CONTENT_TYPE, kind)
            .body(form.to_owned())
    }

    async fn container(&self, url: &Url, token: &ContainerToken) -> Result<Keys, Reason> {
        let token = match token {
            ContainerToken::File(path) => Some(Secret::new(text(path)?.trim())),
            ContainerToken::None => None,
            ContainerToken::Value(value) => Some(value.clone()),
        };
        let header = match token.map(|token| HeaderValue::from_str(token.expose())) {
            None => None,
            Some(Ok(mut value)) => {
                value.set_sensitive(true);
                Some(value)
            }
            Some(Err(_)) => {
                let detail = "it has characters that no header may have".into();
                return Err(Reason::Address {
                    variable: "the token of AWS_CONTAINER_AUTHORIZATION_TOKEN(_FILE)",
                    detail,
                });
            }
        };
        let ask = |_| {
            let mut request = near(Method::GET, url.clone())
                .header(ACCEPT, HeaderValue::from_static("application/json"));
            request.secret_path = true;
            if let Some(header) = &header {
                request.headers.insert(AUTHORIZATION, header.clone());
            }
            request
        };
        let answer = self.caller.ask("the container's keys", ask).await?;
        json_keys(&answer)
    }

    /// Asks by the second version of the protocol alone: the first can be abused through proxies.
    async fn instance(&self, base: &Url) -> Result<Keys, Reason> {
        let join = |path: &str| {
            base.join(path).map_err(|_| Reason::Malformed {
                host: host_of(base),
                what: "the name of a role",
            })
        };
        let lifetime = (
            HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds"),
            HeaderValue::from_static("21600"),
        );
        let url = join("/latest/api/token")?;
        let ask = |_| near(Method::PUT, url.clone()).header(lifetime.0.clone(), lifetime.1.clone());
        let answer = self.caller.ask("the instance's session", ask).await?;
        let session = std::str::from_utf8(&answer.body).unwrap_or_default().trim();
        let session =
            HeaderValue::from_str(session).map_err(|_| answer.malformed("a session's token"))?;
        let get = async |path: &str| {
            let url = join(path)?;
            let name = HeaderName::from_static("x-aws-ec2-metadata-token");
            let ask = |_| near(Method::GET, url.clone()).header(name.clone(), session.clone());
            self.caller.ask("the instance's keys", ask).await
        };
        let folder = "/latest/meta-data/iam/security-credentials/";
        let answer = get(folder).await?;
        let list = String::from_utf8_lossy(&answer.body).into_owned();
        let role = list.lines().next().unwrap_or_default().trim();
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        if role.is_empty() || !role.bytes().all(sound) {
            return Err(answer.malformed("the name of a role"));
        }
        json_keys(&get(&format!("{folder}{role}")).await?)
    }

    async fn process(&self, words: &[String]) -> Result<Keys, Reason> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Said {
            version: u32,
            access_key_id: String,
            secret_access_key: String,
            session_token: Option<String>,
            expiration: Option<String>,
        }

        let program = words.first().cloned().unwrap_or_default();
        let failed = |detail: String| Reason::Program {
            program: program.clone(),
            detail,
        };
        let output = self
            .programs
            .program(words)
            .await
            .map_err(|error| failed(error.to_string()))?;
        if !output.success {
            return Err(failed("it ended with an error".into()));
        }
        let said: Said = serde_json::from_slice(&output.stdout)
            .map_err(|_| failed("it printed something else than the JSON of keys".into()))?;
        if said.version != 1 {
            return Err(failed(format!(
                "it speaks version {} of the protocol, not 1",
                said.version
            )));
        }
        Ok(Keys {
            id: said.access_key_id,
            secret: Secret::new(said.secret_access_key),
            token: said.session_token.map(Secret::new),
            expires: said.expiration.and_then(|at| at.parse().ok()),
        })
    }
}

/// Makes a request to somebody next door: who does not answer at once is not there.
fn near(method: Method, url: Url) -> Request {
    let mut request = Request::new(method, url);
    request.timeouts = Timeouts {
        connect: Some(Duration::from_secs(1)),
        first_byte: Some(Duration::from_secs(2)),
        idle: Some(Duration::from_secs(2)),
    };
    request
}

fn role_keys(answer: &Answer) -> Result<Keys, Reason> {
    let field = |name: &str| answer.element(name).filter(|text| !text.is_empty());
    let keys = (
        field("AccessKeyId"),
        field("SecretAccessKey"),
        field("SessionToken"),
    );
    let (Some(id), Some(secret), Some(token)) = keys else {
        return Err(answer.malformed("the keys of a role"));
    };
    Ok(Keys {
        id,
        secret: Secret::new(secret),
        token: Some(Secret::new(token)),
        expires: field("Expiration").and_then(|at| at.parse().ok()),
    })
}

fn json_keys(answer: &Answer) -> Result<Keys, Reason> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Said {
        access_key_id: String,
        secret_access_key: String,
        token: Option<String>,
        expiration: Option<String>,
    }

    let said: Said = answer.json("keys")?;
    Ok(Keys {
        id: said.access_key_id,
        secret: Secret::new(said.secret_access_key),
        token: said.token.map(Secret::new),
        expires: said.expiration.and_then(|at| at.parse().ok()),
    })
}
