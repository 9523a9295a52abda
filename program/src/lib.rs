//! What every process of ours shares. It holds no policy and no protocol, and must never know which program it runs in.
//!
//! [`text_file`] is the one way in which a text file that an operator names is read: documents, configuration, tokens, URLs,
//! certificates and keys.
pub mod service_variables;
pub mod text_file;
