//! Hosts that are not asked for through a proxy: what `NO_PROXY` says.

use std::fmt;
use std::net::IpAddr;

/// A list of hosts that are reached without a proxy.
///
/// Loopback addresses, and `localhost` with all names below it, are always among them. Names are
/// never looked up for it: networks stand for hosts that are written as addresses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bypass(Vec<Rule>);

impl Bypass {
    /// Reads a list as `NO_PROXY` has it: hosts, domains and networks with commas or blanks between
    /// them. What makes no sense matches nothing, as with Go.
    #[must_use]
    pub fn lenient(list: &str) -> Self {
        let words = list.split(|character: char| character == ',' || character.is_whitespace());
        Self(words.filter_map(|word| word.parse().ok()).collect())
    }

    /// Takes rules that were read one by one.
    #[must_use]
    pub fn of(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self(rules.into_iter().collect())
    }

    /// Says whether a host and port are reached without a proxy.
    #[must_use]
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.');
        let host = host.to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let is_local = match address {
            Some(ip) => ip.is_loopback(),
            None => host == "localhost" || host.ends_with(".localhost"),
        };
        is_local || self.0.iter().any(|rule| rule.covers(&host, address, port))
    }
}

/// One entry of such a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Hosts {
    All,
    /// An address, and how many of its bits count.
    Network(IpAddr, u8),
    /// Hosts below this domain, and the domain itself.
    Domain(String),
    /// Hosts below this domain alone.
    Below(String),
}

impl Rule {
    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        let is_below = |domain: &str| {
            address.is_none()
                && host
                    .strip_suffix(domain)
                    .is_some_and(|front| front.ends_with('.'))
        };
        match &self.hosts {
            Hosts::All => true,
            Hosts::Network(network, bits) => {
                address.is_some_and(|address| is_within(address, *network, *bits))
            }
            Hosts::Domain(domain) => host == domain || is_below(domain),
            Hosts::Below(domain) => is_below(domain),
        }
    }
}

impl std::str::FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let rule = |hosts, port| Ok(Self { hosts, port });
        if text.is_empty() {
            return Err(InvalidRule("it is empty"));
        }
        if text == "*" {
            return rule(Hosts::All, None);
        }
        if let Some((address, bits)) = text.split_once('/') {
            let network = address.parse::<IpAddr>();
            let network = network.map_err(|_| InvalidRule("a network begins with an address"))?;
            let most = if network.is_ipv4() { 32 } else { 128 };
            let is_number = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
            return match bits.parse::<u8>() {
                Ok(bits) if is_number && bits <= most => rule(Hosts::Network(network, bits), None),
                _ => Err(InvalidRule("the network's length is no number of bits")),
            };
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return rule(Hosts::one(address), None);
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, None),
            Some((host, port)) => match port.parse::<u16>() {
                Ok(port) if port > 0 => (host, Some(port)),
                _ => return Err(InvalidRule("the port is none")),
            },
        };
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return rule(Hosts::one(address), port);
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        let name = below.unwrap_or(&host);
        let is_name = |label: &str| {
            let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !label.is_empty() && label.bytes().all(sound)
        };
        if !name.split('.').all(is_name) {
            return Err(InvalidRule(
                "it is no host, domain (`corp.example`) or network (`10.0.0.0/8`)",
            ));
        }
        let name = name.to_owned();
        let hosts = match below {
            Some(_) => Hosts::Below(name),
            None => Hosts::Domain(name),
        };
        rule(hosts, port)
    }
}

impl Hosts {
    fn one(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self::Network(address, if address.is_ipv4() { 32 } else { 128 })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::All => f.write_str("*")?,
            Hosts::Network(address, bits) => write!(f, "{address}/{bits}")?,
            Hosts::Domain(domain) => f.write_str(domain)?,
            Hosts::Below(domain) => write!(f, ".{domain}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Why a text is no entry of such a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRule(&'static str);

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |address: u128, network: u128, width: u32| {
        let left = width.saturating_sub(u32::from(bits));
        // All of the bits may be free, and then nothing is left to compare.
        address.checked_shr(left).unwrap_or(0) == network.checked_shr(left).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            same(address.to_bits().into(), network.to_bits().into(), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            same(address.to_bits(), network.to_bits(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_mean_what_they_mean_to_go() {
        for (list, host, port, covered) in [
            ("corp.example", "corp.example", 443, true),
            ("corp.example", "a.b.corp.example", 443, true),
            ("corp.example", "evilcorp.example", 443, false),
            ("CORP.example.", "A.corp.EXAMPLE.", 443, true),
            (".corp.example", "a.corp.example", 443, true),
            (".corp.example", "corp.example", 443, false),
            ("*.corp.example", "a.corp.example", 443, true),
            ("*.corp.example", "corp.example", 443, false),
            ("corp.example:8443", "corp.example", 8443, true),
            ("corp.example:8443", "corp.example", 443, false),
            ("*", "anything.example", 1, true),
            ("10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("10.1.2.3/8", "10.9.9.9", 443, true),
            ("0.0.0.0/0", "192.0.2.1", 443, true),
            ("0.0.0.0/0", "2001:db8::1", 443, false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", 443, true),
            ("10.0.0.0/8", "ten.example", 443, false),
            ("192.0.2.1", "192.0.2.1", 443, true),
            ("192.0.2.1", "192.0.2.10", 443, false),
            ("192.0.2.1:5000", "192.0.2.1", 5000, true),
            ("192.0.2.1:5000", "192.0.2.1", 443, false),
            ("2001:db8::/32", "[2001:db8::7]", 443, true),
            ("2001:db8::1", "2001:db8::1", 443, true),
            ("[2001:db8::1]:5000", "2001:db8::1", 5000, true),
            ("[2001:db8::1]:5000", "2001:db8::1", 443, false),
            ("2.1", "192.0.2.1", 443, false),
            ("a.example, b.example", "b.example", 443, true),
            ("a.example b.example\tc.example", "c.example", 443, true),
            (",, ,", "a.example", 443, false),
            ("10.0.0.0/33,a..example,b.example", "b.example", 443, true),
            ("10.0.0.0/33", "10.0.0.1", 443, false),
            ("", "127.8.9.1", 443, true),
            ("", "::1", 443, true),
            ("", "localhost", 443, true),
            ("", "a.localhost", 443, true),
            ("", "localhost.example", 443, false),
        ] {
            let bypass = Bypass::lenient(list);
            assert_eq!(bypass.covers(host, port), covered, "{list}: {host}:{port}");
        }
    }

    #[test]
    fn what_is_no_entry_says_why() {
        for odd in [
            "",
            "10.0.0.0/x",
            "10.0.0.0/+8",
            "a/8",
            "a:0",
            "a b",
            "http://a",
            "a*",
        ] {
            assert!(odd.parse::<Rule>().is_err(), "{odd}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_entry_reads_back_as_it_is_shown(text in "[.*]?[a-z0-9]{1,5}(\\.[a-z]{1,5}){0,2}(:[0-9]{1,4})?") {
            if let Ok(rule) = text.parse::<Rule>() {
                proptest::prop_assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
            }
        }

        #[test]
        fn no_list_and_host_break_it(list in ".{0,40}", host in ".{0,20}") {
            let _ = Bypass::lenient(&list).covers(&host, 443);
        }
    }
}
