//! What is logged, and changes of it.

use evenkeel_proto::v1;
use evenkeel_shared::{Code, Error};

use super::Admin;

pub async fn get_log_filter(_: &Admin, _: v1::GetLogFilterRequest) -> Result<v1::LogFilter, Error> {
    Err(Error::new(Code::Unimplemented, "what is logged cannot be asked for yet"))
}

pub async fn set_log_filter(_: &Admin, _: v1::SetLogFilterRequest) -> Result<v1::LogFilter, Error> {
    Err(Error::new(Code::Unimplemented, "what is logged cannot be asked for yet"))
}
