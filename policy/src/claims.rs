//! What a manifest claims: the shape of the file, before anything in it has been checked.
//!
//! These types are the reference of the manifest's keys: the JSON Schema is generated from them, and their doc
//! comments are its descriptions. Every value is text or a number as its author wrote it, with its place.
//! Nothing here is trusted and nothing outside `manifest` takes it.

use std::collections::BTreeMap;
use toml::Spanned;

#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// A list of texts, each with its place.
pub(crate) type Texts = Spanned<Vec<Spanned<String>>>;
/// A table of lists, by name.
pub(crate) type TextTable = BTreeMap<Spanned<String>, Texts>;

/// A Gabion app manifest. Everything is off until it is named here; unknown keys are errors.
#[derive(Debug, Default)]
#[cfg_attr(
    feature = "schema",
    derive(JsonSchema),
    schemars(title = "Gabion app manifest", deny_unknown_fields)
)]
pub(crate) struct ClaimedManifest {
    /// Who the app is and what runs.
    pub(crate) app: ClaimedApp,
    /// Hard limits.
    #[cfg_attr(feature = "schema", schemars(default))]
    pub(crate) resources: ClaimedResources,
    /// How the process runs.
    #[cfg_attr(feature = "schema", schemars(default))]
    pub(crate) process: ClaimedProcess,
    /// Whom the app may reach, and where it may be reached.
    #[cfg_attr(feature = "schema", schemars(default))]
    pub(crate) network: ClaimedNetwork,
    /// Device files, each held exclusively, by class.
    #[cfg_attr(feature = "schema", schemars(default))]
    pub(crate) devices: ClaimedDevices,
    /// Bus interfaces the app may call, each with the methods it may call there.
    #[cfg_attr(feature = "schema", schemars(default, with = "BTreeMap<String, Vec<String>>"))]
    pub(crate) uses: TextTable,
    /// Bus interfaces the app serves, each with the ids of the apps that may call it.
    #[cfg_attr(feature = "schema", schemars(default, with = "BTreeMap<String, Vec<String>>"))]
    pub(crate) provides: TextTable,
    /// Starting, watching and stopping.
    #[cfg_attr(feature = "schema", schemars(default))]
    pub(crate) lifecycle: ClaimedLifecycle,
    /// What only the image's own boxes may have. Never in an app's manifest, so not in the schema.
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub(crate) system: Option<ClaimedSystem>,
}

/// `[app]`
#[derive(Debug, Default)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct ClaimedApp {
    /// Reverse DNS name, at least three labels of a-z, 0-9 and '-'; the app's identity for ever.
    #[cfg_attr(feature = "schema", schemars(with = "String", length(max = 64)))]
    pub(crate) id: Option<Spanned<String>>,
    /// Three numbers, "MAJOR.MINOR.PATCH"; never goes down.
    #[cfg_attr(feature = "schema", schemars(with = "String", regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+$")))]
    pub(crate) version: Option<Spanned<String>>,
    /// Absolute path of the program in the app's root, then its arguments.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>", length(min = 1, max = 64)))]
    pub(crate) exec: Option<Texts>,
}

/// `[resources]`
#[derive(Debug, Default)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(default, deny_unknown_fields))]
pub(crate) struct ClaimedResources {
    /// Memory, everything included, as "16MiB" (the default). More is refused by the kernel.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(crate) memory: Option<Spanned<String>>,
    /// CPU time in percent of one CPU, as "20%" (the default).
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(crate) cpu: Option<Spanned<String>>,
    /// Processes and threads together; 16 by default.
    #[cfg_attr(feature = "schema", schemars(with = "u32"))]
    pub(crate) tasks: Option<Spanned<i64>>,
    /// Private storage at /data that survives updates, as "1MiB"; none by default.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(crate) storage: Option<Spanned<String>>,
    /// Size of the private /tmp, counted in `memory`; "1MiB" by default.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(crate) tmp: Option<Spanned<String>>,
    /// Open files per process; 256 by default.
    #[cfg_attr(feature = "schema", schemars(with = "u32"))]
    pub(crate) open_files: Option<Spanned<i64>>,
}

/// `[process]`
#[derive(Debug, Default)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(default, deny_unknown_fields))]
pub(crate) struct ClaimedProcess {
    /// Named seccomp profile: "strict", "default" (the default) or "network-server".
    #[cfg_attr(feature = "schema", schemars(with = "String", extend("enum" = ["strict", "default", "network-server"])))]
    pub(crate) profile: Option<Spanned<String>>,
    /// true lifts W^X for this app alone; false by default.
    #[cfg_attr(feature = "schema", schemars(with = "bool"))]
    pub(crate) jit: Option<Spanned<bool>>,
    /// true lets its processes share memory by System V calls (shmget), which PostgreSQL needs; false by default.
    #[cfg_attr(feature = "schema", schemars(with = "bool"))]
    pub(crate) sysv_shm: Option<Spanned<bool>>,
    /// Environment variables; PATH, HOME and TMPDIR have defaults.
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, String>"))]
    pub(crate) environment: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Directory the program starts in; "/" by default.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(crate) working_directory: Option<Spanned<String>>,
}

/// `[network]`
#[derive(Debug, Default)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(default, deny_unknown_fields))]
pub(crate) struct ClaimedNetwork {
    /// Destinations, each "HOST:PORT/PROTO", as "mqtt.example.com:8883/tcp".
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>", length(max = 64)))]
    pub(crate) connect: Option<Texts>,
    /// Ports to listen on, each "PORT/PROTO", as "8080/tcp", or "localhost:PORT/PROTO" for apps on the device alone.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>", length(max = 32)))]
    pub(crate) listen: Option<Texts>,
    /// Hosts of `connect` that may have private or link-local addresses, as "nas.example.com".
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>", length(max = 64)))]
    pub(crate) private: Option<Texts>,
}

/// `[devices]`
#[derive(Debug, Default)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(default, deny_unknown_fields))]
pub(crate) struct ClaimedDevices {
    /// Serial ports, as "/dev/ttyS1".
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub(crate) serial: Option<Texts>,
    /// GPIO controllers, as "/dev/gpiochip0".
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub(crate) gpio: Option<Texts>,
    /// I2C buses, as "/dev/i2c-1".
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub(crate) i2c: Option<Texts>,
    /// SPI devices, as "/dev/spidev0.0".
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub(crate) spi: Option<Texts>,
    /// The TPM, for system boxes only.
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub(crate) tpm: Option<Texts>,
    /// Ports of a virtual machine to its host, for system boxes only.
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub(crate) developer: Option<Texts>,
}

/// `[lifecycle]`
#[derive(Debug, Default)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(default, deny_unknown_fields))]
pub(crate) struct ClaimedLifecycle {
    /// When to start again: "always", "on-failure" (the default) or "never".
    #[cfg_attr(feature = "schema", schemars(with = "String", extend("enum" = ["always", "on-failure", "never"])))]
    pub(crate) restart: Option<Spanned<String>>,
    /// Longest silence between two WATCHDOG=1 messages, as "30s"; not watched by default.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(crate) watchdog: Option<Spanned<String>>,
    /// From SIGTERM to SIGKILL, as "5s" (the default).
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(crate) stop_timeout: Option<Spanned<String>>,
    /// true: the app says READY=1 (sd_notify) when it is up; false by default.
    #[cfg_attr(feature = "schema", schemars(with = "bool"))]
    pub(crate) notify: Option<Spanned<bool>>,
}

/// `[system]`: only in manifests that are part of the image.
#[derive(Debug, Default)]
pub(crate) struct ClaimedSystem {
    /// Names of Linux capabilities, as "CAP_KILL".
    pub(crate) capabilities: Option<Texts>,
    /// Whether the box sees the pids of the whole device.
    pub(crate) host_pids: Option<Spanned<bool>>,
    /// Whether the box manages the device's network.
    pub(crate) network: Option<Spanned<bool>>,
    /// Whether the box waits until somebody uses what it provides.
    pub(crate) on_demand: Option<Spanned<bool>>,
    /// Name of a filter for one program of the system, as "router".
    pub(crate) filter: Option<Spanned<String>>,
}
