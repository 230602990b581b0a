//! Logins of AWS's registries (ECR), asked of AWS itself: no command line of AWS's is needed.

mod call;
mod endpoint;
mod error;
mod keys;
mod profile;
mod sign;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use self::call::Caller;
use self::endpoint::Registry;
use self::error::{Error, PRIVATE_ACTION, PUBLIC_ACTION, Reason};
use self::keys::Getter;
use self::sign::{Keys, sign};
use self::source::{ContainerToken, KeySource, Way};
pub use self::source::{Settings, VARIABLES};
use super::credentials::{
    Credential, Found, HelperRunner, Lookup, Need, Refusal, Secret, canonical,
};
use super::transport::is_loopback;
use crate::clock::Clock;
use crate::net;

/// Logins of ECR as a source of credentials.
pub struct Aws(Arc<Inner>);

struct Inner {
    settings: Settings,
    caller: Caller,
    programs: Arc<dyn HelperRunner>,
    learned: Box<dyn Fn(&Secret) + Send + Sync>,
    /// Hosts that the document says are of ECR; these alone if it is not empty.
    named: BTreeSet<String>,
    /// Hosts that it is not for, whatever they say.
    not_for: BTreeSet<String>,
    /// Keys until shortly before they end. Who holds the lock asks for them, all others wait.
    keys: tokio::sync::Mutex<Option<Keys>>,
    /// What came of asking for logins, by the service that was asked.
    logins: tokio::sync::Mutex<HashMap<String, Outcome>>,
}

struct Outcome {
    result: Result<Found, Error>,
    until: Option<Instant>,
}

impl Aws {
    /// Makes a source for the registries of ECR whose hosts say so; but for the public one, which needs no
    /// login. `learned` is told of every secret that is come by.
    pub fn new(
        settings: Settings,
        http: net::Client,
        clock: Clock,
        programs: Arc<dyn HelperRunner>,
        learned: impl Fn(&Secret) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            settings,
            caller: Caller {
                http,
                clock,
                pause: call::FIRST_PAUSE,
            },
            programs,
            learned: Box::new(learned),
            named: BTreeSet::new(),
            not_for: BTreeSet::new(),
            keys: tokio::sync::Mutex::default(),
            logins: tokio::sync::Mutex::default(),
        }))
    }

    /// Makes it a source for these registries alone, whatever they are called.
    #[must_use]
    pub fn for_hosts(self, hosts: impl IntoIterator<Item = String>) -> Self {
        let named = hosts.into_iter().map(|host| canonical(&host)).collect();
        self.with(|inner| inner.named = named)
    }

    /// Makes it no source for these registries.
    #[must_use]
    pub fn not_for(self, hosts: impl IntoIterator<Item = String>) -> Self {
        let not_for = hosts.into_iter().map(|host| canonical(&host)).collect();
        self.with(|inner| inner.not_for = not_for)
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        // Nobody else holds it before it has become a source.
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    fn registry(&self, host: &str) -> Option<Registry> {
        let is_fips = self.0.settings.is_on("AWS_USE_FIPS_ENDPOINT");
        let registry = match Registry::of(host) {
            _ if self.0.not_for.contains(host) => None,
            _ if !self.0.named.is_empty() && !self.0.named.contains(host) => None,
            Some(registry) if !registry.is_public || !self.0.named.is_empty() => Some(registry),
            None if self.0.named.contains(host) => Some(Registry::elsewhere()),
            _ => None,
        };
        registry.map(|registry| registry.with_fips(is_fips))
    }

    /// Says whether a host has its logins from nowhere else.
    pub(super) fn is_named(&self, host: &str) -> bool {
        self.0.named.contains(host)
    }

    pub(super) async fn lookup(&self, host: &str) -> Lookup {
        let Some(registry) = self.registry(host) else {
            return Lookup::default();
        };
        match self.login(&registry).await {
            Ok(found) => Lookup::of(found),
            Err(error) => Lookup {
                refusal: Some(Refusal {
                    reason: error.to_string(),
                    hint: error.reason.hint(),
                }),
                ..Lookup::default()
            },
        }
    }

    async fn login(&self, registry: &Registry) -> Result<Found, Error> {
        let of_settings = |reason| Error {
            source_name: "this machine".into(),
            reason,
        };
        let profiles = self.0.settings.profiles()?;
        let region = self
            .region(registry, &profiles)
            .ok_or_else(|| of_settings(Reason::Missing("the region".into())))?;
        let service = self.service(registry, &region).map_err(of_settings)?;

        let mut logins = self.0.logins.lock().await;
        if let Some(Outcome { result, until }) = logins.get(service.as_str())
            && until.is_none_or(|until| until > Instant::now())
        {
            return result.clone();
        }
        let result = self.ask(registry, &region, &service, &profiles).await;
        let until = match &result {
            Ok(found) => found.expires,
            Err(_) => Instant::now().checked_add(REFUSAL_HOLDS),
        };
        let outcome = Outcome {
            result: result.clone(),
            until,
        };
        logins.insert(service.into(), outcome);
        result
    }

    async fn ask(
        &self,
        registry: &Registry,
        region: &str,
        service: &Url,
        profiles: &profile::Profiles,
    ) -> Result<Found, Error> {
        let source = self.0.settings.source(profiles)?;
        let fail = |reason| Error {
            source_name: source.name.clone(),
            reason,
        };
        let keys = self
            .keys(&source, registry, region, profiles)
            .await
            .map_err(fail)?;
        let (action, target, name) = if registry.is_public {
            let target = "SpencerFrontendService.GetAuthorizationToken";
            (PUBLIC_ACTION, target, "ecr-public")
        } else {
            let target = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
            (PRIVATE_ACTION, target, "ecr")
        };
        let request = |at| {
            let kind = HeaderValue::from_static("application/x-amz-json-1.1");
            let mut request = net::Request::new(Method::POST, service.clone())
                .header(CONTENT_TYPE, kind)
                .header(
                    HeaderName::from_static("x-amz-target"),
                    HeaderValue::from_static(target),
                )
                .body("{}");
            sign(&mut request, &keys, region, name, at);
            request
        };
        let answer = self.0.caller.ask(action, request).await.map_err(fail)?;
        let (username, password, expires) = login_of(&answer).map_err(fail)?;
        let password = Secret::new(password);
        (self.0.learned)(&password);
        let credential = Credential::Basic { username, password };
        Ok(Found {
            expires: self.instant(expires),
            ..Found::new(credential, format!("AWS ({})", source.name))
        })
    }

    async fn keys(
        &self,
        source: &KeySource,
        registry: &Registry,
        region: &str,
        profiles: &profile::Profiles,
    ) -> Result<Keys, Reason> {
        let mut known = self.0.keys.lock().await;
        let now = self.0.caller.clock.now();
        if let Some(keys) = known.as_ref()
            && keys
                .expires
                .is_none_or(|at| seconds(now, at) > MARGIN.as_secs())
        {
            return Ok(keys.clone());
        }
        let role_region = self.role_region(region, profiles);
        let getter = Getter {
            caller: &self.0.caller,
            programs: &*self.0.programs,
            roles: self.roles(registry, &role_region)?,
            region: &role_region,
        };
        let keys = getter.get(source).await?;
        (self.0.learned)(&keys.secret);
        if let Some(token) = &keys.token {
            (self.0.learned)(token);
        }
        *known = Some(keys.clone());
        Ok(keys)
    }

    /// Adds what a look-up for a host would touch, and returns whether no other source would be asked.
    pub(super) fn needs(&self, host: &str, needs: &mut Vec<Need>) -> bool {
        let Some(registry) = self.registry(host) else {
            return false;
        };
        let settings = &self.0.settings;
        let set = |name: &&str| settings.variables.contains_key(*name);
        let variable = |name: &str| Need::Variable(name.to_owned());
        needs.extend(
            OF_SERVICES
                .iter()
                .filter(|name| set(name))
                .map(|name| variable(name)),
        );
        let files = [&settings.config, &settings.credentials]
            .into_iter()
            .flatten();
        needs.extend(files.map(|path| Need::File(path.clone())));
        let Ok(profiles) = settings.profiles() else {
            return self.is_named(host);
        };
        let region = self.region(&registry, &profiles);
        if let Some(region) = &region
            && let Ok(service) = self.service(&registry, region)
        {
            needs.push(place(&service));
        }
        let mut source = settings.source(&profiles).ok();
        while let Some(KeySource { way, variables, .. }) = source {
            needs.extend(
                variables
                    .iter()
                    .filter(|name| set(name))
                    .map(|name| variable(name)),
            );
            let mut roles = || {
                let region = self.role_region(region.as_deref()?, &profiles);
                needs.push(place(&self.roles(&registry, &region).ok()?));
                Some(())
            };
            source = None;
            match way {
                Way::AssumeRole { base, .. } => {
                    roles();
                    source = Some(*base);
                }
                Way::Container { url, token } => {
                    needs.push(place(&url));
                    if let ContainerToken::File(path) = token {
                        needs.push(Need::File(path));
                    }
                }
                Way::Instance { base } => needs.push(place(&base)),
                Way::Process { words } => needs.extend(words.first().cloned().map(Need::Program)),
                Way::Static { .. } => {}
                Way::WebIdentity { token_file, .. } => {
                    roles();
                    needs.push(Need::File(token_file));
                }
            }
        }
        self.is_named(host)
    }

    /// Returns the region whose service gives the logins.
    fn region(&self, registry: &Registry, profiles: &profile::Profiles) -> Option<String> {
        registry
            .region
            .clone()
            .or_else(|| self.own_region(profiles))
    }

    /// Returns the region that this machine is set to.
    fn own_region(&self, profiles: &profile::Profiles) -> Option<String> {
        let settings = &self.0.settings;
        let (profile, _) = settings.profile();
        settings
            .variable("AWS_REGION")
            .or_else(|| settings.variable("AWS_DEFAULT_REGION"))
            .or_else(|| profiles.setting(profile, "region"))
            .filter(|region| endpoint::is_region(region))
            .map(str::to_owned)
    }

    /// Returns the region whose service gives keys for roles.
    fn role_region(&self, region: &str, profiles: &profile::Profiles) -> String {
        self.own_region(profiles)
            .unwrap_or_else(|| region.to_owned())
    }

    fn service(&self, registry: &Registry, region: &str) -> Result<Url, Reason> {
        let variable = if registry.is_public {
            "AWS_ENDPOINT_URL_ECR_PUBLIC"
        } else {
            "AWS_ENDPOINT_URL_ECR"
        };
        self.endpoint(variable, &registry.service(region))
    }

    fn roles(&self, registry: &Registry, region: &str) -> Result<Url, Reason> {
        self.endpoint("AWS_ENDPOINT_URL_STS", &registry.roles(region))
    }

    /// Returns the URL of a service: the one that is set, or that of its host.
    fn endpoint(&self, variable: &'static str, host: &str) -> Result<Url, Reason> {
        let settings = &self.0.settings;
        let ignored = settings.is_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
        let set = [variable, "AWS_ENDPOINT_URL"].into_iter();
        let mut set = set
            .filter(|_| !ignored)
            .filter_map(|name| Some((name, settings.variable(name)?)));
        let (variable, text) = match set.next() {
            Some((variable, text)) => (variable, text.to_owned()),
            None => (variable, format!("https://{host}/")),
        };
        let refuse = |detail: &str| Reason::Address {
            variable,
            detail: detail.into(),
        };
        let url = Url::parse(&text).map_err(|_| refuse("it is no URL"))?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_loopback(&url) => Ok(url),
            // The answer is a password.
            _ => Err(refuse("it is not https")),
        }
    }

    /// Returns the moment at which a login is to be renewed.
    fn instant(&self, expires: Option<Timestamp>) -> Option<Instant> {
        let now = self.0.caller.clock.now();
        let lasts = Duration::from_secs(seconds(now, expires?));
        let unused = lasts.saturating_sub(MARGIN).max(lasts / 2);
        // An end in the past is one by another clock.
        Instant::now().checked_add(unused.max(SHORTEST))
    }
}

/// The variables that say whom to ask.
const OF_SERVICES: &[&str] = &[
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_STS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_REGION",
    "AWS_USE_FIPS_ENDPOINT",
];
/// How long before its end something is renewed.
const MARGIN: Duration = Duration::from_secs(300);
/// How long a login is used at least.
const SHORTEST: Duration = Duration::from_secs(60);
/// A refusal is not asked for again at once by everyone who waited.
const REFUSAL_HOLDS: Duration = Duration::from_secs(10);

fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second() - from.as_second()).unwrap_or(0)
}

fn place(url: &Url) -> Need {
    Need::Host {
        host: url.host_str().unwrap_or_default().to_owned(),
        port: url.port_or_known_default().unwrap_or_default(),
    }
}

/// Reads user, password and end of a login.
fn login_of(answer: &call::Answer) -> Result<(String, String, Option<Timestamp>), Reason> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        authorization_token: String,
        expires_at: Option<f64>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        authorization_data: serde_json::Value,
    }

    let malformed = || answer.malformed("a login");
    let said: Said = answer.json("a login")?;
    // A list of one for private registries, the one itself for the public one.
    let one = match said.authorization_data {
        serde_json::Value::Array(all) => all.into_iter().next().unwrap_or_default(),
        one => one,
    };
    let data: Data = serde_json::from_value(one).map_err(|_| malformed())?;
    let plain = STANDARD
        .decode(data.authorization_token)
        .map_err(|_| malformed())?;
    let plain = String::from_utf8(plain).map_err(|_| malformed())?;
    let (username, password) = plain.split_once(':').ok_or_else(malformed)?;
    if password.is_empty() {
        return Err(malformed());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast saturates, and what is no time is dropped"
    )]
    let expires = data
        .expires_at
        .and_then(|at| Timestamp::from_second(at as i64).ok());
    Ok((username.to_owned(), password.to_owned(), expires))
}
