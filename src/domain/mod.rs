//! The rules: what a credential is, what an account may do, and what follows
//! for the request at hand. Pure: no input or output, no clock, and no word of
//! transport or storage.

pub mod id;
pub mod time;

pub mod forwarded;
pub mod network;
pub mod scope;
pub mod text;

mod base62;
pub mod credential;
pub mod digest;
pub mod keys;
pub mod legacy;
pub mod password;
pub mod signed_answer;
pub mod signing;
pub mod web_token;

pub mod account;
pub mod attempts;
pub mod caller;
pub mod certificate;
pub mod delegation;
pub mod judgement;
pub mod policy;
pub mod record;
pub mod role;
pub mod session;
