//! The routes beside the descriptors of the services: of each route which message it reads and which it answers, and where
//! in the request each part of an address goes.

use evenkeel_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{
    DescriptorError, DescriptorPool, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, prost_types::field_options::JsType,
};

use super::{
    paths::{self, Part},
    routes::{Gives, ROUTES, Route, Takes},
};

const PACKAGE: &str = "evenkeel.v1";

/// Why there is no interface: the table of routes does not fit the services. A test reads every route, so that no build
/// that passes its tests can show one of these.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// The descriptors cannot be read.
    #[error("the descriptors of the services: {0}")]
    Descriptors(#[from] DescriptorError),
    /// A route of a call that is not there.
    #[error("route {0}: there is no such call")]
    Call(&'static str),
    /// A route that names a field that is not there, or is of another type.
    #[error("route {route}: there is no field `{field}` that it could be")]
    Field {
        /// Of which call.
        route: &'static str,
        /// Which.
        field: String,
    },
}

/// A part of an address.
#[derive(Debug)]
pub struct Param {
    /// As the route's table has it: a path of fields.
    pub path: &'static str,
    /// Its name in the document: the last of the path.
    pub name: &'static str,
    /// The fields on the way; empty if it chooses one of a list.
    pub fields: Vec<FieldDescriptor>,
    /// Its type.
    pub leaf: FieldDescriptor,
    /// It may have slashes in it.
    pub slashes: bool,
}

/// A route with its messages.
#[derive(Debug)]
pub struct Bound {
    /// What the table says.
    pub route: &'static Route,
    /// The call.
    pub rpc: MethodDescriptor,
    /// Parts of the address.
    pub params: Vec<Param>,
    /// Parameters of the query.
    pub query: Vec<FieldDescriptor>,
    /// What is in the body: the request's message, or the one of a field.
    pub body: Option<(MessageDescriptor, Option<FieldDescriptor>)>,
    /// The field of the answer that is shown, if not the whole.
    pub shown: Option<FieldDescriptor>,
}

impl Bound {
    /// The fields of the body that are in the address already.
    pub fn named_in_path(&self) -> impl Iterator<Item = &FieldDescriptor> {
        let depth = usize::from(matches!(self.route.takes, Takes::Field(_)));
        self.params.iter().filter(move |param| param.fields.len() == depth + 1).map(|param| &param.leaf)
    }
}

/// The routes with their messages, in the order of the table.
///
/// # Errors
/// If the table and the services do not fit each other.
pub fn interface() -> Result<Vec<Bound>, Mismatch> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    ROUTES.iter().map(|route| bind(&pool, route)).collect()
}

fn bind(pool: &DescriptorPool, route: &'static Route) -> Result<Bound, Mismatch> {
    let absent = |field: &str| Mismatch::Field { route: route.rpc, field: field.to_owned() };
    let (service, method) = route.rpc.split_once('/').ok_or(Mismatch::Call(route.rpc))?;
    let service = pool.get_service_by_name(&format!("{PACKAGE}.{service}")).ok_or(Mismatch::Call(route.rpc))?;
    let rpc = service.methods().find(|rpc| rpc.name() == method).ok_or(Mismatch::Call(route.rpc))?;
    let (request, answer) = (rpc.input(), rpc.output());
    let field_of =
        |message: &MessageDescriptor, name: &'static str| message.get_field_by_name(name).ok_or_else(|| absent(name));
    let shown = match route.gives {
        Gives::Whole | Gives::Stream(..) => None,
        Gives::Field(name) | Gives::OneOf(name) => Some(field_of(&answer, name)?),
    };
    let item = shown.as_ref().filter(|_| matches!(route.gives, Gives::OneOf(_))).map(message_of);
    let item = item.transpose().map_err(|()| absent("the list's items"))?;
    let params = paths::parts(route).into_iter().filter_map(|part| match part {
        Part::Word(_) => None,
        Part::One(path) => Some((path, false)),
        Part::Many(path) => Some((path, true)),
    });
    let params =
        params.map(|(path, slashes)| param(&request, item.as_ref(), path, slashes).ok_or_else(|| absent(path)));
    let params = params.collect::<Result<Vec<Param>, Mismatch>>()?;
    let body = match route.takes {
        Takes::Nothing => None,
        Takes::Whole => Some((request.clone(), None)),
        Takes::Field(name) => {
            let field = field_of(&request, name)?;
            Some((message_of(&field).map_err(|()| absent(name))?, Some(field)))
        }
    };
    let set_here = |field: &FieldDescriptor| {
        route.sets.is_some_and(|(name, _)| name == field.name())
            || route.takes == Takes::Whole
            || matches!(route.takes, Takes::Field(name) if name == field.name())
            || params.iter().any(|param| param.path == field.name())
    };
    // Messages have no form in a query; there is one such field, the rules on labels of a list of agents.
    let query = request.fields().filter(|field| !set_here(field) && !matches!(field.kind(), Kind::Message(_)));
    let query = query.collect();
    Ok(Bound { route, rpc, params, query, body, shown })
}

fn param(
    request: &MessageDescriptor,
    item: Option<&MessageDescriptor>,
    path: &'static str,
    slashes: bool,
) -> Option<Param> {
    let mut fields: Vec<FieldDescriptor> = Vec::new();
    let name = path.rsplit('.').next()?;
    if let Some(item) = item {
        let leaf = item.get_field_by_name(name)?;
        return Some(Param { path, name, fields, leaf, slashes });
    }
    let mut message = Some(request.clone());
    for step in path.split('.') {
        let field = message?.get_field_by_name(step)?;
        message = message_of(&field).ok();
        fields.push(field);
    }
    let leaf = fields.last()?.clone();
    Some(Param { path, name, fields, leaf, slashes })
}

fn message_of(field: &FieldDescriptor) -> Result<MessageDescriptor, ()> {
    match field.kind() {
        Kind::Message(message) => Ok(message),
        _ => Err(()),
    }
}

/// Whether a number is text in JSON, because it uses all of its 64 bits.
pub fn is_wide(field: &FieldDescriptor) -> bool {
    let options = field.field_descriptor_proto().options.as_ref();
    options.is_some_and(|options| options.jstype() == JsType::JsString)
}

/// The member of a choice of several fields (`oneof`) that a field is.
pub fn choice(field: &FieldDescriptor) -> Option<String> {
    field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).map(|oneof| oneof.name().to_owned())
}

/// The word for a value of an enumeration: its name without the enumeration's, in lower case. The value 0 means "not said" and
/// has none.
pub fn word(value: &EnumValueDescriptor) -> Option<String> {
    if value.number() == 0 {
        return None;
    }
    let prefix = upper_snake(value.parent_enum().name());
    let name = value.name().strip_prefix(&prefix).and_then(|rest| rest.strip_prefix('_')).unwrap_or(value.name());
    Some(name.to_ascii_lowercase())
}

/// The words of an enumeration.
pub fn words(of: &EnumDescriptor) -> Vec<String> {
    of.values().filter_map(|value| word(&value)).collect()
}

fn upper_snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for (i, letter) in name.char_indices() {
        if i > 0 && letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_uppercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_that_answers_once_has_a_route() {
        let routes: BTreeSet<String> = interface().unwrap().iter().map(|b| b.rpc.full_name().to_owned()).collect();
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        for service in ["TaskService", "ClusterService", "ResourceService"] {
            let service = pool.get_service_by_name(&format!("{PACKAGE}.{service}")).unwrap();
            for rpc in service.methods().filter(|rpc| !rpc.is_client_streaming() && !rpc.is_server_streaming()) {
                assert!(routes.contains(rpc.full_name()), "{} is not in the table", rpc.full_name());
            }
        }
    }

    #[test]
    fn no_two_routes_are_the_same() {
        let routes: BTreeSet<_> = ROUTES.iter().map(|route| (route.verb, route.path)).collect();
        assert_eq!(routes.len(), ROUTES.len());
    }

    #[test]
    fn only_rules_on_labels_are_left_out_of_queries() {
        for bound in interface().unwrap() {
            let has_form = |field: &FieldDescriptor| {
                bound.route.takes != Takes::Nothing || !matches!(field.kind(), Kind::Message(_))
            };
            let left_out: Vec<_> = bound.rpc.input().fields().filter(|field| !has_form(field)).collect();
            let allowed = bound.route.rpc == "ClusterService/ListAgents";
            assert!(allowed || left_out.is_empty(), "{}: {left_out:?}", bound.route.rpc);
        }
    }

    #[test]
    fn enumerations_are_words() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let words_of = |name: &str| words(&pool.get_enum_by_name(&format!("{PACKAGE}.{name}")).unwrap());
        assert_eq!(words_of("Health"), ["healthy", "degraded", "unhealthy", "lost"]);
        assert_eq!(words_of("BreakerState"), ["closed", "open", "half_open"]);
        for of in pool.all_enums().filter(|of| of.package_name() == PACKAGE) {
            let prefix = upper_snake(of.name());
            assert!(of.values().all(|value| value.name().starts_with(&prefix)), "{}", of.full_name());
        }
    }
}
