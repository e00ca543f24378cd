//! Listening, with room for a whole fleet that dials at once.
//!
//! Connections that nobody has accepted yet wait in the kernel, and beyond its limit their first packets are dropped. Who
//! dials tries again after one second, then after two more: agents that come back after a restart, and clients among them
//! that have nothing to do with it. Tokio's own `bind` asks for 128, which a thousand agents overrun.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted. The kernel takes the smaller of this and its own limit (`net.core.somaxconn`, 4096
/// by default), so this only has to be larger than what anybody sets there.
const BACKLOG: u32 = 65_535;

/// Listens on this address.
///
/// # Errors
/// What the system says.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait until the connections of the process before have been forgotten.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Where this machine's own programs reach what listens on this address.
#[must_use]
pub fn reached_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// Two listeners on the port of one: a connection is for whichever of them takes it on first.
///
/// # Errors
/// If there is no descriptor for it.
pub fn twice(listener: TcpListener) -> io::Result<(TcpListener, TcpListener)> {
    let one = listener.into_std()?;
    let other = one.try_clone()?;
    Ok((TcpListener::from_std(one)?, TcpListener::from_std(other)?))
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::{net::TcpStream, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_fleet_that_dials_at_once_is_not_put_off_although_nobody_accepts_it_yet() {
        let kernel = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
        let kernel: usize = kernel.trim().parse().unwrap_or(128);
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let mut streams = Vec::new();
        for number in 0..kernel.min(600) {
            // What is dropped is sent again after one second.
            let dialled = timeout(Duration::from_millis(900), TcpStream::connect(address)).await;
            streams.push(dialled.unwrap_or_else(|_| panic!("connection {number} was dropped")).unwrap());
        }
    }

    #[tokio::test]
    async fn an_address_that_was_just_in_use_can_be_listened_on() {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = first.local_addr().unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        drop(first.accept().await.unwrap());
        drop(first);
        listen(address).unwrap();
    }
}
