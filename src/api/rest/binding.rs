//! The `google.api.http` annotations of the protos: which verb and path stand for which RPC. The routes and the OpenAPI
//! document are made of them.

use axum::http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MethodDescriptor};

/// A `google.api.http` annotation.
pub(in crate::api) struct Binding {
    pub(in crate::api) verb: Method,
    /// With the names of fields in braces.
    pub(in crate::api) path: String,
    /// Whether the request's fields come from the body.
    pub(in crate::api) has_body: bool,
    pub(in crate::api) method: MethodDescriptor,
}

/// An annotation that no route can be made of: a fault of the protos. Without it the RPC would just not be there.
#[derive(Debug, thiserror::Error)]
#[error("the google.api.http annotation of {0} does not bind")]
pub(in crate::api) struct Unbound(String);

impl From<&MethodDescriptor> for Unbound {
    fn from(method: &MethodDescriptor) -> Self {
        Self(method.full_name().to_owned())
    }
}

impl Binding {
    /// Of a unary method whose annotation is `rule`. A body that is but one field is nothing that we can read.
    fn new(method: &MethodDescriptor, rule: &DynamicMessage) -> Option<Self> {
        let text = |name: &str| Some(rule.get_field_by_name(name)?.as_str()?.to_owned());
        let (verb, path) = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]
            .into_iter()
            .filter_map(|verb| text(&verb.as_str().to_lowercase()).map(|path| (verb, path)))
            .find(|(_, path)| !path.is_empty())?;
        let has_body = match text("body")?.as_str() {
            "" => false,
            "*" => true,
            _ => return None,
        };
        let unary = !method.is_client_streaming() && !method.is_server_streaming();
        unary.then_some(Self { verb, path, has_body, method: method.clone() })
    }

    /// The RPC's path: `/package.Service/Method`.
    pub(in crate::api) fn rpc(&self) -> String {
        format!("/{}/{}", self.method.parent_service().full_name(), self.method.name())
    }

    /// The names of the fields in the path.
    pub(in crate::api) fn path_fields(&self) -> impl Iterator<Item = &str> {
        self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
    }

    /// The mask that a PATCH's body stands for.
    pub(in crate::api) fn mask(&self) -> Option<FieldDescriptor> {
        let mask = self.method.input().get_field_by_name("update_mask")?;
        (self.verb == Method::PATCH).then_some(mask)
    }
}

/// Every annotation of the pool's methods.
pub(in crate::api) fn bindings(pool: &DescriptorPool) -> Result<Vec<Binding>, Unbound> {
    let annotation =
        pool.get_extension_by_name("google.api.http").ok_or_else(|| Unbound("everything".to_owned()))?;
    let methods: Vec<_> = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    let annotated = methods.into_iter().filter(|method| method.options().has_extension(&annotation));
    let bind = |method: MethodDescriptor| {
        let options = method.options();
        let rule = options.get_extension(&annotation);
        rule.as_message().and_then(|rule| Binding::new(&method, rule)).ok_or_else(|| Unbound::from(&method))
    };
    annotated.map(bind).collect()
}

#[cfg(test)]
mod tests {
    use prost_reflect::Value;

    use super::*;
    use crate::api::pb;

    #[test]
    fn only_what_a_route_can_be_made_of_binds() {
        let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
        let method = bindings(&pool).unwrap().remove(0).method;
        let rule = pool.get_message_by_name("google.api.HttpRule").unwrap();
        let binds = |fields: &[(&str, &str)]| {
            let mut rule = DynamicMessage::new(rule.clone());
            for (name, value) in fields {
                rule.set_field_by_name(name, Value::String((*value).to_owned()));
            }
            Binding::new(&method, &rule).map(|binding| (binding.verb, binding.has_body))
        };
        assert_eq!(binds(&[("get", "/a")]), Some((Method::GET, false)));
        assert_eq!(binds(&[("patch", "/a"), ("body", "*")]), Some((Method::PATCH, true)));
        assert_eq!(binds(&[]), None);
        assert_eq!(binds(&[("post", "/a"), ("body", "name")]), None);
    }
}
