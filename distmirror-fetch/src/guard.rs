//! Which addresses the fetch side may dial: public unicast ones, and what the configuration allows explicitly.
//!
//! Nothing here dials or resolves. [`connect`](crate::connect) asks about every address just before it dials it, at
//! every redirect and every retry, so that neither a name, a redirect nor a changed DNS answer leads inside.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use distmirror_core::{Authority, Host};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Error;

/// Decides which addresses may be dialled.
///
/// # Examples
/// ```
/// use distmirror_fetch::AddressPolicy;
///
/// let policy = AddressPolicy::new(&["10.1.2.0/24:443".to_owned()], Vec::new())?;
/// assert!(policy.check("10.1.2.3:443".parse()?).is_ok());
/// assert!(policy.check("10.1.2.3:80".parse()?).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allowed: Vec<Allowed>,
    own_listeners: Vec<SocketAddr>,
}

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not public, and nothing allows it.
    NotPublic,
    /// This mirror itself listens there.
    OwnListener,
    /// It is the name of something in a local network.
    LocalName,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPublic => "which is not public; see fetch.allow_addresses",
            Self::OwnListener => "where this mirror itself listens",
            Self::LocalName => "which is the name of something in a local network; see fetch.proxy_except",
        })
    }
}

impl AddressPolicy {
    /// A policy that allows what is public and these networks, and never the mirror's own listeners.
    ///
    /// A network is written `10.1.2.0/24:443`, or `10.1.2.0/24` for any port; IPv6 as `[fd00::/8]:443`, `fd00::/8:443`
    /// or `fd00::/8`. A single address needs no prefix length: `10.1.2.3:443`, `[fd00::1]:443`, `fd00::1`.
    /// An own listener on an unspecified address such as `0.0.0.0:3128` stands for every address of this machine.
    ///
    /// # Errors
    /// [`Error::AllowAddresses`] with the text that cannot be read.
    pub fn new(allow_addresses: &[String], own_listeners: Vec<SocketAddr>) -> Result<Self, Error> {
        let parse = |text: &String| Allowed::parse(text).ok_or_else(|| Error::AllowAddresses { text: text.clone() });
        Ok(Self { allowed: allow_addresses.iter().map(parse).collect::<Result<_, _>>()?, own_listeners })
    }

    /// Whether this address may be dialled.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, address: SocketAddr) -> Result<(), Refusal> {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        if self.own_listeners.iter().any(|listener| listens_at(*listener, ip, port)) {
            return Err(Refusal::OwnListener);
        }
        let allowed = is_public(ip) || self.allowed.iter().any(|allowed| allowed.covers(ip, port));
        if allowed { Ok(()) } else { Err(Refusal::NotPublic) }
    }

    /// Whether a host may be asked for of somebody else, who resolves it and dials it: an address by the rules for addresses, a
    /// name unless it can only be one of a local network.
    ///
    /// # Errors
    /// Why not.
    pub fn check_unresolved(&self, authority: &Authority) -> Result<(), Refusal> {
        match &authority.host {
            Host::Name(name) if is_local_name(name) => Err(Refusal::LocalName),
            Host::Name(_) => Ok(()),
            Host::V4(address) => self.check(SocketAddr::new((*address).into(), authority.port)),
            Host::V6(address) => self.check(SocketAddr::new((*address).into(), authority.port)),
        }
    }
}

/// Whether a name has no dot, or ends as only names of local networks do.
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    !name.contains('.')
        || LOCAL_DOMAINS.iter().any(|domain| name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

/// RFC 6761, RFC 6762 with its appendix G, RFC 8375, and what is reserved for private use in the root zone.
const LOCAL_DOMAINS: [&str; 9] =
    ["localhost", "local", "home.arpa", "internal", "intranet", "private", "corp", "home", "lan"];

/// A network that may be reached although it is not public.
#[derive(Debug, Clone)]
struct Allowed {
    network: IpNet,
    port: Option<u16>,
}

impl Allowed {
    fn parse(text: &str) -> Option<Self> {
        let (network, port) = split_port(text.trim())?;
        let network = network.parse().or_else(|_| network.parse::<IpAddr>().map(IpNet::from)).ok()?;
        let port = port.map(str::parse).transpose().ok()?;
        (port != Some(0)).then_some(Self { network, port })
    }

    fn covers(&self, ip: IpAddr, port: u16) -> bool {
        self.network.contains(&ip) && self.port.is_none_or(|allowed| allowed == port)
    }
}

/// Splits the port from a network. After a prefix length a colon can only start a port; without one, the colons of an
/// IPv6 address are its own.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (network, after) = rest.split_once(']')?;
        return if after.is_empty() { Some((network, None)) } else { Some((network, Some(after.strip_prefix(':')?))) };
    }
    let prefix_length = text.find('/').unwrap_or_default();
    match text[prefix_length..].matches(':').count() {
        1 => text.rsplit_once(':').map(|(network, port)| (network, Some(port))),
        _ => Some((text, None)),
    }
}

fn listens_at(listener: SocketAddr, ip: IpAddr, port: u16) -> bool {
    let listens_on = listener.ip().to_canonical();
    listener.port() == port && (listens_on == ip || (listens_on.is_unspecified() && is_of_this_machine(ip)))
}

/// Whether this machine has the address: only then a socket can be bound to it.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// Whether the address is public unicast: assigned by the registries for the open Internet, and for nothing else.
///
/// IPv4 inside IPv6 counts where a packet would really go to that IPv4 address: mapped (`::ffff:a.b.c.d`) and NAT64
/// (`64:ff9b::a.b.c.d`, which IPv6-only networks depend on). The other wrappings (compatible, 6to4, Teredo) are never
/// public.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|network| network.contains(&ip))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if NAT64.contains(&ip) {
        let [.., a, b, c, d] = ip.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    GLOBAL_UNICAST_V6.contains(&ip) && !SPECIAL_V6.iter().any(|network| network.contains(&ip))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix_length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_length)
}

const fn v6(a: u16, b: u16, prefix_length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix_length)
}

/// IANA IPv4 Special-Purpose Address Registry, multicast, and one address of a cloud.
const SPECIAL_V4: [Ipv4Net; 17] = [
    v4(0, 0, 0, 0, 8),          // this network, RFC 791
    v4(10, 0, 0, 0, 8),         // private, RFC 1918
    v4(100, 64, 0, 0, 10),      // shared by carriers, RFC 6598
    v4(127, 0, 0, 0, 8),        // loopback
    v4(168, 63, 129, 16, 32),   // the platform of Azure, seen from inside only
    v4(169, 254, 0, 0, 16),     // link-local, with the metadata services
    v4(172, 16, 0, 0, 12),      // private, RFC 1918
    v4(192, 0, 0, 0, 24),       // protocol assignments, RFC 6890
    v4(192, 0, 2, 0, 24),       // documentation, RFC 5737
    v4(192, 88, 99, 0, 24),     // 6to4 relays, RFC 7526
    v4(192, 168, 0, 0, 16),     // private, RFC 1918
    v4(198, 18, 0, 0, 15),      // benchmarks, RFC 2544
    v4(198, 51, 100, 0, 24),    // documentation, RFC 5737
    v4(203, 0, 113, 0, 24),     // documentation, RFC 5737
    v4(224, 0, 0, 0, 4),        // multicast
    v4(240, 0, 0, 0, 4),        // reserved
    v4(255, 255, 255, 255, 32), // broadcast
];

/// The only part of IPv6 that the registries hand out.
const GLOBAL_UNICAST_V6: Ipv6Net = v6(0x2000, 0, 3);

/// What is special within it: IANA IPv6 Special-Purpose Address Registry.
const SPECIAL_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 23),      // protocol assignments, with Teredo 2001::/32, RFC 2928
    v6(0x2001, 0x0db8, 32), // documentation, RFC 3849
    v6(0x2002, 0, 16),      // 6to4, RFC 3056
    v6(0x3fff, 0, 20),      // documentation, RFC 9637
];

/// The well-known prefix of RFC 6052.
const NAT64: Ipv6Net = v6(0x0064, 0xff9b, 96);

#[cfg(test)]
mod tests;
