//! Requests under `/api/v1`: JSON to a message, a call, and the message that comes back to JSON.

use std::sync::{Arc, OnceLock};

use axum::{
    body::{Body, HttpBody as _},
    extract::Query,
    http::{HeaderValue, Method, Request, StatusCode, Uri, header},
    response::Response,
};
use bytes::Bytes;
use evenkeel_shared::{Code, Error, Violation};
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, Value};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use tokio::sync::watch;

use super::{
    bodies::{Room, Taken},
    calls::{Calls, Who},
    interface::{Bound, Mismatch, interface},
    openapi, origin,
    paths::{self, Found, Named},
    problem::{Problem, allow},
    reading::{self, Faults},
    routes::{Gives, ROOT, Takes, Verb},
    showing::Shown,
};
use crate::{
    config::CoordinatorConfig,
    metrics::{BadInput, Metrics},
};

/// The document, below [`ROOT`].
pub const DOCUMENT: &str = "/openapi.json";

/// Everything under [`ROOT`].
#[derive(Clone)]
pub struct Rest(Arc<Parts>);

struct Parts {
    routes: Vec<Bound>,
    calls: Calls,
    room: Room,
    names: watch::Receiver<Arc<CoordinatorConfig>>,
    metrics: Metrics,
    document: OnceLock<Bytes>,
}

impl Rest {
    /// With these services, for who asks under one of these names.
    ///
    /// # Errors
    /// If the table of routes does not fit the services.
    pub fn new(
        calls: Calls,
        names: watch::Receiver<Arc<CoordinatorConfig>>,
        metrics: Metrics,
    ) -> Result<Self, Mismatch> {
        let (routes, room, document) = (interface()?, Room::default(), OnceLock::new());
        Ok(Self(Arc::new(Parts { routes, calls, room, names, metrics, document })))
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        let path = request.uri().path().to_owned();
        let mut answer = match self.0.route(request).await {
            Ok(answer) => answer,
            Err(problem) => {
                if problem.code() == Code::InvalidArgument {
                    self.0.metrics.bad_input(BadInput::Request);
                }
                problem.answer(&path)
            }
        };
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }
}

impl Parts {
    async fn route(&self, request: Request<Body>) -> Result<Response, Problem> {
        let (head, body) = request.into_parts();
        let verb = Verb::of(&head.method);
        let changes = verb.is_some_and(|verb| verb != Verb::Get);
        origin::check(&head.uri, &head.headers, changes, &self.names.borrow().http_names)?;
        let path = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
        if path == DOCUMENT && verb == Some(Verb::Get) {
            return Ok(json(self.document()));
        }
        let (bound, named) = match paths::find(&self.routes, |bound| bound.route, verb, path) {
            Found::Route(bound, named) => (bound, named),
            Found::Otherwise(verbs) if head.method == Method::OPTIONS => return Ok(options(&verbs)),
            Found::Otherwise(verbs) => return Err(Problem::other_method(head.method.as_str(), &verbs)),
            Found::Nothing if path == DOCUMENT => {
                return Err(Problem::other_method(head.method.as_str(), &[Verb::Get]));
            }
            Found::Nothing => return Err(nothing_here()),
        };
        let who = Who::of(&head.headers, &head.extensions);
        let (service, method) = (bound.rpc.parent_service().full_name().to_owned(), bound.rpc.name());
        // Nobody's body is read who may not make the call.
        self.calls.check(&service, method, &who)?;
        let body = match bound.route.takes {
            Takes::Nothing if body.size_hint().exact() == Some(0) => None,
            Takes::Nothing => return Err(Violation::new("body", "this call takes none").into()),
            Takes::Whole | Takes::Field(_) => {
                Some(self.room.read(&head.headers, body, bound.route.body_bytes_max).await?)
            }
        };
        let message = request_message(bound, &named, &head.uri, body.as_ref())?;
        let most = if let Gives::Stream(_, most) = bound.route.gives { most } else { usize::MAX };
        let answers = self.calls.call(&service, method, who, &message, most).await;
        let answers = answers.map_err(|error| seen_from_body(bound, error))?;
        shown(bound, &named, answers)
    }

    fn document(&self) -> Bytes {
        self.document.get_or_init(|| openapi::document(&self.routes).to_string().into()).clone()
    }
}

fn nothing_here() -> Problem {
    Error::new(Code::NotFound, format!("there is nothing here; see {ROOT}{DOCUMENT}")).into()
}

/// Says which methods there are, and nothing that would let a page of another origin in.
fn options(verbs: &[Verb]) -> Response {
    let mut answer = empty();
    if let Ok(value) = HeaderValue::try_from(allow(verbs)) {
        answer.headers_mut().insert(header::ALLOW, value);
    }
    answer
}

fn json(bytes: impl Into<Body>) -> Response {
    let mut answer = Response::new(bytes.into());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn empty() -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// The request of the call, encoded: the body, then what the address says.
fn request_message(bound: &Bound, named: &Named, uri: &Uri, body: Option<&Taken>) -> Result<Vec<u8>, Problem> {
    let mut faults = Faults::default();
    let mut message = DynamicMessage::new(bound.rpc.input());
    if let (Some((of, field)), Some(body)) = (&bound.body, body) {
        let read = body_message(of, body, bound.route.takes == Takes::Whole, &mut faults)?;
        match field {
            Some(field) => message.set_field(field, Value::Message(read)),
            None => message = read,
        }
    }
    for (path, value) in named {
        let param = bound.params.iter().find(|param| param.path == *path);
        if let Some(param) = param.filter(|param| !param.fields.is_empty()) {
            reading::set_from_text(&mut message, &param.fields, value, param.name, &mut faults);
        }
    }
    read_query(bound, uri, &mut message, &mut faults)?;
    if let Some((name, value)) = bound.route.sets
        && let Some(field) = bound.rpc.input().get_field_by_name(name)
    {
        reading::set_from_text(&mut message, &[field], value, name, &mut faults);
    }
    if faults.is_empty() { Ok(message.encode_to_vec()) } else { Err(faults.into_violations().into()) }
}

fn body_message(
    of: &MessageDescriptor,
    body: &Taken,
    may_be_left_out: bool,
    faults: &mut Faults,
) -> Result<DynamicMessage, Problem> {
    if body.bytes.is_empty() && may_be_left_out {
        return Ok(DynamicMessage::new(of.clone()));
    }
    let not_json = |error| Violation::new("body", format!("is not JSON: {error}"));
    let json = serde_json::from_slice(&body.bytes).map_err(not_json)?;
    Ok(reading::message(of, &json, "", faults))
}

fn read_query(bound: &Bound, uri: &Uri, message: &mut DynamicMessage, faults: &mut Faults) -> Result<(), Problem> {
    let unreadable = |error| Violation::new("query", format!("cannot be read: {error}"));
    let Query(given) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(unreadable)?;
    let mut seen: Vec<&FieldDescriptor> = Vec::new();
    for (name, value) in &given {
        let Some(field) = bound.query.iter().find(|field| field.name() == name) else {
            let known = bound.query.iter().map(|field| field.name().to_owned());
            faults.add("query", reading::unknown(name, known));
            continue;
        };
        if !field.is_list() && seen.contains(&field) {
            faults.add(name, "is there more than once");
            continue;
        }
        seen.push(field);
        reading::set_from_text(message, std::slice::from_ref(field), value, name, faults);
    }
    Ok(())
}

/// An error whose fields are named as the body has them: without the field that the body is.
fn seen_from_body(bound: &Bound, mut error: Error) -> Problem {
    if let Takes::Field(field) = bound.route.takes {
        for violation in &mut error.violations {
            let inner = violation.field.strip_prefix(field).and_then(|rest| rest.strip_prefix('.'));
            if let Some(inner) = inner.map(str::to_owned) {
                violation.field = inner;
            }
        }
    }
    error.into()
}

/// The answer as this route shows it.
fn shown(bound: &Bound, named: &Named, answers: Vec<Bytes>) -> Result<Response, Problem> {
    let of = bound.rpc.output();
    let decode = |bytes: Bytes| {
        let unreadable = |error| Error::new(Code::Internal, format!("the answer cannot be read: {error}"));
        DynamicMessage::decode(of.clone(), bytes).map_err(unreadable)
    };
    if let Gives::Stream(name, _) = bound.route.gives {
        let items = answers.into_iter().map(decode).collect::<Result<Vec<_>, Error>>()?;
        return written(&Listed { name, items: &items });
    }
    let none = || Error::new(Code::Internal, "there is no answer");
    let message = decode(answers.into_iter().next().ok_or_else(none)?)?;
    match (&bound.shown, bound.route.gives) {
        (None, _) if of.fields().len() == 0 => Ok(empty()),
        (None, _) => written(&Shown(&message)),
        (Some(field), Gives::OneOf(list)) => {
            let wanted = wanted(bound, named)?;
            let items = message.get_field(field);
            let items = items.as_list().unwrap_or_default().iter().filter_map(Value::as_message);
            let mut found = items.filter(|item| wanted.iter().all(|(field, value)| *item.get_field(field) == *value));
            let name = named.last().map(|(_, value)| value.as_str()).unwrap_or_default();
            let thing = list.strip_suffix('s').unwrap_or(list);
            let absent = || Error::new(Code::NotFound, format!("there is no {thing} `{name}`"));
            written(&Shown(found.next().ok_or_else(absent)?))
        }
        (Some(field), _) => match message.get_field(field).as_message() {
            Some(inner) => written(&Shown(inner)),
            None => Err(none().into()),
        },
    }
}

/// The fields by which the item of a list is chosen, and their values.
fn wanted(bound: &Bound, named: &Named) -> Result<Vec<(FieldDescriptor, Value)>, Problem> {
    let mut faults = Faults::default();
    let mut wanted = Vec::new();
    for param in &bound.params {
        let Some((_, given)) = named.iter().find(|(path, _)| *path == param.path) else { continue };
        let mut item = DynamicMessage::new(param.leaf.parent_message().clone());
        reading::set_from_text(&mut item, std::slice::from_ref(&param.leaf), given, param.name, &mut faults);
        wanted.push((param.leaf.clone(), item.get_field(&param.leaf).into_owned()));
    }
    if faults.is_empty() { Ok(wanted) } else { Err(faults.into_violations().into()) }
}

/// Messages as a list of one name.
struct Listed<'a> {
    name: &'a str,
    items: &'a [DynamicMessage],
}

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let items: Vec<Shown<'_>> = self.items.iter().map(Shown).collect();
        let mut object = to.serialize_map(Some(1))?;
        object.serialize_entry(self.name, &items)?;
        object.end()
    }
}

fn written(value: &impl Serialize) -> Result<Response, Problem> {
    let unwritten = |error| Error::new(Code::Internal, format!("the answer cannot be written: {error}"));
    Ok(json(serde_json::to_vec(value).map_err(unwritten)?))
}
