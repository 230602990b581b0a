//! Which hosts are granted, and at which addresses they may be.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use shipgate::authority::authority;
use shipgate::net::egress::line_to_add;
use shipgate::sandbox::Host;

use super::address::{is_private, is_public};
use crate::outlet::{Outlet, Stream};

/// A granted host.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The host and port.
    pub host: Host,
    /// Whether a person granted it on the command line, and so may mean a host of an inner network.
    pub by_hand: bool,
}

/// All granted hosts.
#[derive(Debug)]
pub struct Hosts(Vec<Granted>);

/// At which addresses a granted host may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// At any: it is written as an address, or it was granted by hand.
    Anywhere,
    /// At public and private ones, as an endpoint inside of a network has: not at this machine's own, and
    /// not at those of the link, where clouds tell their secrets.
    Inside,
    /// At this machine's own or public ones.
    Local,
    /// At public ones.
    Public,
}

impl Reach {
    /// Says whether an address is within reach.
    pub fn admits(self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        match self {
            Self::Anywhere => true,
            Self::Inside => is_public(ip) || is_private(ip),
            Self::Local => ip.is_loopback() || is_public(ip),
            Self::Public => is_public(ip),
        }
    }

    /// Returns where the host may be that the pipeline names to stand for one that is granted.
    pub fn of_endpoint(self, host: &str) -> Self {
        match Name::of(host) {
            _ if self == Self::Anywhere => self,
            Name::Address(_) => Self::Anywhere,
            Name::Text(name) if is_local(&name) => Self::Local,
            Name::Text(_) => Self::Inside,
        }
    }
}

impl Hosts {
    /// Grants these.
    pub fn new(hosts: Vec<Granted>) -> Self {
        Self(hosts)
    }

    /// Says how a host is spelled where it is granted, and where it may be; nothing if it is not granted on
    /// this port. Nothing is looked up.
    ///
    /// Who asks chooses among many spellings of one name, and could say something by that to whoever sees the
    /// look-up or the greeting of TLS: none of it goes out.
    pub fn reach(&self, host: &str, port: u16) -> Option<(String, Reach)> {
        let asked = Name::of(host);
        let mut reach = None;
        let mut spelled = None;
        for granted in &self.0 {
            let spelling = &granted.host.host;
            if granted.host.port != port || Name::of(spelling) != asked {
                continue;
            }
            let spelling = spelling.to_ascii_lowercase();
            if spelled.is_none() || spelling.eq_ignore_ascii_case(host) {
                spelled = Some(spelling);
            }
            let found = match asked {
                Name::Address(_) => Reach::Anywhere,
                Name::Text(_) if granted.by_hand => Reach::Anywhere,
                Name::Text(ref name) if is_local(name) => Reach::Local,
                Name::Text(_) => Reach::Public,
            };
            // The same host may be granted twice, by the pipeline and by hand.
            if reach != Some(Reach::Anywhere) {
                reach = Some(found);
            }
        }
        spelled.zip(reach)
    }

    /// Returns what is said of a host that is not granted.
    pub fn not_granted(&self, host: &str, port: u16) -> Refusal {
        let host = shown(host);
        let list: BTreeSet<String> = self.0.iter().map(|it| it.host.to_string()).collect();
        let list: Vec<String> = list.into_iter().collect();
        Refusal {
            what: format!("a connection to {}", authority(&host, port)),
            cause: if list.is_empty() {
                "no host is granted".to_owned()
            } else {
                format!("it is none of {}", list.join(", "))
            },
            hint: line_to_add(&host, port),
        }
    }
}

/// A host, free of the ways in which the same one can be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Name {
    /// An address.
    Address(IpAddr),
    /// A name in small letters, without the dot of the root.
    Text(String),
}

impl Name {
    /// Reads a host that is written without brackets.
    pub fn of(host: &str) -> Self {
        match host.parse::<IpAddr>() {
            // `::ffff:127.0.0.1` is 127.0.0.1, and no way around a grant.
            Ok(ip) => Self::Address(ip.to_canonical()),
            Err(_) => Self::Text(host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()),
        }
    }
}

/// Says whether a name in small letters always means this machine (RFC 6761).
fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Something that was refused, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// What the component tried.
    pub what: String,
    /// Why that is not allowed.
    pub cause: String,
    /// The edit that allows it, or what to look at.
    pub hint: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, cause, hint } = self;
        write!(f, "refused: {what}\n  cause: {cause}\nhint: {hint}")
    }
}

/// Tells of each refusal once. The component chooses them, so there is a bound; when it is reached that is
/// told, and at the end how many there were beyond it.
#[derive(Debug, Default)]
pub struct Teller(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    refusals: BTreeSet<String>,
    /// How many were not told, those among them that were alike.
    silent: u64,
}

impl Teller {
    const MOST: usize = 100;

    /// Tells of it on standard error, if it was not told yet.
    pub fn tell(&self, refusal: &Refusal) {
        if let Some(words) = self.words(refusal) {
            // Whoever refuses must not have to wait for whoever reads.
            Outlet::process().say(Stream::Error, format!("{words}\n"));
        }
    }

    /// Tells how much was not told.
    pub fn tell_rest(&self) {
        if let Some(words) = self.rest() {
            eprintln!("{words}");
        }
    }

    /// Returns what was told.
    #[cfg(test)]
    pub fn told(&self) -> Vec<String> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.refusals.iter().cloned().collect()
    }

    fn words(&self, refusal: &Refusal) -> Option<String> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let words = refusal.to_string();
        if told.refusals.contains(&words) {
            return None;
        }
        if told.refusals.len() < Self::MOST {
            told.refusals.insert(words.clone());
            return Some(words);
        }
        told.silent += 1;
        (told.silent == 1).then(|| {
            let last = Refusal {
                what: "more than is told".to_owned(),
                cause: format!(
                    "{} different attempts were told: further refusals are not told",
                    Self::MOST
                ),
                hint: "don't trust this component".to_owned(),
            };
            last.to_string()
        })
    }

    fn rest(&self) -> Option<String> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (told.silent > 0).then(|| format!("refused: {} attempts that were not told", told.silent))
    }
}

/// Returns a name that the component chose as it may be shown: short, and without control characters.
pub fn shown(name: &str) -> String {
    const LONGEST: usize = 100;
    let short = name.chars().take(LONGEST);
    short.flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(list: &[&str], by_hand: bool) -> Hosts {
        let granted = list.iter().map(|host| Granted {
            host: host.parse().unwrap(),
            by_hand,
        });
        Hosts::new(granted.collect())
    }

    #[test]
    fn only_the_very_host_and_port_are_granted() {
        let hosts = hosts(&["Registry.example:443", "127.0.0.1:5000"], false);
        for (host, port, reach) in [
            ("registry.example", 443, Some(Reach::Public)),
            ("REGISTRY.example.", 443, Some(Reach::Public)),
            ("127.0.0.1", 5000, Some(Reach::Anywhere)),
            ("::ffff:127.0.0.1", 5000, Some(Reach::Anywhere)),
            ("registry.example", 80, None),
            ("secret.registry.example", 443, None),
            ("registry.example.evil", 443, None),
            ("registry.example..", 443, None),
            ("127.0.0.1", 443, None),
            ("127.0.0.2", 5000, None),
            ("127.1", 5000, None),
            ("2130706433", 5000, None),
            ("[127.0.0.1]", 5000, None),
            ("::1", 5000, None),
            ("", 443, None),
            (".", 443, None),
        ] {
            let found = hosts.reach(host, port).map(|(_, reach)| reach);
            assert_eq!(found, reach, "{host}:{port}");
        }
    }

    #[test]
    fn a_host_is_spelled_as_it_was_granted() {
        let list = [
            "Registry.example:443",
            "b.example.:443",
            "b.example:443",
            "127.0.0.1:443",
        ];
        let hosts = hosts(&list, false);
        for (asked, spelled) in [
            ("rEGISTRY.eXAMPLE", "registry.example"),
            ("registry.example.", "registry.example"),
            ("B.example", "b.example"),
            ("B.example.", "b.example."),
            ("::ffff:7f00:1", "127.0.0.1"),
        ] {
            assert_eq!(hosts.reach(asked, 443).unwrap().0, spelled, "{asked}");
        }
    }

    #[test]
    fn a_grant_by_hand_goes_further() {
        let inside = "10.0.0.1:443".parse().unwrap();
        let outside = "93.184.216.34:443".parse().unwrap();
        let loopback = "127.0.0.1:443".parse().unwrap();
        let by_pipeline = hosts(&["a.example:443"], false);
        let mut both = hosts(&["a.example:443"], true);
        both.0.extend(by_pipeline.0.clone());
        let reach = |hosts: &Hosts| hosts.reach("a.example", 443).unwrap().1;
        assert!(!reach(&by_pipeline).admits(inside) && reach(&by_pipeline).admits(outside));
        assert!(!reach(&by_pipeline).admits(loopback));
        assert!(reach(&both).admits(inside) && reach(&both).admits(loopback));
        for name in ["localhost", "A.LocalHost."] {
            let local = hosts(&[&format!("{name}:443")], false).reach(name, 443);
            assert_eq!(local.unwrap().1, Reach::Local);
            assert!(Reach::Local.admits(loopback) && !Reach::Local.admits(inside));
        }
    }

    #[test]
    fn a_refusal_says_what_to_add() {
        let refusal = hosts(&["b.example:443", "a.example:443"], false).not_granted("::1", 443);
        assert_eq!(
            refusal.to_string(),
            "refused: a connection to [::1]:443\n  cause: it is none of a.example:443, b.example:443\n\
             hint: to allow it, add `--allow-host [::1]:443`"
        );
        let hostile = format!("\u{1b}[31m{}", "x".repeat(500));
        let refusal = hosts(&[], false).not_granted(&hostile, 1).to_string();
        assert!(
            refusal.len() < 500 && !refusal.contains('\u{1b}'),
            "{refusal}"
        );
    }

    #[test]
    fn a_refusal_is_told_once_and_not_without_end() {
        let teller = Teller::default();
        let refusal = |port| hosts(&[], false).not_granted("a.example", port);
        let words = |port| teller.words(&refusal(port));
        assert_eq!(words(1), Some(refusal(1).to_string()));
        assert_eq!(words(1), None);
        assert!((2..=100).all(|port| words(port).is_some()));
        assert_eq!(teller.rest(), None);
        let last = words(101).unwrap();
        assert!(last.contains("further refusals are not told"), "{last}");
        assert!((101..500).all(|port| words(port).is_none()));
        // Those that were told are no more for being tried again.
        assert_eq!(words(1), None);
        let rest = teller.rest().unwrap();
        assert_eq!(rest, "refused: 400 attempts that were not told");
    }
}
