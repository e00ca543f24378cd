//! What is read out of a certificate: whom it is for, and until when.
//!
//! The names are read by webpki, which has verified the certificate. When it ends is not told by it, so the few fields before
//! that are skipped here (RFC 5280, section 4.1; DER: X.690). Rejected: a parser for all of X.509, which is a dozen crates
//! for one number that no decision of trust depends on.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::security::PeerCertificate;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// The URIs among the subject alternative names of a certificate.
#[must_use]
pub fn uris(certificate: &PeerCertificate) -> Vec<String> {
    let der = CertificateDer::from(&certificate.0[..]);
    let Ok(parsed) = EndEntityCert::try_from(&der) else { return Vec::new() };
    parsed.valid_uri_names().map(str::to_owned).collect()
}

/// When a certificate ends, in seconds since 1970; `None` if it is malformed.
#[must_use]
pub fn expiry_unix_s(der: &[u8]) -> Option<i64> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = skip(fields)?;
    }
    // Serial number, algorithm and issuer.
    for _ in 0..3 {
        fields = skip(fields)?;
    }
    let (validity, _) = element(fields, SEQUENCE)?;
    let not_after = skip(validity)?;
    match *not_after.first()? {
        UTC_TIME => {
            let (text, _) = element(not_after, UTC_TIME)?;
            let year = number(text.get(..2)?)?;
            time(if year < 50 { 2_000 + year } else { 1_900 + year }, text.get(2..)?)
        }
        _ => {
            let (text, _) = element(not_after, GENERALIZED_TIME)?;
            time(number(text.get(..4)?)?, text.get(4..)?)
        }
    }
}

/// Month, day, hour, minute and second of a year, in UTC.
fn time(year: i64, rest: &[u8]) -> Option<i64> {
    let rest = rest.strip_suffix(b"Z").filter(|digits| digits.len() == 10)?;
    let mut parts = rest.chunks(2).map(number);
    let mut next = || parts.next().flatten();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Years begin in March here, so that a leap day ends them.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let in_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year - 719_468
}

fn number(digits: &[u8]) -> Option<i64> {
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// The content of the element that these bytes begin with, which has to have this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // A length of up to four bytes: more than a file of certificates may have.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn skip(bytes: &[u8]) -> Option<&[u8]> {
    element(bytes, *bytes.first()?).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::security::tls::testing::{Authority, Holder};

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 11_016);
        assert_eq!(days(2000, 3, 1), 11_017);
        assert_eq!(days(2100, 3, 1), 47_541, "2100 is no leap year");
        assert_eq!(days(1969, 12, 31), -1);
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let authority = Authority::new("test");
        // Until 2049 years have two digits in a certificate, and four after.
        for (year, seconds) in [(2030, 1_900_281_600), (2060, 2_847_052_800)] {
            let made = authority.issue(&Holder { ends: (year, 3, 21), ..Holder::server() });
            assert_eq!(expiry_unix_s(made.der()), Some(seconds), "{year}");
        }
    }

    #[test]
    fn the_uris_of_a_certificate_are_read() {
        let made = Authority::new("test").issue(&Holder::named("evenkeel://agent/a-1"));
        assert_eq!(uris(&PeerCertificate(made.der().into())), ["evenkeel://agent/a-1"]);
        assert!(uris(&PeerCertificate([1, 2, 3].as_slice().into())).is_empty());
    }

    #[test]
    fn of_a_certificate_that_is_cut_nothing_is_read() {
        let made = Authority::new("test").issue(&Holder::server());
        for length in 0..made.der().len() {
            assert_eq!(expiry_unix_s(&made.der()[..length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_harm(bytes: Vec<u8>) {
            let _ = expiry_unix_s(&bytes);
            let _ = uris(&PeerCertificate(bytes.into()));
        }
    }
}
