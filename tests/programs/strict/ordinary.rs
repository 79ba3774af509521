//! What a static Rust program that computes calls by way of `std`: files, threads, time. For evidence of the profile
//! `strict`, see README.md beside this. Argument: an empty directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, IsTerminal, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

fn main() -> io::Result<()> {
    let directory = std::env::args().nth(1).unwrap_or_default();
    std::env::set_current_dir(directory)?;
    files()?;
    threads()?;
    let table = std::collections::HashMap::from([(1, Instant::now())]);
    println!("{table:?} {:?} {}", SystemTime::now(), io::stdout().is_terminal());
    let mut memory = vec![0_u8; 1 << 22];
    memory.resize(1 << 23, 1);
    println!("{} {}", std::process::id(), io::stdin().read(&mut memory)?);
    if std::panic::catch_unwind(|| panic!("as asked")).is_ok() {
        println!("no panic");
    }
    Ok(())
}

fn files() -> io::Result<()> {
    fs::create_dir_all("r/x")?;
    fs::write("r/a", "hello")?;
    fs::copy("r/a", "r/b")?;
    fs::rename("r/b", "r/c")?;
    let file = OpenOptions::new().append(true).open("r/c")?;
    file.sync_all()?;
    file.sync_data()?;
    file.set_len(2)?;
    file.set_permissions(file.metadata()?.permissions())?;
    drop(file.try_clone()?);
    println!("{:?}", fs::canonicalize("r/c")?);
    for entry in fs::read_dir("r")? {
        entry?.metadata()?;
    }
    let file = File::open("r/c")?;
    file.read_at(&mut [0; 2], 0)?;
    file.lock()?;
    file.unlock()?;
    let mut reader = BufReader::new(&file);
    reader.seek(SeekFrom::Start(0))?;
    reader.read_to_string(&mut String::new())?;
    fs::remove_file("r/c")?;
    fs::remove_dir_all("r")
}

fn threads() -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::Builder::new().name("worker".to_owned()).spawn(move || {
        thread::sleep(Duration::from_millis(3));
        thread::yield_now();
        sender.send(thread::available_parallelism())
    })?;
    println!("{:?} {:?}", receiver.recv_timeout(Duration::from_secs(9)), worker.join());
    Ok(())
}
