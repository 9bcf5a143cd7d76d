//! `/api/docs`: the OpenAPI document as a page.

use std::{collections::BTreeMap, sync::Arc};

use poem::{Response, handler, web::Data};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{api, site::Site};

#[derive(Serialize)]
struct Docs {
    description: String,
    groups: Vec<Group>,
    schemas: Vec<Schema>,
}

/// The operations that carry one tag.
#[derive(Serialize)]
struct Group {
    name: String,
    description: String,
    operations: Vec<Operation>,
}

#[derive(Serialize)]
struct Operation {
    method: String,
    path: String,
    summary: String,
    description: String,
    parameters: Vec<Field>,
    body: Option<String>,
    /// What a body is that has no schema.
    body_description: String,
    responses: Vec<Answer>,
}

#[derive(Serialize)]
struct Answer {
    status: String,
    description: String,
    schema: Option<String>,
}

#[derive(Serialize)]
struct Schema {
    name: String,
    description: String,
    values: Vec<String>,
    fields: Vec<Field>,
}

/// A parameter or a member.
#[derive(Serialize)]
struct Field {
    name: String,
    /// Where a parameter stands: `path`, `query` or `header`.
    place: String,
    kind: String,
    /// The schema that it refers to.
    schema: Option<String>,
    description: String,
}

/// The documentation.
#[handler]
pub(super) fn show(site: Data<&Arc<Site>>) -> Response {
    let document: Value = serde_json::from_str(&api::service(&site).spec()).unwrap_or_default();
    site.templates.page("docs.html", "/api/docs", &Docs::of(&document))
}

impl Docs {
    fn of(document: &Value) -> Self {
        let mut operations: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
        for (path, methods) in members(&document["paths"]) {
            for (method, operation) in members(methods) {
                let tag = text(&operation["tags"][0]);
                operations.entry(tag).or_default().push(Operation::of(path, method, operation));
            }
        }
        let groups = items(&document["tags"]).map(|tag| {
            let name = text(&tag["name"]);
            let operations = operations.remove(&name).unwrap_or_default();
            Group { operations, description: text(&tag["description"]), name }
        });
        Self {
            description: text(&document["info"]["description"]),
            groups: groups.collect(),
            schemas: members(&document["components"]["schemas"])
                .map(|(name, schema)| Schema::of(name, schema))
                .collect(),
        }
    }
}

impl Operation {
    fn of(path: &str, method: &str, operation: &Value) -> Self {
        let parameters = items(&operation["parameters"]).map(|parameter| Field {
            place: text(&parameter["in"]),
            description: text(&parameter["description"]),
            ..Field::of(&text(&parameter["name"]), &parameter["schema"])
        });
        let responses = members(&operation["responses"]).map(|(status, response)| Answer {
            status: status.to_owned(),
            description: text(&response["description"]),
            schema: content_schema(response),
        });
        Self {
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: text(&operation["summary"]),
            description: text(&operation["description"]),
            parameters: parameters.collect(),
            body: content_schema(&operation["requestBody"]),
            body_description: text(&operation["requestBody"]["description"]),
            responses: responses.collect(),
        }
    }
}

impl Schema {
    fn of(name: &str, schema: &Value) -> Self {
        Self {
            name: name.to_owned(),
            description: text(&schema["description"]),
            values: items(&schema["enum"]).map(text).collect(),
            fields: members(&schema["properties"]).map(|(name, property)| Field::of(name, property)).collect(),
        }
    }
}

impl Field {
    fn of(name: &str, schema: &Value) -> Self {
        let item = if schema["type"] == "array" { &schema["items"] } else { schema };
        let kind = match (schema["type"].as_str(), item["type"].as_str()) {
            (Some("array"), kind) => format!("list of {}", kind.unwrap_or_default()),
            (kind, _) => kind.unwrap_or_default().to_owned(),
        };
        let kind = if schema["nullable"] == true { format!("{kind} or null").trim_start().to_owned() } else { kind };
        let (name, place) = (name.to_owned(), String::new());
        Self { name, place, kind, schema: reference(item), description: text(&schema["description"]) }
    }
}

/// The schema of what a request or a response carries.
fn content_schema(message: &Value) -> Option<String> {
    members(&message["content"]).next().and_then(|(_, content)| reference(&content["schema"]))
}

/// The name of the schema that is referred to.
fn reference(schema: &Value) -> Option<String> {
    let direct = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
    direct.and_then(|path| path.rsplit('/').next()).map(str::to_owned)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}
