//! How many connections each address has: one machine must not take all that there are.
//!
//! A machine of IPv6 has a whole network of 64 bits to itself (RFC 4291, section 2.5.4) and can speak from any address in it,
//! so that network counts as one. This machine itself is exempt: whoever is here can do worse.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The connections of a port, by where they are from. No more entries than there are connections.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection from somewhere; it counts until this is dropped.
#[derive(Debug)]
pub struct FromAddress {
    /// `None`: from this machine.
    from: Option<IpAddr>,
    addresses: Addresses,
}

impl Addresses {
    /// One more connection from there; `None` if there are as many as there may be.
    pub fn come(&self, from: IpAddr, most: usize) -> Option<FromAddress> {
        let from = counted(from);
        if let Some(from) = from {
            let mut all = self.lock();
            let count = all.entry(from).or_default();
            if *count >= most {
                return None;
            }
            *count += 1;
        }
        Some(FromAddress { from, addresses: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FromAddress {
    fn drop(&mut self) {
        let Some(from) = self.from else { return };
        let mut all = self.addresses.lock();
        if let Some(count) = all.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                all.remove(&from);
            }
        }
    }
}

/// What an address counts as; `None`: not at all.
fn counted(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
        address => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let addresses = Addresses::default();
        let come = |from| addresses.come(ip(from), 2);
        let first = come("192.0.2.1").unwrap();
        let _second = come("192.0.2.1").unwrap();
        assert!(come("192.0.2.1").is_none());
        assert!(come("::ffff:192.0.2.1").is_none(), "the same, as a socket for both kinds shows it");
        let _other = come("192.0.2.2").unwrap();
        drop(first);
        assert!(come("192.0.2.1").is_some());
    }

    #[test]
    fn a_network_of_one_machine_counts_as_one() {
        let addresses = Addresses::default();
        let _one = addresses.come(ip("2001:db8:1:2::1"), 1).unwrap();
        assert!(addresses.come(ip("2001:db8:1:2:ffff::9"), 1).is_none());
        assert!(addresses.come(ip("2001:db8:1:3::1"), 1).is_some());
    }

    #[test]
    fn this_machine_is_exempt_and_nothing_is_kept_of_who_is_gone() {
        let addresses = Addresses::default();
        let here: Vec<_> = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
            .map(|from| addresses.come(ip(from), 0).unwrap())
            .into();
        drop(addresses.come(ip("192.0.2.1"), 1));
        assert!(addresses.lock().is_empty());
        drop(here);
    }
}
