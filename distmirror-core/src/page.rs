//! Lists that come in pages. A cursor names a place in the order, so that pages have no holes and no doubles while rows
//! are added.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::error::{Error, Result};

/// The most items on one page.
pub const MAX_LIMIT: usize = 1000;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many items; from 1 to [`MAX_LIMIT`].
    pub limit: usize,
    /// Only what comes after this place.
    pub after: Option<Cursor>,
}

impl PageRequest {
    /// The first page of this size, capped to [`MAX_LIMIT`] and at least 1.
    pub fn first(limit: usize) -> Self {
        Self { limit: limit.clamp(1, MAX_LIMIT), after: None }
    }

    /// Reads the two fields of a query.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the cursor is not one that a page gave out.
    pub fn parse(limit: Option<usize>, cursor: Option<&str>) -> Result<Self> {
        let after = cursor.filter(|text| !text.is_empty()).map(str::parse).transpose();
        let after = after.map_err(|message: String| Error::invalid("cursor", message))?;
        Ok(Self { after, ..Self::first(limit.unwrap_or(50)) })
    }
}

/// A place in a list: the sort key (0 where the id alone sorts) and the id of the last item seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The sort key of the last item.
    pub key: i64,
    /// Its id.
    pub id: Uuid,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.key, self.id.simple())
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (key, id) = text.split_once('.')?;
            Some(Self { key: key.parse().ok()?, id: Uuid::try_parse(id).ok()? })
        };
        parse().ok_or_else(|| format!("`{}` is not a cursor: take `next` of the page before", text.escape_debug()))
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page from up to `limit + 1` items that were read: the one too many only tells that there is more.
    pub fn cut(mut items: Vec<T>, limit: usize, place: impl Fn(&T) -> Cursor) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(place) } else { None };
        Self { items, next }
    }
}
