//! What holds where nothing is said: safe on one machine, on loopback, with an
//! embedded database.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    Admin, Audit, Credentials, Database, EmptyScopesSetting, Grpc, Http, Introspection, Keys, Kubernetes, Log,
    LogFormat, Retention, SelfService, Sessions, Settings, Shutdown, SignIn, Span, SpanOrNever, Telemetry, Tls, Tokens,
    Web,
};
use crate::domain::policy::Document;

const DAY: Duration = Duration::from_hours(24);

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            database: Database::default(),
            grpc: Grpc::default(),
            http: Http::default(),
            kubernetes: Kubernetes::default(),
            keys: Keys::default(),
            admin: Admin::default(),
            credentials: Credentials::default(),
            tokens: Tokens::default(),
            self_service: SelfService::default(),
            sign_in: SignIn::default(),
            sessions: Sessions::default(),
            introspection: Introspection::default(),
            retention: Retention::default(),
            audit: Audit::default(),
            shutdown: Shutdown::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
            policy: Document::default(),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            max_connections: 16,
            acquire_timeout: Span(Duration::from_secs(3)),
            lock_timeout: Span(Duration::from_secs(5)),
            idle_in_transaction_timeout: Span(Duration::from_secs(3)),
            statement_timeout: Span(Duration::from_secs(10)),
            call_timeout: Span(Duration::from_secs(15)),
            migrate_on_start: false,
            prepared_statements: true,
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            allow_plaintext: false,
            reflection: false,
            max_deadline: Span(Duration::from_secs(30)),
            max_message_bytes: 4 * 1024 * 1024,
            max_streams_per_connection: 1_000,
            max_calls_per_caller: 2_000,
            max_connection_age: SpanOrNever::Span(Span(Duration::from_mins(30))),
            // Longer than any call that is no stream.
            max_connection_age_grace: Span(Duration::from_secs(40)),
            trusted_proxies: Vec::new(),
            web: Web::default(),
            tls: Tls::default(),
            certificate_roles: Vec::new(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allow_plaintext: false,
            trusted_proxies: Vec::new(),
            tls: Tls::default(),
            certificate_roles: Vec::new(),
        }
    }
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self { name_prefix: "token-authority:".to_owned(), audiences: Vec::new(), required_scopes: Vec::new() }
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            token_prefix: "dt".to_owned(),
            desktop_prefix: "ds".to_owned(),
            service_prefix: "svc".to_owned(),
            bcrypt_cost: 10,
            bcrypt_threads: 0,
            bcrypt_queue: 256,
            legacy: Vec::new(),
        }
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            default_lifetime: SpanOrNever::Span(Span(365 * DAY)),
            max_lifetime: SpanOrNever::Span(Span(3650 * DAY)),
            empty_scopes: EmptyScopesSetting::None,
            max_rotation_overlap: Span(7 * DAY),
        }
    }
}

impl Default for SignIn {
    fn default() -> Self {
        Self {
            open: false,
            max_failures_per_user_and_address: 5,
            max_failures_per_address: 50,
            window: Span(Duration::from_mins(15)),
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            issuer: "token-authority".to_owned(),
            audience: "token-authority".to_owned(),
            web_lifetime: Span(Duration::from_mins(15)),
            signing_key_lifetime: Span(90 * DAY),
            desktop_lifetime: Span(30 * DAY),
            desktop_max_lifetime: SpanOrNever::Span(Span(365 * DAY)),
        }
    }
}

impl Default for Introspection {
    fn default() -> Self {
        Self {
            cache_mib: 256,
            remembered_proofs: 100_000,
            confirm_interval: Span(Duration::from_millis(1)),
            timeout: Span(Duration::from_secs(2)),
            max_staleness: Span(Duration::ZERO),
            max_staleness_ceiling: Span(Duration::from_mins(1)),
            use_interval: Span(Duration::from_mins(1)),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            ended: Span(90 * DAY),
            changes: Span(DAY),
            audit: Span(365 * DAY),
            interval: Span(Duration::from_hours(1)),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { refusal_interval: Span(Duration::from_mins(1)), stdout: false }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { delay: Span(Duration::ZERO) }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sample_ratio: 0.01,
            max_followed_per_second: 100,
            metrics_interval: Span(Duration::from_mins(1)),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}
