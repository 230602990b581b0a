//! What a token service grants: for how long, and for what.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

/// What a token service answers (distribution spec, "Token Response").
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) token: Option<String>,
    pub(super) access_token: Option<String>,
    pub(super) expires_in: Option<u64>,
    /// RFC 3339, or whatever a service makes of it.
    #[serde(default)]
    pub(super) issued_at: serde_json::Value,
}

impl TokenAnswer {
    /// Returns how long the token is good for, by the service's own clock.
    pub(super) fn lasts(&self, now: Timestamp) -> Duration {
        remaining(self.expires_in, &self.issued_at, now)
    }
}

/// Joins the actions on one resource, and leaves out what is said twice.
pub(super) fn joined(scope: &str) -> String {
    let mut resources: Vec<(&str, Vec<&str>)> = Vec::new();
    for part in scope.split_ascii_whitespace() {
        // A name may have a port in it, so the actions are what stands last.
        let (resource, actions) = part.rsplit_once(':').unwrap_or((part, ""));
        let actions = actions.split(',').filter(|action| !action.is_empty());
        match resources.iter_mut().find(|(known, _)| *known == resource) {
            Some((_, known)) => {
                for action in actions {
                    if !known.contains(&action) {
                        known.push(action);
                    }
                }
            }
            None => resources.push((resource, actions.collect())),
        }
    }
    let written = resources.iter().map(|(resource, actions)| {
        if actions.is_empty() {
            (*resource).to_owned()
        } else {
            format!("{resource}:{}", actions.join(","))
        }
    });
    written.collect::<Vec<_>>().join(" ")
}

/// Returns how long a token is good for: services hand out the same token for a while, so what
/// counts is when it was issued, by the service's own clock.
fn remaining(expires_in: Option<u64>, issued_at: &serde_json::Value, now: Timestamp) -> Duration {
    let life = Duration::from_secs(expires_in.filter(|life| *life > 0).unwrap_or(DEFAULT_LIFE));
    let issued: Option<Timestamp> = issued_at.as_str().and_then(|at| at.parse().ok());
    let age = issued.and_then(|at| Duration::try_from(now.duration_since(at)).ok());
    match age {
        Some(age) if age < life => life.saturating_sub(age),
        // Nobody hands out a token that is over: it is the date that is wrong.
        _ => life,
    }
}

/// The distribution project's default, in seconds.
const DEFAULT_LIFE: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_as_old_as_its_service_says() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let left = |life, issued: &str| remaining(life, &issued.into(), now).as_secs();
        assert_eq!(left(Some(300), "2026-01-02T03:01:05Z"), 120);
        assert_eq!(left(None, "2026-01-02T03:03:55Z"), 50);
        assert_eq!(left(Some(0), "soon"), DEFAULT_LIFE);
        for wrong in [
            "2026-01-02T03:09:05Z",
            "0001-01-01T00:00:00Z",
            "2026-01-02T02:04:05Z",
        ] {
            assert_eq!(left(Some(300), wrong), 300, "{wrong}");
        }
        let number = serde_json::json!(1_767_323_045);
        assert_eq!(remaining(Some(300), &number, now).as_secs(), 300);
    }

    #[test]
    fn scopes_are_joined_by_resource() {
        for (scope, expected) in [
            ("repository:a:pull", "repository:a:pull"),
            (
                "repository:a:pull repository:a:pull,push",
                "repository:a:pull,push",
            ),
            (
                "repository:r.example:5000/a:pull  repository:b:pull repository:b:pull",
                "repository:r.example:5000/a:pull repository:b:pull",
            ),
            ("aws aws", "aws"),
            ("", ""),
        ] {
            assert_eq!(joined(scope), expected);
        }
    }
}
