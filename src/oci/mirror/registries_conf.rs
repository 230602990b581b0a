//! `registries.conf` of podman, skopeo and buildah (`containers-registries.conf(5)`, version 2).

use super::conf::{Entry, Refused, parse, shown};
use super::{Address, Fallback, Kind, Mirror, Sources};
use crate::oci::credentials::canonical;

/// Reads what the file says of these registries; entries for others are left alone.
///
/// # Errors
/// Everything about these registries that can't be honoured, by line.
pub fn read(text: &str, registries: &[&str]) -> Result<Vec<(String, Sources)>, Vec<Refused>> {
    let entries = parse(text).map_err(|refused| vec![refused])?;
    let mut all = Vec::new();
    let mut refused = Vec::new();
    for entry in &entries {
        match entry.key.as_str() {
            "registry" => match entry.tables() {
                Err(wrong) => refused.push(wrong),
                Ok(tables) => {
                    for table in tables {
                        match registry(table, registries, entry.line) {
                            Ok(Some(found)) => all.push(found),
                            Ok(None) => {}
                            Err(wrong) => refused.push(wrong),
                        }
                    }
                }
            },
            "registries" => refused.push(Refused::new(
                entry.line,
                "this is version 1 of the format",
                "write it in version 2: `[[registry]]` with `location` and `[[registry.mirror]]`",
            )),
            // They are about references without a registry, about logins, or about other tools.
            "unqualified-search-registries"
            | "short-name-mode"
            | "aliases"
            | "credential-helpers"
            | "additional-layer-store-auth-helper" => {}
            _ => refused.push(entry.unknown()),
        }
    }
    if refused.is_empty() {
        Ok(all)
    } else {
        Err(refused)
    }
}

/// Reads the table of a registry, if it is about one of these.
fn registry(
    table: &[Entry],
    registries: &[&str],
    line: usize,
) -> Result<Option<(String, Sources)>, Refused> {
    let find = |key: &str| table.iter().find(|entry| entry.key == key);
    let location = find("location").map(Entry::text).transpose()?;
    let prefix = find("prefix").map(Entry::text).transpose()?;
    let line = table.first().map_or(line, |entry| entry.line);
    let Some(prefix) = prefix.or(location) else {
        let what = "a registry has neither `location` nor `prefix`";
        return Err(Refused::new(line, what, "repair the file"));
    };
    let host = prefix.split('/').next().unwrap_or(prefix);
    let matches = |registry: &&&str| match host.strip_prefix("*.") {
        Some(domain) => registry.ends_with(&format!(".{domain}")),
        None => canonical(registry) == canonical(host),
    };
    let Some(registry) = registries.iter().find(matches) else {
        return Ok(None);
    };
    if prefix != host || host.starts_with('*') {
        return Err(Refused::new(
            find("prefix").map_or(line, |entry| entry.line),
            format!("`{}` is not one whole registry", shown(prefix)),
            format!(
                "write the mirrors of {registry} into the document, or name the registry alone"
            ),
        ));
    }
    let mut sources = Sources::default();
    let by_digest = find("mirror-by-digest-only").map(Entry::flag).transpose()?;
    for entry in table {
        match entry.key.as_str() {
            "prefix" | "location" | "mirror-by-digest-only" => {}
            "blocked" if !entry.flag()? => {}
            "blocked" => {
                return Err(Refused::new(
                    entry.line,
                    format!("{registry} is blocked, and the document has images of it"),
                    "take the images out of the document, or the line out of the file",
                ));
            }
            "insecure" => insecure(entry, location.unwrap_or(prefix))?,
            "mirror" => {
                for table in entry.tables()? {
                    let trusted = !by_digest.unwrap_or_default();
                    sources
                        .mirrors
                        .push(mirror(table, trusted, entry.line)?.into());
                }
            }
            _ => return Err(entry.unknown()),
        }
    }
    if let Some(location) = location.filter(|location| canonical(location) != canonical(host)) {
        // It is asked in the registry's place, which never is.
        let at = find("location").map_or(line, |entry| entry.line);
        sources.mirrors.push(place(location, true, at)?.into());
        sources.fallback = Fallback::Deny;
    }
    Ok(Some(((*registry).to_owned(), sources)))
}

fn mirror(table: &[Entry], trusted: bool, line: usize) -> Result<Mirror, Refused> {
    let location = table.iter().find(|entry| entry.key == "location");
    let line = table.first().map_or(line, |entry| entry.line);
    let Some(location) = location else {
        return Err(Refused::new(
            line,
            "a mirror has no `location`",
            "repair the file",
        ));
    };
    let mut resolves = trusted;
    for entry in table {
        match entry.key.as_str() {
            "location" => {}
            "insecure" => insecure(entry, location.text()?)?,
            "pull-from-mirror" => match entry.text()? {
                "all" => resolves = true,
                "digest-only" => resolves = false,
                other => {
                    return Err(Refused::new(
                        entry.line,
                        format!("`pull-from-mirror` is `{}`", shown(other)),
                        "content is always fetched by digest here: write `all` or `digest-only`",
                    ));
                }
            },
            _ => return Err(entry.unknown()),
        }
    }
    place(location.text()?, resolves, location.line)
}

fn place(location: &str, resolves: bool, line: usize) -> Result<Mirror, Refused> {
    let (host, path) = location.split_once('/').unwrap_or((location, ""));
    let address: Address = host.parse().map_err(|error: super::AddressError| {
        Refused::new(
            line,
            format!("`{}`: {error}", shown(location)),
            "repair the file",
        )
    })?;
    let kind = match path.trim_end_matches('/') {
        "" => Kind::Distribution,
        prefix => Kind::Prefixed {
            prefix: prefix.to_owned(),
            ns: false,
        },
    };
    let mut mirror = Mirror::new(address, kind);
    mirror.resolves = resolves;
    Ok(mirror)
}

/// Refuses what would take a certificate from anybody. On this machine nothing is lost by plain HTTP.
fn insecure(entry: &Entry, location: &str) -> Result<(), Refused> {
    let host = location.split('/').next().unwrap_or(location);
    let is_here = host
        .parse::<Address>()
        .is_ok_and(|address| address.url().scheme() == "http");
    if !entry.flag()? || is_here {
        return Ok(());
    }
    Err(Refused::new(
        entry.line,
        format!("`insecure` would take {} from anybody", shown(host)),
        "write the mirror into the document: with `http://` before its address, or with its authority under `net.ca`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        match read(text, &["docker.io", "quay.io"]) {
            Ok(all) => {
                let lines = all
                    .iter()
                    .map(|(registry, sources)| sources.in_words(registry));
                lines.collect::<Vec<_>>().join("\n")
            }
            Err(refused) => refused
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    #[test]
    fn mirrors_of_the_registries_that_are_used() {
        let text = r#"
unqualified-search-registries = ["docker.io"]
short-name-mode = "enforcing"
[[registry]]
location = "docker.io"
mirror-by-digest-only = true
[[registry.mirror]]
location = "harbor.example/hub"
[[registry.mirror]]
location = "127.0.0.1:5001"
insecure = true
pull-from-mirror = "all"
[[registry]]
prefix = "quay.io"
location = "mirror.example/quay"
[[registry]]
location = "other.example"
insecure = true
blocked = true
"#;
        insta::assert_snapshot!(words(text), @"
        harbor.example (plain, below hub), then 127.0.0.1:5001 (distribution, tags too), then docker.io itself
        mirror.example (plain, below quay, tags too), then never quay.io itself
        ");
    }

    #[test]
    fn what_can_t_be_honoured_is_named_with_its_line() {
        for (text, expected) in [
            (
                "[registries.search]\nregistries = []",
                "line 1: this is version 1 of the format",
            ),
            (
                "[[registry]]\nprefix = \"docker.io/library\"\nlocation = \"a.example\"",
                "line 2: `docker.io/library` is not one whole registry",
            ),
            (
                "[[registry]]\nprefix = \"*.io\"",
                "line 2: `*.io` is not one whole registry",
            ),
            (
                "[[registry]]\nlocation = \"quay.io\"\nblocked = true",
                "line 3: quay.io is blocked, and the document has images of it",
            ),
            (
                "[[registry]]\nlocation = \"quay.io\"\n[[registry.mirror]]\nlocation = \"a.example\"\ninsecure = true",
                "line 5: `insecure` would take a.example from anybody",
            ),
            (
                "[[registry]]\nlocation = \"quay.io\"\n[[registry.mirror]]\nlocation = \"a.example\"\npull-from-mirror = \"tag-only\"",
                "line 5: `pull-from-mirror` is `tag-only`",
            ),
            (
                "[[registry]]\nlocation = \"quay.io\"\n[[registry.mirror]]\ninsecure = false",
                "line 4: a mirror has no `location`",
            ),
            (
                "[[registry]]\nlocation = \"quay.io\"\nfast = true",
                "line 3: `fast` is not known here",
            ),
            ("fast = true", "line 1: `fast` is not known here"),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
