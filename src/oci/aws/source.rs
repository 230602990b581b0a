//! Where AWS keys come from: the usual places, in the usual order.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use url::Url;

use super::super::credentials::Secret;
use super::error::{Error, Reason};
use super::profile::{Profiles, text, words};
use super::sign::Keys;

/// What this machine says about AWS.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The variables of [`VARIABLES`] that are set and not empty.
    pub variables: BTreeMap<&'static str, String>,
    /// The shared file `config`.
    pub config: Option<PathBuf>,
    /// The shared file `credentials`.
    pub credentials: Option<PathBuf>,
}

/// The variables that are read.
pub const VARIABLES: [&str; 25] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_STS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// A place that has keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct KeySource {
    /// What people call it.
    pub(super) name: String,
    pub(super) way: Way,
    /// The variables that say so.
    pub(super) variables: &'static [&'static str],
}

/// How keys are had from a place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// By asking the service that gives keys for roles, signed with other keys.
    AssumeRole {
        base: Box<KeySource>,
        role: String,
        session: Option<String>,
        external_id: Option<String>,
        seconds: Option<u32>,
    },
    /// By asking an address that knows the container.
    Container { url: Url, token: ContainerToken },
    /// By asking the address that knows the instance.
    Instance { base: Url },
    /// By running a program.
    Process { words: Vec<String> },
    /// They stand there.
    Static { keys: Keys },
    /// By showing somebody else's token to the service that gives keys for roles.
    WebIdentity {
        role: String,
        token_file: PathBuf,
        session: Option<String>,
    },
}

/// What proves to the container's address who asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ContainerToken {
    /// It stands in a file, which others renew.
    File(PathBuf),
    /// Nothing.
    None,
    /// This.
    Value(Secret),
}

impl Settings {
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
    }

    /// Reads both shared files, as far as they are there.
    pub(super) fn profiles(&self) -> Result<Profiles, Error> {
        let read = |path: &Option<PathBuf>| match path.as_ref().map(|path| text(path)) {
            None => Ok(String::new()),
            Some(read) => read.map_err(|reason| Error {
                source_name: "the shared files".into(),
                reason,
            }),
        };
        Ok(Profiles::parse(
            &read(&self.config)?,
            &read(&self.credentials)?,
        ))
    }

    /// Returns the profile that is asked for, and whether somebody asked for it.
    pub(super) fn profile(&self) -> (&str, bool) {
        let asked = self
            .variable("AWS_PROFILE")
            .or_else(|| self.variable("AWS_DEFAULT_PROFILE"));
        (asked.unwrap_or("default"), asked.is_some())
    }

    /// Returns the first place that has keys.
    pub(super) fn source(&self, profiles: &Profiles) -> Result<KeySource, Error> {
        if let Some(source) = self.environment()? {
            return Ok(source);
        }
        if let Some(source) = self.web_identity()? {
            return Ok(source);
        }
        let (profile, asked) = self.profile();
        let of_profile = Chain {
            settings: self,
            profiles,
            seen: Vec::new(),
        };
        match of_profile.source(profile)? {
            Some(source) => return Ok(source),
            None if asked => {
                return Err(Error {
                    source_name: format!("the profile `{profile}`"),
                    reason: if profiles.has(profile) {
                        Reason::NoKeys
                    } else {
                        Reason::Missing(format!("the profile `{profile}`"))
                    },
                });
            }
            None => {}
        }
        if let Some(source) = self.container()? {
            return Ok(source);
        }
        if let Some(source) = self.instance()? {
            return Ok(source);
        }
        Err(Error {
            source_name: "the environment, profiles, container and instance".into(),
            reason: Reason::NoKeys,
        })
    }

    fn environment(&self) -> Result<Option<KeySource>, Error> {
        let name = "the environment".to_owned();
        let id = self.variable("AWS_ACCESS_KEY_ID");
        let secret = self.variable("AWS_SECRET_ACCESS_KEY");
        let (Some(id), Some(secret)) = (id, secret) else {
            return match (id, secret) {
                (None, None) => Ok(None),
                (None, _) => Err(missing(name, "AWS_ACCESS_KEY_ID")),
                (_, None) => Err(missing(name, "AWS_SECRET_ACCESS_KEY")),
                _ => Ok(None),
            };
        };
        Ok(Some(KeySource {
            name,
            way: Way::Static {
                keys: Keys {
                    id: id.to_owned(),
                    secret: Secret::new(secret),
                    token: self.variable("AWS_SESSION_TOKEN").map(Secret::new),
                    expires: None,
                },
            },
            variables: &[
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_SESSION_TOKEN",
            ],
        }))
    }

    fn web_identity(&self) -> Result<Option<KeySource>, Error> {
        let Some(file) = self.variable("AWS_WEB_IDENTITY_TOKEN_FILE") else {
            return Ok(None);
        };
        let name = "a web identity".to_owned();
        let Some(role) = self.variable("AWS_ROLE_ARN") else {
            return Err(missing(name, "AWS_ROLE_ARN"));
        };
        Ok(Some(KeySource {
            name,
            way: Way::WebIdentity {
                role: role.to_owned(),
                token_file: file.into(),
                session: self.variable("AWS_ROLE_SESSION_NAME").map(str::to_owned),
            },
            variables: &[
                "AWS_ROLE_ARN",
                "AWS_ROLE_SESSION_NAME",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
            ],
        }))
    }

    fn container(&self) -> Result<Option<KeySource>, Error> {
        const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
        const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        let name = "the container's role".to_owned();
        let refuse = |variable, detail: &str| Error {
            source_name: name.clone(),
            reason: Reason::Address {
                variable,
                detail: detail.into(),
            },
        };
        let url = if let Some(path) = self.variable(RELATIVE) {
            if !path.starts_with('/') {
                return Err(refuse(RELATIVE, "it does not start with `/`"));
            }
            Url::parse(&format!("http://169.254.170.2{path}"))
                .map_err(|_| refuse(RELATIVE, "it is no path"))?
        } else if let Some(full) = self.variable(FULL) {
            let url = Url::parse(full).map_err(|_| refuse(FULL, "it is no URL"))?;
            if !is_for_containers(&url) {
                return Err(refuse(
                    FULL,
                    "over plain HTTP keys come from this machine, 169.254.170.2, 169.254.170.23 or fd00:ec2::23 alone",
                ));
            }
            url
        } else {
            return Ok(None);
        };
        let file = self.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        let value = self.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
        let token = match (file, value) {
            (Some(file), _) => ContainerToken::File(file.into()),
            (None, Some(value)) => ContainerToken::Value(Secret::new(value)),
            (None, None) => ContainerToken::None,
        };
        Ok(Some(KeySource {
            name,
            way: Way::Container { url, token },
            variables: &[
                "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                FULL,
                RELATIVE,
            ],
        }))
    }

    fn instance(&self) -> Result<Option<KeySource>, Error> {
        const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        if self.is_on("AWS_EC2_METADATA_DISABLED") {
            return Ok(None);
        }
        let name = "the instance's role".to_owned();
        let is_ipv6 = self
            .variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
        let usual = if is_ipv6 {
            "http://[fd00:ec2::254]"
        } else {
            "http://169.254.169.254"
        };
        let text = self.variable(ENDPOINT).unwrap_or(usual);
        let base = Url::parse(text).ok().filter(|url| {
            let local = address(url).is_some_and(|address| {
                address.is_loopback()
                    || ["169.254.169.254", "fd00:ec2::254"].contains(&address.to_string().as_str())
            });
            url.scheme() == "https" || url.scheme() == "http" && local
        });
        let Some(base) = base else {
            return Err(Error {
                source_name: name,
                reason: Reason::Address {
                    variable: ENDPOINT,
                    detail: "over plain HTTP keys come from this machine, 169.254.169.254 or fd00:ec2::254 alone"
                        .into(),
                },
            });
        };
        Ok(Some(KeySource {
            name,
            way: Way::Instance { base },
            variables: &[
                "AWS_EC2_METADATA_DISABLED",
                ENDPOINT,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
            ],
        }))
    }
}

/// Follows profiles that name each other.
struct Chain<'a> {
    settings: &'a Settings,
    profiles: &'a Profiles,
    seen: Vec<&'a str>,
}

const OF_PROFILES: &[&str] = &[
    "AWS_CONFIG_FILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
];

impl<'a> Chain<'a> {
    fn source(mut self, profile: &'a str) -> Result<Option<KeySource>, Error> {
        let name = format!("the profile `{profile}`");
        let fail = |reason| Error {
            source_name: name.clone(),
            reason,
        };
        let setting = |key: &str| self.profiles.setting(profile, key);
        let own = |key: &str| setting(key).map(str::to_owned);
        let made = |way| KeySource {
            name: name.clone(),
            way,
            variables: OF_PROFILES,
        };
        let stands = || -> Result<Option<KeySource>, Error> {
            match (
                setting("aws_access_key_id"),
                setting("aws_secret_access_key"),
            ) {
                (Some(id), Some(secret)) => Ok(Some(made(Way::Static {
                    keys: Keys {
                        id: id.to_owned(),
                        secret: Secret::new(secret),
                        token: setting("aws_session_token").map(Secret::new),
                        expires: None,
                    },
                }))),
                (Some(_), None) => Err(fail(Reason::Missing("aws_secret_access_key".into()))),
                (None, Some(_)) => Err(fail(Reason::Missing("aws_access_key_id".into()))),
                (None, None) => Ok(None),
            }
        };
        // A profile that was come by before serves with its own keys.
        if self.seen.contains(&profile) {
            return stands()?.map_or_else(
                || {
                    Err(fail(Reason::Missing(
                        "an end of the chain of source_profile".into(),
                    )))
                },
                |keys| Ok(Some(keys)),
            );
        }
        if let Some(role) = own("role_arn") {
            if setting("mfa_serial").is_some() {
                return Err(fail(Reason::Unsupported {
                    what: "a role that takes a code (mfa_serial)".into(),
                }));
            }
            let session = own("role_session_name");
            let base = match (setting("source_profile"), setting("credential_source")) {
                (Some(next), _) => {
                    let external_id = own("external_id");
                    let seconds = setting("duration_seconds").and_then(|text| text.parse().ok());
                    self.seen.push(profile);
                    let profiles = self.profiles;
                    let base = self.source(next)?.ok_or_else(|| Error {
                        source_name: format!("the profile `{next}`"),
                        reason: if profiles.has(next) {
                            Reason::NoKeys
                        } else {
                            Reason::Missing(format!("the profile `{next}`"))
                        },
                    })?;
                    return Ok(Some(KeySource {
                        name,
                        way: Way::AssumeRole {
                            base: Box::new(base),
                            role,
                            session,
                            external_id,
                            seconds,
                        },
                        variables: OF_PROFILES,
                    }));
                }
                (None, Some("Environment")) => self.settings.environment()?,
                (None, Some("Ec2InstanceMetadata")) => self.settings.instance()?,
                (None, Some("EcsContainer")) => self.settings.container()?,
                (None, Some(other)) => {
                    let what = format!("credential_source = {other}");
                    return Err(fail(Reason::Unsupported { what }));
                }
                (None, None) => {
                    let Some(file) = setting("web_identity_token_file") else {
                        let what = "source_profile, credential_source or web_identity_token_file";
                        return Err(fail(Reason::Missing(what.into())));
                    };
                    return Ok(Some(made(Way::WebIdentity {
                        role,
                        token_file: file.into(),
                        session,
                    })));
                }
            };
            let base =
                base.ok_or_else(|| fail(Reason::Missing("what credential_source names".into())))?;
            return Ok(Some(made(Way::AssumeRole {
                base: Box::new(base),
                role,
                session,
                external_id: own("external_id"),
                seconds: setting("duration_seconds").and_then(|text| text.parse().ok()),
            })));
        }
        let single_sign_on = ["sso_session", "sso_start_url", "login_session"];
        if let Some(key) = single_sign_on
            .into_iter()
            .find(|key| setting(key).is_some())
        {
            return Err(fail(Reason::Unsupported {
                what: format!("single sign-on (`{key}`)"),
            }));
        }
        if let Some(keys) = stands()? {
            return Ok(Some(keys));
        }
        let Some(command) = setting("credential_process") else {
            return Ok(None);
        };
        let words = words(command).ok_or_else(|| {
            fail(Reason::Missing(
                "the end of a quote in credential_process".into(),
            ))
        })?;
        Ok(Some(made(Way::Process { words })))
    }
}

fn missing(source_name: String, what: &str) -> Error {
    Error {
        source_name,
        reason: Reason::Missing(what.to_owned()),
    }
}

fn address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    if host == "localhost" {
        return Some(IpAddr::from([127, 0, 0, 1]));
    }
    host.trim_matches(['[', ']']).parse().ok()
}

/// Says whether a container's keys may come from there: a variable must not send its token anywhere.
fn is_for_containers(url: &Url) -> bool {
    let known = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
    match url.scheme() {
        "https" => true,
        "http" => address(url).is_some_and(|address| {
            address.is_loopback() || known.contains(&address.to_string().as_str())
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&'static str, &str)]) -> Settings {
        Settings {
            variables: variables
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            ..Settings::default()
        }
    }

    fn found(variables: &[(&'static str, &str)], config: &str) -> String {
        let profiles = Profiles::parse(config, "");
        match settings(variables).source(&profiles) {
            Ok(source) => shown(&source),
            Err(error) => format!("{error}"),
        }
    }

    fn shown(source: &KeySource) -> String {
        let way = match &source.way {
            Way::AssumeRole { base, role, .. } => format!("{role} by {}", shown(base)),
            Way::Container { url, .. } => url.to_string(),
            Way::Instance { base } => base.to_string(),
            Way::Process { words } => format!("{words:?}"),
            Way::Static { keys } => keys.id.clone(),
            Way::WebIdentity {
                role, token_file, ..
            } => format!("{role} by {}", token_file.display()),
        };
        format!("{}: {way}", source.name)
    }

    #[test]
    fn the_usual_order() {
        let config = "[default]\naws_access_key_id = P\naws_secret_access_key = s\n";
        let keys = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let identity = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r")];
        let container = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x");
        assert_eq!(
            found(&[keys[0], keys[1], identity[0], identity[1]], config),
            "the environment: E"
        );
        assert_eq!(found(&identity, config), "a web identity: r by /t");
        assert_eq!(found(&[container], config), "the profile `default`: P");
        assert_eq!(
            found(&[container], "[default]\nregion = x\n"),
            "the container's role: http://169.254.170.2/v2/x"
        );
        assert_eq!(
            found(&[], ""),
            "the instance's role: http://169.254.169.254/"
        );
        assert_eq!(
            found(&[("AWS_EC2_METADATA_DISABLED", "True")], ""),
            "AWS gives no login with keys of the environment, profiles, container and instance: there are none"
        );
    }

    #[test]
    fn profiles_that_name_each_other() {
        let config = "[profile a]\nrole_arn = ra\nsource_profile = b\n\
             [profile b]\nrole_arn = rb\nsource_profile = b\naws_access_key_id = B\naws_secret_access_key = s\n\
             [profile circle]\nrole_arn = r\nsource_profile = round\n[profile round]\nrole_arn = r\nsource_profile = circle\n\
             [profile lost]\nrole_arn = r\nsource_profile = nowhere\n\
             [profile instance]\nrole_arn = r\ncredential_source = Ec2InstanceMetadata\n\
             [profile odd]\nrole_arn = r\ncredential_source = Magic\n\
             [profile half]\naws_access_key_id = H\n\
             [profile sso]\nsso_session = corp\n\
             [profile mfa]\nrole_arn = r\nmfa_serial = m\nsource_profile = b\n\
             [profile run]\ncredential_process = /bin/keys --a 'b c'\n\
             [profile empty]\nregion = x\n";
        let all: Vec<String> = [
            "a", "circle", "lost", "instance", "odd", "half", "sso", "mfa", "run", "empty", "none",
        ]
        .into_iter()
        .map(|profile| found(&[("AWS_PROFILE", profile)], config))
        .collect();
        insta::assert_snapshot!(all.join("\n"), @r#"
        the profile `a`: ra by the profile `b`: rb by the profile `b`: B
        AWS gives no login with keys of the profile `circle`: an end of the chain of source_profile is missing
        AWS gives no login with keys of the profile `nowhere`: the profile `nowhere` is missing
        the profile `instance`: r by the instance's role: http://169.254.169.254/
        AWS gives no login with keys of the profile `odd`: credential_source = Magic is not supported
        AWS gives no login with keys of the profile `half`: aws_secret_access_key is missing
        AWS gives no login with keys of the profile `sso`: single sign-on (`sso_session`) is not supported
        AWS gives no login with keys of the profile `mfa`: a role that takes a code (mfa_serial) is not supported
        the profile `run`: ["/bin/keys", "--a", "b c"]
        AWS gives no login with keys of the profile `empty`: there are none
        AWS gives no login with keys of the profile `none`: the profile `none` is missing
        "#);
    }

    #[test]
    fn a_variable_sends_no_token_to_strangers() {
        let uri = |url: &str| found(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)], "");
        for allowed in [
            "http://127.0.0.1:9/x",
            "http://[::1]/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "https://keys.example/x",
        ] {
            assert!(
                uri(allowed).starts_with("the container's role"),
                "{allowed}"
            );
        }
        for refused in [
            "http://keys.example/x",
            "http://169.254.169.254/x",
            "http://169.254.170.2.evil.example/x",
            "ftp://127.0.0.1/",
            "x",
        ] {
            assert!(uri(refused).contains("can't be used"), "{refused}");
        }
        let endpoint = |url: &str| found(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)], "");
        assert!(endpoint("http://127.0.0.1:1/").starts_with("the instance's role"));
        assert!(endpoint("http://meta.example/").contains("can't be used"));
    }
}
