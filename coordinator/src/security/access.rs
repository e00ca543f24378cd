//! The one table of who may do what: each call of each service, and each route of the HTTP port that is no call.
//!
//! Routes under `/api/v1` are calls, and go by these. Tests walk the descriptors and the router: a call or a route without a
//! line fails them, and nobody may use it.
//!
//! Clients see their own tasks here and nothing of the fleet: allocation, costs and budgets tell of all tenants at once, so
//! they are for viewers and admins. For the same reason whoever is bound to a tenant may use [calls of its own](is_of_tenant)
//! alone, whatever its roles.

use std::{collections::HashMap, sync::LazyLock};

use super::Role;
use Role::{Admin, Agent, Client, Viewer};

/// What is kept of a call in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: it changes nothing, or has a record of its own as every task has.
    Nothing,
    /// Who asked for what, when, and what came of it.
    Audited,
}
use Kept::{Audited, Nothing};

/// A line of the table: a call as `package.Service/Method`, who may make it, and whether that is kept.
pub type Rule = (&'static str, &'static [Role], Kept);

/// Those who may look.
const LOOKS: &[Role] = &[Viewer, Admin];
/// Those who may change what holds for all.
const CHANGES: &[Role] = &[Admin];

/// Calls.
#[rustfmt::skip]
pub const CALLS: &[Rule] = &[
    ("evenkeel.v1.AgentService/Session", &[Agent], Nothing),

    ("evenkeel.v1.TaskService/Submit", &[Client, Admin], Nothing),
    ("evenkeel.v1.TaskService/SubmitStream", &[Client, Admin], Nothing),
    ("evenkeel.v1.TaskService/Execute", &[Client, Admin], Nothing),
    ("evenkeel.v1.TaskService/Get", &[Client, Viewer, Admin], Nothing),
    ("evenkeel.v1.TaskService/Wait", &[Client, Admin], Nothing),
    ("evenkeel.v1.TaskService/Watch", &[Client, Viewer, Admin], Nothing),
    ("evenkeel.v1.TaskService/Cancel", &[Client, Admin], Audited),
    ("evenkeel.v1.TaskService/List", &[Client, Viewer, Admin], Nothing),
    ("evenkeel.v1.TaskService/Explain", &[Client, Viewer, Admin], Nothing),
    ("evenkeel.v1.TaskService/Redrive", &[Client, Admin], Audited),

    ("evenkeel.v1.ClusterService/ListAgents", LOOKS, Nothing),
    ("evenkeel.v1.ClusterService/DescribeAgent", LOOKS, Nothing),
    ("evenkeel.v1.ClusterService/CordonAgent", CHANGES, Audited),
    ("evenkeel.v1.ClusterService/DrainAgent", CHANGES, Audited),
    ("evenkeel.v1.ClusterService/ResumeAgent", CHANGES, Audited),
    ("evenkeel.v1.ClusterService/GetStrategy", LOOKS, Nothing),
    ("evenkeel.v1.ClusterService/SetStrategy", CHANGES, Audited),
    ("evenkeel.v1.ClusterService/Status", LOOKS, Nothing),
    ("evenkeel.v1.ClusterService/Events", LOOKS, Nothing),

    ("evenkeel.v1.ResourceService/ListLimits", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/PutLimit", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/DeleteLimit", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/GetDynamicLimits", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/PutDynamicLimits", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/ListQuotas", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/ReportQuota", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/ClearQuota", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/ListBreakers", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/SetBreaker", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/ListRequestSizes", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/PutRequestSize", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/DeleteRequestSize", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/GetAllocation", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/ListAllocationEvents", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/ListBudgets", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/PutBudget", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/DeleteBudget", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/GetPrices", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/PutPrices", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/GetCosts", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/GetFleetHealth", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/QueryMetrics", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/GetTrend", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/ListBottlenecks", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/GetThresholds", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/PutThresholds", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/GetScaling", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/GetScalingPolicy", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/PutScalingPolicy", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/ValidateScalingPolicy", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/ListScalingTemplates", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/ListScalingPolicyVersions", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/ListScalingEvents", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/SetScalingOverride", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/ClearScalingOverride", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/ListRecommendations", LOOKS, Nothing),
    ("evenkeel.v1.ResourceService/ApplyRecommendation", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/UndoRecommendation", CHANGES, Audited),
    ("evenkeel.v1.ResourceService/DismissRecommendation", CHANGES, Audited),

    ("evenkeel.v1.AdminService/WhoAmI", &Role::ALL, Nothing),
    ("evenkeel.v1.AdminService/GetConfig", CHANGES, Nothing),
    ("evenkeel.v1.AdminService/CheckConfig", CHANGES, Nothing),
    ("evenkeel.v1.AdminService/ReloadConfig", CHANGES, Audited),
    ("evenkeel.v1.AdminService/ListConfigVersions", CHANGES, Nothing),
    ("evenkeel.v1.AdminService/RollbackConfig", CHANGES, Audited),
    ("evenkeel.v1.AdminService/GetLogFilter", LOOKS, Nothing),
    ("evenkeel.v1.AdminService/SetLogFilter", CHANGES, Audited),
    ("evenkeel.v1.AdminService/GetHealth", LOOKS, Nothing),
    ("evenkeel.v1.AdminService/ListCredentials", CHANGES, Nothing),
    ("evenkeel.v1.AdminService/RevokeCredential", CHANGES, Audited),
    ("evenkeel.v1.AdminService/ListAudit", CHANGES, Nothing),
    ("evenkeel.v1.AdminService/VerifyAudit", CHANGES, Nothing),

    ("externalscaler.ExternalScaler/IsActive", LOOKS, Nothing),
    ("externalscaler.ExternalScaler/StreamIsActive", LOOKS, Nothing),
    ("externalscaler.ExternalScaler/GetMetricSpec", LOOKS, Nothing),
    ("externalscaler.ExternalScaler/GetMetrics", LOOKS, Nothing),

    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &Role::ALL, Nothing),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &Role::ALL, Nothing),
];

/// Calls that go on for as long as somebody likes: those with a stream, and those that wait. Where authentication is off these
/// alone have a place at the gate, so that they end when it is switched on; all others are over before anybody could.
const LASTING: &[&str] = &[
    "evenkeel.v1.AgentService/Session",
    "evenkeel.v1.TaskService/SubmitStream",
    "evenkeel.v1.TaskService/Execute",
    "evenkeel.v1.TaskService/Wait",
    "evenkeel.v1.TaskService/Watch",
    "evenkeel.v1.ClusterService/Events",
    "externalscaler.ExternalScaler/StreamIsActive",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Calls that need no credentials: probes of Kubernetes have none, and learn nothing but whether work is taken.
pub const OPEN_CALLS: &[&str] = &["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"];

/// Who may use a route of the HTTP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteRule {
    /// Anybody.
    Open,
    /// Those with one of these roles.
    For(&'static [Role]),
    /// The same, or anybody where `auth.metrics_open` is set.
    Metrics(&'static [Role]),
    /// It is a call, and goes by the line of that.
    Call,
}

/// Routes, as the router has them.
pub const ROUTES: &[(&str, RouteRule)] = &[
    ("/healthz", RouteRule::Open),
    ("/readyz", RouteRule::Open),
    ("/startupz", RouteRule::Open),
    ("/metrics", RouteRule::Metrics(LOOKS)),
    ("/debug/pprof/profile", RouteRule::For(CHANGES)),
    ("/api/v1/openapi.json", RouteRule::For(&Role::ALL)),
];
/// Routes that begin so are calls, those above apart.
pub const CALLS_BELOW: &str = "/api/v1/";
/// Routes that begin so are for admins, whatever else they are.
pub const DEBUG_BELOW: &str = "/debug/";

/// The line of a call by its path, `/package.Service/Method`; `None`: nobody may make it.
#[must_use]
pub fn rule(path: &str) -> Option<&'static Rule> {
    static BY_CALL: LazyLock<HashMap<&'static str, &'static Rule>> =
        LazyLock::new(|| CALLS.iter().map(|rule| (rule.0, rule)).collect());
    BY_CALL.get(path.strip_prefix('/')?).copied()
}

/// Whether a call, by its path, needs no credentials.
#[must_use]
pub fn is_open(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|call| OPEN_CALLS.contains(&call))
}

/// Whether a call, by its path, goes on for as long as somebody likes.
#[must_use]
pub fn lasts(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|call| LASTING.contains(&call))
}

/// The line of a route by the path that was asked for; `None`: nobody may use it.
#[must_use]
pub fn route_rule(path: &str) -> Option<RouteRule> {
    let own = ROUTES.iter().find(|(route, _)| *route == path).map(|(_, rule)| *rule);
    let below = || {
        if path.starts_with(CALLS_BELOW) {
            Some(RouteRule::Call)
        } else {
            path.starts_with(DEBUG_BELOW).then_some(RouteRule::For(CHANGES))
        }
    };
    own.or_else(below)
}

/// Whether a call answers of one tenant alone, if the caller is bound to one.
#[must_use]
pub fn is_of_tenant((call, ..): &Rule) -> bool {
    const SERVICES: [&str; 3] = ["evenkeel.v1.TaskService/", "evenkeel.v1.AgentService/", "grpc.reflection."];
    *call == "evenkeel.v1.AdminService/WhoAmI" || SERVICES.iter().any(|service| call.starts_with(service))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use evenkeel_proto::FILE_DESCRIPTOR_SET;
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn every_call_has_one_line_and_every_line_is_a_call() {
        let mut pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        pool.decode_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET).unwrap();
        let calls = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let calls = calls.map(|call| format!("{}/{}", call.parent_service().full_name(), call.name()));
        let mut expected: BTreeSet<String> = calls.collect();
        for version in ["v1", "v1alpha"] {
            expected.insert(format!("grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"));
        }
        let lines: Vec<&str> = CALLS.iter().map(|rule| rule.0).chain(OPEN_CALLS.iter().copied()).collect();
        let found: BTreeSet<String> = lines.iter().map(|call| (*call).to_owned()).collect();
        assert_eq!(found.len(), lines.len(), "a call has two lines");
        assert_eq!(found, expected);
    }

    /// The table once more, from what calls are by their names: a line that is changed by mistake is noticed.
    #[test]
    fn who_may_make_a_call_follows_from_what_it_is() {
        const LOOK: [&str; 9] =
            ["Get", "List", "Describe", "Query", "Status", "Events", "Validate", "IsActive", "StreamIsActive"];
        for (call, roles, kept) in CALLS {
            let (service, method) = call.rsplit_once('/').unwrap();
            let service = service.rsplit_once('.').unwrap().1;
            let expected: (&[Role], Kept) = match (service, method) {
                (_, "WhoAmI" | "ServerReflectionInfo") => (&Role::ALL, Nothing),
                ("AgentService", _) => (&[Agent], Nothing),
                ("TaskService", "Cancel" | "Redrive") => (&[Client, Admin], Audited),
                ("TaskService", "Submit" | "SubmitStream" | "Execute" | "Wait") => (&[Client, Admin], Nothing),
                ("TaskService", "Get" | "Watch" | "List" | "Explain") => (&[Client, Viewer, Admin], Nothing),
                // They tell of settings, of credentials, and of what others did.
                ("AdminService", "GetConfig" | "CheckConfig" | "ListConfigVersions") => (&[Admin], Nothing),
                ("AdminService", "ListCredentials" | "ListAudit" | "VerifyAudit") => (&[Admin], Nothing),
                _ if LOOK.iter().any(|word| method.starts_with(word)) => (&[Viewer, Admin], Nothing),
                _ => (&[Admin], Audited),
            };
            assert_eq!((*roles, *kept), expected, "{call}");
        }
        let looks = |route: &str| route_rule(route) == Some(RouteRule::For(CHANGES));
        assert!(looks("/debug/pprof/profile") && route_rule("/metrics") == Some(RouteRule::Metrics(LOOKS)));
    }

    #[test]
    fn every_call_with_a_stream_is_known_to_last() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        for call in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let name = format!("/{}/{}", call.parent_service().full_name(), call.name());
            assert!(lasts(&name) || !(call.is_client_streaming() || call.is_server_streaming()), "{name}");
        }
        assert!(LASTING.iter().all(|call| rule(&format!("/{call}")).is_some()));
        assert!(lasts("/evenkeel.v1.TaskService/Wait") && !lasts("/evenkeel.v1.TaskService/Get"));
    }

    #[test]
    fn an_admin_may_all_that_a_viewer_may() {
        for (call, roles, _) in CALLS {
            assert!(!roles.is_empty(), "{call}");
            assert!(!roles.contains(&Viewer) || roles.contains(&Admin), "{call}");
        }
    }

    #[test]
    fn whoever_only_looks_changes_nothing() {
        for (call, roles, kept) in CALLS {
            assert!(*kept == Nothing || !roles.contains(&Viewer), "{call}");
        }
    }

    #[test]
    fn what_has_no_line_is_for_nobody() {
        assert_eq!(rule("/evenkeel.v1.TaskService/Steal"), None);
        assert_eq!(rule("evenkeel.v1.TaskService/Get"), None);
        assert_eq!(route_rule("/secrets"), None);
        assert_eq!(route_rule("/healthz/"), None);
        assert_eq!(route_rule("/debug/anything"), Some(RouteRule::For(CHANGES)));
    }
}
