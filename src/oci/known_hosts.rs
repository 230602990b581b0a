//! Where public registries keep their tokens and blobs: a table of exact names, with its sources.
//!
//! A host belongs here only if its name is fixed, or follows from the registry's own name, and if
//! the operator says so in public. A name of which a part is free (`*.blob.core.windows.net`) does
//! not: whoever may look up any such name can write into it what he likes. Those are left to
//! `blobs-from` and to the lock file, and listed in [`LEFT_OUT`] with the reason.

use super::hosts::{Named, Place};

/// The day on which the table was last compared with its sources.
pub const VERSION: &str = "2026-11-25";

/// What is known of some registries.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The registries' hosts. `<account>` is twelve digits, `<region>` a region of AWS.
    pub registries: &'static [&'static str],
    /// Hosts of their token services, where they are not the registry itself.
    pub tokens: &'static [&'static str],
    /// Hosts that they redirect to, if they are published; `<region>` is what it is in the registry's name.
    pub blobs: &'static [&'static str],
    /// Where that is said.
    pub source: &'static str,
}

/// Registries that keep blobs elsewhere, on hosts that can't stand in the table.
#[derive(Clone, Copy, Debug)]
pub struct LeftOut {
    /// The registry.
    pub registry: &'static str,
    /// Why nothing is known of its blobs' hosts.
    pub reason: &'static str,
}

/// The table.
pub const KNOWN: [Known; 10] = [
    Known {
        registries: &["docker.io", "index.docker.io", "registry-1.docker.io"],
        tokens: &["auth.docker.io"],
        blobs: &[
            "production.cloudflare.docker.com",
            "production.cloudfront.docker.com",
            "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
        ],
        source: "https://docs.docker.com/desktop/setup/allow-list/",
    },
    Known {
        registries: &["ghcr.io"],
        tokens: &[],
        blobs: &["pkg-containers.githubusercontent.com"],
        source: "https://docs.github.com/en/actions/reference/runners/self-hosted-runners",
    },
    Known {
        registries: &[
            "quay.io",
            "registry.redhat.io",
            "registry.access.redhat.com",
        ],
        tokens: &[],
        blobs: &[
            "cdn.quay.io",
            "cdn01.quay.io",
            "cdn02.quay.io",
            "cdn03.quay.io",
            "cdn04.quay.io",
            "cdn05.quay.io",
            "cdn06.quay.io",
        ],
        source: "https://docs.redhat.com/en/documentation/openshift_container_platform/latest/html/installation_configuration/configuring-firewall",
    },
    Known {
        registries: &["<account>.dkr.ecr.<region>.amazonaws.com"],
        tokens: &[],
        blobs: &["prod-<region>-starport-layer-bucket.s3.<region>.amazonaws.com"],
        source: "https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html",
    },
    Known {
        registries: &["<account>.dkr.ecr.<region>.amazonaws.com.cn"],
        tokens: &[],
        blobs: &["prod-<region>-starport-layer-bucket.s3.<region>.amazonaws.com.cn"],
        source: "https://docs.amazonaws.cn/en_us/AmazonECR/latest/userguide/vpc-endpoints.html",
    },
    Known {
        registries: &["public.ecr.aws"],
        tokens: &[],
        blobs: &[
            "d2glxqk2uabbnd.cloudfront.net",
            "d5l0dvt14r5h8.cloudfront.net",
        ],
        source: "https://anywhere.eks.amazonaws.com/docs/getting-started/ports/",
    },
    Known {
        registries: &["registry.gitlab.com"],
        tokens: &["gitlab.com"],
        blobs: &["cdn.registry.gitlab-static.net"],
        source: "https://docs.gitlab.com/user/gitlab_com/",
    },
    Known {
        registries: &["cgr.dev"],
        tokens: &[],
        blobs: &["9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"],
        source: "https://edu.chainguard.dev/chainguard/administration/network-requirements/",
    },
    Known {
        registries: &["registry.digitalocean.com"],
        tokens: &["api.digitalocean.com"],
        blobs: &[],
        source: "the registry's own challenge",
    },
    Known {
        registries: &["docker.elastic.co"],
        tokens: &["docker-auth.elastic.co"],
        blobs: &[],
        source: "the registry's own challenge",
    },
];

/// What is not in the table although people will look for it.
pub const LEFT_OUT: [LeftOut; 4] = [
    LeftOut {
        registry: "*.azurecr.io",
        reason: "blobs are in an account's own `*.blob.core.windows.net`, or at `NAME.REGION.data.azurecr.io`, which the registry's name does not tell",
    },
    LeftOut {
        registry: "mcr.microsoft.com",
        reason: "only `*.data.mcr.microsoft.com` is published, by region of whoever asks",
    },
    LeftOut {
        registry: "gcr.io, *.pkg.dev",
        reason: "most answers come from the registry itself; `storage.googleapis.com` holds anybody's buckets",
    },
    LeftOut {
        registry: "registry.k8s.io",
        reason: "it redirects to whatever mirror is near, and its operators ask to rely on none",
    },
];

/// Returns what the table says of a registry, as references write it.
#[must_use]
pub fn of(registry: &str) -> Named {
    let host = registry.to_ascii_lowercase();
    // On another port another service listens.
    let host = host.strip_suffix(":443").unwrap_or(&host);
    let Some((known, region)) = KNOWN.iter().find_map(|known| {
        let mut patterns = known.registries.iter();
        patterns.find_map(|pattern| Some((known, captured(pattern, host)?)))
    }) else {
        return Named::default();
    };
    let places = |names: &[&str]| {
        let names = names.iter().map(|name| name.replace(REGION, region));
        names.map(|name| Place::tls(&name)).collect()
    };
    Named {
        tokens: places(known.tokens),
        blobs: places(known.blobs),
    }
}

const ACCOUNT: &str = "<account>";
const REGION: &str = "<region>";

/// Matches a host label by label, and returns the region in it; an empty one if the pattern has none.
fn captured<'a>(pattern: &str, host: &'a str) -> Option<&'a str> {
    let mut region = "";
    let mut labels = host.split('.');
    for wanted in pattern.split('.') {
        let label = labels.next()?;
        let fits = match wanted {
            ACCOUNT => label.len() == 12 && label.bytes().all(|byte| byte.is_ascii_digit()),
            REGION => {
                region = label;
                is_region(label)
            }
            _ => label == wanted,
        };
        if !fits {
            return None;
        }
    }
    labels.next().is_none().then_some(region)
}

/// Says whether a label has the form of `us-gov-west-1`. The list of regions grows; their form does not change.
fn is_region(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let [area, middle @ .., number] = parts.as_slice() else {
        return false;
    };
    let letters = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    letters(area, 4)
        && (1..=2).contains(&middle.len())
        && middle.iter().all(|part| letters(part, 12))
        && number.len() == 1
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parts of the page are generated: run the test with `SHIPGATE_BLESS=1` to write them anew.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the test suite, not of the library"
    )]
    fn the_page_about_registries_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/registries.md");
        let mut current = std::fs::read_to_string(path).unwrap();
        let code = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        let mut table = format!(
            "Compared with their sources on {VERSION}.\n\n| registry | token service | blobs | source |\n| --- | --- | --- | --- |\n"
        );
        for known in KNOWN {
            let or = |names: &[&str], none: &str| match names {
                [] => none.to_owned(),
                names => code(names),
            };
            let (registries, tokens, blobs) = (
                code(known.registries),
                or(known.tokens, "its own host"),
                or(known.blobs, "not published"),
            );
            table += &format!("| {registries} | {tokens} | {blobs} | {} |\n", known.source);
        }
        let mut list = String::from("| registry | why |\n| --- | --- |\n");
        for LeftOut { registry, reason } in LEFT_OUT {
            list += &format!("| `{registry}` | {reason} |\n");
        }
        for (name, text) in [("known", table), ("left-out", list)] {
            let begin = format!("<!-- {name}: generated -->\n");
            let end = format!("<!-- {name}: end -->\n");
            let (before, rest) = current.split_once(&begin).unwrap();
            let (_, after) = rest.split_once(&end).unwrap();
            current = format!("{before}{begin}\n{text}\n{end}{after}");
        }
        if std::env::var("SHIPGATE_BLESS").is_ok() {
            std::fs::write(path, &current).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == current, "bless docs/registries.md");
    }

    fn blobs(registry: &str) -> Vec<String> {
        of(registry).blobs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn exact_names_are_found_in_any_case_on_the_usual_port() {
        assert_eq!(blobs("ghcr.io"), ["pkg-containers.githubusercontent.com"]);
        assert_eq!(blobs("GHCR.io:443"), blobs("ghcr.io"));
        let tokens: Vec<String> = of("docker.io")
            .tokens
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(tokens, ["auth.docker.io"]);
        for other in [
            "ghcr.io:5000",
            "a.ghcr.io",
            "ghcr.io.evil.example",
            "ghcr",
            "",
        ] {
            assert_eq!(of(other), Named::default(), "{other}");
        }
    }

    #[test]
    fn the_bucket_of_a_region_follows_from_the_registrys_name() {
        for (registry, bucket) in [
            (
                "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
                "prod-eu-central-1-starport-layer-bucket.s3.eu-central-1.amazonaws.com",
            ),
            (
                "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com",
                "prod-us-gov-west-1-starport-layer-bucket.s3.us-gov-west-1.amazonaws.com",
            ),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
                "prod-cn-north-1-starport-layer-bucket.s3.cn-north-1.amazonaws.com.cn",
            ),
        ] {
            assert_eq!(blobs(registry), [bucket]);
        }
        for other in [
            "12345678901.dkr.ecr.eu-central-1.amazonaws.com",
            "12345678901a.dkr.ecr.eu-central-1.amazonaws.com",
            "123456789012.dkr.ecr.evil.amazonaws.com",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.eu-central-1.secret.amazonaws.com",
            "x.123456789012.dkr.ecr.eu-central-1.amazonaws.com",
        ] {
            assert_eq!(of(other), Named::default(), "{other}");
        }
    }

    #[test]
    fn the_table_has_names_and_nothing_free_in_them() {
        for known in KNOWN {
            assert!(!known.tokens.is_empty() || !known.blobs.is_empty());
            assert!(!known.source.is_empty());
            for registry in known.registries {
                let example = registry
                    .replace(ACCOUNT, "123456789012")
                    .replace(REGION, "eu-west-1");
                let named = of(&example);
                assert_eq!(named.tokens.len(), known.tokens.len(), "{registry}");
                assert_eq!(named.blobs.len(), known.blobs.len(), "{registry}");
                for place in named.tokens.iter().chain(&named.blobs) {
                    let host = place.to_string();
                    assert!(
                        host.split('.').count() > 1 && !host.contains(['*', '<', ':']),
                        "{host}"
                    );
                    assert_eq!(host.parse::<Place>().unwrap(), *place);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_captured_is_a_region_and_nothing_else(
            account in "[0-9]{10,13}", region in "[a-z0-9.-]{0,24}|[a-z]{2}-[a-z]{4,9}-[1-9]",
        ) {
            let named = of(&format!("{account}.dkr.ecr.{region}.amazonaws.com"));
            let known = account.len() == 12 && is_region(&region);
            prop_assert_eq!(named.blobs.len(), usize::from(known));
            if let Some(place) = named.blobs.first() {
                let bucket = format!("prod-{region}-starport-layer-bucket.s3.{region}.amazonaws.com");
                prop_assert_eq!(place.to_string(), bucket);
                prop_assert!(!region.contains('.'));
            }
        }

        #[test]
        fn any_text_is_a_known_registry_or_none(text in "\\PC{0,80}") {
            let found = of(&text);
            let exact = KNOWN.iter().flat_map(|known| known.registries).any(|known| *known == text);
            prop_assert!(exact || found == Named::default());
        }
    }
}
