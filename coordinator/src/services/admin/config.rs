//! The settings in force, their versions, and changes of them.

use evenkeel_proto::v1;
use evenkeel_shared::{Code, Error};

use super::Admin;
use crate::security::Caller;

pub async fn get_config(_: &Admin, _: v1::GetConfigRequest) -> Result<v1::Config, Error> {
    Err(Error::new(Code::Unimplemented, "the settings in force cannot be asked for yet"))
}

pub async fn check_config(_: &Admin, _: v1::CheckConfigRequest) -> Result<v1::ConfigChange, Error> {
    Err(Error::new(Code::Unimplemented, "the settings in force cannot be asked for yet"))
}

pub async fn reload_config(_: &Admin, _: &Caller, _: v1::ReloadConfigRequest) -> Result<v1::ConfigChange, Error> {
    Err(Error::new(Code::Unimplemented, "the settings in force cannot be asked for yet"))
}

pub async fn list_config_versions(
    _: &Admin,
    _: v1::ListConfigVersionsRequest,
) -> Result<v1::ListConfigVersionsResponse, Error> {
    Err(Error::new(Code::Unimplemented, "the settings in force cannot be asked for yet"))
}

pub async fn rollback_config(_: &Admin, _: &Caller, _: v1::RollbackConfigRequest) -> Result<v1::ConfigChange, Error> {
    Err(Error::new(Code::Unimplemented, "the settings in force cannot be asked for yet"))
}
