//! Who changed what.

use evenkeel_proto::v1;
use evenkeel_shared::{Code, Error};

use super::Admin;

pub async fn list_audit(_: &Admin, _: v1::ListAuditRequest) -> Result<v1::ListAuditResponse, Error> {
    Err(Error::new(Code::Unimplemented, "who changed what cannot be asked for yet"))
}

pub async fn verify_audit(_: &Admin, _: v1::VerifyAuditRequest) -> Result<v1::VerifyAuditResponse, Error> {
    Err(Error::new(Code::Unimplemented, "who changed what cannot be asked for yet"))
}
