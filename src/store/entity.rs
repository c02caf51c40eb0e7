//! The tables, as sea-orm sees them: one module each, columns as in
//! `migrations/`, where they are explained.

#![allow(unreachable_pub, clippy::wildcard_imports, reason = "what sea-orm derives wants both")]

use sea_orm::entity::prelude::*;

macro_rules! no_relations {
    () => {
        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}
    };
}

pub(super) mod head {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "head")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i16,
        pub epoch: Uuid,
        pub revision: i64,
        pub tag: Uuid,
    }

    no_relations!();
}

pub(super) mod change {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "changes")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub revision: i64,
        pub tag: Uuid,
        pub commit_time: i64,
        pub subjects: String,
    }

    no_relations!();
}

pub(super) mod policy {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "policy")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i16,
        pub version: i64,
        pub document: String,
    }

    no_relations!();
}

pub(super) mod master_key {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "master_keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub key_id: String,
        pub check_value: String,
        pub is_current: bool,
    }

    no_relations!();
}

pub(super) mod signing_key {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "signing_keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub kid: String,
        pub public_key: Vec<u8>,
        pub sealed: Option<Vec<u8>>,
        pub master_key: Option<String>,
        pub create_time: i64,
        pub retire_time: Option<i64>,
        pub expire_time: Option<i64>,
    }

    no_relations!();
}

pub(super) mod account {
    use super::*;

    #[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "accounts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub account_id: String,
        pub username: Option<String>,
        pub username_compared: Option<String>,
        pub email: String,
        pub plan: Option<String>,
        pub roles: String,
        pub permissions: String,
        pub limit_permissions: bool,
        pub suspended: bool,
        pub password_hash: Option<String>,
        pub token_generation: i64,
        pub session_generation: i64,
        pub create_time: i64,
        pub update_time: i64,
        pub etag: Uuid,
    }

    // sea-orm asks for Debug; the hash stays out of it.
    impl std::fmt::Debug for Model {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("account::Model").field("id", &self.id).finish_non_exhaustive()
        }
    }

    no_relations!();
}

pub(super) mod generation_raise {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "generation_raises")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub series: i16,
        #[sea_orm(primary_key, auto_increment = false)]
        pub generation: i64,
        pub raise_time: i64,
        pub reason: i16,
    }

    no_relations!();
}

pub(super) mod credential {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "credentials")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub kind: i16,
        pub account: Option<Uuid>,
        pub label: String,
        pub inherits_permissions: bool,
        pub scopes: String,
        pub roles: String,
        pub networks: String,
        pub hint: String,
        pub generation: i64,
        pub created_by: String,
        pub request_id: Option<String>,
        pub imported: bool,
        pub create_time: i64,
        pub expire_time: Option<i64>,
        pub rotate_time: Option<i64>,
        pub revoke_time: Option<i64>,
        pub revocation_reason: Option<i16>,
    }

    no_relations!();
}

pub(super) mod secret {
    use super::*;

    #[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "secrets")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub credential: Uuid,
        pub bcrypt_hash: String,
        pub fingerprint: Option<Vec<u8>>,
        pub key_id: Option<String>,
        pub create_time: i64,
        pub end_time: Option<i64>,
        pub request_id: Option<String>,
        pub lookup_hint: Option<String>,
    }

    // sea-orm asks for Debug; the hashes stay out of it.
    impl std::fmt::Debug for Model {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("secret::Model").field("id", &self.id).finish_non_exhaustive()
        }
    }

    no_relations!();
}

pub(super) mod usage {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "uses")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub secret: Uuid,
        pub last_used_time: i64,
        pub last_used_ip: Option<String>,
        pub use_count: i64,
    }

    no_relations!();
}

pub(super) mod desktop_session {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "desktop_sessions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub device_name: String,
        pub platform: String,
        pub app_version: String,
    }

    no_relations!();
}

pub(super) mod sign_in_attempt {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "sign_in_attempts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub bucket: Vec<u8>,
        pub window_start: i64,
        pub charged: i64,
        pub failure_told: bool,
        pub refusal_told: bool,
    }

    no_relations!();
}

pub(super) mod audit_event {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit_events")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub event_time: i64,
        pub actor: String,
        pub actor_ip: Option<String>,
        pub action: String,
        pub target: String,
        pub account_id: Option<String>,
        pub request_id: Option<String>,
        pub detail: String,
        pub refusal: Option<String>,
        pub count: i64,
    }

    no_relations!();
}
