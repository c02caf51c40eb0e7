//! The rules: what a credential is, what an account may do, and what follows
//! for the request at hand. Pure: no input or output, no clock, and no word of
//! transport or storage.

pub mod id;
pub mod time;

pub mod text;
pub mod scope;
pub mod network;

mod base62;
pub mod credential;
pub mod digest;
pub mod keys;

pub mod account;
pub mod policy;
pub mod role;
pub mod record;
pub mod judgement;
pub mod caller;
pub mod delegation;
