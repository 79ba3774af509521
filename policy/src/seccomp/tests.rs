//! The compiled programs against the tables, and the tables against what must never be allowed.
//!
//! Every combination of profile, grants and `jit` is compiled and run on the machine in `simulate`. Each rule has a
//! probe that it lets through and, for every one of its conditions, a probe with just that condition broken.

use super::compile::{ALLOW, ARCH, ENOSYS, EPERM, FOREIGN_NUMBERS, KILL};
use super::rule::{Check, Rules, Test, When};
use super::simulate::{Data, run};
use super::{Answer, answer, kernel_name, programs, tables};
use crate::facts::Facts;
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
    all.push(router());
    all
}

/// The facts of the bus's router.
fn router() -> Facts {
    let text = "[app]\nid = \"os.gabion.bus\"\nversion = \"1.0.0\"\nexec = [\"/x\"]\n\
                [process]\nprofile = \"strict\"\n[system]\nfilter = \"router\"\n";
    check_system(text, &Board::default()).unwrap().manifest().facts.clone()
}

fn ask(facts: &Facts, number: u32, args: [u64; 6]) -> u32 {
    let programs = programs(facts);
    assert_eq!(programs.len(), 1);
    run(&programs[0], &Data { number, arch: ARCH, args })
}

/// What the tables say, without any compiler.
fn expected([killed, absent, allowed]: &[Rules; 3], number: u32, args: &[u64; 6]) -> u32 {
    let number = i64::from(number);
    match () {
        () if number >= i64::from(FOREIGN_NUMBERS) || killed.matches(number, args) => KILL,
        () if absent.matches(number, args) => ENOSYS,
        () if allowed.matches(number, args) => ALLOW,
        () => EPERM,
    }
}

/// A value that satisfies every check on one argument.
fn satisfying(checks: &[Check], arg: u8) -> u64 {
    let on_arg = || checks.iter().filter(|check| check.arg == arg);
    let candidates = on_arg().flat_map(|check| match check.test {
        Test::Is(value) | Test::Masked { value, .. } => vec![value],
        Test::IsNot(_) | Test::Null => vec![0, 1, 2],
    });
    let candidates: Vec<u64> = candidates.chain([0]).map(u64::from).collect();
    let alone = |value: u64| on_arg().all(|check| check.holds(&[value; 6]));
    candidates.into_iter().find(|value| alone(*value)).expect("no value satisfies the rule")
}

/// Values around one check: each breaks it or comes near to breaking it.
fn mutated(check: Check) -> Vec<u64> {
    match check.test {
        Test::Is(value) | Test::IsNot(value) => {
            let value = u64::from(value);
            vec![value, value ^ 1, value + 1, value | 1 << 32, value ^ 1 << 31]
        }
        Test::Masked { mask, value } => {
            let bits = (0..32).filter(|bit| mask >> bit & 1 == 1).map(|bit| u64::from(value ^ 1 << bit));
            bits.chain([u64::from(value | !mask), u64::from(value) | 0xffff_ffff << 32]).collect()
        }
        Test::Null => vec![0, 1, 1 << 31, 1 << 32, u64::MAX],
    }
}

/// Argument vectors that tell the rule's conditions apart.
fn probes(when: &When) -> Vec<[u64; 6]> {
    let mut probes = vec![[0; 6], [u64::MAX; 6], [1, 2, 3, 4, 5, 6]];
    let When::Args(_, alternatives) = when else { return probes };
    for all in alternatives {
        let mut good = [0; 6];
        for check in all {
            good[usize::from(check.arg)] = satisfying(all, check.arg);
        }
        assert!(all.iter().all(|check| check.holds(&good)));
        probes.push(good);
        for check in all {
            probes.extend(mutated(*check).into_iter().flat_map(|value| {
                let mut bad = good;
                bad[usize::from(check.arg)] = value;
                // Alternatives that each refuse one value refuse only what has all of these.
                let mut worse = bad;
                for other in alternatives.iter().flatten().filter(|other| other.arg != check.arg) {
                    if let Test::IsNot(refused) = other.test {
                        worse[usize::from(other.arg)] = refused.into();
                    }
                }
                [bad, worse]
            }));
        }
    }
    probes
}

fn rules_of(facts: &Facts) -> [Rules; 3] {
    [tables::killed(), tables::absent(), tables::allowed(facts)]
}

#[test]
fn program_every_number_answers_as_the_tables() {
    for facts in combinations() {
        let (program, tables) = (programs(&facts).remove(0), rules_of(&facts));
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
        let (program, tables) = (programs(&facts).remove(0), rules_of(&facts));
        for rules in &tables {
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
        let allowed = tables::allowed(&facts);
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
        for number in never {
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
    let (before, after) = (tables::allowed(narrow), tables::allowed(wide));
    for (number, name, when) in before.iter() {
        for args in probes(when) {
            let kept = !before.matches(number, &args) || after.matches(number, &args);
            assert!(kept, "{name} {args:x?} is lost\nfrom {narrow:?}\nto {wide:?}");
        }
    }
}

#[test]
fn tables_no_call_is_in_two_of_them() {
    for (number, name, when) in tables::everything().iter() {
        if tables::killed().of(number).is_some() {
            assert_eq!(kernel_name(name), "personality");
            assert_ne!(*when, When::Always);
        }
        assert!(tables::absent().of(number).is_none(), "{name}");
    }
}

#[test]
fn program_w_xor_x_is_refused_without_jit() {
    let call = |jit, number, protection| {
        ask(&facts(Profile::NetworkServer, jit, "", true), number as u32, [0, 4096, protection, 0, 0, 0])
    };
    let (read, write, exec) = (1, 2, 4);
    for number in [libc::SYS_mmap, libc::SYS_mprotect] {
        assert_eq!(call(false, number, read | write | exec), EPERM);
        assert_eq!(call(false, number, write | exec | 1 << 32), EPERM);
        assert_eq!(call(false, number, read | exec), ALLOW);
        assert_eq!(call(false, number, read | write), ALLOW);
        assert_eq!(call(true, number, read | write | exec), ALLOW);
    }
    assert_eq!(call(false, libc::SYS_pkey_mprotect, read), EPERM);
    assert_eq!(call(false, libc::SYS_memfd_create, 0), EPERM);
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
    assert_eq!(ask(&app, setsockopt, [3, 6, 13, 0, 4, 0]), ALLOW, "TCP_CONGESTION");
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
        assert_eq!(ask(&router, number as u32, [1; 6]), EPERM, "{number}");
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
