//! GitHub's own description of its pull request operations, as JSON Schema: taken from the OpenAPI file that GitHub
//! publishes, of which only the parts that these operations reach are kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::peers::octokit_openapi;

/// Read once for all tests of a process: the file is large.
pub(super) static PULLS: LazyLock<Pulls> = LazyLock::new(Pulls::read);

/// Schemas of the operations on pull requests, and GitHub's example of one.
pub(super) struct Pulls {
    /// The body of `pulls/create`.
    pub(super) create_request: Validator,
    /// Its answer 201.
    pub(super) create_response: Validator,
    /// The answer 200 of `pulls/list`.
    pub(super) list_response: Validator,
    /// The answer 422 of both.
    pub(super) refusal: Validator,
    /// GitHub's example answers, to be filled with what is true here.
    pub(super) create_example: Value,
    /// As `create_example`: one element of the list.
    pub(super) list_example: Value,
}

impl Pulls {
    fn read() -> Self {
        let file = File::open(octokit_openapi()).expect("the API description can be read");
        let api: Value = serde_json::from_reader(BufReader::new(file)).expect("the API description is JSON");
        let pulls = &api["paths"]["/repos/{owner}/{repo}/pulls"];
        let (create, list) = (&pulls["post"], &pulls["get"]);
        let refusal = resolve(&api, create["responses"]["422"]["$ref"].as_str().unwrap_or_default());
        let content = |part: &Value| part["content"]["application/json"].clone();
        let schema = |part: &Value| compile(&api, &content(part)["schema"]);
        let example = |part: &Value| resolve(&api, &reference(&content(part)["examples"]["default"]))["value"].clone();
        Self {
            create_request: schema(&create["requestBody"]),
            create_response: schema(&create["responses"]["201"]),
            list_response: schema(&list["responses"]["200"]),
            refusal: schema(&refusal),
            create_example: example(&create["responses"]["201"]),
            list_example: example(&list["responses"]["200"])[0].clone(),
        }
    }
}

/// What a schema has against a value, one text for each fault; empty when it is valid.
pub(super) fn faults(schema: &Validator, value: &Value) -> Vec<String> {
    schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// A schema of the description with all that it refers to, from OpenAPI 3.0's dialect to JSON Schema.
fn compile(api: &Value, schema: &Value) -> Validator {
    assert!(schema.is_object(), "the API description has no schema where one is expected");
    let mut reached = BTreeMap::new();
    reach(api, schema, &mut reached);
    let mut components: Map<String, Value> = Map::new();
    for (reference, target) in reached {
        let name = reference.rsplit('/').next().unwrap_or_default().to_owned();
        components.insert(name, to_json_schema(target));
    }
    let root = json!({"allOf": [to_json_schema(schema.clone())], "components": {"schemas": components}});
    jsonschema::options().should_validate_formats(true).build(&root).expect("GitHub's schema is a schema")
}

fn reach(api: &Value, value: &Value, reached: &mut BTreeMap<String, Value>) {
    let reference = reference(value);
    if !reference.is_empty() && !reached.contains_key(&reference) {
        let target = resolve(api, &reference);
        reached.insert(reference, target.clone());
        reach(api, &target, reached);
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|field| reach(api, field, reached)),
        Value::Array(elements) => elements.iter().for_each(|element| reach(api, element, reached)),
        _ => {}
    }
}

fn reference(value: &Value) -> String {
    value["$ref"].as_str().unwrap_or_default().to_owned()
}

fn resolve(api: &Value, reference: &str) -> Value {
    let pointer = reference.strip_prefix('#').expect("every reference points into the same file");
    api.pointer(pointer).expect("every reference has a target").clone()
}

/// OpenAPI 3.0 says `nullable: true` where JSON Schema allows the type `null`, and keeps examples that are no schema.
fn to_json_schema(value: Value) -> Value {
    match value {
        Value::Object(mut fields) => {
            fields.remove("example");
            fields.remove("examples");
            let nullable = fields.remove("nullable") == Some(Value::Bool(true));
            let schema = fields.into_iter().map(|(name, field)| (name, to_json_schema(field))).collect();
            if nullable { json!({"anyOf": [{"type": "null"}, Value::Object(schema)]}) } else { Value::Object(schema) }
        }
        Value::Array(elements) => elements.into_iter().map(to_json_schema).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_schema_has_teeth() {
        let mut pull = PULLS.create_example.clone();
        pull["requested_teams"] = json!([]);
        assert_eq!(faults(&PULLS.create_response, &pull), [""; 0]);
        for (field, value) in [("number", json!("1")), ("html_url", json!("no url")), ("user", json!({}))] {
            let mut broken = pull.clone();
            broken[field] = value;
            assert_ne!(faults(&PULLS.create_response, &broken), [""; 0], "{field}");
        }
        pull.as_object_mut().expect("an object").remove("head");
        assert_ne!(faults(&PULLS.create_response, &pull), [""; 0]);
    }

    #[test]
    fn null_is_allowed_only_where_github_says_so() {
        let mut pull = PULLS.create_example.clone();
        pull["requested_teams"] = json!([]);
        pull["body"] = Value::Null;
        assert_eq!(faults(&PULLS.create_response, &pull), [""; 0]);
        pull["title"] = Value::Null;
        assert_ne!(faults(&PULLS.create_response, &pull), [""; 0]);
    }
}
