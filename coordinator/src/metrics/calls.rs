//! Calls of the gRPC services: how many, how they ended, how long they took, how many are under way.
//!
//! Labels are the names in the services' descriptors, so that no client can make a series: what is called under another name is
//! not counted at all. A call has its series from the first time on that it is made, since most never are.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};

use evenkeel_proto::FILE_DESCRIPTOR_SET;
use evenkeel_shared::trace::TraceId;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use prost_reflect::DescriptorPool;
use tonic::Code;

use super::{
    latency::{Buckets, Latencies, Latency},
    registries::Registries,
};

/// From half a millisecond to a quarter of a minute, each bucket twice the one before.
const BUCKETS: Buckets = Buckets { first_seconds: 0.000_5, count: 16 };
/// Codes of gRPC.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    service: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    service: &'static str,
    method: &'static str,
    code: &'static str,
}

/// The calls. Clones share them.
#[derive(Clone)]
pub struct Calls(Arc<State>);

struct State {
    known: HashMap<String, Arc<Call>>,
    ended: Family<EndLabel, Counter>,
    under_way: Family<CallLabel, Gauge>,
    latencies: Latencies<CallLabel>,
}

/// One call of a service.
struct Call {
    label: CallLabel,
    /// Neither side is a stream: how long it took says something.
    unary: bool,
    made: OnceLock<Made>,
}

struct Made {
    under_way: Gauge,
    latency: Latency,
    ended: [OnceLock<Counter>; CODES.len()],
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("known", &self.0.known.len()).finish_non_exhaustive()
    }
}

impl Calls {
    /// None made yet.
    pub fn register(registries: &mut Registries) -> Self {
        let (ended, under_way) = (Family::default(), Family::default());
        registries.both("grpc_calls", "Calls of gRPC that have ended, by how", Family::clone(&ended));
        registries.both("grpc_calls_in_flight", "Calls of gRPC under way", Family::clone(&under_way));
        let help = "Time of calls of gRPC without streams";
        let latencies = Latencies::register(registries, "grpc_call_duration_seconds", help, BUCKETS);
        Self(Arc::new(State { known: known(), ended, under_way, latencies }))
    }

    /// A call to this path (`/package.Service/Method`) begins; `None` if there is none of that name.
    #[must_use]
    pub fn begin(&self, path: &str) -> Option<CallUnderWay> {
        let call = Arc::clone(self.0.known.get(path)?);
        let made = call.made.get_or_init(|| Made {
            under_way: self.0.under_way.get_or_create(&call.label).clone(),
            latency: self.0.latencies.of(&call.label),
            ended: [const { OnceLock::new() }; CODES.len()],
        });
        made.under_way.inc();
        let trace = call.unary.then(TraceOfCall::default);
        Some(CallUnderWay { calls: self.clone(), call, began: Instant::now(), trace, ended: false })
    }

    fn end(&self, call: &Call, code: Code, began: Instant, trace: Option<TraceId>) {
        let Some(made) = call.made.get() else { return };
        made.under_way.dec();
        if call.unary {
            made.latency.observe(began.elapsed().as_secs_f64(), trace.map(|trace| trace.to_string()));
        }
        let code = usize::try_from(i32::from(code)).unwrap_or_default().min(CODES.len() - 1);
        let label = || EndLabel { service: call.label.service, method: call.label.method, code: CODES[code] };
        made.ended[code].get_or_init(|| self.0.ended.get_or_create(&label()).clone()).inc();
    }
}

/// Which trace a call belongs to, as far as anybody has found out who handles it. It goes with the request, since some are
/// traced by their headers and some by the tasks in them. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct TraceOfCall(Arc<OnceLock<TraceId>>);

impl TraceOfCall {
    /// The call belongs to this trace, whose spans are kept: others cannot be looked up. The first one stays.
    pub fn is(&self, trace: TraceId) {
        self.0.get_or_init(|| trace);
    }
}

/// A call that is under way. One that is dropped was given up by its client.
pub struct CallUnderWay {
    calls: Calls,
    call: Arc<Call>,
    began: Instant,
    /// None where no time is taken.
    trace: Option<TraceOfCall>,
    ended: bool,
}

impl CallUnderWay {
    /// Where its trace is to be told; `None`: nobody asks for the traces of such calls.
    #[must_use]
    pub const fn trace(&self) -> Option<&TraceOfCall> {
        self.trace.as_ref()
    }

    /// It has ended with this code. The first one counts.
    pub fn ends(&mut self, code: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            let trace = self.trace.as_ref().and_then(|trace| trace.0.get()).copied();
            self.calls.end(&self.call, code, self.began, trace);
        }
    }
}

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        self.ends(Code::Cancelled);
    }
}

/// The calls of all services, by path. Their names are kept for the life of the process.
fn known() -> HashMap<String, Arc<Call>> {
    static NAMES: OnceLock<Vec<(&'static str, &'static str, bool)>> = OnceLock::new();
    let leaked = |name: &str| -> &'static str { Box::leak(name.to_owned().into_boxed_str()) };
    let names = NAMES.get_or_init(|| {
        let mut names = Vec::new();
        for set in [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            // They are of this build; without them calls are not counted.
            let Ok(pool) = DescriptorPool::decode(set) else { continue };
            for service in pool.services() {
                let service_name = leaked(service.full_name());
                for method in service.methods() {
                    let unary = !method.is_client_streaming() && !method.is_server_streaming();
                    names.push((service_name, leaked(method.name()), unary));
                }
            }
        }
        names
    });
    let call = |(service, method, unary): &(&'static str, &'static str, bool)| {
        let call = Call { label: CallLabel { service, method }, unary: *unary, made: OnceLock::new() };
        (format!("/{service}/{method}"), Arc::new(call))
    };
    names.iter().map(call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBMIT: &str = "/evenkeel.v1.TaskService/Submit";

    fn text(registries: &Registries) -> String {
        registries.open_metrics().unwrap()
    }

    #[test]
    fn calls_are_counted_by_how_they_end_and_have_no_series_before() {
        let mut registries = Registries::default();
        let calls = Calls::register(&mut registries);
        assert!(!text(&registries).contains("Submit"), "{}", text(&registries));
        let mut first = calls.begin(SUBMIT).unwrap();
        let labels = "service=\"evenkeel.v1.TaskService\",method=\"Submit\"";
        let in_flight = |count: u32| format!("evenkeel_grpc_calls_in_flight{{{labels}}} {count}");
        assert!(text(&registries).contains(&in_flight(1)), "{}", text(&registries));
        first.ends(Code::NotFound);
        first.ends(Code::Ok);
        drop(first);
        drop(calls.begin(SUBMIT).unwrap());
        let text = text(&registries);
        for expected in [
            in_flight(0),
            format!("evenkeel_grpc_calls_total{{{labels},code=\"NOT_FOUND\"}} 1"),
            format!("evenkeel_grpc_calls_total{{{labels},code=\"CANCELLED\"}} 1"),
            format!("evenkeel_grpc_call_duration_seconds_count{{{labels}}} 2"),
        ] {
            assert!(text.contains(&expected), "`{expected}` is not in\n{text}");
        }
        assert!(!text.contains("code=\"OK\""), "it ended once");
    }

    #[test]
    fn a_call_that_is_none_makes_no_series() {
        let mut registries = Registries::default();
        let calls = Calls::register(&mut registries);
        for path in ["/evenkeel.v1.TaskService/Steal", "/a/b", "", "/evenkeel.v1.TaskService/Submit/"] {
            assert!(calls.begin(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_latency_carries_the_trace_of_its_call() {
        let mut registries = Registries::default();
        let calls = Calls::register(&mut registries);
        let mut call = calls.begin(SUBMIT).unwrap();
        for trace in [0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 7] {
            call.trace().unwrap().is(TraceId::new(trace).unwrap());
        }
        call.ends(Code::Ok);
        let text = text(&registries);
        assert!(text.contains("# {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"}"), "{text}");
        assert_eq!(text.matches("trace_id").count(), 1, "{text}");
        let stream = calls.begin("/evenkeel.v1.TaskService/Watch").unwrap();
        assert!(stream.trace().is_none(), "streams have no time that says anything");
    }

    #[test]
    fn codes_are_those_of_grpc() {
        assert_eq!(i32::from(Code::Unauthenticated), 16);
        assert_eq!((CODES[16], CODES[8], CODES[14]), ("UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"));
    }
}
