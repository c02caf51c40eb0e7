//! Compiles the contract in `proto/` without an installed protoc, keeps its
//! descriptor set for reflection, and sees that no message with a secret in it
//! can be printed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: &[&str] = &[
    "token_authority/v1/accounts.proto",
    "token_authority/v1/audit.proto",
    "token_authority/v1/services.proto",
    "token_authority/v1/sessions.proto",
    "token_authority/v1/tokens.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");

    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptor_set.bin"), descriptors.encode_to_vec())?;

    let mut secret_types = Vec::new();
    for proto in PROTOS {
        secret_types.extend(secret_types_of(&fs::read_to_string(PathBuf::from("proto").join(proto))?));
    }
    fs::write(out.join("redacted.rs"), secret_types.iter().map(SecretType::debug).collect::<String>())?;

    let messages = secret_types.iter().map(|secret| format!(".token_authority.v1.{}", secret.message));
    tonic_prost_build::configure().skip_debug(messages).compile_fds(descriptors)?;
    Ok(())
}

/// A message, or a oneof within one, that has a field marked `debug_redact`.
struct SecretType {
    message: String,
    oneof: Option<String>,
}

impl SecretType {
    /// A `Debug` for it that shows nothing of its fields.
    fn debug(&self) -> String {
        let Self { message, oneof } = self;
        let path = match oneof {
            None => message.clone(),
            Some(oneof) => format!("{}::{}", snake(message), camel(oneof)),
        };
        format!(
            "impl ::core::fmt::Debug for {path} {{\n    \
                 fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        \
                     f.write_str(\"{path}(…)\")\n    \
                 }}\n\
             }}\n"
        )
    }
}

/// The compiler's descriptors do not tell of `debug_redact`, so the text is
/// asked. In our style a message opens and closes at the start of a line, and
/// holds no other.
fn secret_types_of(proto: &str) -> Vec<SecretType> {
    let mut found = Vec::new();
    for (at, _) in proto.match_indices("\nmessage ") {
        let text = &proto[at + "\nmessage ".len()..];
        let (message, body) = text.split_once(" {").unwrap_or_default();
        let body = body.split("\n}").next().unwrap_or_default();
        if !body.contains("debug_redact = true") {
            continue;
        }
        found.push(SecretType { message: message.to_owned(), oneof: None });
        // All oneofs of such a message lose their `Debug` with it.
        for (at, _) in body.match_indices("oneof ") {
            let oneof = body[at + "oneof ".len()..].split(' ').next().unwrap_or_default();
            found.push(SecretType { message: message.to_owned(), oneof: Some(oneof.to_owned()) });
        }
    }
    found
}

fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn camel(snake: &str) -> String {
    let capitalized = snake.split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]);
    capitalized.collect()
}
