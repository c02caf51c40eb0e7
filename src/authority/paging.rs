//! Which page? Opaque page tokens (AIP-158), sealed and bound to the list, the
//! filter and the caller: nobody can make one up, or use one for anything else.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{Authority, Error};
use crate::domain::caller::Permit;

const DEFAULT_SIZE: u32 = 50;
const MAX_SIZE: u32 = 200;

/// Which page a caller wants.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// How many, at most 200; 0 means 50.
    pub size: u32,
    /// The token that came with the page before, or empty.
    pub unverified_token: String,
}

/// A page that was asked for, and how to make the token of the next.
pub(super) struct Page {
    pub(super) size: usize,
    /// Where the page before ended.
    pub(super) cursor: Option<String>,
    context: Vec<u8>,
}

impl Page {
    /// One more than the page holds, which tells whether there is a next.
    pub(super) fn limit(&self) -> u64 {
        self.size as u64 + 1
    }
}

impl Authority {
    /// Opens a page request of the list that `permit` is for. `filter` is all
    /// that the page depends on beside the cursor.
    pub(super) fn page(&self, request: &PageRequest, permit: &Permit, filter: &str) -> Result<Page, Error> {
        let size = match request.size {
            0 => DEFAULT_SIZE,
            size => size.min(MAX_SIZE),
        };
        let context = format!("{:?} {} {filter}", permit.operation(), permit.caller().identity).into_bytes();
        let cursor = match request.unverified_token.as_str() {
            "" => None,
            token => Some(self.open_page_token(token, &context).ok_or(Error::InvalidPageToken)?),
        };
        Ok(Page { size: size as usize, cursor, context })
    }

    /// Cuts what was read down to the page, and makes the token of the next one
    /// if there is one.
    pub(super) fn cut<T>(
        &self,
        page: &Page,
        items: &mut Vec<T>,
        cursor: impl Fn(&T) -> String,
    ) -> Result<String, Error> {
        if items.len() <= page.size {
            return Ok(String::new());
        }
        items.truncate(page.size);
        let Some(last) = items.last() else {
            return Ok(String::new());
        };
        let sealed = self.keys.now().current()?.seal_page_token(&page.context, cursor(last).as_bytes());
        Ok(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    fn open_page_token(&self, token: &str, context: &[u8]) -> Option<String> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let cursor = self.keys.now().ring().open_page_token(context, &sealed)?;
        String::from_utf8(cursor).ok()
    }
}
