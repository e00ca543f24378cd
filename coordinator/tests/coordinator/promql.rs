//! As much of PromQL as it takes to see which series an expression reads: names, labels, and what `rate` is taken of.
//!
//! `promtool` and the dashboard take any name that could be one, and what is misspelt is shown as empty for ever.

use std::collections::{BTreeMap, BTreeSet};

/// Words that come before a list of labels.
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words that are no names either.
const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
/// Functions of things that only grow.
const OF_COUNTERS: [&str; 4] = ["rate", "irate", "increase", "resets"];
/// Labels that the scraper adds.
pub const OF_TARGETS: [&str; 2] = ["job", "instance"];

/// What a scrape has: of each series name its labels, and the values of each that were seen.
#[derive(Debug, Default)]
pub struct Scrape {
    series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Scrape {
    /// Adds the samples of a text in OpenMetrics.
    pub fn add(&mut self, open_metrics: &str) {
        for line in open_metrics.lines().filter(|line| !line.starts_with('#')) {
            let name: String = line.chars().take_while(|c| *c != '{' && *c != ' ').collect();
            let labels = self.series.entry(name.clone()).or_default();
            let mut words = Words(&line[name.len()..]);
            if words.takes("{") {
                for (label, _, value) in words.matchers().expect("a sample's labels") {
                    labels.entry(label).or_default().insert(value);
                }
            }
        }
    }

    /// Names of series.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// Labels of a series, without those of the scraper.
    pub fn labels(&self, series: &str) -> BTreeSet<&str> {
        self.series.get(series).map(|labels| labels.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// What is wrong with an expression: names and labels that no series has, rates of what does not only grow. `Ok`: the
    /// labels that its result can have.
    pub fn check(&self, expression: &str) -> Result<BTreeSet<String>, String> {
        let read = Read::of(expression).map_err(|problem| format!("{problem}: {expression}"))?;
        let mut known: BTreeSet<String> = OF_TARGETS.map(ToOwned::to_owned).into();
        for (function, series, matchers) in &read.series {
            let labels = match self.series.get(series) {
                // Of the scraper itself.
                None if series == "up" => continue,
                None => return Err(format!("there is no `{series}`: {expression}")),
                Some(labels) => labels,
            };
            let grows = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| series.ends_with(end));
            if OF_COUNTERS.contains(&function.as_str()) && !grows {
                return Err(format!("`{function}` of `{series}`, which is no counter: {expression}"));
            }
            for (label, operator, value) in matchers {
                let values = labels.get(label);
                if values.is_none() && !OF_TARGETS.contains(&label.as_str()) {
                    return Err(format!("`{series}` has no label `{label}`: {expression}"));
                }
                let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_|".contains(&byte));
                let seen = |one: &str| values.is_none_or(|values| values.contains(one));
                let some = if operator.ends_with('~') { value.split('|').collect() } else { vec![value.as_str()] };
                if let Some(strange) = some.into_iter().find(|one| plain && !seen(one)) {
                    return Err(format!("`{series}` has no {label} `{strange}`: {expression}"));
                }
            }
            known.extend(labels.keys().cloned());
        }
        if let Some(strange) = read.grouped.iter().find(|label| !known.contains(*label)) {
            return Err(format!("nothing has the label `{strange}`: {expression}"));
        }
        Ok(if read.grouped.is_empty() { known } else { read.grouped })
    }
}

/// A label, how it is compared, and with what.
type Matcher = (String, String, String);

/// What an expression reads.
#[derive(Debug, Default)]
struct Read {
    /// The function around it, its name, and what its labels are compared with.
    series: Vec<(String, String, Vec<Matcher>)>,
    /// Labels of groupings.
    grouped: BTreeSet<String>,
}

impl Read {
    fn of(expression: &str) -> Result<Self, &'static str> {
        let (mut words, mut read, mut function) = (Words(expression), Self::default(), String::new());
        loop {
            words.skip_space();
            let Some(next) = words.0.chars().next() else { return Ok(read) };
            if next == '[' {
                words.0 = words.0.split_once(']').ok_or("a range has no end")?.1;
            } else if next == '"' {
                words.quoted()?;
            } else if next.is_ascii_digit() {
                words.0 = words.0.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
            } else if let Some(word) = words.word() {
                words.skip_space();
                if GROUPING.contains(&word) {
                    if words.takes("(") {
                        let (list, rest) = words.0.split_once(')').ok_or("a list of labels has no end")?;
                        words.0 = rest;
                        let labels = list.split(',').map(str::trim).filter(|label| !label.is_empty());
                        read.grouped.extend(labels.map(ToOwned::to_owned));
                    }
                } else if words.takes("(") {
                    word.clone_into(&mut function);
                } else if ["by", "without"].iter().any(|word| words.0.starts_with(word)) {
                    // An aggregation whose labels come first.
                } else if !OPERATORS.contains(&word) {
                    let matchers = if words.takes("{") { words.matchers()? } else { Vec::new() };
                    read.series.push((function.clone(), word.to_owned(), matchers));
                }
            } else {
                if matches!(next, '(' | ')') {
                    function.clear();
                }
                words.0 = &words.0[next.len_utf8()..];
            }
        }
    }
}

/// What is left of a text.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn skip_space(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn takes(&mut self, what: &str) -> bool {
        let rest = self.0.strip_prefix(what);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn word(&mut self) -> Option<&'a str> {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let end = self.0.find(|c| !inner(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    fn quoted(&mut self) -> Result<String, &'static str> {
        let mut value = String::new();
        let mut chars = self.0.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(value);
                }
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                _ => value.push(c),
            }
        }
        Err("a text has no end")
    }

    /// What is between the braces, of which the first has been taken.
    fn matchers(&mut self) -> Result<Vec<Matcher>, &'static str> {
        let mut matchers = Vec::new();
        loop {
            self.skip_space();
            if self.takes("}") {
                return Ok(matchers);
            }
            let label = self.word().ok_or("no label where one should be")?.to_owned();
            self.skip_space();
            let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| self.takes(operator));
            let operator = operator.ok_or("a label is not compared with anything")?.to_owned();
            self.skip_space();
            matchers.push((label, operator, self.quoted()?));
            self.skip_space();
            self.takes(",");
        }
    }
}

#[test]
fn what_is_wrong_with_an_expression_is_found_by_name() {
    let mut scrape = Scrape::default();
    scrape.add(
        "# TYPE a gauge\na{of=\"x\",to=\"a \\\" }\"} 1\na{of=\"y\",to=\"b\"} 1\nb_total 3 # {trace_id=\"f\"} 1 2\n",
    );
    let check = |expression: &str| scrape.check(expression).map(|labels| labels.into_iter().collect::<Vec<_>>());
    assert_eq!(check("up{job=~\".*x.*\"} == 0").unwrap(), ["instance", "job"]);
    assert_eq!(
        check("sum by (of) (a{of=~\"x|y\",job=~\"$job\"}) and on () rate(b_total[5m]) > 1.5e3 * (a)").unwrap(),
        ["of"]
    );
    assert_eq!(check("a / ignoring (of) group_left sum without (of) (a) > 24 * 3600").unwrap(), ["of"]);
    assert_eq!(check("a{to!=\"b\"}").unwrap(), ["instance", "job", "of", "to"]);
    for (expression, problem) in [
        ("a + c", "there is no `c`"),
        ("b", "there is no `b`"),
        ("a{off=\"x\"}", "`a` has no label `off`"),
        ("a{of=\"z\"}", "`a` has no of `z`"),
        ("a{of=~\"x|z\"}", "`a` has no of `z`"),
        ("sum by (for) (a)", "nothing has the label `for`"),
        ("rate(a[5m])", "`rate` of `a`"),
        ("a{of", "not compared"),
    ] {
        let found = check(expression).unwrap_err();
        assert!(found.contains(problem), "{expression}: {found}");
    }
}
