//! Who may use the proxy. Pure: addresses and fields in, a decision out.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether a client at this address may use a proxy that is for these networks; for everybody if there are none.
pub(crate) fn admits(networks: &[IpNet], client: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(&client.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_are_let_in() {
        let some = ["10.1.0.0/16", "192.0.2.7/32", "fd00::/8"].map(|network| network.parse().unwrap());
        for (networks, client, expected) in [
            (&some[..0], "203.0.113.1", true),
            (&some, "10.1.255.255", true),
            (&some, "10.2.0.0", false),
            (&some, "::ffff:192.0.2.7", true),
            (&some, "192.0.2.8", false),
            (&some, "fd12::1", true),
            (&some, "::1", false),
        ] {
            assert_eq!(admits(networks, client.parse().unwrap()), expected, "{client}");
        }
    }
}
