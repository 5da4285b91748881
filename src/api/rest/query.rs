//! Query parameters, read as the JSON object that they stand for.

use std::borrow::Cow;

use axum::http::Method;
use percent_encoding::percent_decode_str;
use prost_reflect::{FieldDescriptor, Kind};
use serde_json::Value as Json;

use super::{
    binding::Binding,
    json::{self, Object},
    refuse,
};
use crate::api::status::Problem;

/// Reads a query as the object that it stands for: `?page_size=5` is `{"page_size": "5"}`, which proto3 JSON takes.
/// Only a GET has parameters, and none of them is a message.
pub(super) fn object(binding: &Binding, query: &str) -> Result<Object, Problem> {
    let input = binding.method.input();
    let mut object = Object::new();
    let bound =
        |field: &FieldDescriptor| binding.verb == Method::GET && !matches!(field.kind(), Kind::Message(_));
    for (name, value) in pairs(query) {
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            return Err(refuse([name], "is not UTF-8"));
        };
        let Some(field) = json::field(&input, &name).filter(bound) else {
            return Err(refuse([name], "is not a query parameter of this call"));
        };
        let value = match (field.kind(), value.as_str()) {
            (Kind::Bool, "true") => Json::Bool(true),
            (Kind::Bool, "false") => Json::Bool(false),
            _ => Json::String(value),
        };
        match object.get_mut(field.name()) {
            None if field.is_list() => _ = object.insert(field.name().into(), vec![value].into()),
            None => _ = object.insert(field.name().into(), value),
            Some(Json::Array(list)) => list.push(value),
            Some(_) => return Err(Problem::invalid(vec![json::repeated(name)])),
        }
    }
    Ok(object)
}

/// Splits `application/x-www-form-urlencoded`.
pub(in crate::api) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Reads a name or a value of it; `None` if that is not UTF-8.
pub(in crate::api) fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(Cow::into_owned)
}
