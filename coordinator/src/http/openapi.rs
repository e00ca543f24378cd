//! The document that describes the interface: OpenAPI 3.1, made of the table of routes and of the descriptors of the services
//! with their comments. There is nothing in it that is written by hand and could differ from what is served, the probes apart.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, prost_types::SourceCodeInfo};
use serde_json::{Map, Value, json};

use super::{
    interface::{Bound, choice},
    problem::PROBLEM_JSON,
    rest::DOCUMENT,
    routes::{Gives, ROOT, Takes, Verb},
};

mod bounds;
mod schemas;

use schemas::{Schemas, Side};

/// The document.
pub fn document(routes: &[Bound]) -> Value {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for bound in routes {
        let operation = operation(bound, &mut schemas);
        paths.entry(path_of(bound)).or_default().insert(bound.route.verb.name().to_ascii_lowercase(), operation);
    }
    for (path, operation) in beside() {
        paths.entry(path).or_default().insert("get".into(), operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Evenkeel",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "A load balancer for fleets of agents. Every call is one of its gRPC services'; see `x-grpc`. \
                Times are milliseconds since the Unix epoch, 0 where there is none; numbers that use all of their 64 bits \
                are text. In answers every field is there; in requests what is left out stands for its default.",
        },
        "servers": [{ "url": "/" }],
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": { "schemas": schemas.finish(problem_schema()), "responses": responses() },
    })
}

/// The services, under other names, and the probes.
const TAGS: [(&str, &str); 4] = [
    ("tasks", "What clients ask about their work."),
    ("cluster", "What operators ask about the fleet, and want of it."),
    ("resources", "Who may use how much, how large the fleet should be, what it costs, and what to change."),
    ("probes", "Whether the process lives and takes work, and its counters."),
];

fn tag(bound: &Bound) -> &'static str {
    match bound.rpc.parent_service().name() {
        "TaskService" => TAGS[0].0,
        "ClusterService" => TAGS[1].0,
        _ => TAGS[2].0,
    }
}

/// The path with its parameters, as the document has them: under the last word of their names.
fn path_of(bound: &Bound) -> String {
    let part = |part: &str| match bound.params.iter().find(|param| part.trim_matches(['{', '}', '*']) == param.path) {
        Some(param) if part.starts_with('{') => format!("/{{{}}}", param.name),
        _ => format!("/{part}"),
    };
    let below: String = bound.route.path.split('/').skip(1).map(part).collect();
    format!("{ROOT}{below}")
}

fn operation(bound: &Bound, schemas: &mut Schemas) -> Value {
    let comment = comment(bound.rpc.parent_file().file_descriptor_proto().source_code_info.as_ref(), bound.rpc.path());
    let id = match bound.route.gives {
        Gives::OneOf(list) => format!("get_one_of_{list}"),
        _ => lower_snake(bound.rpc.name()),
    };
    let mut operation = json!({
        "operationId": id,
        "tags": [tag(bound)],
        "x-grpc": bound.rpc.full_name(),
        "parameters": parameters(bound, schemas),
        "responses": answers(bound, schemas),
    });
    if let Some(text) = comment {
        operation["summary"] = first_sentence(&text).into();
        operation["description"] = text.into();
    }
    if let Some((message, _)) = &bound.body {
        let named: Vec<FieldDescriptor> = bound.named_in_path().cloned().collect();
        let schema = schemas.body(&format!("{}Body", bound.rpc.name()), message, &named);
        operation["requestBody"] = json!({
            "required": bound.route.takes != Takes::Whole,
            "content": { "application/json": { "schema": schema } },
            "description": format!("At most {} bytes. What the path says may be left out.", bound.route.body_bytes_max),
        });
    }
    operation
}

fn parameters(bound: &Bound, schemas: &mut Schemas) -> Vec<Value> {
    let mut parameters = Vec::new();
    for param in &bound.params {
        let mut schema = schemas.value(&param.leaf, Side::Request);
        if schema["type"] == "string" && schema.get("minLength").is_none() {
            schema["minLength"] = 1.into();
        }
        let mut parameter = json!({ "name": param.name, "in": "path", "required": true, "schema": schema });
        let slashes = param.slashes.then(|| "A slash in it is `%2F`, or stands as it is.".to_owned());
        let text: Vec<String> = field_comment(&param.leaf).into_iter().chain(slashes).collect();
        if !text.is_empty() {
            parameter["description"] = text.join(" ").into();
        }
        parameters.push(parameter);
    }
    let query = bound.query.iter().filter(|_| !matches!(bound.route.gives, Gives::OneOf(_)));
    for field in query {
        let schema = schemas.parameter(field);
        let mut parameter = json!({ "name": field.name(), "in": "query", "required": false, "schema": schema });
        if let Some(text) = field_comment(field) {
            parameter["description"] = text.into();
        }
        parameters.push(parameter);
    }
    parameters
}

/// The answers of an operation: the good one, and the errors that it can have by its form.
fn answers(bound: &Bound, schemas: &mut Schemas) -> Value {
    let mut answers = Map::new();
    let good = match (&bound.shown, bound.route.gives) {
        (None, Gives::Stream(name, most)) => {
            let item = schemas.message(&bound.rpc.output(), Side::Answer);
            Some(json!({
                "type": "object",
                "properties": { name: { "type": "array", "maxItems": most, "items": item } },
                "required": [name],
                "additionalProperties": false,
            }))
        }
        (None, _) if bound.rpc.output().fields().len() == 0 => None,
        (None, _) => Some(schemas.message(&bound.rpc.output(), Side::Answer)),
        (Some(field), _) => Some(schemas.item(field, Side::Answer)),
    };
    match good {
        Some(schema) => answers.insert(
            "200".into(),
            json!({ "description": "It is done.", "content": { "application/json": { "schema": schema } } }),
        ),
        None => answers.insert("204".into(), json!({ "description": "It is done." })),
    };
    let mut codes = vec!["400", "403", "429", "503"];
    if bound.route.verb != Verb::Get || !bound.params.is_empty() {
        codes.push("404");
    }
    if bound.route.verb != Verb::Get {
        codes.push("409");
    }
    if bound.body.is_some() {
        codes.extend(["408", "413", "415"]);
    }
    if bound.rpc.name() == "Execute" {
        codes.push("504");
    }
    for code in codes {
        answers.insert(code.into(), json!({ "$ref": format!("#/components/responses/{code}") }));
    }
    Value::Object(answers)
}

/// The errors, by status.
fn responses() -> Value {
    let errors = [
        ("400", "The request is wrong in itself; `violations` says where."),
        ("403", "Pages of other origins may not do this, or the port was asked under a name that is not its own."),
        ("404", "There is no such thing, or it is no longer kept."),
        ("408", "The body was not there in time."),
        ("409", "It is not in a state for this, or there is another of that name."),
        ("413", "The body is too large."),
        ("415", "The body is not `application/json`."),
        ("429", "A bound is reached; try again after `retry-after`."),
        ("503", "The coordinator is starting, stopping, or its disk is full."),
        ("504", "It is not over yet; it goes on."),
    ];
    let schema = json!({ PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } });
    let header = json!({
        "retry-after": { "description": "Seconds.", "required": false, "schema": { "type": "integer", "minimum": 1 } }
    });
    let one = |(code, description): (&str, &str)| {
        (code.to_owned(), json!({ "description": description, "content": schema, "headers": header }))
    };
    Value::Object(errors.into_iter().map(one).collect())
}

fn problem_schema() -> Value {
    let text = json!({ "type": "string" });
    let violation = json!({
        "type": "object",
        "properties": { "field": text, "description": text },
        "required": ["field", "description"],
    });
    json!({
        "type": "object",
        "description": "An error (RFC 9457).",
        "properties": {
            "type": { "type": "string", "format": "uri-reference" },
            "title": text,
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "What happened, to what, and what to do about it." },
            "instance": { "type": "string", "description": "The path that was asked." },
            "code": { "type": "string", "description": "The word that gRPC has for it." },
            "violations": { "type": "array", "description": "The fields at fault.", "items": violation },
            "retry_after_ms": { "type": ["integer", "null"], "description": "When to try again, where that can help." },
        },
        "required": ["type", "title", "status", "detail", "instance", "code", "violations", "retry_after_ms"],
    })
}

/// What is served beside the routes.
fn beside() -> Vec<(String, Value)> {
    let text = |id: &str, tag: &str, media: &str, summary: &str, unavailable: bool| {
        let content = |media: &str| json!({ media: { "schema": { "type": "string" } } });
        let mut responses = json!({ "200": { "description": "It is so.", "content": content(media) } });
        if unavailable {
            let content = content("text/plain");
            responses["503"] = json!({ "description": "It is not, and why.", "content": content });
        }
        json!({ "operationId": id, "tags": [tag], "summary": summary, "responses": responses, "parameters": [] })
    };
    let plain = "text/plain";
    let metrics = "application/openmetrics-text";
    let mut document = text("get_openapi", "cluster", "application/json", "This document.", false);
    document["responses"]["200"]["content"]["application/json"]["schema"] = json!({ "type": "object" });
    vec![
        ("/healthz".into(), text("healthz", "probes", plain, "The engine's loop turns.", true)),
        ("/readyz".into(), text("readyz", "probes", plain, "It takes work.", true)),
        ("/metrics".into(), text("metrics", "probes", metrics, "Its counters, as OpenMetrics.", false)),
        (format!("{ROOT}{DOCUMENT}"), document),
    ]
}

/// The comment of what is at this path of a file's descriptor, as one paragraph.
fn comment(source: Option<&SourceCodeInfo>, path: &[i32]) -> Option<String> {
    let place = source?.location.iter().find(|place| place.path == path)?;
    let both = [place.leading_comments.as_deref(), place.trailing_comments.as_deref()];
    let words: Vec<&str> = both.into_iter().flatten().flat_map(str::split_whitespace).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn field_comment(field: &FieldDescriptor) -> Option<String> {
    let text = comment(field.parent_file().file_descriptor_proto().source_code_info.as_ref(), field.path());
    let oneof = choice(field).map(|oneof| format!("One of the choice `{oneof}`."));
    match (text, oneof) {
        (Some(text), Some(oneof)) => Some(format!("{text} {oneof}")),
        (text, oneof) => text.or(oneof),
    }
}

fn first_sentence(text: &str) -> &str {
    let end = text.find(". ").map_or(text.len(), |end| end + 1);
    text[..end].split(": ").next().unwrap_or_default().trim_end_matches('.')
}

fn lower_snake(name: &str) -> String {
    let mut snake = String::new();
    for (i, letter) in name.char_indices() {
        if i > 0 && letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
