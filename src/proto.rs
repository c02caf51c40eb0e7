//! The generated code of the contract in `proto/`.
//!
//! A message with a field marked `debug_redact` prints as its name alone: its
//! `Debug` is written by `build.rs`, not derived.

/// Package `token_authority.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("token_authority.v1");

    include!(concat!(env!("OUT_DIR"), "/redacted.rs"));
}

/// The contract's descriptor set, for reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

#[cfg(test)]
mod tests {
    use super::v1;

    #[test]
    fn no_message_prints_a_secret() {
        let secret = || "dt_secret".to_owned();
        let target = v1::revoke_token_request::Target::Secret(secret());
        let hash = v1::imported_token::Hash::Bcrypt(secret());
        let password = v1::PasswordCredentials { username: String::new(), password: secret() };
        let introspect = v1::IntrospectRequest { token: secret(), ..Default::default() };
        let printed = [
            format!("{:?}", v1::IssueTokenResponse { secret: secret(), token: None }),
            format!("{:?}", v1::RotateTokenResponse { secret: secret(), token: None }),
            format!("{:?}", v1::RevokeTokenRequest { target: Some(target.clone()), reason: 0 }),
            format!("{target:?}"),
            format!("{:?}", v1::ImportedToken { hash: Some(hash.clone()), ..Default::default() }),
            format!("{hash:?}"),
            format!("{:?}", v1::BatchIntrospectRequest { requests: vec![introspect] }),
            format!("{:?}", v1::SignInRequest { credentials: Some(password), client_ip: String::new() }),
            format!("{:?}", v1::SignInResponse { id_token: secret(), ..Default::default() }),
            format!("{:?}", v1::SignOutRequest { id_token: secret() }),
            format!("{:?}", v1::SignInDesktopResponse { secret: secret(), session: None }),
            format!("{:?}", v1::SignOutDesktopRequest { secret: secret() }),
            format!("{:?}", v1::SetPasswordRequest { account_id: String::new(), password: secret() }),
            format!("{:?}", v1::CreateServiceCredentialResponse { secret: secret(), credential: None }),
            format!("{:?}", v1::RotateServiceCredentialResponse { secret: secret(), credential: None }),
        ];
        for text in printed {
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn every_marked_field_is_in_the_test_above() {
        // 14 fields in 13 messages: a new one wants a line above.
        let protos = [
            include_str!("../proto/token_authority/v1/accounts.proto"),
            include_str!("../proto/token_authority/v1/audit.proto"),
            include_str!("../proto/token_authority/v1/services.proto"),
            include_str!("../proto/token_authority/v1/sessions.proto"),
            include_str!("../proto/token_authority/v1/tokens.proto"),
        ];
        let marked: usize = protos.iter().map(|proto| proto.matches("debug_redact = true").count()).sum();
        assert_eq!(marked, 14);
    }
}
