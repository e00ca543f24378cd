//! `evenkeel tokens`: the file of credentials that a coordinator reads (`auth.credentials_file`).
//!
//! The file is text that people edit and comment, so entries are put in and marked without touching the rest of it, and it is
//! replaced in one step. A coordinator that runs takes it up within seconds.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::{Args, Subcommand};
use evenkeel_coordinator::security::tokens::{Credentials, CredentialsFile, hex, new_token};

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::credential::{CredentialView, NewTokenView},
    quantity,
};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// Make a token, put its hash into the file, and print it: this once
    New(NewArgs),
    /// List the tokens of the file; it holds their hashes only
    List {
        /// The file of credentials
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Mark a token of the file as revoked
    Revoke {
        /// Its id
        id: String,
        /// The file of credentials
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// A new token.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The file of credentials; made if it is not there
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Who shows it: of an agent, the id that it registers under
    #[arg(long)]
    name: String,
    /// As what: agent, client, viewer or admin; may be given more than once
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = ["agent", "client", "viewer", "admin"])]
    roles: Vec<String>,
    /// Its lasting name [default: the name, and a number if that is taken]
    #[arg(long)]
    id: Option<String>,
    /// The one tenant whose tasks it submits and sees
    #[arg(long)]
    tenant: Option<String>,
    /// When it ends: a time from now, or a date and time
    #[arg(long, value_name = "WHEN", value_parser = quantity::deadline)]
    expires: Option<SystemTime>,
    /// Agents: an id that it may register under, or a prefix with *; may be given more than once
    #[arg(long = "agent-id", value_name = "ID")]
    agent_ids: Vec<String>,
    /// Agents: most slots
    #[arg(long, value_name = "COUNT")]
    slots_max: Option<u32>,
    /// Agents: a label that it may carry, key=value or key; may be given more than once [default: any]
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
}

/// Carries it out.
///
/// # Errors
/// If the file cannot be read or written, or makes no sense.
pub fn run(command: TokensCommand, global: &Global) -> Outcome {
    match command {
        TokensCommand::New(args) => make(&args, global),
        TokensCommand::List { file } => {
            let known = read(&file)?.1;
            let listed: Vec<_> = known.tokens().iter().map(view).collect();
            global.output().list(&listed, "there are no tokens in the file")?;
            Ok(Exit::Ok)
        }
        TokensCommand::Revoke { id, file } => revoke(&id, &file),
    }
}

fn view(token: &evenkeel_coordinator::security::tokens::KnownToken) -> CredentialView {
    let caller = &token.caller;
    CredentialView {
        id: caller.credential.clone(),
        name: caller.name.clone(),
        method: caller.method.name().to_owned(),
        roles: caller.roles.iter().map(|role| role.name().to_owned()).collect(),
        tenant: caller.tenant.as_ref().map(ToString::to_string),
        agent_ids: caller.agent.ids.clone(),
        expires_unix_ms: token.expires_unix_ms,
        last_used_unix_ms: None,
        open_streams: 0,
        revoked: token.revoked,
    }
}

fn make(args: &NewArgs, global: &Global) -> Outcome {
    let (text, known) = if args.file.exists() { read(&args.file)? } else { (String::new(), Credentials::default()) };
    let is_free = |id: &str| known.by_id(id).is_none();
    let numbered = || (2..).map(|number| format!("{}-{number}", args.name)).find(|id| is_free(id));
    let id = match &args.id {
        Some(id) => id.clone(),
        None if is_free(&args.name) => args.name.clone(),
        None => numbered().unwrap_or_default(),
    };
    let random = |error| CliError::new(Exit::Error, "the system has no randomness for a token").because(error);
    let (token, hash) = new_token().map_err(random)?;
    let mut changed = text;
    if !changed.is_empty() && !changed.ends_with("\n\n") {
        changed.push('\n');
    }
    changed += &entry(args, &id, &hex(&hash));
    check(&args.file, &changed)?;
    replace(&args.file, &changed)?;
    eprintln!("`{id}` is in {}; this is its token, which nobody can read there:", args.file.display());
    global.output().one(&NewTokenView { id, file: args.file.display().to_string(), token })?;
    Ok(Exit::Ok)
}

/// The lines of a new token.
fn entry(args: &NewArgs, id: &str, hash: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let list = |items: &[String]| toml::Value::from(items.to_vec()).to_string();
    let mut lines = vec![
        "[[credential]]".to_owned(),
        format!("id = {}", quoted(id)),
        format!("name = {}", quoted(&args.name)),
        format!("roles = {}", list(&args.roles)),
    ];
    lines.extend(args.tenant.as_deref().map(|tenant| format!("tenant = {}", quoted(tenant))));
    lines.push(format!("sha256 = \"{hash}\""));
    lines.extend(args.expires.map(|end| format!("expires = {}", humantime::format_rfc3339_seconds(end))));
    if !args.agent_ids.is_empty() || args.slots_max.is_some() || !args.labels.is_empty() {
        lines.push("[credential.agent]".to_owned());
        if !args.agent_ids.is_empty() {
            lines.push(format!("ids = {}", list(&args.agent_ids)));
        }
        lines.extend(args.slots_max.map(|slots| format!("slots_max = {slots}")));
        if !args.labels.is_empty() {
            lines.push(format!("labels = {}", list(&args.labels)));
        }
    }
    lines.join("\n") + "\n"
}

fn revoke(id: &str, file: &Path) -> Outcome {
    let (text, known) = read(file)?;
    let missing = || {
        CliError::new(Exit::NotFound, format!("there is no token `{id}` in {}", file.display()))
            .hint("see `evenkeel tokens list`; `evenkeel credentials revoke` revokes of a coordinator that runs")
    };
    if known.by_id(id).ok_or_else(missing)?.revoked {
        eprintln!("`{id}` was revoked before");
        return Ok(Exit::Ok);
    }
    let changed = marked(&text, id).ok_or_else(missing)?;
    check(file, &changed)?;
    replace(file, &changed)?;
    eprintln!("`{id}` is revoked; a coordinator that reads this file refuses it within seconds");
    Ok(Exit::Ok)
}

/// The text with the entry of this id marked, in the line after its id.
fn marked(text: &str, id: &str) -> Option<String> {
    let file: CredentialsFile = toml::from_str(text).ok()?;
    let entry = file.credential.iter().find(|entry| entry.id.get_ref() == id)?;
    let end = entry.id.span().end;
    let line_end = text[end..].find('\n').map_or(text.len(), |line| end + line);
    // `revoked = false` may stand there already.
    let rest = &text[line_end..];
    let next_entry = rest.find("\n[").unwrap_or(rest.len());
    let own: Vec<&str> = rest[..next_entry].split_inclusive('\n').collect();
    let kept: String = own.into_iter().filter(|line| !line.trim_start().starts_with("revoked")).collect();
    let before = text[..line_end].rfind("[[credential]]").map_or(0, |start| start);
    let head: String =
        text[before..line_end].split_inclusive('\n').filter(|line| !line.trim_start().starts_with("revoked")).collect();
    Some(format!("{}{head}\nrevoked = true{kept}{}", &text[..before], &rest[next_entry..]))
}

fn read(file: &Path) -> Result<(String, Credentials), CliError> {
    let text = fs::read_to_string(file)
        .map_err(|error| CliError::new(Exit::Error, format!("{} cannot be read", file.display())).because(error))?;
    let known = check(file, &text)?;
    Ok((text, known))
}

fn check(file: &Path, text: &str) -> Result<Credentials, CliError> {
    Credentials::read(text)
        .map_err(|error| CliError::usage(format!("{} makes no sense", file.display())).because(error))
}

/// Puts the text in the place of the file in one step, for its owner alone.
fn replace(file: &Path, text: &str) -> Result<(), CliError> {
    let written = || -> io::Result<()> {
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let new = directory.join(format!(".{name}.{}", std::process::id()));
        let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        to.write_all(text.as_bytes())?;
        to.sync_all()?;
        fs::rename(&new, file)
    };
    written()
        .map_err(|error| CliError::new(Exit::Error, format!("{} cannot be written", file.display())).because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# ours\n[[credential]]\nid = \"a\" # the first\nname = \"x\"\nroles = [\"client\"]\nsha256 = \
                        \"0000000000000000000000000000000000000000000000000000000000000000\"\nrevoked = false\n\n\
                        [[credential]]\nid = \"b\"\nname = \"x\"\nroles = [\"client\"]\nsha256 = \
                        \"1111111111111111111111111111111111111111111111111111111111111111\"\n";

    #[test]
    fn one_entry_is_marked_and_nothing_else_changes() {
        for (id, other) in [("a", "b"), ("b", "a")] {
            let changed = marked(TEXT, id).unwrap();
            let known = Credentials::read(&changed).unwrap_or_else(|error| panic!("{error}\n{changed}"));
            assert!(known.by_id(id).unwrap().revoked && !known.by_id(other).unwrap().revoked, "{changed}");
            assert!(changed.starts_with("# ours\n") && changed.contains("# the first"), "{changed}");
        }
        assert_eq!(marked(TEXT, "c"), None);
    }
}
