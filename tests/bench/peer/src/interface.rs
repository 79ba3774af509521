//! The bench's interface, made from `org.gabion.Bench.varlink`.

include!(concat!(env!("OUT_DIR"), "/bench.rs"));
