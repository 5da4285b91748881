//! `grpc.health.v1`: whether this replica should be asked.

use tonic_health::{
    ServingStatus,
    pb::health_server::{Health as HealthService, HealthServer},
    server::{HealthReporter, health_reporter},
};

/// The whole, and each service by its name.
const SERVICES: [&str; 3] = ["", "countersign.v1.AuthService", "countersign.v1.KeyService"];

/// Says how the service is. Cheap to clone.
#[derive(Clone)]
pub struct Health(HealthReporter);

impl Health {
    /// Says whether calls can be answered.
    pub async fn set(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
        }
    }
}

/// The service, and how to tell it, which is to be done before it is asked: until then it knows no service by name.
pub(super) fn health() -> (Health, HealthServer<impl HealthService>) {
    let (reporter, service) = health_reporter();
    (Health(reporter), service)
}
