//! A token service as registries know it: HTTP Basic in, a signed token out.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::{Answer, Authority, PASSWORD, Request, Service, USER};

/// Who issues the tokens, as the registry knows it.
pub const ISSUER: &str = "tokens.test";
/// Whom the tokens are for.
pub const AUDIENCE: &str = "registry.test";

/// Starts a service whose tokens a registry accepts that trusts this authority.
///
/// [`USER`] may do what it asks for; nobody else gets a token.
pub fn serve(authority: &Authority) -> Service {
    let pem = std::fs::read_to_string(authority.certificate()).unwrap();
    let certificate: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let key = std::fs::read_to_string(authority.pkcs8()).unwrap();
    let key: String = key
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let key = STANDARD.decode(key).unwrap();
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).unwrap();
    let login = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    Service::start(move |request| {
        if request.header("authorization") != Some(&login) {
            return Answer::text(401, "{\"errors\": [{\"code\": \"UNAUTHORIZED\"}]}");
        }
        let claims = claims(request);
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [certificate]});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = key.sign(&random, signed.as_bytes()).unwrap();
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        let body = json!({"token": token, "expires_in": 60});
        Answer::Reply(
            200,
            vec![("Content-Type".into(), "application/json".into())],
            body.to_string().into_bytes(),
        )
    })
}

fn claims(request: &Request) -> Value {
    let url = url::Url::parse(&format!("http://tokens.test{}", request.target)).unwrap();
    let scopes = url.query_pairs().filter(|(name, _)| name == "scope");
    let access: Vec<Value> = scopes
        .flat_map(|(_, scopes)| {
            let scopes: Vec<_> = scopes.split(' ').map(str::to_owned).collect();
            scopes
        })
        .map(|scope| {
            // A repository may have a port in front, so the name is what stands between the ends.
            let (kind, rest) = scope.split_once(':').unwrap();
            let (name, actions) = rest.rsplit_once(':').unwrap();
            let actions: Vec<_> = actions.split(',').collect();
            json!({"type": kind, "name": name, "actions": actions})
        })
        .collect();
    let now = jiff::Timestamp::now().as_second();
    json!({
        "iss": ISSUER, "sub": USER, "aud": AUDIENCE, "jti": "1",
        "nbf": now - 10, "iat": now, "exp": now + 60, "access": access,
    })
}
