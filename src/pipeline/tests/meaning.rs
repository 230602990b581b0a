//! What sound documents mean.
use super::support::*;
use crate::pipeline::Mode;

const WHOLE: &str = r#"
version: 1
name: web
inputs:
  tag: {type: string, pattern: "v[0-9.]+", default: v1.2}
  namespace: {default: production, options: [staging, production]}
  wait: {type: duration, default: 5m}
  tries: {type: integer, default: 3}
  plain: 1.10
secrets:
  ghcr: {env: GHCR_TOKEN}
  slack: {env: SLACK_WEBHOOK_URL}
  file: {file: token.txt}
credentials: [docker-config]
net: {ca: [certs/corp.pem]}
registries:
  ghcr.io:
    auth: {username: ci, password: "${secret.ghcr}"}
  "127.0.0.1:5000": {plain-http: true}
images:
  web: "ghcr.io/acme/web:${input.tag}"
  worker: {ref: "ghcr.io/acme/worker:${input.plain}", platform: linux/arm64}
trust:
  signers:
    ops: {key: [keys/ops.pub]}
    ci: {key: keys/ci.pub}
  images:
    "ghcr.io/acme/**": {signed-by: {at-least: 1, of: [ops, ci]}}
steps:
  - check: {registry: ghcr.io, min-certificate-validity: 14d}
  - preload: {images: [web, worker], to: [cache]}
    retry: "${input.tries}"
  - verify: {images: [web, worker]}
  - id: live
    timeout: 10m
    name: "live ${image.web.digest:-?}"
    gate:
      within: "${input.wait}"
      every: 5s
      hold: 30s
      pass: {all: [http], any: [tcp]}
      probes:
        http: {http: {url: "https://web.example/health", status: [200, 2xx], headers: {x-token: "Bearer ${secret.file}"}, json: {path: "$.a[0].b", equals: 1.5}}, rule: {consecutive: 3}}
        tcp: {tcp: "web.example:8080"}
      control: {http: "https://status.example/"}
on-failure:
  - notify: {webhook: "http://127.0.0.1:1/", on: [always]}
    if: failed(live) and not (input.namespace == 'staging')
finally:
  - notify: {slack: {webhook: "${secret.slack}"}, on: [failure], message: "web is ${run.status}"}
"#;

#[test]
fn a_whole_document_is_read() {
    let loaded = load_with(WHOLE, &[], Mode::Run);
    assert_eq!(shown(&loaded), "nothing");
}
