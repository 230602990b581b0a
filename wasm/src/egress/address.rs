//! Which addresses are public ones.

use std::net::{IpAddr, Ipv4Addr};

/// Says whether an address is one that a public name may have: no private, shared, loopback,
/// link-local (cloud metadata among them), documentation, multicast or unspecified one, also not
/// inside an IPv6 address.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
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
                // RFC 7526, the anycast address of 6to4 relays.
                || first == 192 && second == 88 && third == 99
                // RFC 2544, benchmarks.
                || first == 198 && second & 0xfe == 18
                || METADATA.contains(&ip))
        }
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            let inside = |high: u16, low: u16| {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                is_public(IpAddr::from([a, b, c, d]))
            };
            match segments {
                // RFC 6052: an IPv4 address behind a translator that all know. The prefix for translators of
                // one network (64:ff9b:1::/48, RFC 8215) is no global unicast, and falls through.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => return inside(high, low),
                // RFC 3056, 6to4: packets go to the address inside, whatever follows it.
                [0x2002, high, low, ..] if !inside(high, low) => return false,
                // RFC 5214, ISATAP, in any prefix: an address that is delivered by IPv4.
                [.., 0 | 0x200, 0x5efe, high, low] if !inside(high, low) => return false,
                _ => {}
            }
            // Global unicast (RFC 4291), without the protocol assignments of RFC 2928 (Teredo, ORCHID
            // and benchmarks among them) and documentation (RFC 3849, RFC 9637).
            segments[0] & 0xe000 == 0x2000
                && !(segments[0] == 0x2001 && (segments[1] == 0xdb8 || segments[1] < 0x200))
                && !(segments[0] == 0x3fff && segments[1] < 0x1000)
        }
    }
}

/// Addresses of the public space at which a cloud answers its own machines, and nobody else: those of
/// other clouds are link-local, shared, unique local or of RFC 6890.
const METADATA: [Ipv4Addr; 1] = [
    // Azure, the platform's own host: agents, certificates, and the machine's configuration.
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Says whether an address is one of a private network (RFC 1918, RFC 4193, RFC 6598).
pub fn is_private(ip: IpAddr) -> bool {
    // Amazon's own metadata service has such an address too.
    const METADATA: std::net::Ipv6Addr =
        std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private() || first == 100 && second & 0xc0 == 64
        }
        IpAddr::V6(ip) => ip.is_unique_local() && ip != METADATA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_is_neither_the_machine_nor_the_link() {
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "fd12::1",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
        ] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_is_inside_is_not_public() {
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            // The metadata of Alibaba, Azure and Oracle.
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::a83f:8110",
            "64:ff9b:1::a00:1",
            "64:ff9b:1::808:808",
            "::ffff:168.63.129.16",
            "::168.63.129.16",
            "2002:a83f:8110::1",
            // Teredo with any server, and ISATAP in any prefix.
            "2001:0:5db8:d822::1",
            "2606:4700::5efe:10.0.0.1",
            "2606:4700::200:5efe:169.254.169.254",
            "2002:5db8:d822::5efe:127.0.0.1",
            "100::1",
            "5f00::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "3fff::1",
            // The metadata of AWS, Google and Scaleway, and OpenStack's.
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:42::42",
            "fe80::a9fe:a9fe",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_is_outside_is() {
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "100.128.0.1",
            "172.32.0.1",
            "2001:4860:4860::8888",
            "2606:4700::1",
            "::ffff:1.1.1.1",
            "64:ff9b::5db8:d822",
            "2002:5db8:d822::1",
            "2606:4700::5efe:1.1.1.1",
            "168.63.129.17",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
