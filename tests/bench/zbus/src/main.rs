//! `gabion-bench-zbus server PATH` and `… client PATH BYTES CALLS`: the bench's call, made and served with zbus.
//!
//! As its users have it on one CPU: tokio with one thread, a string each way. It is asked as `bench-peer` is: a byte on
//! standard input, ns per call (native-endian `u64`) on standard output; 0 when it is ready.

use std::error::Error;
use std::io::{self, Read, Write};
use std::time::Instant;

use zbus::connection::Builder;
use zbus::{Connection, Proxy, interface};

const NAME: &str = "org.gabion.BenchZbus";
const PATH: &str = "/org/gabion/Bench";
const INTERFACE: &str = "org.gabion.Bench";

struct Bench;

#[interface(name = "org.gabion.Bench")]
impl Bench {
    fn echo(&self, data: String) -> String {
        data
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.as_slice() {
        ["server", path] => runtime.block_on(serve(path)),
        ["client", path, bytes, calls] => runtime.block_on(call(path, bytes.parse()?, calls.parse()?)),
        _ => Err("usage: server PATH | client PATH BYTES CALLS".into()),
    }
}

async fn serve(path: &str) -> Result<(), Box<dyn Error>> {
    let builder = Builder::address(format!("unix:path={path}").as_str());
    let _connection = builder.name(NAME).serve_at(PATH, Bench).build().await?;
    answer(0)?;
    std::future::pending().await
}

async fn call(path: &str, bytes: usize, calls: u32) -> Result<(), Box<dyn Error>> {
    let connection: Connection = Builder::address(format!("unix:path={path}").as_str()).build().await?;
    let proxy = Proxy::new(&connection, NAME, PATH, INTERFACE).await?;
    let data: String = ('a'..='w').cycle().take(bytes).collect();
    answer(0)?;
    while matches!(io::stdin().lock().read(&mut [0]), Ok(1)) {
        let begin = Instant::now();
        for _ in 0..calls {
            let reply: String = proxy.call("Echo", &(data.as_str(),)).await?;
            if reply != data {
                return Err("another reply than was expected".into());
            }
        }
        answer(begin.elapsed().as_nanos() as u64 / u64::from(calls.max(1)))?;
    }
    Ok(())
}

fn answer(number: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&number.to_ne_bytes())?;
    out.flush()
}
