//! Makes the OpenAPI document: an operation for each annotated RPC, described by the comments of the protos, and the one
//! that is no RPC, which `forward_auth.json` describes.

use axum::http::Method;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind};
use serde_json::{Map, Value, json};

use super::schema::{self, Comment};
use crate::api::{
    forward_auth, jwks,
    rest::{Binding, bindings},
};

/// Who may call what: security schemes, any of which will do; `none` is a call without a credential.
pub(super) const CALLERS: [(&str, &str); 4] = [
    (
        "none",
        "Register Login Refresh VerifyEmail ResendVerification ForgotPassword ResetPassword ConfirmEmailChange StartOAuth CompleteOAuth \
         ValidateCredential BatchValidateCredentials ListVerificationKeys",
    ),
    ("access_token none", "Logout"),
    (
        "access_token api_key",
        "GetMe ListUsers GetUser DisableUser EnableUser SetScopes RevokeUserCredentials ListEvents CreateServiceAccount \
         CreateServiceAccountKey ListUserKeys RotateUserKey RevokeUserKey DeleteUser ImportUsers",
    ),
    (
        "access_token",
        "UpdateMe DeleteMe ChangePassword RequestEmailChange ListIdentities StartLink CompleteLink Unlink ListMyEvents ListSessions RevokeSession RevokeAllSessions \
         CreateKey ListKeys GetKey UpdateKey RotateKey RevokeKey",
    ),
];

/// Requests and answers to learn from, by RPC.
pub(super) const EXAMPLES: &str = include_str!("examples.json");

const DESCRIPTION: &str = "Accounts, sessions and API keys, and the question that other services ask: whose credential \
    is this, and what may it do? Every call is also an RPC of the same name over gRPC and gRPC-web. Bodies are proto3 \
    JSON; a field that is unknown or given twice is refused.";

/// The whole document.
pub(super) fn document(pool: &DescriptorPool) -> Value {
    let mut paths = Map::new();
    for binding in bindings(pool).expect("every annotation binds") {
        let verb = binding.verb.as_str().to_lowercase();
        paths.entry(&binding.path).or_insert_with(|| json!({}))[verb] = operation(&binding);
    }
    paths.insert(
        forward_auth::PATH.to_owned(),
        serde_json::from_str(include_str!("forward_auth.json")).expect("JSON"),
    );
    paths.insert(jwks::PATH.to_owned(), json!({"get": key_set()}));
    let tags = pool.services().filter(|service| service.package_name() == "countersign.v1");
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Countersign", "version": "v1", "description": DESCRIPTION},
        "tags": tags.map(|tag| json!({"name": tag.name(), "description": tag.comment()})).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schema::components(pool),
            "responses": {"Problem": {
                "description": "Why the call failed (RFC 9457).",
                "content": {"application/problem+json": {"schema": schema::reference("Problem")}},
            }},
            "securitySchemes": {
                "access_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "PASETO v4.public or JWT",
                    "description": "A person's access token, from Register, Login or Refresh. Where an API key will do, \
                        it may be presented in this way, too.",
                },
                "api_key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "A program's API key, from CreateKey. Presenting both is refused.",
                },
            },
        },
    })
}

/// The one call that is no RPC: its form is RFC 7517's.
fn key_set() -> Value {
    let fields = ["kty", "crv", "x", "kid", "use", "alg"];
    let text = json!({"type": "string"});
    let properties: Map<_, _> = fields.iter().map(|name| ((*name).to_owned(), text.clone())).collect();
    let key = json!({"type": "object", "required": fields, "properties": properties});
    json!({
        "operationId": "JsonWebKeySet",
        "tags": ["AuthService"],
        "summary": "The keys of ListVerificationKeys as a JSON Web Key Set",
        "description": "The keys of ListVerificationKeys as a JSON Web Key Set (RFC 7517, RFC 8037), for gateways that \
            verify JWTs (`tokens.format = \"jwt\"`). It may be kept for a minute, as `Cache-Control` says.",
        "security": [{}],
        "responses": {
            "200": {
                "description": "The key set.",
                "content": {"application/jwk-set+json": {"schema": {
                    "type": "object",
                    "required": ["keys"],
                    "properties": {"keys": {"type": "array", "items": key}},
                }}},
            },
            "default": {"$ref": "#/components/responses/Problem"},
        },
    })
}

fn operation(binding: &Binding) -> Value {
    let method = &binding.method;
    let mut comment = method.comment();
    if binding.mask().is_some() {
        comment.push_str(
            " Fields that the body does not name stay as they are; `null` clears one that may be absent.",
        );
    }
    let summary = comment.split_once(". ").map_or(comment.as_str(), |(first, _)| first);
    let mut operation = json!({
        "operationId": method.name(),
        "tags": [method.parent_service().name()],
        "summary": summary.trim_end_matches('.'),
        "description": comment,
        "security": security(method.name()),
        "responses": {
            "200": {
                "description": method.output().comment(),
                "content": {"application/json": {"schema": schema::reference(method.output().name())}},
            },
            "default": {"$ref": "#/components/responses/Problem"},
        },
    });
    let parameters = parameters(binding);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if binding.has_body {
        operation["requestBody"] = json!({
            "required": binding.verb != Method::PATCH && needs_text(binding),
            "content": {"application/json": {"schema": schema::reference(method.input().name())}},
        });
    }
    let mut examples: Value = serde_json::from_str(EXAMPLES).unwrap_or_default();
    if let Some(example) = examples.get_mut(method.name()) {
        if binding.has_body {
            operation["requestBody"]["content"]["application/json"]["example"] = example["request"].take();
        }
        operation["responses"]["200"]["content"]["application/json"]["example"] = example["response"].take();
    }
    operation
}

/// The path's fields, and on GET all others that fit into a query.
fn parameters(binding: &Binding) -> Vec<Value> {
    let in_path = |field: &FieldDescriptor| binding.path_fields().any(|name| name == field.name());
    let fields = binding.method.input().fields().collect::<Vec<_>>().into_iter();
    let bound = fields.filter(|field| {
        in_path(field) || binding.verb == Method::GET && !matches!(field.kind(), Kind::Message(_))
    });
    let parameter = |field: FieldDescriptor| {
        let required = in_path(&field);
        json!({
            "name": field.name(),
            "in": if required { "path" } else { "query" },
            "required": required,
            "description": field.comment(),
            "schema": schema::of_field(&field),
        })
    };
    bound.map(parameter).collect()
}

/// Whether an empty body cannot be right: it lacks a text that is never optional.
fn needs_text(binding: &Binding) -> bool {
    let input = binding.method.input();
    let mut fields = input.fields().filter(|field| !field.supports_presence() && !field.is_list());
    fields.any(|field| {
        matches!(field.kind(), Kind::String) && binding.path_fields().all(|name| name != field.name())
    })
}

fn security(rpc: &str) -> Value {
    let callers = CALLERS.iter().filter(|(_, rpcs)| rpcs.split_whitespace().any(|name| name == rpc));
    let schemes = callers.flat_map(|(schemes, _)| schemes.split_whitespace());
    schemes.map(|scheme| if scheme == "none" { json!({}) } else { json!({scheme: []}) }).collect()
}
