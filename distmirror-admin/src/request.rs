//! Reading request bodies: bounded in size and time, and JSON loosely, so that every bad field is named in one answer.

use std::{borrow::Cow, time::Duration};

use distmirror_core as core;
use futures::StreamExt;
use poem::{
    Body, Request, RequestBody, Result,
    http::{StatusCode, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, impl_apirequest_for_payload,
    payload::{ParsePayload, Payload},
    registry::{MetaRequest, MetaSchema, MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde_json::{Map, Value};

use crate::problem::{FieldError, Problem};

/// The largest body that is read, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// How much of a larger body is read and dropped, so that the client gets to see the answer, in bytes.
const MAX_DISCARDED_BYTES: usize = 32 << 20;
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Reads a whole body.
///
/// # Errors
/// 413 if it is too large, 408 if it takes too long, 400 if the client goes away.
pub(crate) async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(BODY_WITHIN, read_bounded(body)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body took too long")),
    }
}

async fn read_bounded(body: Body) -> Result<Vec<u8>, Problem> {
    let (mut chunks, mut read, mut received) = (body.into_bytes_stream(), Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::bad_request("the body ended early"))?;
        received += chunk.len();
        if received <= MAX_BODY_BYTES {
            read.extend_from_slice(&chunk);
        } else if received > MAX_DISCARDED_BYTES {
            break;
        }
    }
    if received > MAX_BODY_BYTES {
        let detail = format!("the body has more than {MAX_BODY_BYTES} bytes: send it in parts");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    Ok(read)
}

/// A JSON object as it was sent: what could be read of it, and what is wrong with the rest.
///
/// All fields of `T` must be optional; whoever checks the value says which are missing.
#[derive(Debug)]
pub(crate) struct Json<T> {
    value: T,
    errors: Vec<FieldError>,
}

impl<T> Json<T> {
    /// What `check` makes of the value, unless it or the reading found something wrong: then all of that at once.
    ///
    /// # Errors
    /// 422 with every bad field, or whatever else `check` says.
    pub(crate) fn check<C>(self, check: impl FnOnce(T) -> core::Result<C>) -> Result<C, Problem> {
        let mut errors = self.errors;
        match check(self.value) {
            Ok(checked) if errors.is_empty() => return Ok(checked),
            Ok(_) => {}
            Err(core::Error::Invalid(problems)) => {
                // A field of the wrong type was not read, so that it also looks as if it were missing.
                let known: Vec<String> = errors.iter().map(|error| error.field.clone()).collect();
                let news = problems.into_iter().filter(|problem| !known.iter().any(|field| field == problem.field));
                errors.extend(news.map(FieldError::from));
            }
            Err(other) => return Err(other.into()),
        }
        Err(Problem::invalid(errors))
    }
}

impl<T: ParseFromJSON> Json<T> {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let value = serde_json::from_slice(bytes)
            .map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))?;
        let Value::Object(fields) = value else {
            return Err(Problem::invalid(vec![FieldError::new("body", "is not a JSON object: write `{...}`")]));
        };
        let (fields, errors) = sort_out(fields, &schema_of::<T>());
        let value = T::parse_from_json(Some(Value::Object(fields))).map_err(|error| {
            let message = error.into_message();
            Problem::invalid(vec![FieldError::new("body", message)])
        })?;
        Ok(Self { value, errors })
    }
}

/// Both values, or the problems of both.
///
/// # Errors
/// [`core::Error::Invalid`].
pub(crate) fn both<A, B>(
    first: Result<A, Vec<core::Problem>>,
    second: Result<B, Vec<core::Problem>>,
) -> core::Result<(A, B)> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (first, second) => {
            let problems = [first.err(), second.err()].into_iter().flatten().flatten();
            Err(core::Error::Invalid(problems.collect()))
        }
    }
}

/// The fields that the schema knows and that have its types, and what is wrong with the others.
fn sort_out(fields: Map<String, Value>, schema: &MetaSchema) -> (Map<String, Value>, Vec<FieldError>) {
    let (mut good, mut errors) = (Map::new(), Vec::new());
    for (name, value) in fields {
        let property = schema.properties.iter().find(|(known, _)| *known == name);
        match property.map(|(_, property)| mismatch(&value, property)) {
            Some(None) => {
                good.insert(name, value);
            }
            Some(Some(wanted)) => errors.push(FieldError::new(name, format!("has the wrong type: {wanted} is wanted"))),
            None => {
                let known: Vec<_> = schema.properties.iter().map(|(known, _)| *known).collect();
                let message = format!("is not a field: use {}", known.join(", "));
                let name: String = name.chars().take(MAX_SHOWN_CHARACTERS).collect();
                errors.push(FieldError::new(name, message));
            }
        }
    }
    (good, errors)
}

/// What a property would have to be, if this value is not that. `null` stands for a field that is left out.
fn mismatch(value: &Value, property: &MetaSchemaRef) -> Option<&'static str> {
    let MetaSchemaRef::Inline(schema) = property else { return Some("another type") };
    let is_list = || value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
    let (fits, wanted) = match schema.ty {
        "string" => (value.is_string(), "a string"),
        "boolean" => (value.is_boolean(), "true or false"),
        "array" => (is_list(), "a list of strings"),
        _ if !schema.one_of.is_empty() => (value.is_string() || is_list(), "a string or a list of strings"),
        _ => (false, "another type"),
    };
    (!fits && !value.is_null()).then_some(wanted)
}

/// One word, or a list of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl Type for Words {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "words".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let one_of = vec![String::schema_ref(), Vec::<String>::schema_ref()];
        MetaSchemaRef::Inline(Box::new(MetaSchema { one_of, ..MetaSchema::ANY }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ToJSON for Words {
    fn to_json(&self) -> Option<Value> {
        self.0.to_json()
    }
}

impl ParseFromJSON for Words {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value.unwrap_or_default() {
            Value::String(word) => Ok(Self(vec![word])),
            list => Vec::<String>::parse_from_json(Some(list)).map(Self).map_err(ParseError::propagate),
        }
    }
}

fn schema_of<T: Type>() -> MetaSchema {
    let mut registry = Registry::new();
    T::register(&mut registry);
    registry.schemas.remove(T::name().as_ref()).expect("an object registers itself under its name")
}

impl<T: Type> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ParseFromJSON> ParsePayload for Json<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(_request: &Request, body: &mut RequestBody) -> Result<Self> {
        Ok(Self::parse(&read(body.take()?).await?)?)
    }
}

impl_apirequest_for_payload!(Json<T>, T: ParseFromJSON);

/// A body that scripts may leave out: then it is an empty object.
#[derive(Debug)]
pub(crate) struct MayBeLeftOut<T>(pub(crate) T);

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for MayBeLeftOut<Json<T>> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Json::<T>::request_meta().map(|meta| MetaRequest { required: false, ..meta })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let is_empty = request.header(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
            && request.header(header::TRANSFER_ENCODING).is_none();
        if is_empty {
            return Ok(Self(Json::parse(b"{}")?));
        }
        <Json<T> as ApiExtractor>::from_request(request, body, options).await.map(Self)
    }
}

/// How much of a name that nobody knows is repeated in the answer.
const MAX_SHOWN_CHARACTERS: usize = 100;
