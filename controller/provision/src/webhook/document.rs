//! Holds the schemas of `openapi.yaml` to the types: a field that is added, renamed or made optional fails here.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::protocol::{ApplyAnswer, ApplyRequest, ObserveAnswer, ObserveRequest, Refused};

#[test]
fn schemas_are_those_of_the_types() {
    let mut generator = SchemaSettings::openapi3().into_generator();
    generator.subschema_for::<ObserveRequest>();
    generator.subschema_for::<ObserveAnswer>();
    generator.subschema_for::<ApplyRequest>();
    generator.subschema_for::<ApplyAnswer>();
    generator.subschema_for::<Refused>();
    let expected = Value::Object(generator.take_definitions(true));

    let text = include_str!("../../openapi.yaml");
    let document: Value = serde_saphyr::from_str(text).expect("the document is YAML");
    assert_eq!(document["components"]["schemas"], expected, "put into openapi.yaml: {expected:#}");
}
