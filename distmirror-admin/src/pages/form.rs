//! Reading what a form sent.

use poem::{FromRequest, Request, RequestBody, Result};

use crate::{problem::Problem, request};

/// The fields of a form, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads fields as forms encode them, in a body or in a query.
    pub(super) fn parse(encoded: &[u8]) -> Self {
        // Browsers end the lines of a text area with CR LF.
        let fields = url::form_urlencoded::parse(encoded);
        Self(fields.map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n"))).collect())
    }

    /// The value of a field; empty if it was not sent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The value of a field unless it is blank.
    pub(super) fn given(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.trim().is_empty()).map(str::to_owned)
    }

    /// Replaces the value of a field.
    pub(super) fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value));
    }

    /// Every value of a field.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl<'a> FromRequest<'a> for Form {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> Result<Self> {
        let essence = request.content_type().unwrap_or_default().split(';').next().unwrap_or_default();
        if !essence.trim().eq_ignore_ascii_case(MEDIA_TYPE) {
            return Err(Problem::wrong_media_type(MEDIA_TYPE).into());
        }
        Ok(Self::parse(&request::read(body.take()?).await?))
    }
}

const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";
