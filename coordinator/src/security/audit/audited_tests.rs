//! A call that is written down, and whoever made it goes.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::{sync::Notify, time::timeout};

use super::*;

/// Nothing here takes so long unless it hangs.
const OVERALL: Duration = Duration::from_secs(30);

/// A service that says when a call has begun, and ends it when it is told to.
#[derive(Clone, Default)]
struct Slow {
    begun: Arc<Notify>,
    ends: Arc<Notify>,
}

impl Service<http::Request<Body>> for Slow {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answered>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let Self { begun, ends } = self.clone();
        Box::pin(async move {
            begun.notify_one();
            ends.notified().await;
            Ok(Status::ok("").into_http())
        })
    }
}

/// What came of the one call in the log.
async fn outcome(audit: &Audit) -> String {
    let wanted = Wanted { action: "ClusterService/SetStrategy".into(), count: 2, ..Wanted::default() };
    let (entries, _) = audit.list(wanted).await.unwrap();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    entry.outcome.clone()
}

#[tokio::test]
async fn it_is_written_down_before_it_begins_and_made_to_its_end_although_its_caller_goes() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, slow) = (Audit::start(&AuditConfig::default(), directory.path()), Slow::default());
    let request = http::Request::post("/evenkeel.v1.ClusterService/SetStrategy").body(Body::empty()).unwrap();
    let mut call = Box::pin(audited(audit.clone(), Arc::new(Caller::anybody()), slow.clone(), request));
    tokio::select! {
        _ = &mut call => panic!("it is not over"),
        begun = timeout(OVERALL, slow.begun.notified()) => begun.expect("it begins"),
    }
    assert!(outcome(&audit).await.starts_with("not known"), "it goes on");
    drop(call);
    slow.ends.notify_one();
    let ended = async { while outcome(&audit).await != "OK" {} };
    timeout(OVERALL, ended).await.expect("what came of it is written down");
}
