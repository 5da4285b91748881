//! The `google.api.http` annotations of the protos: which verb and path stand for which RPC. The routes and the `OpenAPI`
//! document are made of them.

use axum::http::Method;
use prost_reflect::{DescriptorPool, FieldDescriptor, MethodDescriptor};

/// A `google.api.http` annotation.
pub(in crate::api) struct Binding {
    pub(in crate::api) verb: Method,
    /// With the names of fields in braces.
    pub(in crate::api) path: String,
    /// Whether the request's fields come from the body.
    pub(in crate::api) has_body: bool,
    pub(in crate::api) method: MethodDescriptor,
}

impl Binding {
    fn new(method: MethodDescriptor) -> Option<Self> {
        let annotation = method.parent_pool().get_extension_by_name("google.api.http")?;
        let options = method.options();
        if method.is_client_streaming() || method.is_server_streaming() || !options.has_extension(&annotation)
        {
            return None;
        }
        let rule = options.get_extension(&annotation);
        let text = |name: &str| Some(rule.as_message()?.get_field_by_name(name)?.as_str()?.to_owned());
        let (verb, path) = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]
            .into_iter()
            .filter_map(|verb| text(&verb.as_str().to_lowercase()).map(|path| (verb, path)))
            .find(|(_, path)| !path.is_empty())?;
        Some(Self { verb, path, has_body: text("body")? == "*", method })
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

/// Every annotation of the pool's unary methods.
pub(in crate::api) fn bindings(pool: &DescriptorPool) -> impl Iterator<Item = Binding> {
    pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).filter_map(Binding::new)
}
