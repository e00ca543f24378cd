//! The admin service: what operators ask about the coordinator itself, and want of it.
//!
//! Each area has a file; here is only which call goes where.

mod audit;
mod config;
mod credentials;
mod health;
mod logs;

pub use config::{finding as config_finding, setting as setting_shown};
use evenkeel_proto::v1::{self, admin_service_server::AdminService};
use evenkeel_shared::Error;
use tonic::{Request, Response, Status};

use super::refuse;
use crate::{
    config::live::LiveConfig,
    gateway::Gateway,
    health::Board,
    metrics::Metrics,
    profile::Profiler,
    security::{Gate, audit::CameOf, caller},
};

/// The service.
#[derive(Clone)]
pub struct Admin {
    /// The way to the coordinator.
    pub gateway: Gateway,
    /// Counters.
    pub metrics: Metrics,
    /// Who may do what, and who did what.
    pub gate: Gate,
    /// How the parts are.
    pub board: Board,
    /// Makes profiles, one at a time.
    pub profiler: Profiler,
    /// The settings in force.
    pub config: LiveConfig,
}

impl Admin {
    fn answer<T>(&self, answer: Result<T, Error>) -> Result<Response<T>, Status> {
        answer.map(Response::new).map_err(|error| refuse(&self.metrics, &error))
    }

    /// The same, of a change whose answer does not say by itself whether it was made.
    fn answer_change<T>(&self, answer: Result<(T, CameOf), Error>) -> Result<Response<T>, Status> {
        let (answer, came_of) = answer.map_err(|error| refuse(&self.metrics, &error))?;
        Ok(came_of.beside(answer))
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn who_am_i(&self, request: Request<v1::WhoAmIRequest>) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let caller = caller(request.extensions());
        self.answer(credentials::who_am_i(self, &caller))
    }

    async fn get_config(&self, request: Request<v1::GetConfigRequest>) -> Result<Response<v1::Config>, Status> {
        self.answer(config::get_config(self, request.into_inner()).await)
    }

    async fn check_config(
        &self,
        request: Request<v1::CheckConfigRequest>,
    ) -> Result<Response<v1::ConfigChange>, Status> {
        self.answer(config::check_config(self, request.into_inner()).await)
    }

    async fn reload_config(
        &self,
        request: Request<v1::ReloadConfigRequest>,
    ) -> Result<Response<v1::ConfigChange>, Status> {
        let caller = caller(request.extensions());
        self.answer_change(config::reload_config(self, &caller, request.into_inner()).await)
    }

    async fn list_config_versions(
        &self,
        request: Request<v1::ListConfigVersionsRequest>,
    ) -> Result<Response<v1::ListConfigVersionsResponse>, Status> {
        self.answer(config::list_config_versions(self, request.into_inner()).await)
    }

    async fn rollback_config(
        &self,
        request: Request<v1::RollbackConfigRequest>,
    ) -> Result<Response<v1::ConfigChange>, Status> {
        let caller = caller(request.extensions());
        self.answer_change(config::rollback_config(self, &caller, request.into_inner()).await)
    }

    async fn get_log_filter(
        &self,
        request: Request<v1::GetLogFilterRequest>,
    ) -> Result<Response<v1::LogFilter>, Status> {
        self.answer(logs::get_log_filter(self, request.into_inner()).await)
    }

    async fn set_log_filter(
        &self,
        request: Request<v1::SetLogFilterRequest>,
    ) -> Result<Response<v1::LogFilter>, Status> {
        self.answer(logs::set_log_filter(self, request.into_inner()).await)
    }

    async fn get_health(
        &self,
        request: Request<v1::GetHealthRequest>,
    ) -> Result<Response<v1::CoordinatorHealth>, Status> {
        self.answer(health::get_health(self, request.into_inner()).await)
    }

    async fn list_credentials(
        &self,
        request: Request<v1::ListCredentialsRequest>,
    ) -> Result<Response<v1::ListCredentialsResponse>, Status> {
        self.answer(credentials::list_credentials(self, request.into_inner()).await)
    }

    async fn revoke_credential(
        &self,
        request: Request<v1::RevokeCredentialRequest>,
    ) -> Result<Response<v1::RevokeCredentialResponse>, Status> {
        let caller = caller(request.extensions());
        self.answer(credentials::revoke_credential(self, &caller, request.into_inner()).await)
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<v1::ListAuditResponse>, Status> {
        self.answer(audit::list_audit(self, request.into_inner()).await)
    }

    async fn verify_audit(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<Response<v1::VerifyAuditResponse>, Status> {
        self.answer(audit::verify_audit(self, request.into_inner()).await)
    }
}
