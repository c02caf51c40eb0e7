//! What the tests stand on: servers in this process or in one of their own, on
//! either database, and actors that call them. Whatever secret an actor is
//! shown is looked for, when its server ends, in the log, in the database and
//! in every error text.

pub(crate) mod actor;
pub(crate) mod calls;
pub(crate) mod changes;
#[cfg(target_os = "linux")]
pub(crate) mod clock;
pub(crate) mod collector;
pub(crate) mod contract;
pub(crate) mod curl;
pub(crate) mod database;
pub(crate) mod envoy;
pub(crate) mod ext_authz;
pub(crate) mod forge;
pub(crate) mod gate;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod http1;
pub(crate) mod install;
mod keys;
pub(crate) mod legacy;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod nginx;
pub(crate) mod pki;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod refusal;
pub(crate) mod replicas;
pub(crate) mod rounds;
pub(crate) mod runbook;
pub(crate) mod seed;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod sign_in;
#[cfg(target_os = "linux")]
pub(crate) mod small_disk;
mod sql;
pub(crate) mod swallow;
pub(crate) mod terminal;
pub(crate) mod upstream;
pub(crate) mod wait;
pub(crate) mod web_session;
pub(crate) mod wire;

pub(crate) use self::{
    actor::{Actor, Issued},
    calls::issue_request,
    database::{Backend, Database},
    process::Process,
    refusal::assert_refused,
    server::TestServer,
    terminal::Terminal,
};

/// Runs each named test on SQLite and on PostgreSQL: `async fn name(Backend)`.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::support::Backend::Sqlite).await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::support::Backend::Postgres).await;
                }
            )+
        }
    };
}
