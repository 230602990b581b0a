//! From one host to the next: a request, its redirects, and the silence before an answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderValue, Method};
use tokio::time::Instant;
use url::Url;

use super::answer::Answer;
use super::config::Notice;
use super::error::{Error, ErrorKind, GaveUp};
use super::hedge::{Lane, Pulse, hedged};
use super::hosts::Place;
use super::named::Errand;
use super::quota::Quota;
use super::traffic::{Closed, Late, Slot};
use super::transport::{ERROR_BODY, Inner, Transport, host_of};
use crate::net;

impl Transport {
    /// Sends a request and follows redirects; `Authorization` goes to the first origin alone.
    /// Hosts other than the registry's own were named by it, for what the errand says.
    pub(super) async fn follow(
        &self,
        mut request: net::Request,
        errand: Errand<'_>,
    ) -> Result<Answer, Error> {
        request
            .headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        request.timeouts.first_byte = Some(self.inner.config.retry.patience);
        let (mut redirected, mut elsewhere) = (false, false);
        for _ in 0..=MOST_REDIRECTS {
            let host = host_of(&request.url);
            let url = net::redact(&request.url);
            let (response, slot) = self.hop(&request, &host, errand).await?;
            self.meet(errand.registry, errand.role, &request.url);
            let answer = Answer {
                response,
                host,
                url,
                what: errand.what.to_owned(),
                redirected,
                elsewhere,
                slot,
            };
            self.learn(&answer);
            let may_follow = request.method == Method::GET || request.method == Method::HEAD;
            let Some(location) = answer.redirect().filter(|_| may_follow) else {
                return Ok(answer);
            };
            let target = check_redirect(&request.url, &location).map_err(|(to, reason)| {
                ErrorKind::Redirect {
                    host: answer.host.clone(),
                    url: answer.url.clone(),
                    to,
                    reason,
                }
            })?;
            if let Some(shunned) = errand.shuns
                && Place::of(&target).as_ref() == Some(shunned)
            {
                return Err(ErrorKind::Redirect {
                    host: answer.host.clone(),
                    url: answer.url.clone(),
                    to: net::redact(&target),
                    reason: "`fallback: deny` keeps that from being asked".into(),
                }
                .into());
            }
            answer.text(ERROR_BODY).await;
            redirected = true;
            if target.origin() != request.url.origin() {
                elsewhere = true;
                request.headers.remove(AUTHORIZATION);
            }
            request.url = target;
        }
        Err(ErrorKind::Redirect {
            host: host_of(&request.url),
            url: net::redact(&request.url),
            to: net::redact(&request.url),
            reason: format!("there were more than {MOST_REDIRECTS} redirects"),
        }
        .into())
    }

    /// Sends a request to one host; while it is silent, on a second connection too.
    async fn hop(
        &self,
        request: &net::Request,
        host: &str,
        errand: Errand<'_>,
    ) -> Result<(net::Response, Option<Slot>), Error> {
        let what = errand.what;
        let Inner {
            config, traffic, ..
        } = &*self.inner;
        let limit = self.limit();
        let slot = if self.counted {
            traffic.enter(host, limit, self.deadline).await.map(Some)
        } else {
            let passed = traffic.pass(host, limit).await.map(|()| None);
            passed.map_err(Late::Closed)
        };
        let slot = slot.map_err(|late| match late {
            Late::Busy(after) => self.busy(errand, &request.url, after).about(what),
            Late::Closed(closed) => self.closed(closed).about(what),
        })?;
        // Until there is a connection, the limit for connecting is the one that counts.
        let pulse = Pulse::default();
        let heard = pulse.clone();
        let also = request.on_connection.clone();
        let first = net::Request {
            on_connection: Some(Arc::new(move |peer| {
                heard.connected(peer);
                if let Some(also) = &also {
                    also(peer);
                }
            })),
            ..request.clone()
        };
        let first = &first;
        let send = |lane| async move {
            let request = match lane {
                Lane::First => first,
                Lane::Second => {
                    let passed = traffic.pass(host, limit).await;
                    passed.map_err(|closed| self.closed(closed))?;
                    request
                }
            };
            let sent = self.http().send(request.clone()).await;
            sent.map_err(|source| {
                self.unreachable(errand.registry, errand.role, &request.url, source)
            })
        };
        let safe = request.method == Method::GET || request.method == Method::HEAD;
        let response = if safe && !errand.alone {
            let tell = |silence| self.silent(host, what, silence);
            hedged(config.retry.stall, &pulse, send, tell).await
        } else {
            // Twice the same POST may be one too many.
            send(Lane::First).await
        };
        Ok((response.map_err(|error| error.about(what))?, slot))
    }

    /// Returns the latest time that a request may begin at.
    fn limit(&self) -> Instant {
        if self.hurried {
            return Instant::now();
        }
        let own = Instant::now() + self.inner.config.retry.budget;
        self.deadline.map_or(own, |deadline| deadline.min(own))
    }

    /// Makes the error of a host that was told by someone else to be left alone for too long.
    fn closed(&self, closed: Closed) -> Error {
        let wait = closed.until.saturating_duration_since(Instant::now());
        let mut kind = closed.kind;
        if let ErrorKind::RateLimited { retry_after, .. } | ErrorKind::Refused { retry_after, .. } =
            &mut kind
        {
            *retry_after = Some(wait);
        }
        let late = self
            .deadline
            .is_some_and(|deadline| closed.until > deadline);
        let gave_up = if late {
            GaveUp::Deadline
        } else {
            GaveUp::Budget
        };
        Error::from(kind)
            .tried(0, Some(gave_up))
            .again_at(self.after(wait))
    }

    /// Makes the error of a host that other requests kept busy until nobody had use for an answer.
    fn busy(&self, errand: Errand<'_>, url: &Url, after: Duration) -> Error {
        let endpoint = Box::new(net::Endpoint {
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
            address: None,
            route: None,
        });
        let source = net::Error::Timeout {
            endpoint,
            phase: net::Phase::Connect,
            after,
        };
        self.unreachable(errand.registry, errand.role, url, source)
            .tried(0, Some(GaveUp::Deadline))
    }

    fn learn(&self, answer: &Answer) {
        let now = self.now();
        if let Some(quota) = Quota::of(&answer.response.headers, now)
            && self.inner.traffic.learn(&answer.host, quota.clone())
        {
            let host = answer.host.clone();
            self.notice(Notice::QuotaLow { host, quota });
        }
    }
}

const MOST_REDIRECTS: usize = 5;

/// Returns where a redirect leads, or where it would and why it is not followed.
fn check_redirect(from: &Url, location: &str) -> Result<Url, (String, String)> {
    let unreadable = || {
        (
            "an unreadable address".to_owned(),
            "it is no URL".to_owned(),
        )
    };
    let target = from.join(location).map_err(|_| unreadable())?;
    if target.host_str().is_none() {
        return Err(unreadable());
    }
    let refuse = |reason: &str| Err((net::redact(&target), reason.to_owned()));
    match (from.scheme(), target.scheme()) {
        ("https", "http") => refuse("it would leave TLS"),
        (_, "http" | "https") if !target.username().is_empty() || target.password().is_some() => {
            refuse("it has a user in it")
        }
        (_, "http" | "https") => Ok(target),
        _ => refuse("it is not http or https"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_that_are_not_followed() {
        let check = |from: &str, to: &str| check_redirect(&Url::parse(from).unwrap(), to);
        assert_eq!(
            check("https://r/v2/a?x=1", "/b").unwrap().as_str(),
            "https://r/b"
        );
        assert!(check("http://r/", "https://cdn/x").is_ok());
        for (from, to) in [
            ("https://r/", "http://r/"),
            ("https://r/", "file:///etc/passwd"),
            ("https://r/", "https://me:pw@cdn/"),
            ("https://r/", "https://"),
        ] {
            let (shown, _) = check(from, to).unwrap_err();
            assert!(!shown.contains("pw"), "{shown}");
        }
    }
}
