//! How are desktop sessions shown?

use serde::Serialize;

use crate::{cli::values::Time, proto::v1};

use super::{Card, Listing, View, or};

/// A desktop session, as the contract's message has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct SessionView {
    session_id: String,
    account_id: String,
    device_name: String,
    platform: String,
    app_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen_time: Option<Time>,
    last_seen_ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_out_time: Option<Time>,
}

impl From<v1::DesktopSession> for SessionView {
    fn from(session: v1::DesktopSession) -> Self {
        let v1::DesktopSession {
            session_id,
            account_id,
            device_name,
            platform,
            app_version,
            create_time,
            expire_time,
            last_seen_time,
            last_seen_ip,
            sign_out_time,
        } = session;
        Self {
            session_id,
            account_id,
            device_name,
            platform,
            app_version,
            create_time: create_time.map(Time),
            expire_time: expire_time.map(Time),
            last_seen_time: last_seen_time.map(Time),
            last_seen_ip,
            sign_out_time: sign_out_time.map(Time),
        }
    }
}

/// `session list`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct SessionsListed {
    pub(in crate::cli) sessions: Vec<SessionView>,
}

impl View for SessionsListed {
    fn table(&self) -> String {
        let mut listing =
            Listing::new(["SESSION", "DEVICE", "PLATFORM", "VERSION", "CREATED", "LAST SEEN", "EXPIRES", "SIGNED OUT"]);
        for session in &self.sessions {
            listing.row([
                &session.session_id,
                &session.device_name,
                &session.platform,
                &session.app_version,
                &or(session.create_time, ""),
                &or(session.last_seen_time, "never"),
                &or(session.expire_time, "never"),
                &or(session.sign_out_time, ""),
            ]);
        }
        listing.render()
    }
}

/// `session end`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct SessionEnded {
    pub(in crate::cli) session_id: String,
}

impl View for SessionEnded {
    fn table(&self) -> String {
        Card::new().field("Ended", &self.session_id).render()
    }
}
