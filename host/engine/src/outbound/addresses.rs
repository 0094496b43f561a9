//! Which addresses are public, and so nobody's inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks that are not reachable through the public internet, or not one host there: the entries of
/// the IANA IPv4 Special-Purpose Address Registry that are not globally reachable, multicast (RFC 5771)
/// and what is reserved (RFC 1112 §4). One is public by its number only: Azure's service for its own machines.
const NOT_PUBLIC_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Global unicast (RFC 4291 §2.4): whatever is outside is not public.
const UNICAST_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Inside of [`UNICAST_V6`] and all the same not public: protocol assignments with Teredo (2001::/23),
/// documentation (RFC 3849, RFC 9637).
const NOT_PUBLIC_V6: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// The addresses that may be connected to.
pub(super) struct Addresses {
    allowed: Vec<IpNet>,
    denied: Vec<IpNet>,
}

impl Addresses {
    /// The public ones and those in `allowed`, but none of `denied`.
    pub(super) fn new(allowed: Vec<IpNet>, denied: Vec<IpNet>) -> Self {
        Self { allowed, denied }
    }

    pub(super) fn allow(&self, address: IpAddr) -> bool {
        // An IPv4 address in IPv6 clothes goes where it goes without them.
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !within(&self.denied) && (is_public(address) || within(&self.allowed))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => {
            let within = |(network, length): &(Ipv6Addr, u8)| {
                Ipv6Net::new_assert(*network, *length).contains(&address)
            };
            if let Some(embedded) = embedded_v4(address) {
                return is_public_v4(embedded);
            }
            within(&UNICAST_V6) && !NOT_PUBLIC_V6.iter().any(within)
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !NOT_PUBLIC_V4.iter().any(|(network, length)| Ipv4Net::new_assert(*network, *length).contains(&address))
}

/// The IPv4 address to which a translator sends what goes to this one: NAT64 (RFC 6052 §2.1) and 6to4
/// (RFC 3056 §2).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b, c, d, e, f) {
        (0x64, 0xff9b, 0, 0, 0, 0) => Some(of(g, h)),
        (0x2002, ..) => Some(of(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_is_told_from_what_is_public() {
        let addresses = Addresses::new(Vec::new(), Vec::new());
        for public in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1"] {
            assert!(addresses.allow(public.parse().unwrap()), "{public}");
        }
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.1.1",
            "169.254.169.254",
            "168.63.129.16",
            "172.31.0.1",
            "192.168.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "::127.0.0.1",
        ] {
            assert!(!addresses.allow(inside.parse().unwrap()), "{inside}");
        }
    }

    #[test]
    fn the_operator_can_allow_and_deny_networks() {
        let addresses = Addresses::new(
            vec!["10.1.0.0/16".parse().unwrap(), "::1/128".parse().unwrap()],
            vec!["10.1.9.0/24".parse().unwrap(), "1.1.1.0/24".parse().unwrap()],
        );
        for allowed in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            assert!(addresses.allow(allowed.parse().unwrap()), "{allowed}");
        }
        for denied in ["10.2.0.1", "10.1.9.1", "1.1.1.1"] {
            assert!(!addresses.allow(denied.parse().unwrap()), "{denied}");
        }
    }
}
