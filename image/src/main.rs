//! `gabion-image`: builds and boots Gabion's images. The `Makefile` has a target for each of its subcommands.

use anyhow::Result;
use clap::{Parser, Subcommand};
use image::assemble::Audience;
use image::paths::{Release, Tree};
use image::{assemble, debian, kernel, pack, payload, reproducible, run, size, store, surface};
use std::path::PathBuf;
use std::process::ExitCode;

/// Build and boot Gabion's images
#[derive(Parser)]
#[command(name = "gabion-image", version)]
struct Arguments {
    /// What the release that is made is called: numbers with dots
    #[arg(long, global = true, value_name = "VERSION")]
    release: Option<String>,
    /// What a device that runs it does not go back behind, once the release is found good there
    #[arg(long, global = true, value_name = "NUMBER")]
    floor: Option<u32>,
    /// Where the board has its disks and partitions; without it as `image/disk.layout` says, and without that as on the reference board
    #[arg(long, global = true, value_name = "FILE")]
    layout: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build the kernel, or find it in the cache, and print its path
    Kernel,
    /// Build the root image and print the kernel's command line for it
    Image {
        /// The one that lets the machine's host onto the bus
        #[arg(long)]
        developer: bool,
    },
    /// Make a release of the demo: print the disk as it leaves the maker, the kernel image, the root, and what devices report
    Release {
        /// The one that lets the machine's host onto the bus
        #[arg(long)]
        developer: bool,
        #[command(flatten)]
        given: Given,
        /// Word to add to the kernel's command line; may be repeated
        #[arg(long)]
        append: Vec<String>,
    },
    /// Pack the demo apps and print where they are
    Demo {
        /// Download the Debian packages again, in their current versions
        #[arg(long)]
        refresh: bool,
    },
    /// Pack one app from a directory with manifest.toml, app.list and files/
    Pack {
        /// The app's source directory
        source: PathBuf,
        /// Where the packed app goes; replaced if it is there
        to: PathBuf,
    },
    /// Make an app store image of packed app directories
    Store {
        #[command(flatten)]
        given: Given,
        /// The image to make
        image: PathBuf,
        /// Packed app directories, each called as its app
        apps: Vec<PathBuf>,
    },
    /// Make what devices download for a new image: TO.index and TO.body
    Payload {
        /// The image that devices have; without it, the payload is for any device
        #[arg(long)]
        old: Option<PathBuf>,
        /// The new image
        new: PathBuf,
        /// Where the payload goes, without the endings
        to: PathBuf,
    },
    /// Boot the demo and show its console; Ctrl-C switches it off. `gabion bus` talks to it
    Run {
        /// Memory of the machine in MiB
        #[arg(long, default_value_t = 96)]
        memory: u32,
        /// Start as another device: new board, blank data disk
        #[arg(long)]
        fresh: bool,
        /// Without firmware and TPM: QEMU starts the kernel
        #[arg(long)]
        direct: bool,
        /// Word to add to the kernel's command line; may be repeated
        #[arg(long)]
        append: Vec<String>,
        /// Boot the production image, which lets nobody in
        #[arg(long)]
        production: bool,
        #[command(flatten)]
        given: Given,
    },
    /// Print the sizes of kernel and images against their bars
    Size,
    /// Count the syscalls that boxes reach, beside other systems' usual filters
    Surface,
    /// Build the images twice in different places and compare them
    Reproducible,
}

/// What is in the store beside the apps
#[derive(clap::Args)]
struct Given {
    /// How devices are connected that nobody configured otherwise: a `network.toml`
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// Which Security Service the devices belong to: a `service.toml`. To one that `run` boots, port 8443 of this machine is
    /// 10.0.2.100:8443
    #[arg(long, value_name = "FILE")]
    service: Option<PathBuf>,
    /// When and how the devices are renewed: an `update.toml`
    #[arg(long, value_name = "FILE")]
    update: Option<PathBuf>,
    /// Whose releases the devices take: the root of a repository of updates
    #[arg(long, value_name = "FILE")]
    update_root: Option<PathBuf>,
}

impl Given {
    fn settings(self) -> store::Settings {
        let Self { network, service, update, update_root } = self;
        store::Settings { network, service, update, update_root }
    }
}

fn main() -> ExitCode {
    match act(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gabion-image: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: Arguments) -> Result<()> {
    let Release { version, floor } = Release::of_this_tree();
    let release =
        Release { version: arguments.release.unwrap_or(version), floor: arguments.floor.unwrap_or(floor) };
    let tree = Tree::here()?.of_release(release)?;
    let tree = match &arguments.layout {
        Some(file) => tree.of_board(file)?,
        None => tree,
    };
    match arguments.action {
        Action::Kernel => println!("{}", kernel::kernel(&tree)?.bzimage.display()),
        Action::Image { developer } => {
            println!("{}", assemble::demo(&tree, audience(!developer))?.command_line());
        }
        Action::Release { developer, given, append } => {
            let bootable = assemble::demo_with(&tree, audience(!developer), &given.settings())?;
            let system = run::release(&tree, &bootable, &append)?;
            for path in [&system.disk, &system.kernel, &bootable.root.image, &system.reference] {
                println!("{}", path.display());
            }
        }
        Action::Demo { refresh } => {
            if refresh {
                debian::forget(&tree.debian())?;
            }
            for app in pack::demo(&tree)? {
                println!("{}", app.display());
            }
        }
        Action::Pack { source, to } => pack::pack(&tree, &source, &to)?,
        Action::Store { given, image, apps } => {
            print!("{}", store::build(&apps, &given.settings(), &image)?.to_text());
        }
        Action::Payload { old, new, to } => {
            let (index, body) = payload::make(old.as_deref(), &new, &to)?;
            println!("{}\n{}", index.display(), body.display());
        }
        Action::Run { memory, fresh, direct, append, production, given } => {
            let (audience, settings) = (audience(production), given.settings());
            let options = run::Options { memory_mib: memory, fresh, append, direct, audience, settings };
            run::run(&tree, &options)?;
        }
        Action::Size => size::size(&tree)?,
        Action::Surface => surface::surface(&tree)?,
        Action::Reproducible => reproducible::reproducible(&tree)?,
    }
    Ok(())
}

fn audience(production: bool) -> Audience {
    if production { Audience::Production } else { Audience::Developers }
}
