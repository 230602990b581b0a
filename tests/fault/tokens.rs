//! Logins that run out.

use std::collections::HashMap;

use super::content::Content;
use super::exchange::Seen;

/// How long the tokens are good that the proxy hands out.
#[derive(Clone, Copy, Debug)]
pub struct TokenRule {
    /// What `expires_in` says, in seconds.
    pub expires_in: Option<u64>,
    /// How many requests a token is good for.
    pub uses: u64,
}

impl Default for TokenRule {
    /// Tokens are good for ever, and nothing is said of it.
    fn default() -> Self {
        Self {
            expires_in: None,
            uses: u64::MAX,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Tokens {
    rule: Option<TokenRule>,
    /// How often each token may still be used.
    left: HashMap<String, u64>,
    issued: u64,
}

impl Tokens {
    pub(super) fn require(&mut self, rule: TokenRule) {
        self.rule = Some(rule);
    }

    pub(super) fn forget(&mut self) {
        self.left.clear();
    }

    /// Returns the answer to a request that asks for a token or has no good one.
    pub(super) fn answer(&mut self, request: &Seen, address: &str) -> Option<Content> {
        let rule = self.rule?;
        if request.path() == "/token" {
            self.issued += 1;
            let token = format!("t{}", self.issued);
            let expires = rule
                .expires_in
                .map(|seconds| format!(",\"expires_in\":{seconds}"))
                .unwrap_or_default();
            let body = format!("{{\"token\":\"{token}\"{expires}}}");
            self.left.insert(token, rule.uses);
            return Some(Content::ok(body).header("Content-Type", "application/json"));
        }
        if !request.path().starts_with("/v2/") {
            return None;
        }
        let token = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        if let Some(left) = token.and_then(|token| self.left.get_mut(token))
            && *left > 0
        {
            *left -= 1;
            return None;
        }
        let challenge = format!("Bearer realm=\"http://{address}/token\",service=\"fault\"");
        let body = "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"a token is needed\"}]}";
        Some(Content::new(401, body).header("WWW-Authenticate", &challenge))
    }
}
