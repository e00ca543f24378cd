//! `evenkeel profile`: where a running coordinator's processor time goes.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use evenkeel_shared::dial::Security;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    args::Global,
    client::Address,
    exit::{CliError, Exit, Outcome},
};

/// Bytes of an answer: a profile has some hundred kilobytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Beyond the time of the profile itself: looking names up takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of `profile`.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// How many seconds to record, 1 to 60
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The coordinator's HTTP address; --coordinator is not used
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7480", env = "EVENKEEL_HTTP_URL")]
    http: String,
    /// Where to write the profile
    #[arg(long, short = 'O', value_name = "FILE")]
    file: PathBuf,
    /// In which format [default: by the file's name: svg for .svg, folded for .txt and .folded, otherwise pprof]
    #[arg(long, value_enum)]
    form: Option<Form>,
}

/// The form of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For pprof, and what reads its files
    Pprof,
    /// A flame graph
    Svg,
    /// A line for each stack
    Folded,
}

impl Form {
    fn of(path: &std::path::Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => Self::Svg,
            Some("txt" | "folded") => Self::Folded,
            _ => Self::Pprof,
        }
    }

    const fn accept(self) -> &'static str {
        match self {
            Self::Pprof => "application/octet-stream",
            Self::Svg => "image/svg+xml",
            Self::Folded => "text/plain",
        }
    }
}

/// Makes one and writes it.
///
/// # Errors
/// If the coordinator does not answer or refuses, or the file cannot be written.
pub async fn run(args: ProfileArgs, global: &Global) -> Outcome {
    let form = args.form.unwrap_or_else(|| Form::of(&args.file));
    let address = Address::secured(&args.http, global.security.over(Security::default())?)?;
    let path = format!("/debug/pprof/profile?seconds={}", args.seconds);
    let time_max = Duration::from_secs(args.seconds) + PATIENCE;
    let body = tokio::time::timeout(time_max, get(&address, &path, form.accept()))
        .await
        .map_err(|_| CliError::new(Exit::TimedOut, "the coordinator did not answer in time"))??;
    std::fs::write(&args.file, &body).map_err(|error| {
        CliError::new(Exit::Error, format!("could not write `{}`", args.file.display())).because(error)
    })?;
    eprintln!("{} bytes are in {}", body.len(), args.file.display());
    Ok(Exit::Ok)
}

/// Asks by HTTP/1.0, whose answers end with their connection.
async fn get(address: &Address, path: &str, accept: &str) -> Result<Vec<u8>, CliError> {
    let unreachable = |error: &dyn std::fmt::Display| {
        CliError::new(Exit::Unreachable, format!("no coordinator answers at {}", address.url()))
            .because(error)
            .hint("give the address of its HTTP port with --http or EVENKEEL_HTTP_URL")
    };
    let mut stream = address.way().http().await.map_err(|error| unreachable(&error))?;
    let mut head = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\naccept: {accept}\r\n");
    let shown =
        address.way().authorization().map_err(|error| CliError::usage("no token can be shown").because(error))?;
    if let Some(token) = shown.as_ref().and_then(|token| token.to_str().ok()) {
        head.push_str(&format!("authorization: {token}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.map_err(|error| unreachable(&error))?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.map_err(|error| unreachable(&error))?;
    body(&answer)
}

/// The body of an answer that is one.
fn body(answer: &[u8]) -> Result<Vec<u8>, CliError> {
    const END: &[u8] = b"\r\n\r\n";
    let bad = || CliError::new(Exit::Error, "what answers is no coordinator's HTTP port").hint("give it with --http");
    let split = answer.windows(END.len()).position(|bytes| bytes == END).ok_or_else(bad)?;
    let head = String::from_utf8_lossy(&answer[..split]);
    let code = head.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()).ok_or_else(bad)?;
    let body = &answer[split + END.len()..];
    if code == 200 {
        return Ok(body.to_vec());
    }
    let exit = if code == 401 || code == 403 || code == 429 { Exit::Refused } else { Exit::Error };
    let words = serde_json::from_slice::<serde_json::Value>(body).ok();
    let detail = words.as_ref().and_then(|words| words["detail"].as_str()).unwrap_or("it did not say why");
    Err(CliError::new(exit, format!("the coordinator made no profile ({code})")).because(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_the_file() {
        for (file, form) in [("a.svg", Form::Svg), ("a.txt", Form::Folded), ("a.pb", Form::Pprof), ("a", Form::Pprof)] {
            assert_eq!(Form::of(std::path::Path::new(file)), form, "{file}");
        }
    }

    #[test]
    fn an_answer_is_its_body_or_what_is_wrong() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nx: y\r\n\r\nabc").unwrap(), b"abc");
        let refused = body(b"HTTP/1.0 403 Forbidden\r\n\r\n{\"detail\":\"admins alone\"}").unwrap_err();
        assert_eq!(refused.exit, Exit::Refused);
        assert!(refused.to_string().contains("admins alone"), "{refused}");
        assert!(body(b"SSH-2.0-nothing").is_err());
    }
}
