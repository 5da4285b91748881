//! The schemas of the OpenAPI document: proto3 JSON as JSON Schema.

use std::collections::BTreeSet;

use axum::http::Method;
use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, FileDescriptor, Kind,
    MessageDescriptor, MethodDescriptor, ServiceDescriptor,
};
use serde_json::{Map, Value, json};

use crate::api::rest::{Binding, bindings};

/// Schemas of all messages and enums that REST can send or receive, and of `Problem`.
pub(super) fn components(pool: &DescriptorPool) -> Map<String, Value> {
    let mut requests = Reachable::default();
    let mut responses = Reachable::default();
    let bindings = bindings(pool).expect("every annotation binds");
    for binding in &bindings {
        responses.add(&binding.method.output());
        if binding.has_body {
            requests.add(&binding.method.input());
        }
    }
    let mut components = Map::new();
    for name in requests.messages.union(&responses.messages) {
        let Some(message) = pool.get_message_by_name(name) else { continue };
        let body_of = bindings.iter().find(|binding| binding.method.input() == message);
        let sent = responses.messages.contains(name);
        components.insert(message.name().to_owned(), object(&message, body_of, sent));
    }
    for name in requests.enums.union(&responses.enums) {
        let Some(names) = pool.get_enum_by_name(name) else { continue };
        components.insert(names.name().to_owned(), enumeration(&names, ""));
    }
    components.insert("Problem".into(), problem(pool));
    components
}

pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The full names of messages and enums of our own.
#[derive(Default)]
struct Reachable {
    messages: BTreeSet<String>,
    enums: BTreeSet<String>,
}

impl Reachable {
    fn add(&mut self, message: &MessageDescriptor) {
        if message.package_name() == "google.protobuf"
            || !self.messages.insert(message.full_name().to_owned())
        {
            return;
        }
        for field in message.fields() {
            match field.kind() {
                Kind::Message(inner) => self.add(&inner),
                Kind::Enum(names) => _ = self.enums.insert(names.full_name().to_owned()),
                _ => {}
            }
        }
    }
}

/// A message. What the server sends always has the fields that have no presence, and may have more one day; of what it
/// receives, it knows every field. The body of a call has neither the path's fields nor the mask.
fn object(message: &MessageDescriptor, body_of: Option<&Binding>, sent: bool) -> Value {
    let mask = body_of.and_then(Binding::mask);
    let elsewhere = |field: &FieldDescriptor| {
        body_of.is_some_and(|body| body.path_fields().any(|name| name == field.name()))
            || mask.as_ref() == Some(field)
    };
    let patch = body_of.is_some_and(|body| body.verb == Method::PATCH);
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in message.fields().filter(|field| !elsewhere(field)) {
        let mut schema = of_field(&field);
        if patch {
            schema = nullable(schema);
        }
        schema["description"] = field.comment().into();
        properties.insert(field.name().to_owned(), schema);
        if !field.supports_presence() {
            required.push(field.name().to_owned());
        }
    }
    let mut schema = json!({"type": "object", "description": message.comment(), "properties": properties});
    if !sent {
        schema["additionalProperties"] = false.into();
    } else if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// One field's value, as proto3 JSON writes it.
pub(super) fn of_field(field: &FieldDescriptor) -> Value {
    let schema = match field.kind() {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
        Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0}),
        Kind::Float | Kind::Double => json!({"type": "number"}),
        Kind::Enum(names) => reference(names.name()),
        Kind::Message(inner) => match inner.full_name() {
            "google.protobuf.Timestamp" => json!({"type": "string", "format": "date-time"}),
            "google.protobuf.Duration" => json!({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?s$"}),
            _ => reference(inner.name()),
        },
        // 64-bit integers and bytes are strings, too.
        _ => json!({"type": "string"}),
    };
    if field.is_list() { json!({"type": "array", "items": schema}) } else { schema }
}

/// `null` clears a field.
fn nullable(mut schema: Value) -> Value {
    match schema["type"].take() {
        Value::Null => json!({"anyOf": [{"$ref": schema["$ref"]}, {"type": "null"}]}),
        name => {
            schema["type"] = json!([name, "null"]);
            schema
        }
    }
}

/// An enum without its zero unless that is sent, which its comment says.
fn enumeration(names: &EnumDescriptor, prefix: &str) -> Value {
    let values = || names.values().filter(|value| value.comment() != "Never sent.");
    let name = |value: &EnumValueDescriptor| value.name().strip_prefix(prefix).unwrap_or_default().to_owned();
    let described = values().map(|value| format!("\n- `{}`: {}", name(&value), value.comment()));
    json!({
        "type": "string",
        "description": format!("{}\n{}", names.comment(), described.collect::<String>()),
        "enum": values().map(|value| name(&value)).collect::<Vec<_>>(),
    })
}

/// What `api::status` writes.
fn problem(pool: &DescriptorPool) -> Value {
    let reasons = pool.get_enum_by_name("countersign.v1.ErrorReason");
    let text = |description: &str| json!({"type": "string", "description": description});
    let violation = json!({
        "type": "object",
        "required": ["field", "description"],
        "properties": {
            "field": text("Its path, such as `requests[2].credential`."),
            "description": text("What would be acceptable."),
        },
    });
    json!({
        "type": "object",
        "description": "An RFC 9457 problem.",
        "required": ["type", "title", "status", "detail", "reason"],
        "properties": {
            "type": {"type": "string", "format": "uri", "description": "`urn:countersign:error:` and the reason."},
            "title": text("The reason, for people."),
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": text("What went wrong this time, for people."),
            "reason": reasons.map(|reasons| enumeration(&reasons, "ERROR_REASON_")),
            "field_violations": {
                "type": "array",
                "description": "With INVALID_FIELD: the fields that are not acceptable.",
                "items": violation,
            },
            "retry_after": {"type": "number", "description": "Seconds to wait before trying again."},
        },
    })
}

/// The comment above a thing in its proto, with the lines of a paragraph joined.
pub(super) trait Comment {
    fn comment(&self) -> String;
}

fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|location| location.path == path));
    let text = location.and_then(|location| location.leading_comments.as_deref()).unwrap_or_default();
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().replace("  ", "\n\n")
}

impl Comment for ServiceDescriptor {
    fn comment(&self) -> String {
        comment(&self.parent_file(), self.path())
    }
}

impl Comment for MethodDescriptor {
    fn comment(&self) -> String {
        comment(&self.parent_service().parent_file(), self.path())
    }
}

impl Comment for MessageDescriptor {
    fn comment(&self) -> String {
        comment(&self.parent_file(), self.path())
    }
}

impl Comment for FieldDescriptor {
    fn comment(&self) -> String {
        comment(&self.parent_message().parent_file(), self.path())
    }
}

impl Comment for EnumDescriptor {
    fn comment(&self) -> String {
        comment(&self.parent_file(), self.path())
    }
}

impl Comment for EnumValueDescriptor {
    fn comment(&self) -> String {
        comment(&self.parent_enum().parent_file(), self.path())
    }
}
