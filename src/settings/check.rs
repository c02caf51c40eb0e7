//! Which settings make no sense, or are not safe?

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use super::{Settings, Telemetry, Tls};
use crate::domain::{policy::Policy, session::Sliding, time::Lifetime, web_token::MAX_LIFETIME};

/// Settings that contradict themselves or ask for what is not safe.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct InvalidSetting {
    key: Cow<'static, str>,
    problem: String,
}

pub(super) fn invalid(key: impl Into<Cow<'static, str>>) -> impl FnOnce(String) -> InvalidSetting {
    move |problem| InvalidSetting { key: key.into(), problem }
}

impl Settings {
    /// Checks what a type cannot say.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        check_listener("grpc", self.grpc.listen, self.grpc.allow_plaintext, &self.grpc.tls)?;
        check_listener("http", self.http.listen, self.http.allow_plaintext, &self.http.tls)?;
        for (listener, tls, roles) in [
            ("grpc", &self.grpc.tls, &self.grpc.certificate_roles),
            ("http", &self.http.tls, &self.http.certificate_roles),
        ] {
            if tls.client_ca_file.is_none() && !roles.is_empty() {
                let problem = format!("nobody has a certificate: {listener}.tls.client_ca_file is wanted as well");
                return Err(invalid(format!("{listener}.certificate_roles"))(problem));
            }
        }
        if self.grpc.max_connection_age_grace.0 < self.grpc.max_deadline.0 {
            let problem = "must be as long as grpc.max_deadline, so that no call is cut short";
            return Err(invalid("grpc.max_connection_age_grace")(problem.to_owned()));
        }
        if !(4..=14).contains(&self.credentials.bcrypt_cost) {
            return Err(invalid("credentials.bcrypt_cost")("between 4 and 14 is wanted".to_owned()));
        }
        if self.database.max_connections < 2 {
            return Err(invalid("database.max_connections")("at least 2 is wanted".to_owned()));
        }
        for (key, count) in [
            ("grpc.max_streams_per_connection", self.grpc.max_streams_per_connection as usize),
            ("grpc.max_calls_per_caller", self.grpc.max_calls_per_caller),
            ("grpc.max_message_bytes", self.grpc.max_message_bytes),
            ("credentials.bcrypt_queue", self.credentials.bcrypt_queue),
            ("introspection.remembered_proofs", self.introspection.remembered_proofs),
            ("sign_in.max_failures_per_user_and_address", self.sign_in.max_failures_per_user_and_address as usize),
            ("sign_in.max_failures_per_address", self.sign_in.max_failures_per_address as usize),
            ("introspection.cache_mib", usize::try_from(self.introspection.cache_mib).unwrap_or(usize::MAX)),
        ] {
            if count == 0 {
                return Err(invalid(key)("at least 1 is wanted".to_owned()));
            }
        }
        for (key, span) in [
            ("database.acquire_timeout", self.database.acquire_timeout),
            ("database.lock_timeout", self.database.lock_timeout),
            ("database.idle_in_transaction_timeout", self.database.idle_in_transaction_timeout),
            ("database.statement_timeout", self.database.statement_timeout),
            ("database.call_timeout", self.database.call_timeout),
            ("grpc.max_deadline", self.grpc.max_deadline),
            ("retention.interval", self.retention.interval),
            ("audit.refusal_interval", self.audit.refusal_interval),
            ("introspection.timeout", self.introspection.timeout),
            ("introspection.use_interval", self.introspection.use_interval),
            ("sign_in.window", self.sign_in.window),
            ("sessions.signing_key_lifetime", self.sessions.signing_key_lifetime),
            ("sessions.desktop_lifetime", self.sessions.desktop_lifetime),
            ("telemetry.metrics_interval", self.telemetry.metrics_interval),
        ] {
            // PostgreSQL takes 0 for "no limit", and counts in milliseconds.
            if span.0 < Duration::from_millis(1) {
                return Err(invalid(key)("at least 1ms is wanted".to_owned()));
            }
        }
        if self.database.lock_timeout.0 >= self.database.statement_timeout.0 {
            let problem = "must be shorter than database.statement_timeout, which counts the wait for a lock as well";
            return Err(invalid("database.lock_timeout")(problem.to_owned()));
        }
        if self.database.call_timeout.0 >= self.grpc.max_deadline.0 {
            let problem = "must be shorter than grpc.max_deadline, so that callers are told what was slow";
            return Err(invalid("database.call_timeout")(problem.to_owned()));
        }
        if self.introspection.timeout.0 >= self.grpc.max_deadline.0 {
            let problem = "must be shorter than grpc.max_deadline, so that callers are told what was slow";
            return Err(invalid("introspection.timeout")(problem.to_owned()));
        }
        if self.introspection.max_staleness.0 > self.introspection.max_staleness_ceiling.0 {
            let problem = "is longer than introspection.max_staleness_ceiling";
            return Err(invalid("introspection.max_staleness")(problem.to_owned()));
        }
        let (default, max) = (Lifetime::from(self.tokens.default_lifetime), Lifetime::from(self.tokens.max_lifetime));
        if default.exceeds(max) {
            return Err(invalid("tokens.default_lifetime")("is longer than tokens.max_lifetime".to_owned()));
        }
        if !(Duration::from_secs(1)..=MAX_LIFETIME).contains(&self.sessions.web_lifetime.0) {
            return Err(invalid("sessions.web_lifetime")("between 1s and 24h is wanted".to_owned()));
        }
        let Sliding { window, max } = self.desktop();
        if Lifetime::For(window).exceeds(max) {
            let problem = "is longer than sessions.desktop_max_lifetime";
            return Err(invalid("sessions.desktop_lifetime")(problem.to_owned()));
        }
        self.telemetry.check()?;
        self.store_config()?;
        self.rules()?;
        self.certificate_roles()?;
        self.grpc_trusted_proxies()?;
        self.web_origins()?;
        self.http_certificate_roles()?;
        self.http_trusted_proxies()?;
        self.kubernetes()?;
        Policy::new(self.policy.clone()).map_err(|error| invalid("policy")(error.to_string()))?;
        Ok(())
    }
}

impl Telemetry {
    fn check(&self) -> Result<(), InvalidSetting> {
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(invalid("telemetry.sample_ratio")("between 0 and 1 is wanted".to_owned()));
        }
        let Some(endpoint) = self.endpoint() else {
            return Ok(());
        };
        // Not the text: it may hold a password.
        let problem = match endpoint.parse::<http::Uri>() {
            Ok(uri) if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() => {
                "a URL of a collector is wanted, for example http://127.0.0.1:4317"
            }
            Ok(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
                "must hold no credential: that goes into OTEL_EXPORTER_OTLP_HEADERS"
            }
            Ok(_) => return Ok(()),
            Err(_) => "is no URL",
        };
        Err(invalid("telemetry.otlp_endpoint")(problem.to_owned()))
    }
}

fn check_listener(listener: &str, listen: SocketAddr, allow_plaintext: bool, tls: &Tls) -> Result<(), InvalidSetting> {
    let Tls { certificate_file, private_key_file, client_ca_file, require_client_certificate } = tls;
    let wanted = |name: &str, because: &str| {
        Err(invalid(format!("{listener}.tls.{name}"))(format!("is wanted beside {listener}.tls.{because}")))
    };
    match (certificate_file, private_key_file) {
        (Some(_), None) => return wanted("private_key_file", "certificate_file"),
        (None, Some(_)) => return wanted("certificate_file", "private_key_file"),
        (None, None) if client_ca_file.is_some() => return wanted("certificate_file", "client_ca_file"),
        (None, None) | (Some(_), Some(_)) => {}
    }
    if *require_client_certificate && client_ca_file.is_none() {
        return wanted("client_ca_file", "require_client_certificate");
    }
    if listen.ip().to_canonical().is_loopback() || certificate_file.is_some() || allow_plaintext {
        return Ok(());
    }
    Err(invalid(format!("{listener}.listen"))(format!(
        "{listen} is beyond loopback, and credentials would travel in plaintext; set \
         {listener}.tls.certificate_file, listen on loopback, or set {listener}.allow_plaintext = true \
         where something else protects them"
    )))
}
