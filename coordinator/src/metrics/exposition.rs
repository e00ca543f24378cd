//! The forms in which `/metrics` is served, and which of them a scraper gets.
//!
//! OpenMetrics text has exemplars, protobuf has native histograms, and the older text is what everything else reads, `promtool
//! check metrics` for one. The first is what who says nothing gets.

use std::fmt::{self, Write as _};

use super::registries::Registries;

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
    /// Prometheus' protobuf, each message after its length.
    Protobuf,
}

/// What is served.
#[derive(Debug)]
pub struct Exposition {
    /// For the header `content-type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Form {
    /// The best that a header `accept` asks for (RFC 9110, 12.5.1); of equals the first of the header.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let mut best = (Self::OpenMetrics, 0.0);
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let form = match parts.next().unwrap_or_default() {
                "application/openmetrics-text" | "*/*" | "application/*" => Self::OpenMetrics,
                "text/plain" | "text/*" => Self::Text,
                "application/vnd.google.protobuf" => Self::Protobuf,
                _ => continue,
            };
            let mut quality = 1.0;
            let mut fits = true;
            for parameter in parts {
                match parameter.split_once('=') {
                    Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                    Some(("proto", value)) => fits &= value == "io.prometheus.client.MetricFamily",
                    Some(("encoding", value)) => fits &= value == "delimited",
                    _ => {}
                }
            }
            if fits && quality > best.1 {
                best = (form, quality);
            }
        }
        best.0
    }
}

pub fn expose(registries: &Registries, form: Form) -> Result<Exposition, fmt::Error> {
    Ok(match form {
        Form::OpenMetrics => Exposition {
            content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
            body: registries.open_metrics()?.into_bytes(),
        },
        Form::Text => Exposition {
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: classic(&registries.open_metrics()?)?.into_bytes(),
        },
        Form::Protobuf => Exposition {
            content_type: "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            body: registries.protobuf().map_err(|_| fmt::Error)?,
        },
    })
}

/// OpenMetrics text in the words of the older format: counters have `_total` in the name of their family, and there are no
/// exemplars and no end.
fn classic(open: &str) -> Result<String, fmt::Error> {
    let counters: Vec<&str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| *line != "# EOF") {
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match described.and_then(|rest| rest.split_once(' ')) {
            Some((name, rest)) if counters.contains(&name) => writeln!(text, "{} {name}_total {rest}", &line[..6])?,
            Some(_) => writeln!(text, "{line}")?,
            // A label's value may have a `#` in it, but no sample is behind the space before one.
            None => writeln!(text, "{}", line.split_once(" # {").map_or(line, |(sample, _)| sample))?,
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_what_it_likes_best_and_who_says_nothing_open_metrics() {
        let of_prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                             application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, form) in [
            ("", Form::OpenMetrics),
            ("*/*", Form::OpenMetrics),
            ("text/html, image/png", Form::OpenMetrics),
            ("text/plain", Form::Text),
            ("text/plain;q=0.5, application/openmetrics-text;q=0.6", Form::OpenMetrics),
            (of_prometheus, Form::Protobuf),
            ("application/vnd.google.protobuf;proto=another.Message, text/plain;q=0.1", Form::Text),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept}");
        }
    }

    #[test]
    fn the_older_text_has_whole_names_and_no_exemplars() {
        let open = "# HELP a A.\n# TYPE a counter\na_total{of=\"x\"} 1\n# HELP b B.\n# TYPE b histogram\n\
                    b_bucket{le=\"1.0\"} 1 # {trace_id=\"f\"} 0.5\n# EOF\n";
        let expected = "# HELP a_total A.\n# TYPE a_total counter\na_total{of=\"x\"} 1\n# HELP b B.\n\
                        # TYPE b histogram\nb_bucket{le=\"1.0\"} 1\n";
        assert_eq!(classic(open).unwrap(), expected);
    }
}
