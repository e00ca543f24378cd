//! Every operation of the document is asked, rightly and wrongly, and answers as the document says.

use serde_json::{Value, json};

use super::{Answer, Ask, get, schema::Schema};
use crate::support::World;

/// An operation of the document.
struct Operation<'a> {
    document: &'a Value,
    path: &'a str,
    verb: String,
    says: &'a Value,
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().unwrap().iter();
    let mut operations = Vec::new();
    for (path, verbs) in paths {
        for (verb, says) in verbs.as_object().unwrap() {
            operations.push(Operation { document, path, verb: verb.to_uppercase(), says });
        }
    }
    operations
}

impl Operation<'_> {
    fn parameters(&self, place: &str) -> Vec<(&str, Schema<'_>)> {
        let all = self.says["parameters"].as_array().into_iter().flatten();
        let here = all.filter(|parameter| parameter["in"] == place);
        here.map(|p| (p["name"].as_str().unwrap(), Schema::new(self.document, &p["schema"]))).collect()
    }

    /// The path, with an example for each of its parameters.
    fn address(&self) -> String {
        let with = |path: String, (name, schema): (&str, Schema<'_>)| {
            path.replace(&format!("{{{name}}}"), schema.example(true).as_str().unwrap())
        };
        self.parameters("path").into_iter().fold(self.path.to_owned(), with)
    }

    fn body(&self) -> Option<Schema<'_>> {
        let schema = self.says.pointer("/requestBody/content/application~1json/schema")?;
        Some(Schema::new(self.document, schema))
    }

    /// What of the answer is not as the document has it, in status, type or form.
    fn fault(&self, asked: &str, answer: &Answer) -> Option<String> {
        let what = |why: &str| Some(format!("{} {} with {asked}: {why}: {answer:?}", self.verb, self.path));
        if answer.status >= 500 && ![503, 504].contains(&answer.status) {
            return what("it failed");
        }
        let Some(says) = self.says["responses"].get(answer.status.to_string()) else {
            return what("the document has no such status");
        };
        let says = match says["$ref"].as_str() {
            Some(path) => self.document.pointer(path.trim_start_matches('#')).unwrap(),
            None => says,
        };
        let Some(content) = says["content"].as_object() else {
            return if answer.body.is_empty() { None } else { what("it has a body") };
        };
        let given = answer.header("content-type").split(';').next().unwrap();
        let Some(of_type) = content.get(given) else { return what("the document has no such type") };
        if !given.ends_with("json") {
            return None;
        }
        let fault = Schema::new(self.document, &of_type["schema"]).fault(&answer.json(), "")?;
        what(&fault)
    }

    /// What is wrong with the answer to what has to be refused with this status.
    fn unrefused(&self, asked: &str, answer: &Answer, status: u16) -> Option<String> {
        if answer.status == status {
            return self.fault(asked, answer);
        }
        Some(format!("{} {} with {asked} is not refused with {status}: {answer:?}", self.verb, self.path))
    }

    async fn ask(&self, world: &World, path: &str, body: Option<&Value>) -> Answer {
        let ask = Ask::new(&self.verb, path);
        let ask = match body {
            Some(body) => ask.json(body),
            None => ask,
        };
        ask.of(world).await
    }
}

async fn document(world: &World) -> Value {
    let answer = get(world, "/api/v1/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    answer.json()
}

/// What is put into a query for a value.
fn in_query(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => return items.first().map(in_query).unwrap_or_default(),
        other => other.to_string(),
    };
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Says all of what was found at once.
fn none_of(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_document_allows_is_answered_as_it_says() {
    let world = World::start().await;
    let _agent = world.agent("abc").await;
    let document = document(&world).await;
    let operations = operations(&document);
    assert!(operations.len() > 60, "{}", operations.len());
    let mut faults = Vec::new();
    for operation in &operations {
        // With nothing said it would wait for as long as the call lives; in the full example it is a millisecond.
        let waits = ["/api/v1/tasks/execute", "/api/v1/tasks/wait"].contains(&operation.path);
        for full in [false, true].into_iter().filter(|full| *full || !waits) {
            let mut path = operation.address();
            for (i, (name, schema)) in operation.parameters("query").into_iter().enumerate().filter(|_| full) {
                path.push_str(&format!("{}{name}={}", if i == 0 { '?' } else { '&' }, in_query(&schema.example(true))));
            }
            let body = operation.body().map(|schema| schema.example(full));
            let answer = operation.ask(&world, &path, body.as_ref()).await;
            faults.extend(operation.fault(&format!("{path} {body:?}"), &answer));
        }
    }
    none_of(&faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_document_does_not_allow_is_refused() {
    let world = World::start().await;
    let document = document(&world).await;
    let (mut asked, mut faults) = (0, Vec::new());
    for operation in operations(&document) {
        let address = operation.address();
        let body = operation.body().map(|body| body.example(true));
        for (name, schema) in operation.parameters("query") {
            // In a query everything is text, and a list of one is that one.
            let is_wrong = |value: &Value| !value.is_null() && !value.is_array() && !schema.takes_text();
            for (what, value) in schema.wrong().into_iter().filter(|(_, value)| is_wrong(value)) {
                let path = format!("{address}?{name}={}", in_query(&value));
                let answer = operation.ask(&world, &path, body.as_ref()).await;
                faults.extend(operation.unrefused(&format!("{path}: {what}"), &answer, 400));
                asked += 1;
            }
        }
        if operation.says.get("x-grpc").is_some() {
            let path = format!("{address}?a_parameter_that_nobody_knows=1");
            let answer = operation.ask(&world, &path, body.as_ref()).await;
            faults.extend(operation.unrefused(&path, &answer, 400));
        }
        let Some(body) = operation.body() else { continue };
        for (what, value) in body.wrong() {
            let answer = operation.ask(&world, &address, Some(&value)).await;
            faults.extend(operation.unrefused(&format!("{what}: {value}"), &answer, 400));
            asked += 1;
        }
        let large = Ask::new(&operation.verb, &address).json(&json!({ "reason": "a".repeat(3 << 20) }));
        faults.extend(operation.unrefused("too large a body", &large.of(&world).await, 413));
        let form = Ask::new(&operation.verb, &address).header("content-type", "application/x-www-form-urlencoded");
        faults.extend(operation.unrefused("a form", &form.body("reason=a").of(&world).await, 415));
    }
    none_of(&faults);
    assert!(asked > 500, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_the_document_is_there_and_says_its_methods() {
    let world = World::start().await;
    let document = document(&world).await;
    for operation in operations(&document).iter().filter(|operation| operation.path.starts_with("/api/v1/")) {
        let answer = Ask::new("PATCH", &operation.address()).of(&world).await;
        assert_eq!(answer.status, 405, "{}: {answer:?}", operation.path);
        let allowed: Vec<&str> = answer.header("allow").split(", ").collect();
        assert!(allowed.contains(&operation.verb.as_str()), "{}: {allowed:?}", operation.path);
    }
}
