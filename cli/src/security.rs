//! What every command trusts, and what it shows the coordinator.
//!
//! There is no flag that takes a token itself: whoever may list processes would read it. A file or the environment is for that.

use std::{env, path::PathBuf};

use clap::Args;
use evenkeel_shared::dial::{Security, Token};

use crate::exit::CliError;

/// The environment variable with a token. A process of somebody else cannot read it, that of the same user can.
const TOKEN: &str = "EVENKEEL_TOKEN";

/// What a client trusts, and what it shows.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct SecurityArgs {
    /// The authorities that the coordinator's certificate may be of, in PEM [default: those of the system]
    #[arg(long, global = true, value_name = "FILE", env = "EVENKEEL_CA_FILE", hide_env_values = true)]
    ca_file: Option<PathBuf>,
    /// A certificate that says who this is, in PEM
    #[arg(long, global = true, value_name = "FILE", env = "EVENKEEL_CERT_FILE", hide_env_values = true)]
    cert_file: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, global = true, value_name = "FILE", env = "EVENKEEL_KEY_FILE", hide_env_values = true)]
    key_file: Option<PathBuf>,
    /// The name that the coordinator's certificate has to be for [default: the host in the URL]
    #[arg(long, global = true, value_name = "NAME", env = "EVENKEEL_SERVER_NAME", hide_env_values = true)]
    server_name: Option<String>,
    /// A file with a token that says who this is; the token itself goes into EVENKEEL_TOKEN
    #[arg(long, global = true, value_name = "FILE", env = "EVENKEEL_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
    /// Show token and certificate to another machine without TLS
    #[arg(long, global = true, env = "EVENKEEL_ALLOW_PLAINTEXT", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    allow_plaintext: bool,
}

impl SecurityArgs {
    /// What is given here, over what a file says.
    ///
    /// # Errors
    /// If the token in the environment is none.
    pub fn over(&self, file: Security) -> Result<Security, CliError> {
        let token = match env::var(TOKEN) {
            // A file that is named says more than a variable that was there.
            Ok(text) if self.token_file.is_none() && !text.is_empty() => Some(Token::new(&text).map_err(|error| {
                CliError::usage(format!("the environment variable {TOKEN} is of no use")).because(error)
            })?),
            _ => file.token,
        };
        // Certificate and key go together, wherever they are from.
        let (cert_file, key_file) = match (&self.cert_file, &self.key_file) {
            (None, None) => (file.cert_file, file.key_file),
            (cert_file, key_file) => (cert_file.clone(), key_file.clone()),
        };
        Ok(Security {
            ca_file: self.ca_file.clone().or(file.ca_file),
            cert_file,
            key_file,
            server_name: self.server_name.clone().or(file.server_name),
            token_file: self.token_file.clone().or(file.token_file),
            token,
            allow_plaintext: self.allow_plaintext || file.allow_plaintext,
        })
    }
}

impl SecurityArgs {
    /// The same options for another command of this program; what is in the environment it has from there.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let files = [
            ("--ca-file", &self.ca_file),
            ("--cert-file", &self.cert_file),
            ("--key-file", &self.key_file),
            ("--token-file", &self.token_file),
        ];
        let files =
            files.into_iter().filter_map(|(name, file)| Some([name.to_owned(), file.as_ref()?.display().to_string()]));
        let name = self.server_name.iter().map(|name| ["--server-name".to_owned(), name.clone()]);
        let plaintext = self.allow_plaintext.then(|| "--allow-plaintext".to_owned());
        files.chain(name).flatten().chain(plaintext).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn flags_go_before_the_file_and_pairs_stay_together() {
        let file = Security {
            ca_file: Some("file-ca".into()),
            cert_file: Some("file-cert".into()),
            key_file: Some("file-key".into()),
            ..Security::default()
        };
        let args = SecurityArgs { cert_file: Some("cert".into()), ..SecurityArgs::default() };
        let both = args.over(file.clone()).unwrap();
        assert_eq!(both.ca_file, Some("file-ca".into()));
        assert_eq!((both.cert_file, both.key_file), (Some("cert".into()), None), "a pair is never of two places");
        assert_eq!(SecurityArgs::default().over(file.clone()).unwrap().key_file, file.key_file);
    }

    #[test]
    fn another_command_is_given_what_this_one_was_given() {
        #[derive(Debug, Parser)]
        struct Line {
            #[command(flatten)]
            args: SecurityArgs,
        }
        let given = ["--ca-file", "ca", "--token-file", "token", "--server-name", "fleet", "--allow-plaintext"];
        let passed_on = |given: &[&str]| {
            let line = ["evenkeel"].iter().chain(given);
            Line::try_parse_from(line).unwrap().args.words()
        };
        assert_eq!(passed_on(&given), given);
        assert_eq!(passed_on(&[]), [""; 0]);
    }
}
