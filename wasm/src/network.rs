//! Which names the component may look up, and which connections it may open.
//!
//! A name that is not granted is refused before it is looked up. The addresses that a granted name
//! is answered with, and no others, may then be connected to, on the ports that the name is granted
//! with: there is no second look-up that could be answered differently.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shipgate::sandbox::Host;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    Host as Lookup, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{
    self, ErrorCode, HostNetwork, IpAddress, Network,
};
use wasmtime_wasi::p2::{DynPollable, SocketError};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView};

/// What is granted, and what is known of it so far.
pub struct Policy {
    hosts: Vec<Granted>,
    seen: Mutex<Seen>,
}

/// A granted host.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The host and port.
    pub host: Host,
    /// Whether a person granted it on the command line, and so may mean a host of an inner network.
    pub by_hand: bool,
}

#[derive(Default)]
struct Seen {
    /// Addresses that granted names were answered with.
    allowed: BTreeSet<SocketAddr>,
    /// Refusals are told once. The component chooses them, so what is remembered has a bound.
    told: BTreeSet<String>,
    /// The names behind the look-ups under way.
    names: HashMap<u32, String>,
}

impl Policy {
    /// Grants these hosts.
    pub fn new(hosts: Vec<Granted>) -> Arc<Self> {
        Arc::new(Self {
            hosts,
            seen: Mutex::default(),
        })
    }

    /// Lets the component connect to the granted hosts; without any, it has no network and no names.
    pub fn apply(self: &Arc<Self>, context: &mut WasiCtxBuilder) {
        let any = !self.hosts.is_empty();
        context
            .allow_tcp(any)
            .allow_udp(false)
            .allow_ip_name_lookup(any);
        let policy = Arc::clone(self);
        context.socket_addr_check(move |address, purpose| {
            let allowed = match purpose {
                // The system's own bind before each connection; any other names an address or a port.
                SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
                SocketAddrUse::TcpConnect => policy.connect(address),
                _ => false,
            };
            Box::pin(std::future::ready(allowed))
        });
    }

    /// Says whether a connection may be opened, and tells of one that may not.
    fn connect(&self, address: SocketAddr) -> bool {
        let address = canonical(address);
        let literal = self.hosts.iter().any(|granted| {
            granted.host.port == address.port()
                && granted
                    .host
                    .host
                    .parse::<IpAddr>()
                    .is_ok_and(|ip| ip.to_canonical() == address.ip())
        });
        if literal || self.seen().allowed.contains(&address) {
            return true;
        }
        self.tell(
            format!("a connection to {address}"),
            &format!("--allow-host {address}"),
        );
        false
    }

    /// Says whether a name may be looked up, and tells of one that may not.
    fn look_up(&self, name: &str) -> bool {
        // Addresses are no names: whether they may be connected to is another question.
        if name.parse::<IpAddr>().is_ok() || self.grants_of(name).next().is_some() {
            return true;
        }
        let shown: String = name
            .chars()
            .take(100)
            .flat_map(char::escape_debug)
            .collect();
        self.tell(
            format!("looking up {shown}"),
            &format!("--allow-host {shown}:PORT"),
        );
        false
    }

    /// Takes note of an address that a granted name was answered with, or refuses it.
    fn learn(&self, name: &str, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let mut learned = false;
        for granted in self.grants_of(name) {
            if granted.by_hand || is_public(ip) || is_local_name(name) {
                let address = SocketAddr::new(ip, granted.host.port);
                self.seen().allowed.insert(address);
                learned = true;
            }
        }
        if !learned && self.grants_of(name).next().is_some() {
            let ports: Vec<String> = self
                .grants_of(name)
                .map(|granted| format!("--allow-host {}", granted.host))
                .collect();
            self.tell_why(
                format!("{name} at {ip}"),
                "that address is no public one, and the pipeline names the host and not the address",
                &ports.join(" "),
            );
        }
        learned
    }

    fn grants_of(&self, name: &str) -> impl Iterator<Item = &Granted> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.hosts.iter().filter(move |granted| {
            granted
                .host
                .host
                .trim_end_matches('.')
                .eq_ignore_ascii_case(&name)
        })
    }

    fn tell(&self, what: String, grant: &str) {
        let cause = if self.hosts.is_empty() {
            "no host is granted".to_owned()
        } else {
            let list: BTreeMap<String, ()> = self
                .hosts
                .iter()
                .map(|granted| (granted.host.to_string(), ()))
                .collect();
            let list: Vec<String> = list.into_keys().collect();
            format!("it is none of {}", list.join(", "))
        };
        self.tell_why(what, &cause, grant);
    }

    fn tell_why(&self, what: String, cause: &str, grant: &str) {
        const TOLD: usize = 100;
        let mut seen = self.seen();
        if seen.told.len() < TOLD && seen.told.insert(what.clone()) {
            eprintln!("{}", refusal(&what, cause, grant));
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what is said when the component tries what no grant covers; the component itself only
/// learns that it was denied.
fn refusal(what: &str, cause: &str, grant: &str) -> String {
    format!("refused: {what}\n  cause: {cause}\nhint: to allow it, add `{grant}`")
}

fn canonical(address: SocketAddr) -> SocketAddr {
    // `::ffff:127.0.0.1` is 127.0.0.1, and no way around a grant.
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Says whether a name always means this machine.
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Says whether an address is one that a public name may have: no private, shared, loopback,
/// link-local (cloud metadata among them), documentation, multicast or unspecified one.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, third, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.is_documentation()
                || first == 0
                || first >= 240
                // RFC 6598, shared by carriers, and used inside clouds.
                || first == 100 && second & 0xc0 == 64
                // RFC 6890, protocol assignments.
                || first == 192 && second == 0 && third == 0
                // RFC 2544, benchmarks.
                || first == 198 && second & 0xfe == 18)
        }
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            // RFC 6052 and RFC 3056: an IPv4 address inside.
            let inner = match segments {
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some((high, low)),
                [0x2002, high, low, ..] => Some((high, low)),
                _ => None,
            };
            if let Some((high, low)) = inner {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                return is_public(IpAddr::from([a, b, c, d]));
            }
            // Global unicast (RFC 4291), without documentation (RFC 3849) and Teredo (RFC 4380).
            segments[0] & 0xe000 == 0x2000
                && !(segments[0] == 0x2001 && (segments[1] == 0xdb8 || segments[1] == 0))
        }
    }
}

/// The component's look-ups, each asked for by [`Policy`].
pub struct Names;

impl HasData for Names {
    type Data<'a> = NamesView<'a>;
}

/// WASI's own look-up, and what is granted.
pub struct NamesView<'a> {
    /// WASI's.
    pub sockets: WasiSocketsCtxView<'a>,
    /// Ours.
    pub policy: &'a Policy,
}

impl Lookup for NamesView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        if !self.policy.look_up(&name) {
            return Err(ErrorCode::PermanentResolverFailure.into());
        }
        let stream = Lookup::resolve_addresses(&mut self.sockets, network, name.clone())?;
        self.policy.seen().names.insert(stream.rep(), name);
        Ok(stream)
    }
}

impl HostResolveAddressStream for NamesView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let rep = stream.rep();
        loop {
            let next = self
                .sockets
                .resolve_next_address(Resource::new_borrow(rep))?;
            let Some(address) = next else {
                return Ok(None);
            };
            let name = self.policy.seen().names.get(&rep).cloned();
            let name = name.unwrap_or_default();
            let ip = std_address(address);
            if name.parse::<IpAddr>().is_ok() || self.policy.learn(&name, ip) {
                return Ok(Some(address));
            }
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.sockets.subscribe(stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.policy.seen().names.remove(&stream.rep());
        HostResolveAddressStream::drop(&mut self.sockets, stream)
    }
}

impl network::Host for NamesView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        self.sockets.convert_error_code(error)
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.sockets.network_error_code(error)
    }
}

impl HostNetwork for NamesView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        HostNetwork::drop(&mut self.sockets, network)
    }
}

fn std_address(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(hosts: &[&str], by_hand: bool) -> Arc<Policy> {
        let granted = hosts.iter().map(|host| Granted {
            host: host.parse().unwrap(),
            by_hand,
        });
        Policy::new(granted.collect())
    }

    fn connects(policy: &Policy, address: &str) -> bool {
        policy.connect(address.parse().unwrap())
    }

    #[test]
    fn only_granted_addresses_and_ports_are_allowed() {
        let one = policy(&["127.0.0.1:5000"], false);
        assert!(connects(&one, "127.0.0.1:5000"));
        assert!(connects(&one, "[::ffff:127.0.0.1]:5000"));
        assert!(!connects(&one, "127.0.0.1:5001"));
        assert!(!connects(&one, "127.0.0.2:5000"));
        assert!(!connects(&one, "[::1]:5000"));
        assert!(!connects(&policy(&[], false), "127.0.0.1:5000"));
    }

    #[test]
    fn a_name_stands_for_the_addresses_that_it_was_answered_with() {
        let policy = policy(&["Registry.example:443", "registry.example:80"], false);
        let public = "93.184.216.34".parse().unwrap();
        assert!(!connects(&policy, "93.184.216.34:443"));
        assert!(policy.learn("registry.EXAMPLE.", public));
        assert!(connects(&policy, "93.184.216.34:443"));
        assert!(connects(&policy, "93.184.216.34:80"));
        assert!(!connects(&policy, "93.184.216.34:22"));
        assert!(!policy.learn("other.example", public));
    }

    #[test]
    fn names_that_are_not_granted_are_not_looked_up() {
        let policy = policy(&["registry.example:443"], false);
        assert!(policy.look_up("registry.example"));
        assert!(policy.look_up("127.0.0.1"));
        assert!(!policy.look_up("secret.registry.example"));
        assert!(!policy.look_up("registry.example.evil"));
        assert!(!policy.look_up(""));
    }

    #[test]
    fn a_public_name_does_not_lead_inside() {
        let inside = [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "ff02::1",
        ];
        let public = policy(&["registry.example:443"], false);
        let by_hand = policy(&["registry.example:443"], true);
        for address in inside {
            let ip: IpAddr = address.parse().unwrap();
            assert!(!public.learn("registry.example", ip), "{address}");
            assert!(!public.connect(SocketAddr::new(ip, 443)), "{address}");
            assert!(by_hand.learn("registry.example", ip), "{address}");
        }
        for address in ["93.184.216.34", "2606:4700::1", "64:ff9b::5db8:d822"] {
            assert!(public.learn("registry.example", address.parse().unwrap()));
        }
        let local = policy(&["localhost:80", "a.localhost:80"], false);
        assert!(local.learn("localhost", "127.0.0.1".parse().unwrap()));
        assert!(local.learn("a.localhost", "::1".parse().unwrap()));
    }

    #[test]
    fn a_refusal_says_what_to_add() {
        let text = refusal(
            "a connection to 10.0.0.1:443",
            "it is none of a.example:443",
            "--allow-host 10.0.0.1:443",
        );
        assert_eq!(
            text,
            "refused: a connection to 10.0.0.1:443\n  cause: it is none of a.example:443\n\
             hint: to allow it, add `--allow-host 10.0.0.1:443`"
        );
    }
}
