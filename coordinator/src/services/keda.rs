//! KEDA's external scaler: how many agents are wanted, for an orchestrator that starts and stops them.
//!
//! KEDA asks `GetMetricSpec` once and `GetMetrics` at its polling interval, and sets the replicas of its target to the
//! metric divided by the target size. The metric is the number of agents wanted and the size is one, so that the replicas
//! are what the policy says, with its windows, steps and cooldown. Those of the autoscaler that KEDA sets up come on top:
//! they are best set to nothing. `IsActive` and `StreamIsActive` say whether any agent is wanted at all, by which KEDA
//! scales from and to nothing.
//!
//! An orchestrator chooses itself which agents go, and tells them by SIGTERM: an agent then finishes what it runs, for as
//! long as it is let (`--drain-timeout`, and the grace period of its pod, which must be longer).
//!
//! The scaling metadata of a request is not read: there is one fleet. While the manager has failed the last number is
//! answered, so that nothing is scaled by a fault; without a manager calls are refused, and KEDA falls back as it is set.

use std::pin::Pin;

use evenkeel_proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef, external_scaler_server::ExternalScaler,
};
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{
    actors::manager::{ManagerState, ScalingShown},
    lifecycle::Lifecycle,
};

/// The one metric there is.
pub const METRIC: &str = "evenkeel-agents-wanted";
/// Wanted agents for each replica.
const TARGET_SIZE: i64 = 1;

/// The service.
#[derive(Clone)]
pub struct Keda {
    manager: ManagerState,
    lifecycle: Lifecycle,
}

impl Keda {
    /// Of this manager.
    #[must_use]
    pub const fn new(manager: ManagerState, lifecycle: Lifecycle) -> Self {
        Self { manager, lifecycle }
    }

    fn shown(&self) -> Result<ScalingShown, Status> {
        let shown = self.manager.scaling();
        match shown.known {
            true => Ok(shown),
            false => Err(Status::unavailable("the resource manager is off, or has not looked at the fleet yet")),
        }
    }
}

const fn is_active(shown: &ScalingShown) -> bool {
    shown.wanted > 0
}

type ActiveStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalScaler for Keda {
    type StreamIsActiveStream = ActiveStream;

    async fn is_active(&self, _: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        Ok(Response::new(IsActiveResponse { result: is_active(&self.shown()?) }))
    }

    async fn stream_is_active(&self, _: Request<ScaledObjectRef>) -> Result<Response<ActiveStream>, Status> {
        let watching = Watching { seen: self.manager.watch_scaling(), told: None, lifecycle: self.lifecycle.clone() };
        Ok(Response::new(Box::pin(stream::unfold(watching, Watching::next))))
    }

    async fn get_metric_spec(&self, _: Request<ScaledObjectRef>) -> Result<Response<GetMetricSpecResponse>, Status> {
        let spec = MetricSpec {
            metric_name: METRIC.to_owned(),
            target_size: TARGET_SIZE,
            target_size_float: TARGET_SIZE as f64,
        };
        Ok(Response::new(GetMetricSpecResponse { metric_specs: vec![spec] }))
    }

    async fn get_metrics(&self, _: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        // Whatever name it is asked by: there is one, and KEDA puts words of its own before it.
        let wanted = self.shown()?.wanted;
        let value = MetricValue {
            metric_name: METRIC.to_owned(),
            metric_value: wanted.into(),
            metric_value_float: wanted.into(),
        };
        Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
    }
}

/// A stream of whether any agent is wanted: at once, and whenever that changes.
struct Watching {
    seen: watch::Receiver<ScalingShown>,
    told: Option<bool>,
    lifecycle: Lifecycle,
}

impl Watching {
    async fn next(mut self) -> Option<(Result<IsActiveResponse, Status>, Self)> {
        loop {
            let shown = *self.seen.borrow_and_update();
            let active = is_active(&shown);
            if shown.known && self.told != Some(active) {
                self.told = Some(active);
                return Some((Ok(IsActiveResponse { result: active }), self));
            }
            tokio::select! {
                changed = self.seen.changed() => changed.ok()?,
                () = self.lifecycle.closed() => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;

    fn keda() -> (ManagerState, Keda) {
        let manager = ManagerState::new(true);
        (manager.clone(), Keda::new(manager, Lifecycle::default()))
    }

    fn object() -> Request<ScaledObjectRef> {
        Request::new(ScaledObjectRef::default())
    }

    #[tokio::test]
    async fn the_metric_is_the_number_of_agents_wanted_one_for_each() {
        let (manager, keda) = keda();
        manager.show_wanted(2, 5);
        let spec = keda.get_metric_spec(object()).await.unwrap().into_inner().metric_specs;
        assert_eq!((spec.len(), spec[0].target_size), (1, 1));
        let request = GetMetricsRequest { metric_name: spec[0].metric_name.clone(), ..GetMetricsRequest::default() };
        let values = keda.get_metrics(Request::new(request)).await.unwrap().into_inner().metric_values;
        assert_eq!((values.len(), values[0].metric_value), (1, 5));
        assert_eq!(values[0].metric_name, spec[0].metric_name);
    }

    #[tokio::test]
    async fn nothing_is_said_before_the_fleet_was_looked_at() {
        let (manager, keda) = keda();
        let refused = keda.get_metrics(Request::new(GetMetricsRequest::default())).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        assert!(keda.is_active(object()).await.is_err());
        manager.show_wanted(0, 0);
        assert!(!keda.is_active(object()).await.unwrap().into_inner().result);
    }

    #[tokio::test]
    async fn the_stream_tells_at_once_and_then_each_change() {
        let (manager, keda) = keda();
        let mut stream = keda.stream_is_active(object()).await.unwrap().into_inner();
        assert!(stream.next().now_or_never().is_none(), "nothing is known yet");
        for (wanted, active) in [(0, false), (3, true), (0, false)] {
            manager.show_wanted(0, wanted);
            assert_eq!(stream.next().await.unwrap().unwrap().result, active);
        }
        manager.show_wanted(1, 0);
        assert!(stream.next().now_or_never().is_none(), "none is wanted, as before");
        keda.lifecycle.close();
        assert!(stream.next().await.is_none(), "it ends with the coordinator");
    }
}
