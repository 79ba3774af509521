//! The interfaces of the system, one module each, made from `interfaces/*.varlink` when this crate is built.
//!
//! | in a module | for |
//! |---|---|
//! | `INTERFACE`, `DESCRIPTION` | the names of its methods, and its file |
//! | `Handler`, `dispatch` | who serves it |
//! | `Client` | who calls it |
//! | a type for each method | [`Pending`](crate::server::Pending) replies, [`Connection::call`](crate::client::Connection::call) |
//! | `…Parameters`, `…Reply`, `Error`, and the types of the file | both |

include!(concat!(env!("OUT_DIR"), "/interfaces.rs"));
