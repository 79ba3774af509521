//! What programs commonly use of tokio: threads, timers, sockets, files, blocking work, a process, a signal.
//!
//! Nothing boots this; `tests/programs/trace` runs it. It says `done` when all went well, and fails otherwise.

use std::io::Result;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::{fs, sync::mpsc, task, time};

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("child") {
        println!("child");
        return Ok(());
    }
    sockets().await?;
    files().await?;
    let summed = task::spawn_blocking(|| (1..=1000_u64).sum::<u64>()).await?;
    assert_eq!(summed, 500_500);
    timers().await;
    process().await?;
    println!("done 5");
    Ok(())
}

async fn sockets() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:8094").await?;
    let server = task::spawn(async move {
        for _ in 0..4 {
            let (stream, _) = listener.accept().await?;
            task::spawn(echo(stream));
        }
        Result::Ok(())
    });
    for number in 0..4 {
        let mut stream = TcpStream::connect("127.0.0.1:8094").await?;
        stream.set_nodelay(true)?;
        stream.write_all(format!("{number}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert_eq!(answer, format!("{number}\n"));
    }
    server.await??;
    let unix = UnixListener::bind("/tmp/socket")?;
    let (client, accepted) = tokio::join!(UnixStream::connect("/tmp/socket"), unix.accept());
    client?.write_all(b"x").await?;
    assert_eq!(accepted?.0.read_u8().await?, b'x');
    Ok(())
}

async fn echo(stream: TcpStream) -> Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reading).read_line(&mut line).await?;
    writing.write_all(line.as_bytes()).await
}

async fn files() -> Result<()> {
    fs::create_dir_all("/tmp/a/b").await?;
    fs::write("/tmp/a/b/c", vec![b'x'; 100_000]).await?;
    fs::rename("/tmp/a/b/c", "/tmp/a/b/d").await?;
    fs::copy("/tmp/a/b/d", "/tmp/a/e").await?;
    let mut file = fs::OpenOptions::new().append(true).open("/tmp/a/e").await?;
    file.write_all(b"end").await?;
    file.sync_all().await?;
    assert_eq!(fs::metadata("/tmp/a/e").await?.len(), 100_003);
    let mut entries = fs::read_dir("/tmp/a").await?;
    while entries.next_entry().await?.is_some() {}
    fs::remove_dir_all("/tmp/a").await
}

async fn timers() {
    let (sender, mut receiver) = mpsc::channel(4);
    for number in 0..4_u64 {
        let sender = sender.clone();
        task::spawn(async move {
            time::sleep(Duration::from_millis(number * 10)).await;
            sender.send(number).await
        });
    }
    drop(sender);
    let mut count = 0;
    while receiver.recv().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 4);
    assert!(time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await.is_err());
}

/// The child is this program again, with a word that has it end at once. Its end comes as a signal.
async fn process() -> Result<()> {
    let mut ended = signal(SignalKind::child())?;
    let said = Command::new(std::env::current_exe()?).arg("child").output().await?;
    assert_eq!((said.stdout.as_slice(), said.status.success()), (&b"child\n"[..], true));
    ended.recv().await;
    Ok(())
}
