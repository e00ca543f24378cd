//! `evenkeel status`: the cluster at a glance.

use evenkeel_proto::v1;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::cluster::StatusView,
};

/// Shows the status.
///
/// # Errors
/// If the coordinator does not answer.
pub async fn run(global: &Global) -> Outcome {
    let mut clients = global.address()?.connect().await?;
    let status = clients.cluster.status(v1::StatusRequest {}).await;
    let status = status.map_err(|status| CliError::status("read the status", &status))?.into_inner();
    global.output().one(&StatusView::from(status))?;
    Ok(Exit::Ok)
}
