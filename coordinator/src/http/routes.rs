//! The table of routes under `/api/v1`: of each, which call of which service it is, what of the request is in the address and
//! what in the body, and what of the answer is shown.
//!
//! It holds what the descriptors of the services cannot say; all else comes from them: types, names, words, comments. What
//! stands in a path (`{limit.name}`) is a field of the call's request; with a star (`{*agent_id}`) it may have slashes in it.
//! What is neither in the path nor in the body is a parameter of the query.
//!
//! Rejected: annotations (`google.api.http`) in the descriptors. They would come with files of their own to compile, and what
//! is special here (one item of a list, so many messages of a stream) has no words there.

use axum::http::Method;

/// Under which all of them are.
pub const ROOT: &str = "/api/v1";
/// Bytes of a body: settings and reasons.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes of a body with tasks in it: one with the largest payload as base64 (1.4 MiB), or many small ones.
const TASKS_BODY_BYTES_MAX: usize = 2 << 20;
/// Messages of a stream in one answer; who wants more asks on from the last one's position.
const EVENTS_MAX: usize = 500;

/// What is done to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads.
    Get,
    /// Does something that is not putting or deleting.
    Post,
    /// Makes it so; twice is once.
    Put,
    /// Removes it.
    Delete,
}

impl Verb {
    /// The verb of a request; HEAD is a GET whose body is not sent.
    pub fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET | Method::HEAD => Some(Self::Get),
            Method::POST => Some(Self::Post),
            Method::PUT => Some(Self::Put),
            Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }

    /// As HTTP spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// What of the request is in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// All that is not in the path.
    Whole,
    /// This field; the others are in the query.
    Field(&'static str),
}

/// What of the answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// The message; nothing (204) if it has no fields.
    Whole,
    /// This field.
    Field(&'static str),
    /// Of this list the item whose fields are what the path says, or 404.
    OneOf(&'static str),
    /// The messages of the stream as a list of this name, so many at most.
    Stream(&'static str, usize),
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// What is done.
    pub verb: Verb,
    /// To what, below [`ROOT`].
    pub path: &'static str,
    /// The call, as `Service/Method`.
    pub rpc: &'static str,
    /// What of its request is in the body.
    pub takes: Takes,
    /// What of its answer is shown.
    pub gives: Gives,
    /// A field that this route sets itself, and to what, in the words of a query.
    pub sets: Option<(&'static str, &'static str)>,
    /// Bytes of a body.
    pub body_bytes_max: usize,
}

impl Route {
    const fn new(verb: Verb, path: &'static str, rpc: &'static str) -> Self {
        let (takes, gives) = (Takes::Nothing, Gives::Whole);
        Self { verb, path, rpc, takes, gives, sets: None, body_bytes_max: BODY_BYTES_MAX }
    }

    /// The body is this field alone.
    const fn body(mut self, field: &'static str) -> Self {
        self.takes = Takes::Field(field);
        self
    }

    /// The body is the request.
    const fn whole_body(mut self) -> Self {
        self.takes = Takes::Whole;
        self
    }

    const fn gives(mut self, gives: Gives) -> Self {
        self.gives = gives;
        self
    }

    const fn sets(mut self, field: &'static str, value: &'static str) -> Self {
        self.sets = Some((field, value));
        self
    }

    /// The body has tasks in it.
    const fn tasks(mut self) -> Self {
        self.body_bytes_max = TASKS_BODY_BYTES_MAX;
        self.whole_body()
    }
}

const fn get(path: &'static str, rpc: &'static str) -> Route {
    Route::new(Verb::Get, path, rpc)
}

const fn put(path: &'static str, rpc: &'static str) -> Route {
    Route::new(Verb::Put, path, rpc)
}

const fn post(path: &'static str, rpc: &'static str) -> Route {
    Route::new(Verb::Post, path, rpc)
}

const fn delete(path: &'static str, rpc: &'static str) -> Route {
    Route::new(Verb::Delete, path, rpc)
}

/// All of them. Of two that match an address the one with more words counts.
pub static ROUTES: &[Route] = &[
    // The fleet.
    get("/status", "ClusterService/Status"),
    get("/agents", "ClusterService/ListAgents"),
    get("/agents/{*agent_id}", "ClusterService/DescribeAgent"),
    post("/agents/{*agent_id}/cordon", "ClusterService/CordonAgent").whole_body(),
    post("/agents/{*agent_id}/drain", "ClusterService/DrainAgent").whole_body(),
    post("/agents/{*agent_id}/resume", "ClusterService/ResumeAgent").whole_body(),
    get("/strategy", "ClusterService/GetStrategy"),
    put("/strategy", "ClusterService/SetStrategy").body("strategy"),
    get("/events", "ClusterService/Events").gives(Gives::Stream("events", EVENTS_MAX)).sets("follow", "false"),
    // Tasks.
    get("/tasks", "TaskService/List"),
    post("/tasks", "TaskService/Submit").tasks(),
    post("/tasks/execute", "TaskService/Execute").tasks().gives(Gives::Field("finished")),
    post("/tasks/wait", "TaskService/Wait").tasks(),
    post("/tasks/redrive", "TaskService/Redrive").whole_body(),
    get("/tasks/{task_id}", "TaskService/Get").gives(Gives::Field("task")),
    get("/tasks/{task_id}/explanation", "TaskService/Explain"),
    post("/tasks/{task_id}/cancel", "TaskService/Cancel").whole_body(),
    // Limits, and who got how much.
    get("/limits", "ResourceService/ListLimits"),
    get("/limits/{*name}", "ResourceService/ListLimits").gives(Gives::OneOf("limits")),
    put("/limits/{*limit.name}", "ResourceService/PutLimit").body("limit"),
    delete("/limits/{*name}", "ResourceService/DeleteLimit"),
    get("/dynamic-limits", "ResourceService/GetDynamicLimits"),
    put("/dynamic-limits", "ResourceService/PutDynamicLimits").body("settings"),
    get("/request-sizes", "ResourceService/ListRequestSizes"),
    get("/request-sizes/{*kind}", "ResourceService/ListRequestSizes").gives(Gives::OneOf("sizes")),
    put("/request-sizes/{*size.kind}", "ResourceService/PutRequestSize").body("size"),
    delete("/request-sizes/{*kind}", "ResourceService/DeleteRequestSize"),
    get("/allocation", "ResourceService/GetAllocation"),
    get("/allocation/events", "ResourceService/ListAllocationEvents"),
    // Quotas and breakers.
    get("/quotas", "ResourceService/ListQuotas"),
    get("/quotas/{*key}", "ResourceService/ListQuotas").gives(Gives::OneOf("quotas")),
    put("/quotas/{*key}", "ResourceService/ReportQuota").whole_body(),
    delete("/quotas/{*key}", "ResourceService/ClearQuota"),
    get("/breakers", "ResourceService/ListBreakers"),
    get("/breakers/{scope}/{*name}", "ResourceService/ListBreakers")
        .gives(Gives::OneOf("breakers"))
        .sets("include_closed", "true"),
    put("/breakers/{scope}/{*name}", "ResourceService/SetBreaker").whole_body(),
    // Money.
    get("/budgets", "ResourceService/ListBudgets"),
    get("/budgets/{*name}", "ResourceService/ListBudgets").gives(Gives::OneOf("budgets")),
    put("/budgets/{*budget.name}", "ResourceService/PutBudget").body("budget"),
    delete("/budgets/{*name}", "ResourceService/DeleteBudget"),
    get("/prices", "ResourceService/GetPrices"),
    put("/prices", "ResourceService/PutPrices").body("prices"),
    get("/costs", "ResourceService/GetCosts"),
    // How it goes.
    get("/health", "ResourceService/GetFleetHealth"),
    get("/metrics", "ResourceService/QueryMetrics"),
    get("/metrics/trend", "ResourceService/GetTrend"),
    get("/bottlenecks", "ResourceService/ListBottlenecks"),
    get("/thresholds", "ResourceService/GetThresholds"),
    put("/thresholds", "ResourceService/PutThresholds").body("thresholds"),
    // How large the fleet should be.
    get("/scaling", "ResourceService/GetScaling"),
    get("/scaling/policy", "ResourceService/GetScalingPolicy"),
    put("/scaling/policy", "ResourceService/PutScalingPolicy").body("policy"),
    post("/scaling/policy/validate", "ResourceService/ValidateScalingPolicy").body("policy"),
    get("/scaling/policy/versions", "ResourceService/ListScalingPolicyVersions"),
    get("/scaling/templates", "ResourceService/ListScalingTemplates"),
    get("/scaling/templates/{*name}", "ResourceService/ListScalingTemplates").gives(Gives::OneOf("templates")),
    get("/scaling/events", "ResourceService/ListScalingEvents"),
    put("/scaling/override", "ResourceService/SetScalingOverride").whole_body(),
    delete("/scaling/override", "ResourceService/ClearScalingOverride"),
    // What to change.
    get("/recommendations", "ResourceService/ListRecommendations"),
    // As many as there can be: all are looked through for the one.
    get("/recommendations/{*id}", "ResourceService/ListRecommendations")
        .gives(Gives::OneOf("recommendations"))
        .sets("page_size", "1000"),
    post("/recommendations/{*id}/apply", "ResourceService/ApplyRecommendation").whole_body(),
    post("/recommendations/{*id}/undo", "ResourceService/UndoRecommendation").whole_body(),
    post("/recommendations/{*id}/dismiss", "ResourceService/DismissRecommendation").whole_body(),
    // The coordinator itself.
    get("/whoami", "AdminService/WhoAmI"),
    get("/config", "AdminService/GetConfig"),
    post("/config/check", "AdminService/CheckConfig").whole_body(),
    post("/config/reload", "AdminService/ReloadConfig").whole_body(),
    get("/config/versions", "AdminService/ListConfigVersions"),
    post("/config/rollback", "AdminService/RollbackConfig").whole_body(),
    get("/log-filter", "AdminService/GetLogFilter"),
    put("/log-filter", "AdminService/SetLogFilter").whole_body(),
    get("/health/components", "AdminService/GetHealth"),
    get("/credentials", "AdminService/ListCredentials"),
    post("/credentials/{*id}/revoke", "AdminService/RevokeCredential").whole_body(),
    get("/audit", "AdminService/ListAudit"),
    get("/audit/verification", "AdminService/VerifyAudit"),
];
