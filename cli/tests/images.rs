//! Container images of well-known programs, made of Debian's packages as an OCI archive: each becomes an app, a manifest is
//! learnt for it, and it runs under that in its box.
//!
//! Needs root, Landlock ABI 6, a cgroup v2 mount and Debian's archive.
#![cfg(target_arch = "x86_64")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use packing::app::{self, Sources};
use packing::{debian, sha256};
use serde_json::{Value, json};
use tar::{Builder, Header};

/// What an image is made of, how it is run, and what it says when it is up.
struct Image {
    name: &'static str,
    /// `app.list`, or the folder below the tree of one that is there.
    list: List,
    files: &'static [(&'static str, &'static str)],
    run: Value,
    says: &'static str,
    /// How long it is watched.
    time: &'static str,
}

/// How long it is watched if it was not up by then, as on a machine that is busy.
const LONG: &str = "5m";

enum List {
    Text(&'static str),
    Folder(&'static str),
}

fn cache() -> PathBuf {
    let own = std::env::var_os("GABION_CACHE").map(PathBuf::from);
    debian::place(
        &own.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/gabion")),
    )
}

/// The image's files, as a directory.
fn root(image: &Image, place: &Path) -> PathBuf {
    let source = place.join("source");
    match image.list {
        List::Text(text) => {
            fs::create_dir(&source).unwrap();
            fs::write(source.join("app.list"), text).unwrap();
        }
        List::Folder(folder) => {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(folder);
            packing::stage::copy(&from, &source).unwrap();
        }
    }
    for (path, text) in image.files {
        packing::stage::write(&source.join("files").join(path), text).unwrap();
    }
    // A manifest for packing alone: the image's comes of its configuration.
    let manifest = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/etc\"]\n";
    fs::create_dir_all(source.join("files/etc")).unwrap();
    fs::write(source.join("files/etc/image"), image.name).unwrap();
    fs::write(source.join("manifest.toml"), manifest).unwrap();
    let program = |name: &str| -> anyhow::Result<PathBuf> { anyhow::bail!("no program {name}") };
    let to = place.join("app");
    app::root(&source, &to, &Sources { debian: &cache(), program: &program }).unwrap();
    to.join("root")
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = sha256(&[bytes]).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The layers: what is below /usr, and the rest over it.
fn layers(root: &Path) -> [Vec<u8>; 2] {
    [true, false].map(|usr| {
        let mut builder = Builder::new(Vec::new());
        builder.follow_symlinks(false);
        for entry in fs::read_dir(root).unwrap() {
            let name = entry.unwrap().file_name();
            if (name == "usr") == usr {
                let path = root.join(&name);
                match path.is_dir() && !path.is_symlink() {
                    true => builder.append_dir_all(&name, &path).unwrap(),
                    false => builder.append_path_with_name(&path, &name).unwrap(),
                }
            }
        }
        builder.into_inner().unwrap()
    })
}

/// An OCI archive of `root`, as `skopeo copy … oci-archive:` writes one.
fn archive(root: &Path, run: &Value, to: &Path) {
    let layers = layers(root);
    let ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({ "architecture": "amd64", "os": "linux", "config": run, "rootfs": { "type": "layers", "diff_ids": ids } });
    let config = config.to_string().into_bytes();
    let of = |bytes: &[u8], kind: &str| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(bytes), "size": bytes.len() });
    let layer = |layer: &Vec<u8>| of(layer, "layer.v1.tar");
    let manifest = json!({ "schemaVersion": 2, "config": of(&config, "config.v1+json"),
        "layers": layers.iter().map(layer).collect::<Vec<_>>() });
    let manifest = manifest.to_string().into_bytes();
    let index = json!({ "schemaVersion": 2, "manifests": [of(&manifest, "manifest.v1+json")] }).to_string();
    let mut builder = Builder::new(File::create(to).unwrap());
    let mut put = |name: String, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    for blob in [&config, &manifest].into_iter().chain(&layers) {
        put(format!("blobs/{}", digest(blob).replace(':', "/")), blob);
    }
    put("index.json".to_owned(), index.as_bytes());
    put("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    builder.into_inner().unwrap();
}

/// Imports the image, learns its manifest, and has it run under that.
fn runs(image: &Image) {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("image.tar");
    archive(&root(image, place.path()), &image.run, &to);
    runs_of(image, place.path());
}

fn runs_of(image: &Image, place: &Path) {
    let name = image.name;
    let tried = |arguments: &[&str]| {
        let done =
            Command::new(env!("CARGO_BIN_EXE_gabion")).current_dir(place).args(arguments).output().unwrap();
        let text =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        (done.status.success(), text)
    };
    let gabion = |arguments: &[&str]| {
        let (is_well, text) = tried(arguments);
        assert!(is_well, "{name}: {arguments:?}:\n{text}");
        text
    };
    // Until it was up so often; a machine that is busy may need longer than usual.
    let watched = |arguments: &[&str], often: usize| {
        let for_ = |time| tried(&[arguments, &["--for", time]].concat());
        let mut seen = for_(image.time);
        if seen.1.matches(image.says).count() < often {
            let _ = fs::remove_file(place.join("learnt.toml"));
            seen = for_(LONG);
        }
        let (is_well, text) = seen;
        assert!(is_well, "{name}: {arguments:?}:\n{text}");
        let said = text.matches(image.says).count();
        assert!(said >= often, "{name} said \"{}\" {said} times and not {often}:\n{text}", image.says);
        text
    };
    let report = gabion(&["import", "image.tar", name]);
    assert!(report.contains("gabion: note: "), "{report}");
    // Once with each manifest.
    let text = watched(&["policy", "learn", name, "--offline", "--confirm", "--out", "learnt.toml"], 2);
    assert!(text.contains("gabion: passed: "), "{name}:\n{text}");
    fs::rename(place.join("learnt.toml"), place.join(name).join("manifest.toml")).unwrap();
    watched(&["run", name, "--offline"], 1);
    gabion(&["build", name, "-o", "app.gab"]);
}

#[test]
fn nginx_of_a_container_image_runs_boxed() {
    runs(&Image {
        name: "nginx",
        list: List::Folder("tests/programs/apps/nginx"),
        files: &[],
        run: json!({ "Entrypoint": ["nginx"], "Cmd": ["-e", "stderr", "-g", "error_log stderr notice;"],
            "Env": ["PATH=/usr/sbin:/usr/bin"], "ExposedPorts": { "8081/tcp": {} }, "Volumes": { "/data": {} },
            "StopSignal": "SIGQUIT" }),
        says: "start worker process",
        time: "10s",
    });
}

#[test]
fn redis_of_a_container_image_runs_boxed() {
    runs(&Image {
        name: "redis",
        list: List::Folder("tests/programs/apps/redis"),
        files: &[],
        run: json!({ "Entrypoint": ["redis-server"], "Cmd": ["--dir", "/data", "--port", "6379", "--bind", "127.0.0.1"],
            "ExposedPorts": { "6379/tcp": {} }, "Volumes": { "/data": {} }, "User": "redis", "WorkingDir": "/data" }),
        says: "Ready to accept connections",
        time: "10s",
    });
}

#[test]
fn python_of_a_container_image_runs_boxed() {
    runs(&Image {
        name: "python",
        list: List::Text(
            "package python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 zlib1g libexpat1\n\
             copy /usr/bin/python3.11\ncopy /usr/lib/python3.11\nomit /usr/lib/python3.11/lib-dynload\n\
             directory /usr/lib/python3.11/lib-dynload\nlink /usr/bin/python3 python3.11\n",
        ),
        files: &[(
            "app/main.py",
            "import json, os, pathlib\n\
             pathlib.Path('/data/kept').write_text('x')\n\
             print(json.dumps({'greeting': os.environ['GREETING'], 'at': os.getcwd()}), flush=True)\n",
        )],
        run: json!({ "Cmd": ["python3", "-B", "main.py"], "Env": ["PATH=/usr/bin", "GREETING=hello"], "WorkingDir": "/app",
            "Volumes": { "/data": {} } }),
        says: r#"{"greeting": "hello", "at": "/app"}"#,
        time: "10s",
    });
}

#[test]
fn node_of_a_container_image_runs_boxed() {
    runs(&Image {
        name: "node",
        list: List::Text(
            "package nodejs libnode108 libc6 libstdc++6 libgcc-s1 zlib1g libuv1 libbrotli1 libc-ares2 libnghttp2-14 libssl3 \
             libicu72 node-acorn node-cjs-module-lexer node-undici\ncopy /usr/bin/node\ncopy /usr/share/nodejs\n",
        ),
        files: &[(
            "app/main.js",
            "const server = require('http').createServer((_, answer) => answer.end('hello'));\n\
             server.listen(8080, '127.0.0.1', () => console.log('listening, as ' + process.env.GREETING));\n",
        )],
        run: json!({ "Entrypoint": ["node"], "Cmd": ["/app/main.js"], "Env": ["PATH=/usr/bin", "GREETING=node"],
            "ExposedPorts": { "8080/tcp": {} } }),
        says: "listening, as node",
        time: "10s",
    });
}

#[test]
fn go_program_of_a_container_image_runs_boxed() {
    runs(&Image {
        name: "exporter",
        list: List::Text("package prometheus-node-exporter libc6\ncopy /usr/bin/prometheus-node-exporter\n"),
        files: &[],
        run: json!({ "Entrypoint": ["/usr/bin/prometheus-node-exporter"],
            "Cmd": ["--web.listen-address=127.0.0.1:9100", "--collector.disable-defaults", "--collector.time"],
            "ExposedPorts": { "9100/tcp": {} }, "User": "nobody" }),
        says: "Listening on",
        time: "10s",
    });
}

#[test]
fn mosquitto_of_a_container_image_runs_boxed() {
    runs(&Image {
        name: "mosquitto",
        list: List::Folder("image/demo/org.gabion.demo.broker"),
        files: &[("mosquitto.conf", "listener 1883 127.0.0.1\nallow_anonymous true\n")],
        run: json!({ "Entrypoint": ["/usr/sbin/mosquitto", "-c", "/mosquitto.conf"], "ExposedPorts": { "1883/tcp": {} } }),
        says: "running",
        time: "10s",
    });
}

/// The entry point does what that of the well-known image does for a user whom `/etc/passwd` does not name: it gives him a line.
#[test]
fn postgresql_of_a_container_image_runs_boxed() {
    runs(&Image {
        name: "postgres",
        list: List::Text(
            "package postgresql-15 postgresql-client-15 libpq5 libc6 libxml2 libicu72 liblzma5 libzstd1 liblz4-1 libssl3 libgssapi-krb5-2 \
             libldap-2.5-0 libpam0g libsystemd0 libuuid1 libxslt1.1 zlib1g libstdc++6 libgcc-s1 libkrb5-3 libk5crypto3 libcom-err2 \
             libkrb5support0 libkeyutils1 libsasl2-2 libaudit1 libcap2 libcap-ng0 libgcrypt20 libgpg-error0 libselinux1 libpcre2-8-0 \
             libreadline8 libtinfo6 libgnutls30 libp11-kit0 libidn2-0 libunistring2 libtasn1-6 libnettle8 libhogweed6 libgmp10 libffi8 \
             libdb5.3 liblz4-1 busybox-static\n\
             copy /usr/lib/postgresql/15/bin/postgres\ncopy /usr/lib/postgresql/15/bin/initdb\ncopy /usr/lib/postgresql/15/bin/psql\n\
             copy /usr/lib/postgresql/15/lib\nomit /usr/lib/postgresql/15/lib/bitcode\nomit /usr/lib/postgresql/15/lib/llvmjit.so\n\
             copy /usr/share/postgresql/15\ncopy /bin/busybox\n\
             link /bin/sh busybox\nlink /bin/mkdir busybox\nlink /bin/id busybox\nlink /bin/sleep busybox\nlink /etc/passwd /tmp/passwd\n",
        ),
        files: &[(
            "entry.sh",
            "set -e\n\
             PATH=/usr/lib/postgresql/15/bin:$PATH\n\
             echo \"app:x:$(id -u):$(id -g)::/data:/bin/sh\" > /tmp/passwd\n\
             test -e /data/db || initdb -D /data/db -U postgres -A trust -N -E UTF8 --locale=C --no-instructions > /dev/null\n\
             postgres -D /data/db -h 127.0.0.1 -k '' -c shared_buffers=8MB -c fsync=off &\n\
             until psql -q -h 127.0.0.1 -U postgres -c 'select 1' > /dev/null 2>&1; do sleep 0.2; done\n\
             psql -h 127.0.0.1 -U postgres -At -c 'drop table if exists t' -c 'create table t as select generate_series(1, 100000) a; checkpoint' \\\n\
             -c \"select 'rows: ' || count(*) from t\"\n\
             kill -INT $!\n\
             wait $!\n",
        )],
        run: json!({ "Entrypoint": ["/bin/sh", "/entry.sh"], "Env": ["PATH=/usr/bin:/bin"], "ExposedPorts": { "5432/tcp": {} },
            "Volumes": { "/data": {} }, "User": "postgres", "StopSignal": "SIGINT" }),
        says: "rows: 100000",
        // It ends by itself.
        time: "60s",
    });
}

#[test]
fn static_program_in_rust_of_a_container_image_runs_boxed() {
    let place = tempfile::tempdir().unwrap();
    let gabion = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_gabion"))
            .current_dir(place.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    gabion(&["new", "--lang", "rust", "hello"]);
    gabion(&["build", "hello"]);
    let image = Image {
        name: "static",
        list: List::Text(""),
        files: &[],
        run: json!({ "Entrypoint": ["/bin/hello"], "Volumes": { "/data": {} } }),
        says: "hello, this is start 1",
        time: "10s",
    };
    archive(&place.path().join("hello/.gabion/app/root"), &image.run, &place.path().join("image.tar"));
    runs_of(&image, place.path());
}
