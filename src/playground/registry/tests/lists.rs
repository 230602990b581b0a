use super::*;

/// Follows the links of a list and returns its pages.
async fn pages(registry: &Registry, first: &str, field: &str) -> Vec<Vec<Value>> {
    let mut path = first.to_owned();
    let mut pages = Vec::new();
    loop {
        let answer = registry.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        pages.push(answer.json()[field].as_array().unwrap().clone());
        assert!(pages.len() < 100, "the links go round");
        let link = answer.header("link");
        if link.is_empty() {
            return pages;
        }
        let target = link
            .strip_prefix('<')
            .and_then(|link| link.strip_suffix(">; rel=\"next\""));
        path = target.unwrap().to_owned();
    }
}

fn lengths(pages: &[Vec<Value>]) -> Vec<usize> {
    pages.iter().map(Vec::len).collect()
}

#[tokio::test]
async fn tags_in_pages() {
    let registry = start(|config| config.page_size = 4).await;
    let manifest = manifest(&registry, "a", "application/x").to_string();
    for tag in ["b", "a", "B", "_", "v1.0", "10", "9"] {
        registry
            .put_manifest("a", Some(tag), MANIFEST, manifest.clone())
            .unwrap();
    }
    let all = pages(&registry, "/v2/a/tags/list", "tags").await;
    assert_eq!(lengths(&all), [4, 3]);
    assert_eq!(
        json!(all.concat()),
        json!(["10", "9", "B", "_", "a", "b", "v1.0"])
    );
    let three = pages(&registry, "/v2/a/tags/list?n=3", "tags").await;
    assert_eq!(lengths(&three), [3, 3, 1]);
    assert_eq!(three.concat(), all.concat());
    let after = pages(&registry, "/v2/a/tags/list?last=a", "tags").await;
    assert_eq!(json!(after), json!([["b", "v1.0"]]));
    // A tag that was deleted since still says where to go on.
    let after = pages(&registry, "/v2/a/tags/list?n=2&last=Z", "tags").await;
    assert_eq!(json!(after), json!([["_", "a"], ["b", "v1.0"]]));
    let none = pages(&registry, "/v2/a/tags/list?n=0", "tags").await;
    assert_eq!(lengths(&none), [0]);
    for n in ["-1", "x", "", "1.5", "99999999999999999999999"] {
        let answer = registry.get(&format!("/v2/a/tags/list?n={n}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "PAGINATION_NUMBER_INVALID")
        );
    }
}

#[tokio::test]
async fn the_catalog_in_pages() {
    let registry = start(|_| ()).await;
    assert_eq!(
        registry.get("/v2/_catalog").await.json(),
        json!({"repositories": []})
    );
    for name in ["b", "a/c", "a"] {
        registry.put_blob(name, "x").unwrap();
    }
    let pages = pages(&registry, "/v2/_catalog?n=2", "repositories").await;
    assert_eq!(json!(pages), json!([["a", "a/c"], ["b"]]));
}

#[tokio::test]
async fn referrers_with_their_types_and_annotations() {
    let registry = start(|_| ()).await;
    // The subject need not exist.
    let subject = Digest::of(b"subject");
    let subject_descriptor = json!({"mediaType": MANIFEST, "digest": subject, "size": 7});
    let list = format!("/v2/a/referrers/{subject}");
    let empty = registry.get(&list).await;
    assert_eq!(empty.status, 200);
    assert_eq!(empty.header("content-type"), INDEX);
    assert_eq!(
        empty.json(),
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
    );

    let mut typed = manifest(&registry, "a", "application/x+json");
    typed["subject"] = subject_descriptor.clone();
    typed["artifactType"] = "application/typed+json".into();
    typed["annotations"] = json!({"who": "me"});
    let mut by_config = manifest(&registry, "a", "application/x+json");
    by_config["subject"] = subject_descriptor.clone();
    by_config["artifactType"] = "".into();
    let untyped = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": subject_descriptor,
    });
    for (media_type, referrer) in [
        (MANIFEST, &typed),
        (MANIFEST, &by_config),
        (INDEX, &untyped),
    ] {
        let digest = Digest::of(referrer.to_string().as_bytes());
        let path = format!("/v2/a/manifests/{digest}");
        let answer = registry.push(&path, media_type, referrer).await;
        assert_eq!(answer.header("oci-subject"), subject.to_string());
    }
    let answer = registry.get(&list).await;
    assert_eq!(answer.header("oci-filters-applied"), "");
    let referrers = answer.json()["manifests"].as_array().unwrap().clone();
    assert_eq!(referrers.len(), 3);
    let find = |referrer: &Value| {
        let digest = Digest::of(referrer.to_string().as_bytes()).to_string();
        let found = referrers.iter().find(|found| found["digest"] == digest);
        found.unwrap().clone()
    };
    let found = find(&typed);
    assert_eq!(found["artifactType"], "application/typed+json");
    assert_eq!(found["annotations"], json!({"who": "me"}));
    assert_eq!(found["size"], typed.to_string().len());
    assert_eq!(find(&by_config)["artifactType"], "application/x+json");
    assert_eq!(find(&by_config).get("annotations"), None);
    assert_eq!(find(&untyped)["mediaType"], INDEX);
    assert_eq!(find(&untyped).get("artifactType"), None);

    for (filter, number) in [
        ("application/x%2Bjson", 1),
        ("application/typed%2bjson", 1),
        ("application%2Fnone", 0),
        // A plus sign is a space, as every Go registry reads it.
        ("application/x+json", 0),
    ] {
        let answer = registry.get(&format!("{list}?artifactType={filter}")).await;
        assert_eq!(answer.header("oci-filters-applied"), "artifactType");
        assert_eq!(answer.json()["manifests"].as_array().unwrap().len(), number);
    }

    let path = format!(
        "/v2/a/manifests/{}",
        find(&typed)["digest"].as_str().unwrap()
    );
    assert_eq!(registry.send("DELETE", &path, &[], "").await.status, 202);
    let left = registry.get(&list).await.json();
    assert_eq!(left["manifests"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn referrers_in_pages_keep_the_filter() {
    let registry = start(|config| config.page_size = 2).await;
    let subject = Digest::of(b"subject");
    for number in 0..7 {
        let mut referrer = manifest(&registry, "a", "application/x+json");
        referrer["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 7});
        referrer["annotations"] = json!({"number": number.to_string()});
        if number < 2 {
            referrer["artifactType"] = "application/other".into();
        }
        registry
            .put_manifest("a", None, MANIFEST, referrer.to_string())
            .unwrap();
    }
    let list = format!("/v2/a/referrers/{subject}");
    let all = pages(&registry, &list, "manifests").await;
    assert_eq!(lengths(&all), [2, 2, 2, 1]);
    let filtered = format!("{list}?artifactType=application/x%2Bjson");
    let some = pages(&registry, &filtered, "manifests").await;
    assert_eq!(lengths(&some), [2, 2, 1]);
    let mut numbers: Vec<_> = some
        .concat()
        .iter()
        .map(|referrer| {
            referrer["annotations"]["number"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    numbers.sort();
    assert_eq!(numbers, ["2", "3", "4", "5", "6"]);
    let single = pages(&registry, &format!("{list}?n=1"), "manifests").await;
    assert_eq!(lengths(&single), [1; 7]);
}

#[tokio::test]
async fn an_older_registry_has_no_referrers() {
    let registry = start(|config| config.referrers_api = false).await;
    let subject = Digest::of(b"subject");
    let mut referrer = manifest(&registry, "a", "application/x");
    referrer["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 7});
    let answer = registry
        .push("/v2/a/manifests/sig", MANIFEST, &referrer)
        .await;
    assert_eq!((answer.status, answer.header("oci-subject")), (201, ""));
    let answer = registry.get(&format!("/v2/a/referrers/{subject}")).await;
    assert_eq!(answer.status, 404);
}
