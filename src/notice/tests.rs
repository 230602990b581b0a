//! Payloads as golden files, and deliveries to a server on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use http::header::{AUTHORIZATION, LOCATION, RETRY_AFTER};

use super::*;
use crate::clock::Clock;
use crate::probe::testing::{self, Server, answer, client};

fn notice() -> Notice {
    let failure = Failure::new(
        ExitCode::GateFailed,
        "the service did not become good in time",
    )
    .caused_by("`http` is bad from 12s on: 503 Service Unavailable, expected 200")
    .caused_by("something behind it")
    .hinted("look at the service's own logs");
    Notice {
        status: Status::Failed,
        exit: ExitCode::GateFailed,
        pipeline: "web".to_owned(),
        run: "r-42".to_owned(),
        step: Some(FailedStep {
            id: "live".to_owned(),
            name: "Is it live?".to_owned(),
        }),
        failure: Some(failure),
        images: vec![
            NotedImage {
                name: "web".to_owned(),
                reference: "ghcr.io/acme/web:v1".to_owned(),
                digest: Some(Digest::of(b"web")),
            },
            NotedImage {
                name: "job".to_owned(),
                reference: "ghcr.io/acme/job:v1".to_owned(),
                digest: None,
            },
        ],
        link: Some("https://ci.example/job/7?a=1&b=2".parse().unwrap()),
        message: Some("call <ops> & co".to_owned()),
        environment: vec![
            Fact::new("environment", "production"),
            Fact::new("commit", "0ddba11"),
        ],
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

fn quick() -> Patience {
    Patience {
        pause: Duration::from_millis(2),
        ..Patience::default()
    }
}

fn hook(server: &Server) -> HookUrl {
    server
        .url("/services/T0123456/B0123456/s3cr3tpath?sig=s3cr3tquery")
        .to_string()
        .parse()
        .unwrap()
}

#[test]
fn titles_and_reasons() {
    let of = |status| Notice { status, ..notice() }.title();
    assert_eq!(of(Status::Failed), "web failed at Is it live?");
    assert_eq!(
        of(Status::Inconclusive),
        "web is inconclusive at Is it live?"
    );
    assert_eq!(of(Status::Cancelled), "web was cancelled at Is it live?");
    assert_eq!(of(Status::Passed), "web passed");
    assert_eq!(
        Notice {
            step: None,
            ..notice()
        }
        .title(),
        "web failed"
    );
    assert_eq!(
        Notice {
            failure: None,
            ..notice()
        }
        .reason(),
        None
    );
}

#[test]
fn the_generic_body() {
    insta::assert_json_snapshot!(WebhookBody::of(&notice()), @r#"
    {
      "version": 1,
      "status": "failed",
      "exit": {
        "code": 50,
        "name": "gate-failed"
      },
      "pipeline": "web",
      "run": "r-42",
      "title": "web failed at Is it live?",
      "reason": "the service did not become good in time: `http` is bad from 12s on: 503 Service Unavailable, expected 200",
      "causes": [
        "`http` is bad from 12s on: 503 Service Unavailable, expected 200",
        "something behind it"
      ],
      "hint": "look at the service's own logs",
      "step": {
        "id": "live",
        "name": "Is it live?"
      },
      "images": [
        {
          "name": "web",
          "reference": "ghcr.io/acme/web:v1",
          "digest": "sha256:4b5e57f6eb2f42b9039b3d1e13929295f231749c510cbe341cd68036d9af97e2"
        },
        {
          "name": "job",
          "reference": "ghcr.io/acme/job:v1",
          "digest": null
        }
      ],
      "environment": [
        {
          "name": "environment",
          "value": "production"
        },
        {
          "name": "commit",
          "value": "0ddba11"
        }
      ],
      "message": "call <ops> & co",
      "link": "https://ci.example/job/7?a=1&b=2",
      "at": "2026-01-02T03:04:05Z"
    }
    "#);
}

#[test]
fn the_slack_message() {
    insta::assert_json_snapshot!(SlackMessage::of(&notice()), @r#"
    {
      "text": "web failed at Is it live?: the service did not become good in time: `http` is bad from 12s on: 503 Service Unavailable, expected 200",
      "blocks": [
        {
          "type": "section",
          "text": {
            "type": "mrkdwn",
            "text": ":x: *web failed at Is it live?*"
          }
        },
        {
          "type": "section",
          "text": {
            "type": "mrkdwn",
            "text": "the service did not become good in time: `http` is bad from 12s on: 503 Service Unavailable, expected 200"
          }
        },
        {
          "type": "section",
          "text": {
            "type": "mrkdwn",
            "text": "*What to do:* look at the service's own logs"
          }
        },
        {
          "type": "section",
          "text": {
            "type": "mrkdwn",
            "text": "call &lt;ops&gt; &amp; co"
          }
        },
        {
          "type": "section",
          "text": {
            "type": "mrkdwn",
            "text": "• web: `ghcr.io/acme/web:v1` `sha256:4b5e57f6eb2f42b9039b3d1e13929295f231749c510cbe341cd68036d9af97e2`\n• job: `ghcr.io/acme/job:v1` not resolved"
          }
        },
        {
          "type": "section",
          "text": {
            "type": "mrkdwn",
            "text": "<https://ci.example/job/7?a=1&amp;b=2|Open the job>"
          }
        },
        {
          "type": "context",
          "elements": [
            {
              "type": "mrkdwn",
              "text": "run r-42 · exit 50 (gate-failed) · 2026-01-02T03:04:05Z · environment production · commit 0ddba11"
            }
          ]
        }
      ]
    }
    "#);
    let passed = Notice {
        status: Status::Passed,
        exit: ExitCode::Done,
        step: None,
        failure: None,
        images: vec![],
        link: None,
        message: None,
        environment: vec![],
        ..notice()
    };
    insta::assert_json_snapshot!(SlackMessage::of(&passed), @r#"
    {
      "text": "web passed",
      "blocks": [
        {
          "type": "section",
          "text": {
            "type": "mrkdwn",
            "text": ":white_check_mark: *web passed*"
          }
        },
        {
          "type": "context",
          "elements": [
            {
              "type": "mrkdwn",
              "text": "run r-42 · exit 0 (done) · 2026-01-02T03:04:05Z"
            }
          ]
        }
      ]
    }
    "#);
}

#[test]
fn a_huge_notice_stays_within_slacks_limits() {
    let long = "<&>".repeat(20_000);
    let mut failure = Failure::new(ExitCode::GateFailed, long.clone()).hinted(long.clone());
    failure.causes = vec![long.clone(); 50];
    let image = NotedImage {
        name: long.clone(),
        reference: long.clone(),
        digest: Some(Digest::of(b"")),
    };
    let notice = Notice {
        pipeline: long.clone(),
        run: long.clone(),
        step: Some(FailedStep {
            id: long.clone(),
            name: long.clone(),
        }),
        failure: Some(failure),
        images: vec![image; 500],
        link: Some(format!("https://ci.example/{long}").parse().unwrap()),
        message: Some(long.clone()),
        environment: vec![Fact::new(long.clone(), long); 50],
        ..notice()
    };
    let message = SlackMessage::of(&notice);
    assert!(message.blocks.len() <= 50);
    let mut total = message.text.chars().count();
    for block in &message.blocks {
        let text = block["text"]["text"]
            .as_str()
            .or_else(|| block["elements"][0]["text"].as_str());
        let length = text.unwrap().chars().count();
        assert!(length <= 3000, "{length}: {block}");
        total += length;
    }
    assert!(total < 9000, "{total}");
}

#[tokio::test]
async fn a_delivery_has_its_headers_and_keeps_its_id() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |_| match tries.fetch_add(1, Ordering::Relaxed) {
        0 => answer(503, "busy"),
        _ => answer(204, ""),
    })
    .await;
    let mut webhook = Webhook {
        patience: quick(),
        ..Webhook::new(hook(&server))
    };
    webhook
        .headers
        .insert(AUTHORIZATION, HeaderValue::from_static("Bearer t"));
    let clock = Clock::fixed("2026-01-02T03:04:06Z".parse().unwrap());
    let outcome = webhook.send(&client(), &clock, &notice()).await;
    assert_eq!(outcome, Outcome::Delivered { attempts: 2 });
    let heard = server.heard();
    assert_eq!(heard.len(), 2);
    for request in &heard {
        assert_eq!(request.method, "POST");
        assert_eq!(
            request.target,
            "/services/T0123456/B0123456/s3cr3tpath?sig=s3cr3tquery"
        );
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["authorization"], "Bearer t");
        assert_eq!(request.headers["webhook-timestamp"], "1767323046");
        assert_eq!(
            request.headers["webhook-id"],
            heard[0].headers["webhook-id"]
        );
    }
    let body: serde_json::Value = serde_json::from_slice(&heard[0].body).unwrap();
    assert_eq!(
        body,
        serde_json::to_value(WebhookBody::of(&notice())).unwrap()
    );
}

#[tokio::test]
async fn what_is_given_up_says_why_without_the_url() {
    let server = Server::start(|heard| {
        let mut response = answer(301, format!("moved from {}", heard.target));
        response
            .headers_mut()
            .insert(LOCATION, HeaderValue::from_static("/s3cr3telsewhere"));
        response
    })
    .await;
    let slack = Slack {
        patience: quick(),
        ..Slack::new(hook(&server))
    };
    let Outcome::GaveUp {
        attempts,
        reason,
        hint,
    } = slack.send(&client(), &notice()).await
    else {
        panic!("given up")
    };
    assert_eq!(attempts, 1);
    assert_eq!(reason, "answered 301 Moved Permanently: moved from ***?***");
    assert!(!format!("{hint:?} {slack:?}").contains("s3cr3t"));
    assert_eq!(server.heard().len(), 1);

    let closed = testing::closed().await;
    let url: HookUrl = format!("http://{closed}/s3cr3tpath").parse().unwrap();
    let slack = Slack {
        patience: quick(),
        ..Slack::new(url.clone())
    };
    let Outcome::GaveUp {
        attempts, reason, ..
    } = slack.send(&client(), &notice()).await
    else {
        panic!("given up")
    };
    assert_eq!(
        (attempts, reason),
        (3, format!("{closed} refused the connection"))
    );

    let slack = Slack::new(url);
    let Outcome::GaveUp {
        attempts,
        reason,
        hint,
    } = slack
        .send(&testing::client_without_grants(), &notice())
        .await
    else {
        panic!("given up")
    };
    assert_eq!(
        (attempts, reason),
        (1, format!("no grant for {}:{}", closed.ip(), closed.port()))
    );
    assert!(hint.is_some());
}

#[tokio::test]
async fn slack_says_ok_or_is_asked_again() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |_| match tries.fetch_add(1, Ordering::Relaxed) {
        0 => {
            let mut response = answer(429, "");
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("0"));
            response
        }
        _ => answer(200, "ok"),
    })
    .await;
    let slack = Slack {
        patience: quick(),
        ..Slack::new(hook(&server))
    };
    assert_eq!(
        slack.send(&client(), &notice()).await,
        Outcome::Delivered { attempts: 2 }
    );
    let body: serde_json::Value = serde_json::from_slice(&server.heard()[1].body).unwrap();
    assert_eq!(
        body,
        serde_json::to_value(SlackMessage::of(&notice())).unwrap()
    );

    let server = Server::start(|_| answer(404, "no_service")).await;
    let slack = Slack::new(hook(&server));
    let outcome = slack.send(&client(), &notice()).await;
    let Outcome::GaveUp {
        attempts: 1,
        reason,
        hint: Some(hint),
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(reason, "answered 404 Not Found: no_service");
    assert!(hint.contains("revoked"));
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let server = Server::start(|_| answer(500, vec![b'x'; 8 << 20])).await;
    let patience = Patience {
        attempts: 1,
        ..quick()
    };
    let webhook = Webhook {
        patience,
        ..Webhook::new(hook(&server))
    };
    let client = client();
    let clock = Clock::fixed(notice().at);
    let outcome = webhook.send(&client, &clock, &notice()).await;
    let Outcome::GaveUp { reason, .. } = outcome else {
        panic!("given up")
    };
    assert!(reason.chars().count() < 300);
    assert!(client.log().totals().body_bytes < 1 << 20);
    assert!(!format!("{:?}", client.log().records()).contains("s3cr3t"));
}

#[test]
fn deliveries_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}

    let client = client();
    let clock = Clock::fixed(notice().at);
    let url: HookUrl = "https://h.example/x".parse().unwrap();
    let (webhook, slack, notice) = (Webhook::new(url.clone()), Slack::new(url), notice());
    is_send(&webhook.send(&client, &clock, &notice));
    is_send(&slack.send(&client, &notice));
}
