//! Who asks. The one place where a request gets a person; sign-in and roles find their place here.

use poem::{FromRequest, Request, RequestBody, Result};

/// The person on whose behalf a request is made, as it is written into declarations and the audit log.
#[derive(Debug, Clone)]
pub(crate) struct Who(pub(crate) String);

impl<'a> FromRequest<'a> for Who {
    async fn from_request(_request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        Ok(Self("local user".to_owned()))
    }
}
