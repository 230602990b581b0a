//! `hosts.toml` of containerd (its `docs/hosts.md`): the hosts of one registry, in order.

use super::conf::{Entry, Refused, parse, shown};
use super::{Address, Fallback, Kind, Mirror, Sources, ToldBy};
use crate::oci::credentials::canonical;

/// Reads the file of one registry. `trusts` says whether an authority's file is trusted anyhow.
///
/// # Errors
/// Everything in it that can't be honoured, by line.
pub fn read(
    text: &str,
    registry: &str,
    trusts: &dyn Fn(&str) -> bool,
) -> Result<Sources, Vec<Refused>> {
    let entries = parse(text).map_err(|refused| vec![refused])?;
    let mut reader = Reader {
        trusts,
        refused: Vec::new(),
    };
    let mut sources = Sources::default();
    let mut server = None;
    let mut own = Vec::new();
    for entry in &entries {
        match entry.key.as_str() {
            "server" => server = reader.take(entry.text()).map(|text| (text, entry.line)),
            "host" => {
                for host in reader.take(entry.table()).unwrap_or_default() {
                    let entries = reader.take(host.table()).unwrap_or_default();
                    if let Some(mirror) = reader.host(&host.key, host.line, entries) {
                        sources.mirrors.push(mirror.into());
                    }
                }
            }
            _ => own.push(entry.clone()),
        }
    }
    match server {
        Some((server, line)) if !is_the_registry(server, registry) => {
            // It is asked in the registry's place, which never is.
            if let Some(mirror) = reader.host(server, line, &own) {
                sources.mirrors.push(mirror.into());
            }
            sources.fallback = Fallback::Deny;
        }
        _ => reader.of_the_registry(&own),
    }
    if reader.refused.is_empty() {
        Ok(sources)
    } else {
        Err(reader.refused)
    }
}

struct Reader<'a> {
    trusts: &'a dyn Fn(&str) -> bool,
    refused: Vec<Refused>,
}

/// What a host may be asked for.
struct Capabilities {
    pull: bool,
    resolve: bool,
}

impl Reader<'_> {
    fn host(&mut self, address: &str, line: usize, entries: &[Entry]) -> Option<Mirror> {
        let before = self.refused.len();
        let mut capabilities = Capabilities {
            pull: true,
            resolve: true,
        };
        let mut whole_path = false;
        let mut dragonfly = None;
        for entry in entries {
            match entry.key.as_str() {
                "capabilities" => {
                    let words = self.take(entry.texts()).unwrap_or_default();
                    capabilities = Capabilities {
                        pull: words.contains(&"pull"),
                        resolve: words.contains(&"resolve"),
                    };
                }
                "override_path" => whole_path = self.take(entry.flag()).unwrap_or_default(),
                "header" => dragonfly = self.header(entry),
                _ => self.common(entry),
            }
        }
        if !capabilities.pull && capabilities.resolve {
            self.refused.push(Refused::new(
                line,
                format!(
                    "`{}` may say what tags stand for, and not be pulled from",
                    shown(address)
                ),
                "add \"pull\" to its `capabilities`, or take the host out",
            ));
        }
        if self.refused.len() > before || !capabilities.pull {
            return None;
        }
        let mirror = mirror(address, whole_path, dragonfly);
        let mut mirror = self.take(mirror.map_err(|what| {
            Refused::new(
                line,
                format!("`{}`: {what}", shown(address)),
                "write this mirror into the document, where its kind can be said",
            )
        }))?;
        mirror.resolves = capabilities.resolve;
        Some(mirror)
    }

    /// Looks at what is said of the registry itself.
    fn of_the_registry(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry.key.as_str() {
                "capabilities" => {
                    let words = self.take(entry.texts()).unwrap_or_default();
                    if !(words.contains(&"pull") && words.contains(&"resolve")) {
                        self.refused.push(Refused::new(
                            entry.line,
                            "the registry itself may not be pulled from or asked for tags",
                            "write the mirrors into the document, with `fallback: deny`",
                        ));
                    }
                }
                "override_path" if entry.flag() == Ok(false) => {}
                _ => self.common(entry),
            }
        }
    }

    /// Looks at a key that means the same for every host.
    fn common(&mut self, entry: &Entry) {
        let refused = match entry.key.as_str() {
            "skip_verify" => match entry.flag() {
                Ok(true) => Refused::new(
                    entry.line,
                    "`skip_verify` would take a certificate from anybody",
                    "name the authority under `net.ca`, and take the line out",
                ),
                Ok(false) => return,
                Err(refused) => refused,
            },
            "ca" => {
                let files = self.take(entry.texts()).unwrap_or_default();
                match files.into_iter().find(|file| !(self.trusts)(file)) {
                    None => return,
                    Some(file) => Refused::new(
                        entry.line,
                        format!("the authority {} is not trusted", shown(file)),
                        "add the same path to `net.ca`: it is then trusted for every host",
                    ),
                }
            }
            "client" => Refused::new(
                entry.line,
                "a client's certificate is not sent to mirrors",
                "take the line out, or the host",
            ),
            // Nobody waits that long for a mirror here.
            "dial_timeout" => return,
            _ => entry.unknown(),
        };
        self.refused.push(refused);
    }

    /// Takes the one header that has a meaning here.
    fn header(&mut self, entry: &Entry) -> Option<String> {
        let mut registry = None;
        for header in self.take(entry.table()).unwrap_or_default() {
            let values = self.take(header.texts()).unwrap_or_default();
            let is_dragonfly = header.key.eq_ignore_ascii_case("x-dragonfly-registry");
            match values.as_slice() {
                [value] if is_dragonfly && Address::is_root(value) => registry = Some((*value).to_owned()),
                _ => self.refused.push(Refused::new(
                    header.line,
                    format!("the header `{}` is not sent", shown(&header.key)),
                    "take the line out; a login stands under `auth` in the document, or in Docker's configuration",
                )),
            }
        }
        registry
    }

    fn take<T>(&mut self, result: Result<T, Refused>) -> Option<T> {
        result.map_err(|refused| self.refused.push(refused)).ok()
    }
}

/// Makes a mirror of a host's address: what stands behind `/v2/` in it is the beginning of its paths.
fn mirror(text: &str, whole_path: bool, dragonfly: Option<String>) -> Result<Mirror, String> {
    let text = text.trim_end_matches('/');
    let (address, prefix) = match text.split_once("/v2/") {
        Some((address, prefix)) if whole_path => (address, Some(prefix)),
        _ => match text.strip_suffix("/v2") {
            Some(address) => (address, None),
            None if whole_path => {
                return Err("with `override_path`, its path has to have `/v2` in it".into());
            }
            None => (text, None),
        },
    };
    let address: Address = address
        .parse()
        .map_err(|error: super::AddressError| error.to_string())?;
    let kind = match (dragonfly, prefix) {
        (Some(_), Some(_)) => return Err("a dfdaemon has no paths of its own".into()),
        (Some(registry), None) => Kind::Dragonfly {
            told_by: ToldBy::Header(Some(registry)),
            passes_login: false,
        },
        (None, Some(prefix)) => Kind::Prefixed {
            prefix: prefix.to_owned(),
            ns: true,
        },
        (None, None) => Kind::Plain,
    };
    Ok(Mirror::new(address, kind))
}

fn is_the_registry(server: &str, registry: &str) -> bool {
    let address: Result<Address, _> = server.trim_end_matches('/').trim_end_matches("/v2").parse();
    address.is_ok_and(|address| {
        let name = Mirror::new(address, Kind::Plain).name();
        canonical(&name) == canonical(registry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        match read(text, "docker.io", &|file| file == "known.pem") {
            Ok(sources) => sources.in_words("docker.io"),
            Err(refused) => refused
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        }
    }

    #[test]
    fn hosts_are_taken_in_the_order_of_the_file() {
        let text = r#"
server = "https://registry-1.docker.io"
[host."https://z.example"]
  capabilities = ["pull"]
  ca = "known.pem"
  dial_timeout = "3s"
[host."http://127.0.0.1:5001"]
  capabilities = ["pull", "resolve"]
[host."https://push.example"]
  capabilities = ["push"]
[host."https://art.example/v2/hub"]
  capabilities = ["pull"]
  override_path = true
"#;
        insta::assert_snapshot!(words(text), @"z.example (plain), then 127.0.0.1:5001 (plain, tags too), then art.example (plain, below hub), then docker.io itself");
    }

    #[test]
    fn a_server_that_is_not_the_registry_stands_in_its_place() {
        insta::assert_snapshot!(words("server = \"https://mirror.example\""), @"mirror.example (plain, tags too), then never docker.io itself");
    }

    #[test]
    fn a_dfdaemon_is_known_by_its_header() {
        let text = "[host.\"http://127.0.0.1:4001\"]\ncapabilities = [\"pull\"]\n[host.\"http://127.0.0.1:4001\".header]\nX-Dragonfly-Registry = [\"https://index.docker.io\"]\n";
        insta::assert_snapshot!(words(text), @"127.0.0.1:4001 (dragonfly), then docker.io itself");
    }

    #[test]
    fn what_can_t_be_honoured_is_named_with_its_line() {
        let text = r#"capabilities = ["push"]
[host."https://a.example"]
  skip_verify = true
  ca = ["known.pem", "other.pem"]
  client = "c.pem"
  rewrite = {}
[host."https://b.example".header]
  Authorization = "Basic x"
[host."https://c.example/v2/hub"]
[host."https://d.example"]
  capabilities = ["resolve"]
[host."ftp://e.example"]
[host."https://f.example/x"]
  override_path = true
"#;
        insta::assert_snapshot!(words(text).replace("; ", "\n"), @"
        line 3: `skip_verify` would take a certificate from anybody
        line 4: the authority other.pem is not trusted
        line 5: a client's certificate is not sent to mirrors
        line 6: `rewrite` is not known here
        line 8: the header `Authorization` is not sent
        line 9: `https://c.example/v2/hub`: `/v2/` is added by itself
        line 10: `https://d.example` may say what tags stand for, and not be pulled from
        line 12: `ftp://e.example`: a mirror is asked over http or https
        line 13: `https://f.example/x`: with `override_path`, its path has to have `/v2` in it
        line 1: the registry itself may not be pulled from or asked for tags
        ");
        assert!(!words(text).contains("Basic x"));
    }
}
