//! `evenkeel certs`: certificates to try TLS with.

mod make;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use evenkeel_coordinator::security::{Role, names::CertificateName};
use evenkeel_shared::{AgentId, Tenant};
use make::{Authority, Days, Whom};
use serde::Serialize;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, table::Style},
};

/// Subcommands of `certs`.
#[derive(Debug, Subcommand)]
pub enum CertsCommand {
    /// Make an authority of your own and certificates of it, for development
    ///
    /// Where the directory holds an authority already, it is used again, and what was made before stays unless it is asked
    /// for again. Everything is valid for --days only, and the key of the authority lies beside the others: whoever can read
    /// the directory can be anybody.
    Dev(DevArgs),
}

/// Arguments of `certs dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "evenkeel-certs")]
    out: PathBuf,
    /// A name or address that the coordinator is reached at, beside localhost, 127.0.0.1 and ::1 (may be repeated)
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// A certificate for an agent that registers under this id (may be repeated)
    #[arg(long, value_name = "ID")]
    agent: Vec<AgentId>,
    /// A certificate for a client of this name (may be repeated)
    #[arg(long, value_name = "NAME")]
    client: Vec<AgentId>,
    /// The one tenant that the clients act for
    #[arg(long, requires = "client")]
    tenant: Option<Tenant>,
    /// A certificate for an administrator, named admin
    #[arg(long)]
    admin: bool,
    /// A certificate for a viewer, named viewer
    #[arg(long)]
    viewer: bool,
    /// How long they are valid; 0: they have expired
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=825))]
    days: u32,
}

/// The files of one holder.
#[derive(Debug, Serialize)]
struct Made {
    #[serde(rename = "for")]
    whom: String,
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Serialize)]
struct All {
    authority: PathBuf,
    certificates: Vec<Made>,
}

impl Show for All {
    fn show(&self, _style: &Style) -> String {
        let mut text = format!("authority    {}\n", self.authority.display());
        for made in &self.certificates {
            text += &format!("{:<12} {}, {}\n", made.whom, made.certificate.display(), made.key.display());
        }
        text + "for development only: whoever can read these files can be anybody"
    }
}

/// Makes certificates.
///
/// # Errors
/// If a name is none, or a file cannot be written.
pub fn run(command: CertsCommand, global: &Global) -> Outcome {
    let CertsCommand::Dev(args) = command;
    let directory = args.out.clone();
    fs::create_dir_all(&directory).map_err(|error| failed(&directory, error))?;
    let authority = authority(&directory)?;
    let mut certificates = vec![make(&directory, &authority, "server", server(args.host.clone()), args.days)?];
    for (role, name, tenant) in holders(&args) {
        let of = CertificateName { role, name: name.clone(), tenant };
        // Agents' ids may have characters that file names have not.
        let file = format!("{}-{}", role.name(), name.replace(['/', ':'], "_"));
        let file = if role.name() == name { name } else { file };
        certificates.push(make(&directory, &authority, &file, Whom::Peer(of.to_string()), args.days)?);
    }
    global.output().one(&All { authority: directory.join("ca.pem"), certificates })?;
    Ok(Exit::Ok)
}

fn server(hosts: Vec<String>) -> Whom {
    let here = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    Whom::Server(here.into_iter().chain(hosts).collect())
}

fn holders(args: &DevArgs) -> Vec<(Role, String, Option<Tenant>)> {
    let named = |role: Role, tenant: Option<&Tenant>| {
        let tenant = tenant.cloned();
        move |name: &AgentId| (role, name.as_str().to_owned(), tenant.clone())
    };
    let mut all: Vec<_> = args.agent.iter().map(named(Role::Agent, None)).collect();
    all.extend(args.client.iter().map(named(Role::Client, args.tenant.as_ref())));
    all.extend(args.admin.then(|| (Role::Admin, "admin".to_owned(), None)));
    all.extend(args.viewer.then(|| (Role::Viewer, "viewer".to_owned(), None)));
    all
}

/// The authority of a directory; a new one if there is none.
fn authority(directory: &Path) -> Result<Authority, CliError> {
    let (certificate, key) = (directory.join("ca.pem"), directory.join("ca.key"));
    match (fs::read_to_string(&certificate), fs::read_to_string(&key)) {
        (Ok(pem), Ok(key_pem)) => Authority::read(&pem, &key_pem).map_err(|error| failed(&key, error)),
        (Err(first), Err(second)) if [&first, &second].iter().all(|error| error.kind() == io::ErrorKind::NotFound) => {
            let authority = Authority::new().map_err(|error| failed(&key, error))?;
            // The key first: a certificate without one would be taken for half of an authority.
            write(&key, &authority.key_pem())?;
            write(&certificate, authority.pem())?;
            Ok(authority)
        }
        (Err(error), _) => Err(failed(&certificate, error)),
        (_, Err(error)) => Err(failed(&key, error)),
    }
}

fn make(directory: &Path, authority: &Authority, file: &str, whom: Whom, days: u32) -> Result<Made, CliError> {
    let (certificate, key) = (directory.join(format!("{file}.pem")), directory.join(format!("{file}.key")));
    let (pem, key_pem) = authority.issue(whom, Days(days)).map_err(|error| failed(&certificate, error))?;
    write(&key, &key_pem)?;
    write(&certificate, &pem)?;
    Ok(Made { whom: file.to_owned(), certificate, key })
}

/// Written beside and renamed, and never readable by others, not even for a moment.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let write = || {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: impl std::fmt::Display) -> CliError {
    CliError::new(Exit::Error, format!("could not make `{}`", path.display())).because(error)
}
