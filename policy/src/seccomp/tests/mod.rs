//! The compiled programs against the tables, and the tables against what must never be allowed.
//!
//! Every combination of profile, grants and `jit` is compiled and run on the machine in `machine`. Each rule has a
//! probe that it lets through and, for every one of its conditions, a probe with just that condition broken.

mod evidence;
mod versions;

use super::compile::{ALLOW, ARCH, ENOSYS, EPERM, FOREIGN_NUMBERS, KILL, UNTRACED};
use super::machine::{self, Data};
use super::probe::probes;
use super::rule::{Rules, When};
use super::{Answer, answer, answers, kernel_name, profiles, programs, tables};
use crate::facts::{Facts, SystemFilter};
use crate::{Board, Profile, check, check_system};

/// Syscall numbers tried on every program: more than any kernel has, and some that cannot be.
fn numbers() -> impl Iterator<Item = u32> {
    (0..700).chain([FOREIGN_NUMBERS - 1, u32::MAX, 0x8000_0000])
}

fn facts(profile: Profile, jit: bool, network: &str, uses: bool) -> Facts {
    let uses = if uses { "[uses]\n\"os.gabion.Update\" = [\"Defer\"]\n" } else { "" };
    let text = format!(
        "[app]\nid = \"a.b.c\"\nversion = \"1.0.0\"\nexec = [\"/x\"]\n\
         [process]\nprofile = \"{profile}\"\njit = {jit}\n{network}{uses}"
    );
    check(&text, &Board::default()).unwrap().facts
}

/// As [`facts`], for the modules below.
fn facts_of(profile: Profile, jit: bool, grants: &str, uses: bool) -> Facts {
    facts(profile, jit, grants, uses)
}

/// Every combination that makes a different program.
fn combinations() -> Vec<Facts> {
    let networks = [
        "",
        "[network]\nlisten = [\"1/tcp\"]\n",
        "[network]\nlisten = [\"1/udp\"]\n",
        "[network]\nconnect = [\"localhost:1/udp\", \"localhost:1/tcp\"]\n",
    ];
    let mut all = Vec::new();
    for profile in Profile::ALL {
        for network in networks {
            for (jit, uses) in [(false, false), (false, true), (true, false), (true, true)] {
                all.push(facts(*profile, jit, network, uses));
            }
        }
    }
    let devices = [
        "serial = [\"/dev/ttyS1\"]",
        "gpio = [\"/dev/gpiochip0\"]",
        "i2c = [\"/dev/i2c-0\"]",
        "spi = [\"/dev/spidev0.1\"]",
    ];
    all.extend(
        devices.map(|device| facts(Profile::Default, false, &format!("[devices]\n{device}\n"), false)),
    );
    all.extend(Profile::ALL.iter().flat_map(|profile| [shm(*profile, false), shm(*profile, true)]));
    all.extend(SystemFilter::ALL.iter().map(|filter| daemon(*filter)));
    all
}

/// As [`facts`], with System V shared memory.
fn shm(profile: Profile, jit: bool) -> Facts {
    Facts { sysv_shm: true, ..facts(profile, jit, "", false) }
}

/// The facts of one of the system's programs with a filter of its own.
fn daemon(filter: SystemFilter) -> Facts {
    let text = format!(
        "[app]\nid = \"os.gabion.{filter}\"\nversion = \"1.0.0\"\nexec = [\"/x\"]\n\
         [process]\nprofile = \"strict\"\n[system]\nfilter = \"{filter}\"\n"
    );
    check_system(&text, &Board::default()).unwrap().manifest().facts.clone()
}

/// The facts of the bus's router.
fn router() -> Facts {
    daemon(SystemFilter::Router)
}

fn run(program: &[u8], data: &Data) -> u32 {
    machine::run(program, data).expect("a program that seccomp would take")
}

fn ask(facts: &Facts, number: u32, args: [u64; 6]) -> u32 {
    let programs = programs(facts);
    assert_eq!(programs.len(), 1);
    run(&programs[0], &Data { number, arch: ARCH, args })
}

/// What the tables say, without any compiler.
fn expected(tables: &[(Rules, u32)], number: u32, args: &[u64; 6]) -> u32 {
    if number >= FOREIGN_NUMBERS {
        return KILL;
    }
    let found = tables.iter().find(|(rules, _)| rules.matches(number.into(), args));
    found.map_or(EPERM, |(_, action)| *action)
}

#[test]
fn program_every_number_answers_as_the_tables() {
    for facts in combinations() {
        let (program, tables) = (programs(&facts).remove(0), tables(&facts));
        for number in numbers() {
            let args = [0; 6];
            let got = run(&program, &Data { number, arch: ARCH, args });
            assert_eq!(got, expected(&tables, number, &args), "{number} {facts:?}");
        }
    }
}

#[test]
fn program_every_rule_and_its_mutations_answer_as_the_tables() {
    for facts in combinations() {
        let (program, tables) = (programs(&facts).remove(0), tables(&facts));
        for (rules, _) in &tables {
            for (number, name, when) in rules.iter() {
                let number = u32::try_from(number).unwrap();
                for args in probes(when) {
                    let got = run(&program, &Data { number, arch: ARCH, args });
                    assert_eq!(got, expected(&tables, number, &args), "{name} {args:x?} {facts:?}");
                }
            }
        }
    }
}

#[test]
fn rule_every_condition_matters() {
    // A probe with one condition broken must be refused by the tables for at least one mutation, or the condition
    // would be there for nothing.
    for facts in combinations() {
        let allowed = profiles::allowed(&facts);
        for (number, name, when) in allowed.iter() {
            let When::Args(_, alternatives) = when else { continue };
            for all in alternatives {
                for check in all {
                    let refused = probes(when)
                        .into_iter()
                        .any(|args| !check.holds(&args) && !allowed.matches(number, &args));
                    assert!(refused, "{name}: {check:?} refuses nothing");
                }
            }
        }
    }
}

#[test]
fn program_foreign_architecture_kills() {
    for facts in combinations() {
        let program = programs(&facts).remove(0);
        for arch in
            [0, 0x4000_0003, 0xc000_00b7, 0xc000_003e, u32::MAX].into_iter().filter(|arch| *arch != ARCH)
        {
            assert_eq!(run(&program, &Data { number: libc::SYS_read as u32, arch, args: [0; 6] }), KILL);
        }
    }
}

/// glibc's question for the device's addresses, at each name: no record in a box with a network. Any other socket of the
/// family, and this one in a box without, is refused with one (attack C9).
#[test]
fn socket_that_asks_for_addresses_leaves_no_record_with_a_network_only() {
    let socket = libc::SYS_socket as u32;
    let asking = [libc::AF_NETLINK as u64, (libc::SOCK_RAW | libc::SOCK_CLOEXEC) as u64, 0, 0, 0, 0];
    let with = facts(Profile::Default, false, "[network]\nconnect = [\"localhost:1/tcp\"]\n", false);
    let without = facts(Profile::Default, false, "", false);
    assert_eq!((ask(&with, socket, asking), ask(&without, socket, asking)), (UNTRACED, EPERM));
    let changed = |at: usize, value: i32| {
        let mut args = asking;
        args[at] = value as u64;
        ask(&with, socket, args)
    };
    for answer in [
        changed(0, libc::AF_PACKET),
        changed(1, libc::SOCK_RAW),
        changed(1, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC),
        changed(2, libc::NETLINK_AUDIT),
        changed(2, libc::NETLINK_KOBJECT_UEVENT),
    ] {
        assert_eq!(answer, EPERM);
    }
}

#[test]
fn program_x32_number_kills() {
    let facts = facts(Profile::NetworkServer, true, "", true);
    for number in [0, 1, 59, 512, 520] {
        assert_eq!(ask(&facts, number | FOREIGN_NUMBERS, [0; 6]), KILL);
    }
}

#[test]
fn program_size_is_bounded() {
    for facts in combinations() {
        let instructions = programs(&facts)[0].len() / 8;
        // Loading costs about 0.15 us per instruction at every launch.
        assert!(instructions <= 600, "{instructions} instructions for {facts:?}");
    }
}

/// What an app under a debugger's server may besides: to trace, and what its server is made of. Nothing that it may is lost.
#[test]
fn debugged_app_may_trace_and_nothing_else_that_no_manifest_gets() {
    for facts in combinations() {
        let (debugged, own) = (super::debugged(&facts), programs(&facts));
        let answer =
            |program: &[Vec<u8>], number: u32| run(&program[0], &Data { number, arch: ARCH, args: [0; 6] });
        let wide = programs(&Facts { profile: facts.profile.max(Profile::Default), ..facts.clone() });
        for number in numbers() {
            let wanted = match i64::from(number) {
                libc::SYS_ptrace => ALLOW,
                _ => answer(&wide, number),
            };
            assert_eq!(answer(&debugged, number), wanted, "{number} for {facts:?}");
            assert!(answer(&own, number) != ALLOW || wanted == ALLOW, "{number} for {facts:?}");
        }
    }
}

/// No manifest of an app gets these, whatever it asks for (attacks A4, A7, A9, C8, C9, C10).
#[test]
fn tables_dangerous_calls_are_never_allowed() {
    let never = [
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_clone3,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_mount_setattr,
        libc::SYS_chroot,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_mq_open,
        libc::SYS_syslog,
        libc::SYS_seccomp,
        libc::SYS_execveat,
        libc::SYS_capset,
        libc::SYS_shmat,
        libc::SYS_setgroups,
        libc::SYS_pidfd_getfd,
        libc::SYS_remap_file_pages,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_quotactl,
    ];
    for facts in combinations() {
        // Tables of the firewall that it was handed; it can make none and load nothing, which is bpf's command 0 and 5.
        let net = facts.filter() == Some(SystemFilter::Net);
        // A segment is attached where the manifest says so, and never to run what is in it: see below.
        let shm = facts.sysv_shm;
        let never = never.into_iter().filter(|number| !net || *number != libc::SYS_bpf);
        for number in never.filter(|number| !shm || *number != libc::SYS_shmat) {
            assert!(
                !matches!(answer(&facts, number), Answer::Allowed | Answer::AllowedIf(_)),
                "{number} {facts:?}"
            );
            assert_ne!(ask(&facts, number as u32, [0; 6]), ALLOW, "{number}");
        }
    }
}

/// Every grant that changes a program, one after the other: a step never takes away what the steps before allowed.
#[test]
fn tables_adding_a_grant_keeps_every_call() {
    let (tcp, both) = ("[network]\nlisten = [\"1/tcp\"]\n", "[network]\nlisten = [\"1/tcp\", \"1/udp\"]\n");
    let steps = |profile, first: &[u8]| {
        let has = |grant: u8| first.contains(&grant);
        let network = if has(1) && has(2) {
            both
        } else if has(1) {
            tcp
        } else {
            ""
        };
        facts(profile, has(3), network, has(4))
    };
    for order in [[1, 2, 3, 4], [4, 3, 1, 2], [3, 1, 4, 2], [1, 4, 2, 3]] {
        for profile in Profile::ALL {
            for taken in 0..order.len() {
                assert_keeps(&steps(*profile, &order[..taken]), &steps(*profile, &order[..=taken]));
            }
        }
        for pair in Profile::ALL.windows(2) {
            for taken in 0..=order.len() {
                assert_keeps(&steps(pair[0], &order[..taken]), &steps(pair[1], &order[..taken]));
            }
        }
    }
}

fn assert_keeps(narrow: &Facts, wide: &Facts) {
    let (before, after) = (profiles::allowed(narrow), profiles::allowed(wide));
    for (number, name, when) in before.iter() {
        for args in probes(when) {
            let kept = !before.matches(number, &args) || after.matches(number, &args);
            assert!(kept, "{name} {args:x?} is lost\nfrom {narrow:?}\nto {wide:?}");
        }
    }
}

#[test]
fn tables_no_call_is_in_two_of_them() {
    for (number, name, when) in profiles::everything().iter() {
        if answers::killed().of(number).is_some() {
            // The clock and the firewall are for the program of the system that manages them.
            let name = kernel_name(name);
            assert!(["bpf", "clock_settime", "personality"].contains(&name), "{name}");
            assert!(*when != When::Always || name == "clock_settime");
        }
        assert!(answers::absent().of(number).is_none(), "{name}");
    }
}

#[test]
fn program_nothing_becomes_executable_without_jit() {
    let (private, shared, anonymous) = (2, 1, 0x22);
    let map = |profile, jit, protection, flags| {
        let facts = facts(profile, jit, "", true);
        ask(&facts, libc::SYS_mmap as u32, [0, 4096, protection, flags, 3, 0])
    };
    let (read, write, exec) = (1, 2, 4);
    for profile in Profile::ALL {
        assert_eq!(map(*profile, false, read | write, anonymous), ALLOW);
        assert_eq!(map(*profile, false, read | write, shared), ALLOW);
        for flags in [private, shared, anonymous, 3, 0x21] {
            assert_eq!(map(*profile, false, read | write | exec, flags), EPERM);
            assert_eq!(map(*profile, false, write | exec | 1 << 32, flags), EPERM);
            assert_eq!(map(*profile, true, read | write | exec, flags), ALLOW);
        }
        for flags in [shared, anonymous, 3, 0x21] {
            assert_eq!(map(*profile, false, read | exec, flags), EPERM, "{flags:#x}");
        }
        let library = if *profile == Profile::Strict { EPERM } else { ALLOW };
        assert_eq!(map(*profile, false, read | exec, private | 0x810), library, "as ld.so maps");
        let facts = facts(*profile, false, "", true);
        for protection in [exec, read | exec, write | exec, exec | 1 << 32] {
            assert_eq!(ask(&facts, libc::SYS_mprotect as u32, [0, 4096, protection, 0, 0, 0]), EPERM);
        }
        assert_eq!(ask(&facts, libc::SYS_mprotect as u32, [0, 4096, read, 0, 0, 0]), ALLOW);
        assert_eq!(ask(&facts, libc::SYS_pkey_mprotect as u32, [0; 6]), EPERM);
        // Not even with MFD_NOEXEC_SEAL, which keeps it from `execve` and not from `mmap`.
        assert_eq!(ask(&facts, libc::SYS_memfd_create as u32, [0, 8, 0, 0, 0, 0]), EPERM);
    }
}

#[test]
fn program_shared_segments_are_granted_and_never_executable() {
    let calls = [libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_shmdt].map(|n| n as u32);
    let [get, attach, control, detach] = calls;
    for profile in Profile::ALL {
        for jit in [false, true] {
            let (without, with) = (facts(*profile, jit, "", true), shm(*profile, jit));
            calls.iter().for_each(|call| assert_eq!(ask(&without, *call, [0; 6]), EPERM, "{call}"));
            assert_eq!(
                ask(&with, get, [0, 4096, 0o3600, 0, 0, 0]),
                ALLOW,
                "IPC_CREAT | IPC_EXCL, as PostgreSQL"
            );
            assert_eq!(ask(&with, get, [0, 4096, 0o5600, 0, 0, 0]), EPERM, "SHM_HUGETLB");
            assert_eq!(ask(&with, attach, [0, 0, 0, 0, 0, 0]), ALLOW);
            for flags in [0o100_000, 0o110_000, 0o40_000, 0o100_000 | 1 << 32] {
                assert_eq!(ask(&with, attach, [0, 0, flags, 0, 0, 0]), EPERM, "{flags:o}");
            }
            assert_eq!(
                (ask(&with, control, [0; 6]), ask(&with, control, [0, 2, 0, 0, 0, 0])),
                (ALLOW, ALLOW)
            );
            for command in [1, 3, 11, 12, 13, 14, 15] {
                assert_eq!(ask(&with, control, [0, command, 0, 0, 0, 0]), EPERM, "{command}");
            }
            assert_eq!(ask(&with, detach, [0; 6]), ALLOW);
            for other in
                [libc::SYS_semget, libc::SYS_semop, libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv]
            {
                assert_eq!(ask(&with, other as u32, [0; 6]), EPERM, "{other}");
            }
        }
    }
}

#[test]
fn program_strict_makes_threads_and_no_processes() {
    let facts = facts(Profile::Strict, false, "", false);
    let clone = |flags| ask(&facts, libc::SYS_clone as u32, [flags, 0, 0, 0, 0, 0]);
    assert_eq!(clone(0x3d_0f00), ALLOW, "as glibc makes a thread");
    assert_eq!(clone(0x7d_0f00), ALLOW, "as musl does");
    assert_eq!(clone(0x0120_0011), EPERM, "fork");
    assert_eq!(clone(0x4111), EPERM, "vfork");
    assert_eq!(clone(0x3d_0f00 | 0x2000), EPERM, "CLONE_PTRACE");
    assert_eq!(ask(&facts, libc::SYS_wait4 as u32, [0; 6]), EPERM);
}

#[test]
fn program_device_requests_follow_the_grants() {
    let ask_ioctl = |device: &str, request: u64| {
        let grant = if device.is_empty() { String::new() } else { format!("[devices]\n{device}\n") };
        ask(&facts(Profile::Default, false, &grant, false), libc::SYS_ioctl as u32, [3, request, 0, 0, 0, 0])
    };
    let (serial, i2c, spi) =
        ("serial = [\"/dev/ttyS1\"]", "i2c = [\"/dev/i2c-1\"]", "spi = [\"/dev/spidev0.0\"]");
    let (tcsets, i2c_rdwr, spi_two) = (0x5402, 0x0707, 0x4040_6b00);
    for (device, request) in [(serial, tcsets), (i2c, i2c_rdwr), (spi, spi_two)] {
        assert_eq!(ask_ioctl(device, request), ALLOW, "{device} {request:#x}");
        assert_eq!(ask_ioctl("", request), EPERM, "{request:#x}");
    }
    assert_eq!(ask_ioctl(serial, i2c_rdwr), EPERM);
    for never in [0x5412, 0x541c, 0x541d, 0x5423, 0x541f, 0x5412 | 1 << 32] {
        assert_eq!(ask_ioctl(serial, never), EPERM, "{never:#x}");
    }
    assert_eq!(ask_ioctl(i2c, 0x0706), EPERM, "I2C_SLAVE_FORCE");
}

#[test]
fn program_absent_calls_say_so() {
    for facts in combinations() {
        assert_eq!(ask(&facts, libc::SYS_clone3 as u32, [1; 6]), UNTRACED);
        assert_eq!(ask(&facts, libc::SYS_io_uring_setup as u32, [1; 6]), ENOSYS);
    }
}

#[test]
fn program_new_namespaces_are_refused() {
    let facts = facts(Profile::NetworkServer, true, "", true);
    let thread = 0x3d_0f00;
    assert_eq!(ask(&facts, libc::SYS_clone as u32, [thread, 0, 0, 0, 0, 0]), ALLOW);
    for bit in [17, 25, 26, 27, 28, 29, 30] {
        assert_eq!(
            ask(&facts, libc::SYS_clone as u32, [thread | 1 << bit, 0, 0, 0, 0, 0]),
            EPERM,
            "bit {bit}"
        );
    }
}

#[test]
fn program_terminal_injection_is_refused_with_any_high_bits() {
    let facts = facts(Profile::Default, false, "", false);
    assert_eq!(ask(&facts, libc::SYS_ioctl as u32, [0, 0x5412, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask(&facts, libc::SYS_ioctl as u32, [0, 0x5412 | 1 << 40, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask(&facts, libc::SYS_ioctl as u32, [0, 0x401c_5820, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask(&facts, libc::SYS_ioctl as u32, [0, 0x5401, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn program_sockets_follow_the_grants() {
    let ask_socket = |network: &str, family: u64, kind: u64, protocol: u64| {
        ask(
            &facts(Profile::Default, false, network, false),
            libc::SYS_socket as u32,
            [family, kind, protocol, 0, 0, 0],
        )
    };
    let (tcp, udp) = ("[network]\nlisten = [\"1/tcp\"]\n", "[network]\nlisten = [\"1/udp\"]\n");
    let flags = 0o2_004_000; // SOCK_CLOEXEC | SOCK_NONBLOCK
    assert_eq!(ask_socket("", 1, 1 | flags, 0), ALLOW);
    for family in [2, 10] {
        assert_eq!(ask_socket("", family, 1, 0), EPERM);
        assert_eq!(ask_socket(tcp, family, 1 | flags, 6), ALLOW);
        assert_eq!(ask_socket(tcp, family, 2, 0), EPERM);
        assert_eq!(ask_socket(tcp, family, 1, 262), EPERM, "MPTCP is not seen by Landlock");
        assert_eq!(ask_socket(tcp, family, 3, 6), EPERM, "raw");
        assert_eq!(ask_socket(udp, family, 2 | flags, 17), ALLOW);
        assert_eq!(ask_socket(udp, family, 2, 1), EPERM, "ping");
        assert_eq!(ask_socket(udp, family, 1, 0), EPERM);
    }
    for family in (0..64).filter(|family| ![1, 2, 10].contains(family)) {
        assert_eq!(ask_socket(tcp, family, 1, 0), EPERM, "family {family}");
        assert_eq!(ask_socket(udp, family, 3, 0), EPERM, "family {family}");
    }
}

#[test]
fn program_no_socket_may_linger() {
    let setsockopt = libc::SYS_setsockopt as u32;
    for facts in combinations() {
        assert_eq!(ask(&facts, setsockopt, [3, 1, 13, 0, 8, 0]), EPERM, "{facts:?}");
        assert_eq!(ask(&facts, setsockopt, [3, 1 << 32 | 1, 7 << 32 | 13, 0, 8, 0]), EPERM, "high bits");
    }
    let app = facts(Profile::Default, false, "", false);
    assert_eq!(ask(&app, setsockopt, [3, 1, 7, 0, 4, 0]), ALLOW, "SO_SNDBUF");
    let client = facts(Profile::Default, false, "[network]\nconnect = [\"localhost:1/tcp\"]\n", false);
    assert_eq!(ask(&client, setsockopt, [3, 6, 1, 0, 4, 0]), ALLOW, "TCP_NODELAY");
    assert_eq!(ask(&client, setsockopt, [3, 6, 13, 0, 4, 0]), EPERM, "TCP_CONGESTION");
    assert_eq!(ask(&app, setsockopt, [3, 6, 1, 0, 4, 0]), EPERM, "no TCP in this box");
    assert_eq!(ask(&client, setsockopt, [3, 1, 26, 0, 16, 0]), EPERM, "SO_ATTACH_FILTER loads a program");
    assert_eq!(ask(&client, setsockopt, [3, 6, 31, 0, 4, 0]), EPERM, "TCP_ULP");
}

#[test]
fn router_opens_runs_and_reaches_nothing() {
    let router = router();
    let strict = facts(Profile::Strict, false, "", false);
    let opens = [
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_mkdirat,
        libc::SYS_unlinkat,
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_sendto,
        libc::SYS_clone,
        libc::SYS_kill,
        libc::SYS_prctl,
        libc::SYS_execveat,
        libc::SYS_memfd_create,
        libc::SYS_timer_create,
    ];
    for number in opens {
        assert_ne!(ask(&router, number as u32, [1; 6]), ALLOW, "{number}");
    }
    let routes =
        [libc::SYS_accept4, libc::SYS_epoll_ctl, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_shutdown];
    for number in routes {
        assert_eq!(ask(&router, number as u32, [1; 6]), ALLOW, "{number}");
    }
    assert_eq!(
        ask(&strict, libc::SYS_accept4 as u32, [0; 6]),
        EPERM,
        "no app gets the router's calls with it"
    );
    assert_eq!(ask(&router, libc::SYS_mmap as u32, [0, 4096, 5, 0, 0, 0]), EPERM);
    assert_eq!(ask(&router, libc::SYS_mmap as u32, [0, 4096, 3, 0, 0, 0]), ALLOW);
    assert_eq!(ask(&router, libc::SYS_setsockopt as u32, [3, 1, 7, 0, 0, 0]), ALLOW);
    assert_eq!(ask(&router, libc::SYS_setsockopt as u32, [3, 1, 16, 0, 0, 0]), EPERM, "SO_PASSCRED");
}
