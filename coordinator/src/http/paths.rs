//! Which route an address belongs to.
//!
//! Names of agents, limits, budgets and keys may have slashes in them. In a path they stand as `%2F`, or as they are: a part
//! with a star takes as many segments as there are before what follows it. axum's own router knows no such part but at the end,
//! and does not say which methods an address has; with some sixty routes there is nothing to gain from its tree.

use percent_encoding::percent_decode_str;

use super::routes::{Route, Verb};

/// A part of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// This word.
    Word(&'static str),
    /// The value of this field, in one segment.
    One(&'static str),
    /// The value of this field, in one segment or several.
    Many(&'static str),
}

/// The parts of a route's path.
pub fn parts(route: &Route) -> Vec<Part> {
    let part = |part: &'static str| match part.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
        Some(inner) => inner.strip_prefix('*').map_or(Part::One(inner), Part::Many),
        None => Part::Word(part),
    };
    route.path.split('/').skip(1).map(part).collect()
}

/// What the path of a request says: fields of it, and their values.
pub type Named = Vec<(&'static str, String)>;

/// What there is at an address.
#[derive(Debug)]
pub enum Found<T> {
    /// This, with these values.
    Route(T, Named),
    /// Something that can be had by these verbs, not by this one.
    Otherwise(Vec<Verb>),
    /// Nothing.
    Nothing,
}

/// Finds the route for a path below the root, as it came (`/limits/a%2Fb`).
pub fn find<'a, T>(
    routes: &'a [T],
    route: impl Fn(&T) -> &'static Route,
    verb: Option<Verb>,
    path: &str,
) -> Found<&'a T> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let fits = |item: &'a T| Some((item, words(route(item)), matches(route(item), &segments)?));
    let fitting: Vec<(&T, usize, Named)> = routes.iter().filter_map(fits).collect();
    // The one that says most of the address: `/agents/a/cordon` is a thing of the agent `a`, not the agent `a/cordon`.
    let Some(most) = fitting.iter().map(|(_, words, _)| *words).max() else { return Found::Nothing };
    let mut others: Vec<Verb> = Vec::new();
    for (item, _, named) in fitting.into_iter().filter(|(_, words, _)| *words == most) {
        let candidate = route(item).verb;
        if Some(candidate) == verb {
            return Found::Route(item, named);
        }
        others.push(candidate);
    }
    others.sort_unstable();
    others.dedup();
    Found::Otherwise(others)
}

fn words(route: &Route) -> usize {
    parts(route).iter().filter(|part| matches!(part, Part::Word(_))).count()
}

fn matches(route: &Route, segments: &[&str]) -> Option<Named> {
    let parts = parts(route);
    let mut named = Named::new();
    let (mut parts, mut rest) = (parts.as_slice(), segments);
    while let Some((part, after)) = parts.split_first() {
        if let Part::Many(field) = *part {
            // What follows it is matched from the end.
            let ahead = rest.len().checked_sub(after.len())?;
            let (many, last) = rest.split_at(ahead);
            named.push((field, decoded(&many.join("/"))?));
            for (part, segment) in after.iter().zip(last) {
                take(*part, segment, &mut named)?;
            }
            return Some(named);
        }
        let (segment, next) = rest.split_first()?;
        take(*part, segment, &mut named)?;
        (parts, rest) = (after, next);
    }
    rest.is_empty().then_some(named)
}

fn take(part: Part, segment: &str, named: &mut Named) -> Option<()> {
    match part {
        Part::Word(word) => (word == segment).then_some(()),
        Part::One(field) | Part::Many(field) => {
            named.push((field, decoded(segment)?));
            Some(())
        }
    }
}

/// A value of a path; `None` if it is empty or not text.
fn decoded(raw: &str) -> Option<String> {
    let text = percent_decode_str(raw).decode_utf8().ok()?;
    (!text.is_empty()).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::ROUTES;

    fn found(verb: Option<Verb>, path: &str) -> Found<&'static Route> {
        let table: Vec<&'static Route> = ROUTES.iter().collect();
        match find(&table, |route| *route, verb, path) {
            Found::Route(route, named) => Found::Route(*route, named),
            Found::Otherwise(verbs) => Found::Otherwise(verbs),
            Found::Nothing => Found::Nothing,
        }
    }

    fn check(verb: Verb, path: &str, rpc: &str, named: &[(&str, &str)]) {
        match found(Some(verb), path) {
            Found::Route(route, got) => {
                let got: Vec<(&str, &str)> = got.iter().map(|(field, value)| (*field, value.as_str())).collect();
                assert_eq!((route.rpc, got.as_slice()), (rpc, named), "{path}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }

    fn misses(verb: Option<Verb>, path: &str) -> Option<Vec<Verb>> {
        match found(verb, path) {
            Found::Route(route, _) => panic!("{path}: {route:?}"),
            Found::Otherwise(verbs) => Some(verbs),
            Found::Nothing => None,
        }
    }

    #[test]
    fn a_path_names_the_fields_of_a_request() {
        check(Verb::Get, "/status", "ClusterService/Status", &[]);
        check(Verb::Put, "/limits/gpu", "ResourceService/PutLimit", &[("limit.name", "gpu")]);
        check(Verb::Post, "/tasks/wait", "TaskService/Wait", &[]);
        let named = [("scope", "kind"), ("name", "render")];
        check(Verb::Put, "/breakers/kind/render", "ResourceService/SetBreaker", &named);
    }

    #[test]
    fn names_may_have_slashes_as_they_are_or_escaped() {
        let rpc = "ClusterService/CordonAgent";
        check(Verb::Post, "/agents/rack/7/cordon", rpc, &[("agent_id", "rack/7")]);
        check(Verb::Post, "/agents/rack%2F7/cordon", rpc, &[("agent_id", "rack/7")]);
        check(Verb::Get, "/agents/rack/7", "ClusterService/DescribeAgent", &[("agent_id", "rack/7")]);
        let named = [("scope", "quota_key"), ("name", "openai/team-a")];
        check(Verb::Get, "/breakers/quota_key/openai/team-a", "ResourceService/ListBreakers", &named);
    }

    #[test]
    fn what_is_there_by_other_methods_says_which() {
        assert_eq!(misses(Some(Verb::Post), "/limits/gpu"), Some(vec![Verb::Get, Verb::Put, Verb::Delete]));
        assert_eq!(misses(None, "/status"), Some(vec![Verb::Get]));
        for path in ["/agents/a/cordon", "/agents/rack/7/drain", "/tasks/redrive"] {
            assert_eq!(misses(Some(Verb::Get), path), Some(vec![Verb::Post]), "{path}");
        }
        check(Verb::Get, "/agents/a%2Fcordon", "ClusterService/DescribeAgent", &[("agent_id", "a/cordon")]);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in ["", "/", "/elsewhere", "/status/", "/limits/", "/tasks/a/b", "/limits/%ff"] {
            assert_eq!(misses(Some(Verb::Delete), path), None, "{path}");
        }
    }
}
