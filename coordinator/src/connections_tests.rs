//! Which connections are let in. Other machines are made up: all connections of a test are from this one.

use super::*;

struct Port {
    listener: TcpListener,
    connections: Connections,
}

impl Port {
    async fn new(connections_max: usize, per_address_max: usize) -> Self {
        let limits = ConnectionLimits {
            connections_max,
            per_address_max,
            handshakes_max: 1,
            encrypted: false,
            greeting_bytes: 24,
            greeting_within: Duration::MAX,
            unread_max: Duration::MAX,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, connections: Connections::new(limits, ClosedConnections::default()) }
    }

    async fn come(&self, from: [u8; 4]) -> Result<Guarded, ClosedConnection> {
        let stream = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        self.connections.admit(stream, SocketAddr::from((from, 1)))
    }
}

const HERE: [u8; 4] = [192, 0, 2, 1];
const THERE: [u8; 4] = [192, 0, 2, 2];

#[tokio::test]
async fn an_address_has_so_many_connections_and_others_have_theirs() {
    let port = Port::new(9, 2).await;
    let first = port.come(HERE).await.unwrap();
    let _second = port.come(HERE).await.unwrap();
    assert_eq!(port.come(HERE).await.err(), Some(ClosedConnection::TooManyFromAddress));
    let _other = port.come(THERE).await.unwrap();
    drop(first);
    let _again = port.come(HERE).await.unwrap();
    assert_eq!(port.connections.len(), 3);
}

#[tokio::test]
async fn there_are_so_many_connections_wherever_they_are_from() {
    let port = Port::new(2, 9).await;
    let first = port.come(HERE).await.unwrap();
    let _second = port.come(THERE).await.unwrap();
    assert_eq!(port.come([192, 0, 2, 3]).await.err(), Some(ClosedConnection::TooMany));
    drop(first);
    let _third = port.come([192, 0, 2, 3]).await.unwrap();
}
