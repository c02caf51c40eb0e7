//! token-authority mints access tokens, keeps only their hashes, and answers
//! for them, so that no other service ever holds a credential or its hash.
//!
//! The modules, in reading order. Down to the two doors, each uses only those
//! above it; `server` wires them as `settings` says, and the command line is a
//! client like any other. `ARCHITECTURE.md` walks through them.

#[cfg(all(feature = "unconfirmed", not(debug_assertions)))]
compile_error!("the feature `unconfirmed` breaks the service's promise, for tests to notice: never release it");

// The rules, pure: credentials, scopes, policy, judgement, permits.
pub mod domain;
// Where chance comes from.
pub mod random;
// How often something happened.
pub mod counter;

// What the service tells of itself: its log, traces, metrics. All that follows
// measures with its instruments.
pub mod telemetry;

// The database: the only place that names sea-orm.
pub mod store;

// The master keys that are in use now.
pub mod keys;

// The hot path: parse, find, prove, judge.
pub mod introspection;

// The use cases: issue, list, revoke, accounts, service credentials.
pub mod authority;

// Who calls, and may it?
pub mod caller;
// What gateways ask, and are told, at whichever door.
pub mod gateway;

// The gRPC door: with `server`, `client` and the command line that is built on
// it, the only place that names tonic.
pub mod grpc;
// The HTTP door: the only place that names axum.
pub mod http;

// What runs: everything is wired here.
pub mod server;
// How this server is set.
pub mod settings;

// The command line.
pub mod cli;
// What other programs call the service with.
pub mod client;

// The generated code of the contract in `proto/`.
pub mod proto;
