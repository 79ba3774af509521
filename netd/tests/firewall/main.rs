//! The firewall as the kernel runs it, against programs that try to get past it. As root: each test makes a cgroup below
//! the host's cgroup2 and network namespaces, and tears them down. No assertion is about time.

mod site;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Result;
use firewall::Maps;
use firewall::attach::attach_or_find;
use firewall::tables::{Direction, name_server};
use netd::rules::Rules;
use site::Site;

const APP: u32 = 10_001;
const OTHER: u32 = 10_002;

/// A server of everything at the other end.
const SERVERS: &str = r#"
import threading
def serve(s):
    while True:
        c, _ = s.accept(); c.sendall(b"hello")
def echo(s):
    while True: d, a = s.recvfrom(2000); s.sendto(d, a)
for family, at in (AF_INET, "0.0.0.0"), (AF_INET6, "::"):
    for port in 80, 81:
        s = socket(family, SOCK_STREAM); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if family == AF_INET6: s.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        s.bind((at, port)); s.listen(); threading.Thread(target=serve, args=(s,), daemon=True).start()
        u = socket(family, SOCK_DGRAM)
        if family == AF_INET6: u.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        u.bind((at, port)); threading.Thread(target=echo, args=(u,), daemon=True).start()
say("up"); sys.stdin.readline()
"#;

#[test]
fn box_without_a_policy_gets_an_error_for_every_call_at_once() -> Result<()> {
    let mut site = Site::new()?;
    let _servers = site.start_outside(SERVERS)?;
    let said = site.app(
        APP,
        r#"
print(t(tcp().connect, ("10.9.0.2", 80)), t(tcp(AF_INET6).connect, ("fd09::2", 80)))
print(t(udp().connect, ("10.9.0.2", 80)), t(udp().sendto, b"x", ("10.9.0.2", 80)), t(udp(AF_INET6).sendto, b"x", ("fd09::2", 80)))
print(t(tcp().bind, ("", 8080)), t(udp().bind, ("", 0)), t(tcp(AF_INET6).bind, ("::", 8080)))
print(t(tcp().connect, ("127.0.0.1", 80)), t(tcp(AF_INET6).connect, ("::1", 80)))
"#,
    )?;
    assert!(said.split_whitespace().all(|word| word == "EPERM"), "{said}");
    let refused = site.rules.refusals();
    assert!(refused.iter().all(|r| r.uid == APP), "{refused:?}");
    assert!(refused.iter().any(|r| r.direction == Direction::Connect
        && (r.protocol, r.port, r.address) == (6, 80, "10.9.0.2".parse::<IpAddr>().unwrap())));
    assert!(refused.iter().any(|r| r.direction == Direction::Listen && (r.protocol, r.port) == (6, 8080)));
    Ok(())
}

#[test]
fn connect_reaches_exactly_the_address_port_and_protocol_of_its_line() -> Result<()> {
    let mut site = Site::new()?;
    let _servers = site.start_outside(SERVERS)?;
    site.set(APP, &["10.9.0.2:80/tcp", "[fd09::2]:80/tcp", "10.9.0.2:81/udp"], &[])?;
    let said = site.app(
        APP,
        r#"
s = tcp(); s.connect(("10.9.0.2", 80)); print(s.recv(5).decode())
s = tcp(AF_INET6); s.connect(("fd09::2", 80)); print(s.recv(5).decode())
s = tcp(AF_INET6); s.connect(("::ffff:10.9.0.2", 80)); print(s.recv(5).decode())
u = udp(); u.sendto(b"udp", ("10.9.0.2", 81)); print(u.recv(5).decode())
u = udp(); u.connect(("10.9.0.2", 81)); u.send(b"udp"); print(u.recv(5).decode())
"#,
    )?;
    assert_eq!(said.lines().collect::<Vec<_>>(), ["hello", "hello", "hello", "udp", "udp"]);
    let said = site.app(
        APP,
        r#"
for at in ("10.9.0.2", 81), ("10.9.0.1", 80), ("10.9.0.3", 80): print(t(tcp().connect, at))
print(t(tcp(AF_INET6).connect, ("::ffff:10.9.0.2", 81)), t(tcp(AF_INET6).connect, ("fd09::3", 80)))
print(t(udp().sendto, b"x", ("10.9.0.2", 80)), t(udp(AF_INET6).sendto, b"x", ("::ffff:10.9.0.2", 80)))
"#,
    )?;
    assert!(said.split_whitespace().all(|word| word == "EPERM"), "{said}");
    let listed = site.rules.list(APP)?;
    let tcp =
        listed.iter().find(|l| l.key.address == "fd09::2".parse::<std::net::Ipv6Addr>().unwrap()).unwrap();
    assert_eq!(tcp.rule.attempts, 1);
    assert!(tcp.rule.packets >= 4 && tcp.rule.bytes > 5 * 60, "{tcp:?}");
    assert!(
        site.app(OTHER, r#"print(t(tcp().connect, ("10.9.0.2", 80)))"#)? == "EPERM",
        "another box's rules"
    );
    Ok(())
}

#[test]
fn tricks_of_calls_reach_nothing_that_a_plain_call_does_not() -> Result<()> {
    let site_of = |connect: &[&str]| -> Result<Site> {
        let mut site = Site::new()?;
        site.set(APP, connect, &[])?;
        Ok(site)
    };
    let site = site_of(&["10.9.0.2:81/tcp", "10.9.0.3:81/udp"])?;
    let _servers = site.start_outside(SERVERS)?;
    let tricks = [
        // TCP Fast Open sends without connect.
        (r#"print(t(tcp().sendto, b"x", 0x20000000, ("10.9.0.2", 80)))"#, "EPERM"),
        (r#"s = tcp(); s.setsockopt(IPPROTO_TCP, 30, 1); print(t(s.connect, ("10.9.0.2", 80)))"#, "EPERM"),
        // An address of no family is one of IPv4 to UDP.
        (
            r#"
import ctypes
c = ctypes.CDLL(None, use_errno=True); u = udp()
a = b"\0\0" + (80).to_bytes(2, "big") + bytes([10, 9, 0, 2]) + bytes(8)
n = c.sendto(u.fileno(), b"x", 1, 0, a, 16); print(errno.errorcode[ctypes.get_errno()] if n < 0 else "ok")"#,
            "EPERM",
        ),
        // An IPv4 address to a socket of IPv6.
        (
            r#"
import ctypes
c = ctypes.CDLL(None, use_errno=True); u = udp(AF_INET6)
a = b"\2\0" + (80).to_bytes(2, "big") + bytes([10, 9, 0, 2]) + bytes(8)
n = c.sendto(u.fileno(), b"x", 1, 0, a, 16); print(errno.errorcode[ctypes.get_errno()] if n < 0 else "ok")"#,
            "EPERM",
        ),
        // A connected socket, and a destination of its own for one message.
        (r#"u = udp(); u.connect(("10.9.0.3", 81)); print(t(u.sendto, b"x", ("10.9.0.2", 81)))"#, "EPERM"),
        // A route through the host that is not granted, to one that is: the first hop stands in the packet.
        (
            r#"
u = udp(); r = t(u.setsockopt, IPPROTO_IP, IP_OPTIONS, bytes([131, 7, 4, 10, 9, 0, 2, 0]))
print(r if r != "ok" else t(u.sendto, b"x", ("10.9.0.3", 81)))"#,
            "EPERM",
        ),
        // A UDP socket may ask for a route, and then sends nothing.
        (r#"u = udp(); u.connect(("10.9.0.2", 9)); print(t(u.send, b"x"))"#, "EPERM"),
        (r#"u = udp(); u.connect(("10.9.0.2", 81)); print(t(u.send, b"x"))"#, "EPERM"),
        // Sockets of other protocols.
        (r#"print(t(socket, AF_INET, SOCK_DGRAM, 136))"#, "EPERM"),
        (r#"print(t(socket, AF_INET6, SOCK_DGRAM, 136))"#, "EPERM"),
        // The address that stands for loopback.
        (r#"print(t(tcp().connect, ("0.0.0.0", 81)))"#, "EPERM"),
        (r#"print(t(tcp(AF_INET6).connect, ("::", 81)))"#, "EPERM"),
        // Broadcast and multicast.
        (
            r#"u = udp(); u.setsockopt(SOL_SOCKET, SO_BROADCAST, 1); print(t(u.sendto, b"x", ("255.255.255.255", 81)))"#,
            "EPERM",
        ),
        (r#"print(t(udp().sendto, b"x", ("224.0.0.251", 5353)))"#, "EPERM"),
    ];
    for (program, answer) in tricks {
        assert_eq!(site.app(APP, program)?, answer, "{program}");
    }
    Ok(())
}

#[test]
fn icmp_and_raw_sockets_are_refused_even_to_who_has_the_capability() -> Result<()> {
    let mut site = Site::new()?;
    site.set(0, &["10.9.0.2:80/tcp"], &[])?;
    let said = site.app(
        0,
        r#"
print(t(socket, AF_INET, SOCK_RAW, IPPROTO_ICMP), t(socket, AF_INET, SOCK_RAW, IPPROTO_RAW))
print(t(socket, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6))
open("/proc/sys/net/ipv4/ping_group_range", "w").write("0 2147483647")
print(t(socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP), t(socket, AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6))
"#,
    )?;
    assert!(said.split_whitespace().all(|word| word == "EPERM"), "{said}");
    Ok(())
}

#[test]
fn port_is_served_by_its_box_alone_and_low_ones_need_no_capability() -> Result<()> {
    let mut site = Site::new()?;
    site.set(APP, &[], &["80/tcp", "5000/udp"])?;
    site.set(OTHER, &[], &["81/tcp"])?;
    assert!(site.set(OTHER, &[], &["80/tcp"]).is_err(), "a port that another box has");
    let server = r#"
s = tcp(); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); s.bind(("", 80)); s.listen(); s.settimeout(None)
u = udp(); u.bind(("", 5000)); u.settimeout(None); say("up")
c, _ = s.accept(); c.sendall(b"served"); c.close()
d, a = u.recvfrom(100); say(t(u.sendto, d, a), t(u.sendto, d, ("10.9.0.2", 4999)), t(u.sendto, d, ("10.9.0.3", a[1])))
sys.stdin.readline()
"#;
    let mut server = site.start(APP, server)?;
    assert_eq!(
        site.outside(r#"s = tcp(); s.connect(("10.9.0.1", 80)); print(s.recv(9).decode())"#)?,
        "served"
    );
    let answer = r#"u = udp(); u.sendto(b"ask", ("10.9.0.1", 5000)); print(u.recv(9).decode())"#;
    assert_eq!(site.outside(answer)?, "ask");
    assert_eq!(server.line()?, "ok EPERM EPERM", "it answers who asked, and sends to nobody else");
    let said = site.app(
        OTHER,
        r#"
print(t(tcp().bind, ("", 80)), t(tcp().bind, ("127.0.0.1", 80)), t(udp().bind, ("", 81)), t(tcp(AF_INET6).bind, ("::", 80)))
"#,
    )?;
    assert_eq!(said, "EPERM EPERM EPERM EPERM");
    assert_eq!(site.app(OTHER, r#"print(t(tcp().bind, ("", 0)), t(tcp().bind, ("", 81)))"#)?, "ok ok");
    Ok(())
}

#[test]
fn socket_that_listens_without_bind_hears_nobody() -> Result<()> {
    let mut site = Site::new()?;
    site.set(APP, &["10.9.0.2:80/tcp"], &["8080/tcp"])?;
    let server = r#"
s = tcp(); s.listen(); u = udp(); u.bind(("", 0)); u.settimeout(3)
six = tcp(AF_INET6); six.listen()
say(s.getsockname()[1], u.getsockname()[1], six.getsockname()[1])
sys.stdin.readline()
"#;
    let mut app = site.start(APP, &format!("say('up'){server}"))?;
    let ports = app.line()?;
    let [tcp, udp, six] = ports.split(' ').collect::<Vec<_>>()[..] else { panic!("{ports}") };
    let program = format!(
        r#"
s = tcp(); s.settimeout(0.5); print(t(s.connect, ("10.9.0.1", {tcp})))
s = tcp(AF_INET6); s.settimeout(0.5); print(t(s.connect, ("fd09::1", {six})))
udp().sendto(b"x", ("10.9.0.1", {udp}))
"#
    );
    assert_eq!(site.outside(&program)?, "timeout\ntimeout");
    let (mut inbound, ports) = (BTreeSet::new(), [tcp, udp, six].map(|port| port.parse().unwrap()).into());
    // Who has sent does not wait until it comes in.
    for _ in 0..600 {
        let refused = site.rules.refusals();
        inbound.extend(refused.iter().filter(|r| r.direction == Direction::Inbound).map(|r| r.port));
        if inbound == ports {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(inbound, ports);
    Ok(())
}

#[test]
fn port_for_this_device_is_reached_over_loopback_by_whom_it_was_granted() -> Result<()> {
    let mut site = Site::new()?;
    site.set(APP, &[], &["localhost:1883/tcp"])?;
    site.set(OTHER, &["localhost:1883/tcp"], &[])?;
    let server = r#"
s = tcp(); s.bind(("", 1883)); s.listen(); s.settimeout(None); say("up")
while True: c, _ = s.accept(); c.sendall(b"served")
"#;
    let _server = site.start(APP, server)?;
    assert_eq!(
        site.app(OTHER, r#"s = tcp(); s.connect(("127.0.0.1", 1883)); print(s.recv(9).decode())"#)?,
        "served"
    );
    assert_eq!(
        site.app(OTHER, r#"s = tcp(); s.connect(("0.0.0.0", 1883)); print(s.recv(9).decode())"#)?,
        "served"
    );
    assert_eq!(site.app(10_003, r#"print(t(tcp().connect, ("127.0.0.1", 1883)))"#)?, "EPERM");
    assert_eq!(
        site.outside(r#"s = tcp(); s.settimeout(0.5); print(t(s.connect, ("10.9.0.1", 1883)))"#)?,
        "timeout"
    );
    // The other way round: who may connect still reaches nobody who does not serve the port.
    site.set(APP, &[], &["1884/tcp"])?;
    let said =
        site.app(OTHER, r#"s = tcp(); s.settimeout(0.5); print(t(s.connect, ("127.0.0.1", 1883)))"#)?;
    assert_eq!(said, "timeout");
    Ok(())
}

#[test]
fn name_server_of_a_box_is_its_own_and_of_nobody_without_names() -> Result<()> {
    let mut site = Site::new()?;
    site.set(APP, &["example.com:443/tcp"], &[])?;
    site.set(OTHER, &["10.9.0.2:80/tcp"], &[])?;
    let _resolver = site.start_beside(
        r#"
u = udp(); u.bind(("0.0.0.0", 53)); u.settimeout(None); u.setsockopt(IPPROTO_IP, 8, 1); say("up")
while True:
    d, control, _, a = u.recvmsg(100, 100); place = control[0][2]
    u.sendmsg([place[8:12]], [(IPPROTO_IP, 8, bytes(4) + place[8:12] + bytes(4))], 0, a)
"#,
    )?;
    let (own, others) = (name_server(APP).unwrap(), name_server(OTHER).unwrap());
    let ask =
        |at| format!(r#"u = udp(); u.connect(("{at}", 53)); u.send(b"x"); print(inet_ntoa(u.recv(9)))"#);
    assert_eq!(site.app(APP, &ask(own))?, own.to_string());
    let refused = format!(
        r#"
for at in "{others}", "127.0.0.1", "10.9.0.2": print(t(udp().sendto, b"x", (at, 53)), t(tcp().connect, (at, 53)))
print(t(udp().sendto, b"x", ("{own}", 54)), t(udp().sendto, b"x", ("{own}", 5353)))
"#
    );
    let said = site.app(APP, &refused)?;
    assert!(said.split_whitespace().all(|word| word == "EPERM"), "{said}");
    let none = format!(r#"print(t(udp().sendto, b"x", ("{others}", 53)))"#);
    assert_eq!(site.app(OTHER, &none)?, "EPERM", "who has no names needs no name server");
    Ok(())
}

#[test]
fn learnt_address_begins_nothing_after_its_time_and_what_began_lives_on() -> Result<()> {
    let mut site = Site::new()?;
    let _servers = site.start_outside(SERVERS)?;
    site.set(APP, &["example.com:80/tcp", "example.com:80/udp"], &[])?;
    let reach = r#"print(t(tcp().connect, ("10.9.0.2", 80)))"#;
    assert_eq!(site.app(APP, reach)?, "EPERM");
    for line in [0, 1] {
        site.rules.learn(APP, line, &["10.9.0.2".parse()?], Duration::from_secs(3600))?;
    }
    assert_eq!(site.app(APP, reach)?, "ok");
    let mut app = site.start(
        APP,
        r#"
s = tcp(); s.connect(("10.9.0.2", 80)); u = udp(); u.connect(("10.9.0.2", 80)); u.send(b"1"); u.recv(9); say("up")
sys.stdin.readline()
u.send(b"2"); say(s.recv(9).decode(), u.recv(9).decode(), t(udp().sendto, b"x", ("10.9.0.2", 80)), t(tcp().connect, ("10.9.0.2", 80)))
"#,
    )?;
    expire(&site, APP)?;
    assert_eq!(app.go_on()?, "hello 2 EPERM EPERM");
    site.rules.learn(APP, 0, &["10.9.0.2".parse()?], Duration::from_secs(3600))?;
    assert_eq!(site.app(APP, reach)?, "ok", "learnt again");
    Ok(())
}

#[test]
fn restart_of_sandboxd_and_netd_finds_rules_and_what_was_learnt() -> Result<()> {
    let mut site = Site::new()?;
    let mut servers = site.start_outside(SERVERS)?;
    site.set(APP, &["example.com:80/tcp"], &[])?;
    site.rules.learn(APP, 0, &["10.9.0.2".parse()?], Duration::from_secs(3600))?;
    let before = site.rules.list(APP)?;
    let mut app = site.start(
        APP,
        r#"s = tcp(); s.connect(("10.9.0.2", 80)); say("up"); sys.stdin.readline(); say(s.recv(9).decode(), t(tcp().connect, ("10.9.0.2", 80)))"#,
    )?;
    let again = attach_or_find(File::open(&site.cgroup)?.as_fd())?;
    let fds = again.fds().map(|fd| fd.try_clone_to_owned().unwrap());
    site.rules = Rules::open(Maps::open(fds)?)?;
    assert_eq!(app.go_on()?, "hello ok", "no window without policy, and none without what is granted");
    site.set(APP, &["example.com:80/tcp"], &[])?;
    let keys = |listed: &[netd::rules::Listed]| listed.iter().map(|l| l.key).collect::<Vec<_>>();
    assert_eq!(keys(&site.rules.list(APP)?), keys(&before), "the same policy keeps what was learnt");
    site.set(APP, &["example.org:80/tcp"], &[])?;
    assert_eq!(
        site.app(APP, r#"print(t(tcp().connect, ("10.9.0.2", 80)))"#)?,
        "EPERM",
        "another name, nothing learnt"
    );
    assert!(servers.go_on().is_err(), "the servers end when they are told to");
    Ok(())
}

#[test]
fn uid_that_is_used_again_inherits_nothing() -> Result<()> {
    let mut site = Site::new()?;
    let _servers = site.start_outside(SERVERS)?;
    site.set(APP, &["10.9.0.2:80/tcp", "example.com:80/udp"], &["80/tcp"])?;
    site.rules.learn(APP, 1, &["10.9.0.2".parse()?], Duration::from_secs(3600))?;
    let ask = r#"u = udp(); u.bind(("", 0)); u.sendto(b"x", ("10.9.0.2", 80)); print(u.recv(9).decode())"#;
    assert_eq!(site.app(APP, ask)?, "x");
    let mut kept = site.start(APP, r#"s = tcp(); s.connect(("10.9.0.2", 80)); s.recv(9); say("up"); sys.stdin.readline(); s.settimeout(2); say(t(s.send, b"x") != "", t(s.recv, 9))"#)?;
    site.rules.remove(APP)?;
    assert_eq!(kept.go_on()?, "True timeout", "nothing goes out of a box that has no policy any more");
    site.set(APP, &["10.9.0.2:81/tcp"], &[])?;
    let said = site.app(APP, r#"print(t(tcp().connect, ("10.9.0.2", 80)), t(udp().sendto, b"x", ("10.9.0.2", 80)), t(tcp().bind, ("", 80)), t(tcp().connect, ("10.9.0.2", 81)))"#)?;
    assert_eq!(said, "EPERM EPERM EPERM ok");
    Ok(())
}

#[test]
fn thousand_policies_leave_no_stale_rule_and_no_open_window() -> Result<()> {
    let mut site = Site::new()?;
    let _servers = site.start_outside(SERVERS)?;
    // Two policies in turn: the first port is granted by both, the second by neither.
    site.set(APP, &["10.9.0.2:80/tcp", "10.9.0.9:1/tcp"], &[])?;
    let mut app = site.start(
        APP,
        r#"
import threading
bad = []; end = False
def round():
    while not end:
        if t(tcp().connect, ("10.9.0.2", 80)) != "ok": bad.append("shut")
        if t(tcp().connect, ("10.9.0.2", 81)) != "EPERM": bad.append("open")
worker = threading.Thread(target=round); worker.start(); say("up")
sys.stdin.readline(); end = True; worker.join(); say(len(bad), *bad[:3])
"#,
    )?;
    for round in 0..1000_u16 {
        site.set(APP, &["10.9.0.2:80/tcp", &format!("10.9.0.9:{}/tcp", round + 2), "a.example:9/udp"], &[])?;
        site.rules.learn(APP, 2, &["10.9.0.7".parse()?], Duration::from_secs(9))?;
        site.set(OTHER, &["10.9.0.2:81/tcp", "a.example:9/udp"], &["81/tcp"])?;
        site.rules.learn(OTHER, 1, &["10.9.0.7".parse()?], Duration::from_secs(9))?;
        site.rules.remove(OTHER)?;
    }
    assert_eq!(app.go_on()?, "0");
    // From the kernel's own listing.
    let maps = attach_or_find(File::open(&site.cgroup)?.as_fd())?;
    let left = maps.rules.entries::<28, 40>()?;
    assert_eq!(left.len(), 5, "two addresses, two of the name server, one learnt: {left:?}");
    assert_eq!(maps.apps.entries::<4, 24>()?.len(), 1);
    Ok(())
}

#[test]
fn process_outside_the_boxes_and_box_let_pass_are_not_asked() -> Result<()> {
    let mut site = Site::new()?;
    let _servers = site.start_outside(SERVERS)?;
    let reach = r#"print(t(tcp().connect, ("10.9.0.2", 80)), t(udp().sendto, b"x", ("10.9.0.2", 80)), t(tcp().bind, ("", 8080)))"#;
    let mut beside = site.start_beside(&format!("say('up')\n{reach}\nsys.stdout.flush()"))?;
    assert_eq!(beside.line()?, "ok ok ok");
    assert_eq!(site.app(1003, reach)?, "EPERM EPERM EPERM");
    site.rules.let_pass(1003)?;
    assert_eq!(site.app(1003, reach)?, "ok ok ok");
    site.set(1003, &[], &[])?;
    assert_eq!(site.app(1003, reach)?, "EPERM EPERM EPERM");
    Ok(())
}

#[test]
fn refusals_of_a_box_that_refuses_itself_without_end_are_bounded_and_hide_nobody() -> Result<()> {
    let mut site = Site::new()?;
    site.app(APP, "for port in range(1, 20001): t(tcp().connect, ('10.9.0.2', port))")?;
    site.app(OTHER, "t(tcp().connect, ('10.9.0.2', 7))")?;
    let refused = site.rules.refusals();
    assert!(refused.iter().any(|r| (r.uid, r.port) == (OTHER, 7)), "{refused:?}");
    let told = refused.iter().filter(|r| r.uid == APP).count();
    assert!((1..=32).contains(&told), "{told}");
    Ok(())
}

#[test]
fn learnt_addresses_are_bounded_for_each_box() -> Result<()> {
    let mut site = Site::new()?;
    site.set(APP, &["example.com:80/tcp", "10.9.0.2:80/tcp"], &[])?;
    let addresses: Vec<IpAddr> =
        (0..2000_u32).map(|n| std::net::Ipv4Addr::from(0x0a0a_0000 + n).into()).collect();
    site.rules.learn(APP, 0, &addresses, Duration::from_secs(60))?;
    let listed = site.rules.list(APP)?;
    assert_eq!(listed.len(), netd::rules::LEARNT_MAX + 3);
    assert!(listed.iter().any(|l| l.key.address.to_ipv4_mapped() == Some("10.10.7.207".parse().unwrap())));
    assert!(site.rules.learn(APP, 9, &addresses[..1], Duration::from_secs(60)).is_err(), "no such line");
    assert!(site.rules.learn(OTHER, 0, &addresses[..1], Duration::from_secs(60)).is_err(), "no such box");
    Ok(())
}

#[test]
fn descriptors_of_other_tables_are_refused() -> Result<()> {
    let site = Site::new()?;
    let maps = attach_or_find(File::open(&site.cgroup)?.as_fd())?;
    let mut fds = maps.fds().map(|fd| fd.try_clone_to_owned().unwrap());
    fds.swap(0, 1);
    assert!(Maps::open(fds).is_err());
    Ok(())
}

/// As if the time of all that was learnt were up.
fn expire(site: &Site, uid: u32) -> Result<()> {
    let maps = attach_or_find(File::open(&site.cgroup)?.as_fd())?;
    for listed in site.rules.list(uid)?.into_iter().filter(|l| l.rule.expiry_ns != 0) {
        let over = firewall::tables::Rule { expiry_ns: 1, ..listed.rule };
        maps.rules.update(&listed.key.encode(), &over.encode(), sys::bpf::map::Write::Present)?;
    }
    Ok(())
}
