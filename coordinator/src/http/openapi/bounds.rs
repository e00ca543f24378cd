//! What the services refuse, as far as a schema can say it: ranges and the form of names. The descriptors have them in
//! comments only. A test sends each operation values at and beyond them.

use evenkeel_core::sizing::{CPU_MILLIS_MAX, MEMORY_BYTES_MAX};
use evenkeel_shared::limits::WAIT_TASKS_MAX;
use prost_reflect::FieldDescriptor;
use serde_json::{Value, json};

/// Names of kinds, tenants, limits, budgets: 1 to 128 of these.
const NAME_PATTERN: &str = "^[A-Za-z0-9._:/-]{1,128}$";
/// The same, or nothing.
const NAME_OR_NONE_PATTERN: &str = "^[A-Za-z0-9._:/-]{0,128}$";
/// Ids of tasks.
const TASK_ID_PATTERN: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

/// The bounds of a field of a request, or of the list that it is.
pub fn bounds(field: &FieldDescriptor, list: bool) -> Option<Value> {
    let message = field.parent_message().name();
    let bounds = match (message, field.name(), list) {
        (_, "page_size", false) => json!({ "maximum": 1_000 }),
        ("GetCostsRequest" | "ListScalingPolicyVersionsRequest", "limit", false) => json!({ "maximum": 1_000 }),
        ("TaskSpec", "kind", false) => json!({ "pattern": NAME_PATTERN }),
        ("TaskSpec", "tenant", false) => json!({ "pattern": NAME_OR_NONE_PATTERN }),
        ("TaskSpec", "priority", false) => json!({ "maximum": 9 }),
        ("SubmitRequest", "tasks", true) => json!({ "minItems": 1, "maxItems": 1_000 }),
        ("WaitRequest", "task_ids", true) => json!({ "minItems": 1, "maxItems": WAIT_TASKS_MAX }),
        ("GetRequest" | "CancelRequest" | "ExplainRequest", "task_id", false) => json!({ "pattern": TASK_ID_PATTERN }),
        ("WaitRequest" | "RedriveRequest", "task_ids", false) => json!({ "pattern": TASK_ID_PATTERN }),
        ("ReportQuotaRequest", "retry_after_ms", false) => json!({ "minimum": 1, "maximum": 86_400_000 }),
        ("RequestSize", "cpu_millis", false) => json!({ "maximum": CPU_MILLIS_MAX }),
        ("RequestSize", "memory_bytes", false) => json!({ "maximum": MEMORY_BYTES_MAX }),
        ("SetScalingOverrideRequest", "duration_ms", false) => json!({ "minimum": 1, "maximum": 604_800_000 }),
        _ => return None,
    };
    Some(bounds)
}
