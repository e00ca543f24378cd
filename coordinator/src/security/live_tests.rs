//! The end of a credential, and who does not hear of it.

use std::future::poll_fn;

use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn a_peer_that_has_not_taken_the_end_of_its_call_is_closed() {
    let live = Arc::new(Live::new(Arc::new(Caller::nobody()), None));
    let (deaf, gone) = (Peer::unknown(), Peer::unknown());
    let call = Call::begin(vec![Arc::clone(&live)], Some(&deaf), 1);
    drop(Call::begin(vec![Arc::clone(&live)], Some(&gone), 1));
    assert_eq!((call.ended().now_or_never(), live.end()), (None, 1));
    assert!(call.ended().now_or_never().is_some());
    assert_eq!(deaf.closed_for(), None, "it has some time to hear of it");
    let closed = poll_fn(|cx| if deaf.check(cx).is_err() { Poll::Ready(()) } else { Poll::Pending });
    timeout(6 * END_WITHIN, closed).await.expect("it is closed");
    assert_eq!((deaf.closed_for(), gone.closed_for()), (Some(ClosedConnection::Revoked), None));
}
