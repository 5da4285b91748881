//! Reads a request's JSON into a message, more strictly than proto3 JSON asks: a field that is unknown or given twice is
//! refused, and every fault names its field by path. The REST door calls it; it knows nothing of HTTP.

use std::fmt;

use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, error::Category};
use serde_path_to_error::{Path, Segment, Track};

use crate::api::{
    pb::ErrorReason,
    status::{Problem, Violation},
};

/// Faults told at once, so that an answer does not grow beyond what was sent.
pub(super) const MAX_FAULTS: usize = 20;

const TIME: &str = "must be an RFC 3339 time, such as \"2030-01-31T12:00:00Z\"";
const SPAN: &str = "must be a span in seconds, such as \"90s\" or \"0.5s\"";
const NUMBER: &str = "must be a number that the field can hold";

/// A JSON object whose keys are still a client's.
pub(super) type Object = serde_json::Map<String, Value>;

/// Parses a body: nothing at all is an empty object.
pub(super) fn object(bytes: &[u8]) -> Result<Object, Problem> {
    if bytes.is_empty() {
        return Ok(Object::new());
    }
    let malformed = |error: &serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!("the body is not well-formed JSON (line {line}, column {column})");
        Problem::new(ErrorReason::InvalidField, detail)
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Unique(value) =
        serde_path_to_error::deserialize(&mut json).map_err(|error| match error.inner().classify() {
            Category::Data => Problem::invalid(vec![repeated(error.path().to_string())]),
            _ => malformed(error.inner()),
        })?;
    json.end().map_err(|error| malformed(&error))?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Problem::new(ErrorReason::InvalidField, "the body is not a JSON object")),
    }
}

/// Makes a message of an object.
pub(super) fn message(input: &MessageDescriptor, object: Object) -> Result<DynamicMessage, Problem> {
    let mut faults = Vec::new();
    check_names(input, &object, "", &mut faults);
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let mut track = Track::new();
    let json = serde_path_to_error::Deserializer::new(Value::Object(object), &mut track);
    DynamicMessage::deserialize_with_options(
        input.clone(),
        json,
        &DeserializeOptions::new().deny_unknown_fields(true),
    )
    .map_err(|_| {
        let path = track.path();
        let description = expected(input, &path).to_owned();
        Problem::invalid(vec![Violation { field: path.to_string(), description }])
    })
}

/// Finds a field by either of the names that proto3 JSON accepts.
pub(super) fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// Says that a field is given more than once.
pub(super) fn repeated(field: String) -> Violation {
    Violation { field, description: "is given more than once".into() }
}

/// Finds names that are unknown, and fields that are given under both of their names.
fn check_names(message: &MessageDescriptor, object: &Object, path: &str, faults: &mut Vec<Violation>) {
    let mut seen = Vec::new();
    for (name, value) in object {
        if faults.len() == MAX_FAULTS {
            return;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let Some(field) = field(message, name) else {
            faults.push(Violation { field: path, description: "is not a known field".into() });
            continue;
        };
        if seen.contains(&field.number()) {
            faults.push(repeated(path.clone()));
        }
        seen.push(field.number());
        let Kind::Message(inner) = field.kind() else { continue };
        if inner.package_name() == "google.protobuf" {
            continue;
        }
        match value {
            Value::Object(object) => check_names(&inner, object, &path, faults),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Value::Object(object) = item {
                        check_names(&inner, object, &format!("{path}[{index}]"), faults);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What would be acceptable at `path`. The parser's own texts speak of Rust types and repeat the value.
fn expected(message: &MessageDescriptor, path: &Path) -> &'static str {
    let mut kind = Kind::Message(message.clone());
    let mut is_list = false;
    for segment in path {
        match (segment, &kind) {
            (Segment::Map { key }, Kind::Message(message)) => {
                let Some(field) = field(message, key) else { break };
                is_list = field.is_list();
                kind = field.kind();
            }
            _ => is_list = false,
        }
    }
    match kind {
        _ if is_list => "must be a list",
        Kind::String => "must be a string",
        Kind::Bool => "must be true or false",
        Kind::Enum(_) => "must be one of the names that are defined for it",
        Kind::Message(inner) => match inner.full_name() {
            "google.protobuf.Timestamp" => TIME,
            "google.protobuf.Duration" => SPAN,
            _ => "must be an object",
        },
        _ => NUMBER,
    }
}

/// Any JSON value in which no object has a key twice; `serde_json` would keep the last one.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                // Failing on the value puts the key into the path.
                entries.next_value::<Refused>()?;
            }
            let Unique(value) = entries.next_value()?;
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

/// Refuses every value.
struct Refused;

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("given twice"))
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::api::pb;

    fn read(name: &str, body: &[u8]) -> Result<DynamicMessage, Problem> {
        let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
        let input = pool.get_message_by_name(&format!("countersign.v1.{name}")).unwrap();
        object(body).and_then(|object| message(&input, object))
    }

    #[test]
    fn a_fault_names_its_field() {
        let (login, refresh, revoke) = ("LoginRequest", "RefreshRequest", "RevokeAllSessionsRequest");
        let (create, batch) = ("CreateKeyRequest", "BatchValidateCredentialsRequest");
        for (name, body, field, description) in [
            (login, r#"{"emial": "a"}"#, "emial", "is not a known field"),
            (batch, r#"{"requests": [{}, {"nope": 1}]}"#, "requests[1].nope", "is not a known field"),
            (login, r#"{"email": "a", "email": "b"}"#, "email", "is given more than once"),
            (
                refresh,
                r#"{"refreshToken": "", "refresh_token": ""}"#,
                "refresh_token",
                "is given more than once",
            ),
            (
                batch,
                r#"{"requests": [{"a": {"b": 1, "b": 2}}]}"#,
                "requests[0].a.b",
                "is given more than once",
            ),
            (login, r#"{"email": 3}"#, "email", "must be a string"),
            (login, r#"{"email": ["a"]}"#, "email", "must be a string"),
            (create, r#"{"scopes": ["a", null]}"#, "scopes[1]", "must be a string"),
            (batch, r#"{"requests": [{}, {"credential": 1}]}"#, "requests[1].credential", "must be a string"),
            (batch, r#"{"requests": {}}"#, "requests", "must be a list"),
            (create, r#"{"scopes": "a"}"#, "scopes", "must be a list"),
            (batch, r#"{"requests": [1]}"#, "requests[0]", "must be an object"),
            (create, r#"{"rate_limit": 5}"#, "rate_limit", "must be an object"),
            (create, r#"{"rate_limit": {"requests": 3000000000}}"#, "rate_limit.requests", NUMBER),
            (create, r#"{"rate_limit": {"requests": 1.5}}"#, "rate_limit.requests", NUMBER),
            (create, r#"{"rate_limit": {"per": 5}}"#, "rate_limit.per", SPAN),
            (create, r#"{"rate_limit": {"per": "5 minutes"}}"#, "rate_limit.per", SPAN),
            (create, r#"{"expire_time": "tomorrow"}"#, "expire_time", TIME),
            (create, r#"{"expire_time": "10000-01-01T00:00:00Z"}"#, "expire_time", TIME),
            (revoke, r#"{"keep_current": "true"}"#, "keep_current", "must be true or false"),
        ] {
            let problem = read(name, body.as_bytes()).unwrap_err();
            assert_eq!(problem.reason, ErrorReason::InvalidField);
            let expected = Violation { field: field.into(), description: description.into() };
            assert_eq!(problem.violations, [expected], "{body}");
        }
        let both = read("LoginRequest", br#"{"a": 1, "b": 2}"#).unwrap_err();
        assert_eq!(both.violations.len(), 2);
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        // S64: no text of a parser's.
        let (arrays, objects) = (b"[".repeat(60_000), b"{\"a\":".repeat(10_000));
        let bodies = ["[]", "3", "null", "\"a\"", "{", "{}x", "{} {}", " ", "{\"a\0\":1}", "\u{feff}{}"]
            .map(str::as_bytes);
        let bodies = bodies.into_iter().chain([&b"{\"email\":\"\xff\"}"[..], &arrays, &objects]);
        for body in bodies {
            let problem = read("LoginRequest", body).unwrap_err();
            assert_eq!(problem.reason, ErrorReason::InvalidField);
            assert!(problem.detail.starts_with("the body is not "), "{}", problem.detail);
        }
    }

    #[test]
    fn both_names_and_null_and_nothing_are_read() {
        for (body, token) in [
            (r#"{"refresh_token": "a"}"#, "a"),
            (r#"{"refreshToken": "a"}"#, "a"),
            (r#"{"refresh_token": null}"#, ""),
            ("{}", ""),
            ("", ""),
        ] {
            let message = read("RefreshRequest", body.as_bytes()).unwrap();
            assert_eq!(message.get_field_by_name("refresh_token").unwrap().as_str(), Some(token));
        }
    }
}
