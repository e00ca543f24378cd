//! Who a certificate is for: a URI among its subject alternative names, `evenkeel://ROLE/NAME[?tenant=TENANT]`.
//!
//! `evenkeel://agent/gpu-7` may register as `gpu-7`; `evenkeel://client/billing?tenant=acme` submits for `acme` alone. The
//! characters of names (letters, digits and `._:/-`) stand for themselves in a URI (RFC 3986, sections 3.3 and 3.4), so
//! nothing is ever escaped, and what is escaped is refused: two spellings of one name would be two names to whoever compares
//! them. Rejected: the subject's common name, which has no agreed form and which authorities fill in as they like.

use std::{fmt, str::FromStr};

use evenkeel_shared::{AgentId, Tenant};

use super::Role;

const SCHEME: &str = "evenkeel://";
const TENANT: &str = "tenant=";

/// The holder of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateName {
    /// What it may act as.
    pub role: Role,
    /// Its name: of an agent, the id that it registers under. Of the same characters as an agent's id.
    pub name: String,
    /// The one tenant that it acts for; `None`: any.
    pub tenant: Option<Tenant>,
}

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateNameError {
    /// It has no such URI.
    #[error("has no name that begins with {SCHEME}")]
    Missing,
    /// It has several.
    #[error("has more than one name that begins with {SCHEME}")]
    Several,
    /// It is not of the form.
    #[error("`{uri}` is not of the form {SCHEME}ROLE/NAME[?tenant=TENANT]: {problem}")]
    Malformed {
        /// As it stands there.
        uri: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl CertificateName {
    /// The one name among these URIs that is meant for Evenkeel. Others are somebody else's and do not count.
    ///
    /// # Errors
    /// If there is none, or more than one, or it is malformed.
    pub fn among<'a>(uris: impl IntoIterator<Item = &'a str>) -> Result<Self, CertificateNameError> {
        let is_ours = |uri: &&str| uri.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
        let mut ours = uris.into_iter().filter(is_ours);
        let uri = ours.next().ok_or(CertificateNameError::Missing)?;
        match ours.next() {
            None => uri.parse(),
            Some(_) => Err(CertificateNameError::Several),
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.role.name(), self.name)?;
        match &self.tenant {
            Some(tenant) => write!(f, "?{TENANT}{tenant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for CertificateName {
    type Err = CertificateNameError;

    fn from_str(uri: &str) -> Result<Self, CertificateNameError> {
        let malformed = |problem: &str| CertificateNameError::Malformed {
            uri: uri.chars().take(256).collect(),
            problem: problem.to_owned(),
        };
        let rest = uri.strip_prefix(SCHEME).ok_or_else(|| malformed("it begins otherwise"))?;
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let (role, name) = path.split_once('/').ok_or_else(|| malformed("there is no name"))?;
        let role = Role::named(role).ok_or_else(|| malformed("the roles are agent, client, viewer and admin"))?;
        let name = AgentId::new(name).map_err(|error| malformed(&error.description))?;
        let tenant = match query {
            None => None,
            Some(query) => {
                let tenant = query.strip_prefix(TENANT).ok_or_else(|| malformed("all that may follow is a tenant"))?;
                Some(Tenant::new(tenant).map_err(|error| malformed(&error.description))?)
            }
        };
        Ok(Self { role, name: name.as_str().to_owned(), tenant })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(uri: &str, role: Role, name: &str, tenant: Option<&str>) {
        let tenant = tenant.map(|tenant| Tenant::new(tenant).unwrap());
        let expected = CertificateName { role, name: name.to_owned(), tenant };
        assert_eq!(uri.parse(), Ok(expected.clone()), "{uri}");
        assert_eq!(expected.to_string(), uri);
    }

    #[test]
    fn a_name_says_role_name_and_tenant() {
        check("evenkeel://agent/gpu-7", Role::Agent, "gpu-7", None);
        check("evenkeel://agent/eu/rack:3/a.1", Role::Agent, "eu/rack:3/a.1", None);
        check("evenkeel://client/billing?tenant=acme", Role::Client, "billing", Some("acme"));
        check("evenkeel://viewer/dash", Role::Viewer, "dash", None);
        check("evenkeel://admin/root", Role::Admin, "root", None);
    }

    #[test]
    fn what_is_not_of_the_form_is_nobody() {
        let long = format!("evenkeel://agent/{}", "a".repeat(129));
        for uri in [
            "",
            "evenkeel:",
            "evenkeel://",
            "evenkeel://agent",
            "evenkeel://agent/",
            "evenkeel:///name",
            "evenkeel://chief/name",
            "evenkeel://Agent/name",
            "evenkeel://agent@x/name",
            "evenkeel://agent/na%6de",
            "evenkeel://agent/a b",
            "evenkeel://agent/a*",
            "evenkeel://agent/a#b",
            "evenkeel://agent/a\0",
            "evenkeel://client/a?",
            "evenkeel://client/a?tenant=",
            "evenkeel://client/a?tenant=b&tenant=c",
            "evenkeel://client/a?tenant=b?",
            "evenkeel://client/a?role=admin",
            "EVENKEEL://agent/a",
            &long,
        ] {
            assert!(uri.parse::<CertificateName>().is_err(), "{uri}");
        }
    }

    #[test]
    fn a_certificate_names_one_holder() {
        let ours = "evenkeel://agent/a";
        let found = |uris: &[&'static str]| CertificateName::among(uris.iter().copied());
        assert_eq!(found(&["spiffe://x/y", ours]), Ok(ours.parse().unwrap()));
        assert_eq!(found(&["spiffe://x/y"]), Err(CertificateNameError::Missing));
        assert_eq!(found(&[ours, "evenkeel://admin/b"]), Err(CertificateNameError::Several));
        assert_eq!(found(&[ours, ours]), Err(CertificateNameError::Several));
        // A second one in other letters is one that somebody else may understand.
        assert_eq!(found(&[ours, "Evenkeel://admin/b"]), Err(CertificateNameError::Several));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_as_it_was(uri in "evenkeel://(agent|client|viewer|admin)/[A-Za-z0-9._:/-]{1,20}(\\?tenant=[a-z]{1,9})?") {
            let name: CertificateName = uri.parse().unwrap();
            prop_assert_eq!(name.to_string(), uri);
        }

        #[test]
        fn nothing_is_read_that_would_be_written_otherwise(uri in "evenkeel://\\PC{0,40}") {
            if let Ok(name) = uri.parse::<CertificateName>() {
                prop_assert_eq!(name.to_string(), uri);
            }
        }
    }
}
