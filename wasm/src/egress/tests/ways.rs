//! Proxies and other addresses: the launcher goes these ways, and the component knows nothing of them.

use shipgate::net::{Bypass, Peer, Proxies, Proxy, ProxyFault, Routes};

use super::*;

fn by(proxy: SocketAddr) -> Routes {
    let proxy = Proxy::parse(&format!("http://{proxy}"), "HTTPS_PROXY").unwrap();
    let proxy = Some(proxy.with_login("ci", "pa55word"));
    Routes {
        proxies: Proxies {
            http: proxy.clone(),
            https: proxy,
            bypass: Bypass::default(),
        },
        ..Routes::default()
    }
}

async fn egress_by(routes: Routes, hosts: &[&str], names: &Arc<Names>) -> Egress {
    let client = Client::new(Config {
        routes,
        ..Config::default()
    });
    Egress::with(
        granted(hosts, false),
        client.unwrap().dialer(),
        names.look_up(),
        Duration::from_secs(30),
        Sinks::new(Handle::current()),
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn a_request_is_handed_to_the_proxy_in_full_with_its_login() {
    let proxy = Host::start().await;
    let names = Names::answering(&[&["10.0.0.1"]], 80);
    let egress = egress_by(
        by(proxy.address),
        &["web.example:80", "web.example:8080"],
        &names,
    )
    .await;
    let client = client(&egress);
    for url in ["http://web.example/a?b", "http://web.example:8080/c"] {
        let response = client
            .send(Request::get(url.parse().unwrap()))
            .await
            .unwrap();
        assert_eq!(response.remote, Some(proxy.address));
        assert_eq!(response.body.bytes(10).await.unwrap(), "hello");
    }
    let login = "Proxy-Authorization: Basic Y2k6cGE1NXdvcmQ=\r\n";
    let heard = proxy.heard();
    for line in [
        "GET http://web.example/a?b",
        "GET http://web.example:8080/c",
    ] {
        assert!(
            heard.contains(&format!("{line} HTTP/1.1\r\n{login}")),
            "{heard}"
        );
    }
    assert!(heard.contains("host: web.example\r\n"), "{heard}");
    // The proxy looks names up, in a network of its own.
    assert_eq!(names.asked(), [""; 0]);
}

#[tokio::test]
async fn only_what_is_granted_goes_through_the_proxy() {
    let proxy = Host::start().await;
    let names = Names::answering(&[], 80);
    let egress = egress_by(by(proxy.address), &["web.example:80"], &names).await;
    let (ip, port) = (proxy.address.ip().to_string(), proxy.address.port());
    for (host, port) in [("other.example", 80), (ip.as_str(), port)] {
        let error = refused(&egress, host, port).await;
        assert!(matches!(error, Error::NotGranted { .. }), "{error}");
    }
    let asked = ask(&egress, "web.example", 80, PLAIN);
    for head in [
        "CONNECT other.example:443 HTTP/1.1\r\nhost: web.example\r\n\r\n",
        "GET http://other.example/ HTTP/1.1\r\nhost: web.example\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: other.example\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: web.example\r\nproxy-authorization: Basic eA==\r\n\r\n",
    ] {
        let (mut stream, answer) = asks(&egress, &asked).await;
        assert!(matches!(answer, Some(Answer::Open(_))), "{answer:?}");
        stream.write_all(head.as_bytes()).await.unwrap();
        let (came, ending) = read_to_end(&mut stream).await;
        assert!(
            matches!(ending, Some(Ending::Refused(_))),
            "{head}: {ending:?}"
        );
        assert!(came.is_empty());
    }
    assert_eq!(proxy.heard(), "");
}

#[tokio::test]
async fn what_the_proxy_refuses_reaches_the_component_as_the_proxys() {
    let names = Names::answering(&[], 443);
    let hosts = ["web.example:443", "web.example:80"];
    let answer = "HTTP/1.1 407 no\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
    let proxy = Host::answering(answer, false).await;
    let egress = egress_by(by(proxy.address), &hosts, &names).await;
    for url in ["https://web.example/", "http://web.example/"] {
        let request = Request::get(url.parse().unwrap());
        let error = client(&egress).send(request).await.unwrap_err();
        let Error::Proxy { fault, proxy, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(
            matches!(fault, ProxyFault::Login { sent: true, .. }),
            "{fault:?}"
        );
        assert!(proxy.contains("(HTTPS_PROXY)") && !error.to_string().contains("pa55"));
    }
    assert!(
        proxy
            .heard()
            .starts_with("CONNECT web.example:443 HTTP/1.1\r\n")
    );
}

#[tokio::test]
async fn a_host_that_stands_for_another_may_be_inside_but_not_here() {
    let host = Host::start().await;
    let port = host.address.port();
    let to = |other: &str| Routes {
        connect_to: [(Peer::new("public.example", 80), Peer::new(other, port))].into(),
        ..Routes::default()
    };
    let granted = ["public.example:80"];
    for (address, open) in [("127.0.0.1", false), ("169.254.169.254", false)] {
        let names = Names::answering(&[&[address]], port);
        let egress = egress_by(to("private.example"), &granted, &names).await;
        let (_, answer) = asks(&egress, &ask(&egress, "public.example", 80, PLAIN)).await;
        assert_eq!(
            matches!(answer, Some(Answer::Open(_))),
            open,
            "{address}: {answer:?}"
        );
        assert_eq!(names.asked(), ["private.example"]);
    }
    for other in ["127.0.0.1", "localhost"] {
        let names = Names::answering(&[&["127.0.0.1"]], port);
        let egress = egress_by(to(other), &granted, &names).await;
        let request = Request::get("http://public.example/x".parse().unwrap());
        let response = client(&egress).send(request).await.unwrap();
        assert_eq!(response.remote, Some(host.address), "{other}");
        assert_eq!(response.body.bytes(10).await.unwrap(), "hello");
    }
    assert!(host.heard().contains("host: public.example\r\n"));
}
