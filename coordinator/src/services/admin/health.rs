//! How the coordinator's parts are.

use evenkeel_proto::v1;
use evenkeel_shared::{Code, Error};

use super::Admin;

pub async fn get_health(_: &Admin, _: v1::GetHealthRequest) -> Result<v1::CoordinatorHealth, Error> {
    Err(Error::new(Code::Unimplemented, "how the coordinator's parts are cannot be asked for yet"))
}
