//! The OpenAPI 3.1 document of the REST door. It is checked in as `docs/openapi.json` and served from there; the generator,
//! which makes it of the protos, runs in a test that fails when the file is stale; `make openapi` writes it anew.

#[cfg(test)]
mod generate;
#[cfg(test)]
mod schema;

/// What `/openapi.json` answers with.
pub(super) const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, env, fs};

    use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};
    use serde_json::Value;

    use super::*;
    use crate::api::{
        pb,
        rest::{self, Binding},
    };

    fn pool() -> DescriptorPool {
        DescriptorPool::decode(pb::DESCRIPTORS).unwrap()
    }

    fn bindings() -> impl Iterator<Item = Binding> {
        rest::bindings(&pool()).unwrap().into_iter()
    }

    #[test]
    fn document_is_current() {
        let document = format!("{:#}\n", generate::document(&pool()));
        if env::var_os("UPDATE_OPENAPI").is_some() {
            fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json"), &document).unwrap();
        } else {
            assert!(document == DOCUMENT, "docs/openapi.json is stale: run `make openapi`");
        }
    }

    #[test]
    fn every_rpc_says_once_who_may_call_it() {
        let mut named: Vec<_> =
            generate::CALLERS.iter().flat_map(|(_, rpcs)| rpcs.split_whitespace()).collect();
        let mut rpcs: Vec<_> = bindings().map(|binding| binding.method.name().to_owned()).collect();
        named.sort_unstable();
        rpcs.sort_unstable();
        assert_eq!(named, rpcs);
    }

    #[test]
    fn a_call_has_a_body_where_its_annotation_says_so() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        for binding in bindings() {
            let operation = &document["paths"][&binding.path][binding.verb.as_str().to_lowercase()];
            assert_eq!(operation.get("requestBody").is_some(), binding.has_body, "{}", binding.method.name());
        }
    }

    #[test]
    fn the_examples_are_messages() {
        let examples: BTreeMap<String, BTreeMap<String, Value>> =
            serde_json::from_str(generate::EXAMPLES).unwrap();
        let strict = DeserializeOptions::new().deny_unknown_fields(true);
        for (rpc, example) in examples {
            let binding = bindings().find(|binding| binding.method.name() == rpc).unwrap();
            assert_eq!(example.contains_key("request"), binding.has_body, "{rpc}");
            for (side, text) in example {
                let method = &binding.method;
                let message = if side == "request" { method.input() } else { method.output() };
                DynamicMessage::deserialize_with_options(message, text, &strict).unwrap();
            }
        }
    }
}
