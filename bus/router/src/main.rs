//! `busd`: the capability router. Its standard input is the socket to `sandboxd`.

fn main() {}
