//! What does the audit trail say? For auditors, and to be read only: it is
//! written by what it tells of, in the same transaction.

use super::{Authority, Error, PageRequest};
use crate::{
    domain::caller::Permit,
    store::{AuditFilter, Entry},
};

impl Authority {
    /// A page of the audit trail, and the token of the next page.
    pub async fn list_audit_events(
        &self,
        permit: Permit,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<(Vec<Entry>, String), Error> {
        let authority = self.clone();
        self.store
            .read(async move {
                let page = authority.page(&page, &permit, &format!("{filter:?}"))?;
                let after = page.cursor.as_deref().map(str::parse).transpose().map_err(|_| Error::InvalidPageToken)?;
                let snapshot = authority.store.snapshot().await?;
                let mut entries = snapshot.audit_trail(&filter, after, page.limit()).await?;
                let next = authority.cut(&page, &mut entries, |entry| entry.id.to_string())?;
                snapshot.end().await?;
                Ok((entries, next))
            })
            .await
    }
}
