//! The service as its users and its attackers meet it: real servers, real
//! databases, ports of the system's choosing. A file per RPC or promise.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that cannot go on fails")]

#[macro_use]
mod support;

mod accounts;
mod audit;
mod audit_untold;
mod backups;
mod batch_introspect;
#[cfg(target_os = "linux")]
mod bounds;
mod caps;
mod certificate_callers;
#[cfg(target_os = "linux")]
mod clocks;
mod command_line;
mod connection_age;
mod crashes;
#[cfg(target_os = "linux")]
mod descriptors;
mod desktop_sessions;
#[cfg(target_os = "linux")]
mod disk_full;
mod doctor;
mod end_token_secret;
mod ext_authz;
mod ext_authz_callers;
mod ext_authz_envoy;
mod fairness;
mod faults_callers;
mod faults_cancelled;
mod faults_held;
mod faults_locks;
mod faults_outage;
mod faults_paused;
mod faults_silence;
mod forks;
mod gateway_traces;
mod grpc_web;
mod host_commands;
mod http_authlib;
mod http_introspect;
mod http_nginx;
mod http_openapi;
mod http_revoke;
mod http_sessions;
mod http_signed_answers;
mod http_token_review;
mod http_verify;
mod import_command;
mod import_tokens;
mod imported_tokens;
mod introspect;
mod introspect_layer;
mod issue_token;
mod jwks;
mod keys;
mod keys_commands;
mod keys_replicas;
mod metrics;
mod migrations;
mod paging;
mod permissions;
mod policy;
mod proofs;
mod replicas;
mod retention;
mod revocation;
mod revoke_all_tokens;
mod revoke_token;
mod rolling_restart;
mod rotate_token;
mod runbooks;
mod self_service;
mod service_credentials;
mod set_password;
mod sign_in;
mod sign_in_desktop;
mod sign_out;
mod signing_keys;
mod staleness;
mod start;
mod start_files;
mod store;
mod throttling;
mod through_envoy;
mod tls;
mod tls_commands;
mod tls_reload;
mod traces;
mod transport;
mod transport_shutdown;
mod transport_silence;
mod update_token;
mod uptrakit;
mod uses;
mod utho;
mod utm;
mod utmstack;
mod walk;
