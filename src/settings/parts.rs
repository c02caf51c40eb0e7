//! What is each part of the service told?

use std::path::PathBuf;

use ::http::{HeaderValue, Uri};

use super::{
    CertificateRole, EmptyScopesSetting, Introspection, Kubernetes, Legacy, Settings, Telemetry,
    check::{InvalidSetting, invalid},
};
use crate::{
    authority::{EmptyScopes, Rules, WebTokens},
    domain::{
        attempts::Throttling,
        caller::Openness,
        certificate::{CertificateRoles, San},
        credential::{Forms, Prefix},
        forwarded::TrustedProxies,
        legacy::LegacyForm,
        network::Network,
        role::Role,
        scope::{MalformedScopes, Scope},
        session::Sliding,
        web_token::Party,
    },
    http,
    introspection::{Limits, Pace, Staleness},
    store,
};

impl Telemetry {
    /// Where a collector is, if there is one.
    pub fn endpoint(&self) -> Option<&str> {
        self.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty())
    }
}

impl Settings {
    /// Where the database is, and how long to wait for it.
    pub fn store_config(&self) -> Result<store::Config, InvalidSetting> {
        let location = match &self.database.url {
            None => store::Location::Sqlite(self.data_dir.join("token-authority.db")),
            Some(url) => url.location().map_err(invalid("database.url"))?,
        };
        Ok(store::Config {
            location,
            max_connections: self.database.max_connections,
            acquire_timeout: self.database.acquire_timeout.0,
            lock_timeout: self.database.lock_timeout.0,
            idle_in_transaction_timeout: self.database.idle_in_transaction_timeout.0,
            statement_timeout: self.database.statement_timeout.0,
            call_timeout: self.database.call_timeout.0,
            prepared_statements: self.database.prepared_statements,
        })
    }

    /// How stale an answer may be.
    pub fn staleness(&self) -> Staleness {
        let Introspection { max_staleness, max_staleness_ceiling, .. } = self.introspection;
        Staleness { default: max_staleness.0, max: max_staleness_ceiling.0 }
    }

    /// What bounds the introspection engine.
    pub fn introspection_limits(&self) -> Limits {
        let Introspection { cache_mib, confirm_interval, timeout, .. } = self.introspection;
        let pace = Pace { interval: confirm_interval.0, timeout: timeout.0 };
        Limits { cache_bytes: cache_mib.saturating_mul(1024 * 1024), pace }
    }

    /// What is issued, and within which bounds.
    pub fn rules(&self) -> Result<Rules, InvalidSetting> {
        Ok(Rules {
            forms: self.forms()?,
            default_lifetime: self.tokens.default_lifetime.into(),
            max_lifetime: self.tokens.max_lifetime.into(),
            max_overlap: self.tokens.max_rotation_overlap.0,
            empty_scopes: match self.tokens.empty_scopes {
                EmptyScopesSetting::None => EmptyScopes::None,
                EmptyScopesSetting::Inherit => EmptyScopes::Inherit,
                EmptyScopesSetting::Refuse => EmptyScopes::Refuse,
            },
            manage_scope: self.manage_scope()?,
            web: self.web()?,
            desktop: self.desktop(),
            throttling: Throttling {
                max_per_user_and_address: self.sign_in.max_failures_per_user_and_address,
                max_per_address: self.sign_in.max_failures_per_address,
                window: self.sign_in.window.0,
            },
        })
    }

    /// What is open to callers without a credential.
    pub fn openness(&self) -> Openness {
        Openness { sign_in: self.sign_in.open }
    }

    /// Which roles callers have by their certificates.
    pub fn certificate_roles(&self) -> Result<CertificateRoles, InvalidSetting> {
        certificate_roles("grpc.certificate_roles", &self.grpc.certificate_roles)
    }

    /// The same on the HTTP port.
    pub fn http_certificate_roles(&self) -> Result<CertificateRoles, InvalidSetting> {
        certificate_roles("http.certificate_roles", &self.http.certificate_roles)
    }

    /// Whose word is taken on the HTTP port for where a request came from.
    pub fn http_trusted_proxies(&self) -> Result<TrustedProxies, InvalidSetting> {
        trusted_proxies("http.trusted_proxies", &self.http.trusted_proxies)
    }

    /// How Kubernetes is answered.
    pub fn kubernetes(&self) -> Result<http::Kubernetes, InvalidSetting> {
        let Kubernetes { name_prefix, audiences, required_scopes } = self.kubernetes.clone();
        let scopes = required_scopes.join(" ").parse();
        let required_scopes =
            scopes.map_err(|error: MalformedScopes| invalid("kubernetes.required_scopes")(error.to_string()))?;
        if name_prefix.starts_with(http::Kubernetes::RESERVED) {
            let problem = format!("names that begin with {} are Kubernetes's own", http::Kubernetes::RESERVED);
            return Err(invalid("kubernetes.name_prefix")(problem));
        }
        Ok(http::Kubernetes { name_prefix, audiences, required_scopes })
    }

    /// Whose word is taken on the gRPC port for where a call came from.
    pub fn grpc_trusted_proxies(&self) -> Result<TrustedProxies, InvalidSetting> {
        trusted_proxies("grpc.trusted_proxies", &self.grpc.trusted_proxies)
    }

    /// The origins of pages that may call by gRPC-Web (RFC 6454, section 6.2).
    pub fn web_origins(&self) -> Result<Vec<HeaderValue>, InvalidSetting> {
        let origin = |text: &String| {
            let value = HeaderValue::from_str(text).ok().filter(|_| is_origin(text));
            value.ok_or_else(|| {
                let problem = format!("{text:?}: an origin is wanted, as browsers send it: https://app.example.com");
                invalid("grpc.web.allowed_origins")(problem)
            })
        };
        self.grpc.web.allowed_origins.iter().map(origin).collect()
    }

    fn web(&self) -> Result<WebTokens, InvalidSetting> {
        let party = |key, text: &str| Party::new(text).map_err(|error| invalid(key)(error.to_string()));
        Ok(WebTokens {
            issuer: party("sessions.issuer", &self.sessions.issuer)?,
            audience: party("sessions.audience", &self.sessions.audience)?,
            lifetime: self.sessions.web_lifetime.0,
        })
    }

    pub(super) fn desktop(&self) -> Sliding {
        Sliding { window: self.sessions.desktop_lifetime.0, max: self.sessions.desktop_max_lifetime.into() }
    }

    fn forms(&self) -> Result<Forms, InvalidSetting> {
        let prefix = |key, text: &str| Prefix::new(text).map_err(|error| invalid(key)(error.to_string()));
        let token = prefix("credentials.token_prefix", &self.credentials.token_prefix)?;
        let desktop = prefix("credentials.desktop_prefix", &self.credentials.desktop_prefix)?;
        let service = prefix("credentials.service_prefix", &self.credentials.service_prefix)?;
        let forms = Forms::new(token, desktop, service).map_err(|error| invalid("credentials")(error.to_string()))?;
        let legacy = self.credentials.legacy.iter();
        let legacy = legacy.map(|Legacy { prefix, hint_length }| LegacyForm::new(prefix, *hint_length));
        let with_legacy = legacy.collect::<Result<_, _>>().and_then(|legacy| forms.with_legacy(legacy));
        with_legacy.map_err(|error| invalid("credentials.legacy")(error.to_string()))
    }

    fn manage_scope(&self) -> Result<Option<Scope>, InvalidSetting> {
        let scope = self.self_service.manage_scope.as_deref().map(str::parse::<Scope>).transpose();
        scope.map_err(|error| invalid("self_service.manage_scope")(error.to_string()))
    }

    /// How many threads may run bcrypt.
    pub fn bcrypt_threads(&self) -> usize {
        match self.credentials.bcrypt_threads {
            0 => std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2)),
            threads => threads,
        }
    }

    /// The file of the ring of master keys.
    pub fn master_key_file(&self) -> PathBuf {
        self.keys.master_key_file.clone().unwrap_or_else(|| self.data_dir.join("master.key"))
    }

    /// The file of the first administrator's token.
    pub fn admin_token_file(&self) -> PathBuf {
        self.admin.token_file.clone().unwrap_or_else(|| self.data_dir.join("admin.token"))
    }
}

fn certificate_roles(key: &'static str, of: &[CertificateRole]) -> Result<CertificateRoles, InvalidSetting> {
    let mut table = CertificateRoles::default();
    for CertificateRole { san, roles } in of {
        let wrong = |problem: String| invalid(key)(format!("{san:?}: {problem}"));
        if roles.is_empty() {
            return Err(wrong("no roles are given".to_owned()));
        }
        let named = san.parse::<San>().map_err(|error| wrong(error.to_string()))?;
        let role = |name: &String| {
            name.parse::<Role>().map_err(|_| {
                let known: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
                wrong(format!("there is no role {name:?}, but {}", known.join(", ")))
            })
        };
        table.add(named, roles.iter().map(role).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(table)
}

fn trusted_proxies(key: &'static str, networks: &[String]) -> Result<TrustedProxies, InvalidSetting> {
    let network = |text: &String| text.parse::<Network>().map_err(|error| invalid(key)(format!("{text:?}: {error}")));
    networks.iter().map(network).collect()
}

/// Whether it is an origin in the one form that browsers send: in lower case, with
/// neither path nor default port.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    let default_port = if scheme == "http" { 80 } else { 443 };
    let is_whole = text == format!("{scheme}://{authority}");
    let is_plain = !authority.as_str().contains('@') && authority.port_u16() != Some(default_port);
    // A wildcard would be compared as it stands, and match nothing.
    is_whole && is_plain && !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'*')
}
