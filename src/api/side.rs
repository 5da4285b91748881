//! Which listener serves what. `server.internal_listen` takes what services and gateways ask off the public port; without it
//! one listener serves everything. Knows paths, not what is behind them.

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
};
use prost_reflect::DescriptorPool;

use super::{door, forward_auth};

/// What the internal listener alone serves when there is one: paths, and the beginnings of paths, up to a slash. With an RPC
/// goes its REST form.
const INTERNAL: [&str; 6] = [
    "/countersign.v1.AuthService/ValidateCredential",
    "/countersign.v1.AuthService/BatchValidateCredentials",
    "/countersign.v1.AuthService/WatchRevocations",
    "/countersign.v1.AdminService/",
    "/envoy.service.auth.v3.Authorization/",
    forward_auth::PATH,
];

/// What every listener serves.
const SHARED: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Everybody: there is one listener.
    Both,
    /// People and programs: there is an internal listener beside this one.
    Public,
    /// Services and gateways.
    Internal,
}

impl Side {
    /// Whether this path is served here; of an RPC's REST form it is the RPC's that counts.
    pub fn serves(self, path: &str) -> bool {
        let among = |table: &[&str]| {
            table.iter().any(|entry| path == *entry || entry.ends_with('/') && path.starts_with(entry))
        };
        match self {
            Self::Both => true,
            Self::Public => !among(&INTERNAL),
            Self::Internal => among(&INTERNAL) || among(&SHARED),
        }
    }

    /// The services of which anything is served here.
    pub fn services(self, pool: &DescriptorPool) -> impl Iterator<Item = String> {
        let served = move |service: &prost_reflect::ServiceDescriptor| {
            service
                .methods()
                .any(|method| self.serves(&format!("/{}/{}", service.full_name(), method.name())))
        };
        pool.services().filter(served).map(|service| service.full_name().to_owned())
    }

    /// Hides the rest of these RPCs: they answer as those that there are not.
    pub fn only(self, grpc: Router) -> Router {
        if self == Self::Both {
            return grpc;
        }
        grpc.layer(from_fn(move |request: Request, next: Next| async move {
            if self.serves(request.uri().path()) {
                next.run(request).await
            } else {
                door::not_found(request).await
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::pb;

    #[test]
    fn each_entry_names_something() {
        // One that names nothing would leave on the public port what it was to take off it.
        let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
        let rpcs = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let mut paths: Vec<_> =
            rpcs.map(|rpc| format!("/{}/{}", rpc.parent_service().full_name(), rpc.name())).collect();
        paths.push(forward_auth::PATH.to_owned());
        for entry in INTERNAL {
            assert!(paths.iter().any(|path| path.starts_with(entry)), "{entry}");
        }
    }

    #[test]
    fn a_path_is_served_on_one_side() {
        let served = |path| [Side::Public, Side::Internal].map(|side| side.serves(path));
        assert_eq!(served("/countersign.v1.AuthService/ValidateCredential"), [false, true]);
        assert_eq!(served("/envoy.service.auth.v3.Authorization/Check"), [false, true]);
        assert_eq!(served("/api/v1/auth/check"), [false, true]);
        assert_eq!(served("/countersign.v1.AuthService/ValidateCredentials"), [true, false]);
        assert_eq!(served("/countersign.v1.AuthService/Login"), [true, false]);
        assert_eq!(served("/openapi.json"), [true, false]);
        assert_eq!(served("/grpc.health.v1.Health/Check"), [true, true]);
        assert!(Side::Both.serves("/countersign.v1.AuthService/ValidateCredential"));
    }
}
