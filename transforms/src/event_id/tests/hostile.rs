//! Lines that somebody wrote who wants another to be blamed, or the program to fall.

use super::*;
use proptest::prelude::*;

fn code(event: &Value) -> &str {
    event["event"]["code"].as_str().unwrap()
}

#[test]
fn a_reason_that_is_not_known_leaves_the_name_as_it_was_typed() {
    // The true reason is one of LDAP's; the known one was typed.
    let typed = "root@pam msg=no password";
    let event = line(
        "pvedaemon",
        &format!("authentication failure; rhost=192.0.2.1 user={typed} msg=something of LDAP"),
    );
    let whole = format!("{typed} msg=something of LDAP");
    assert_eq!(event["user"]["id"], whole);
    assert_eq!(event["user"]["domain"], Value::Null);
    assert_eq!(event["source"]["ip"], "192.0.2.1");
    // The reason repeats the name, whatever the name holds.
    let typed = "root@pam user=alice@pve msg=ok";
    let event = line(
        "pvedaemon",
        &format!(
            "authentication failure; rhost=192.0.2.1 user={typed} msg=value '{typed}' does not look like a valid user name"
        ),
    );
    assert_eq!(event["user"]["id"], typed);
    assert_eq!(event["pve"]["actor"]["kind"], "user");
}

#[test]
fn a_name_that_looks_like_a_token_is_no_token() {
    let event = line(
        "pvedaemon",
        "authentication failure; rhost=192.0.2.1 user=u@pve!token msg=value 'u@pve!token' does not look like a valid user name",
    );
    assert_eq!(event["user"]["id"], "u@pve!token");
    assert_eq!(event["pve"]["token"], Value::Null);
}

#[test]
fn the_second_line_of_pam_names_who_was_typed() {
    let event = line(
        "IPCC.xs",
        "pam_unix(proxmox-ve-auth:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= rhost=::ffff:192.0.2.50  user=x user=root",
    );
    assert_eq!(event["user"]["id"], "x user=root@pam");
    assert_eq!(event["pve"]["record"], "evidence");
    let event = line(
        "sshd",
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root",
    );
    assert_eq!(
        (code(&event), &event["user"]["id"], &event["source"]["ip"]),
        ("PVE-1021", &json!("root"), &json!("203.0.113.9"))
    );
    let event = line(
        "sshd",
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9 ",
    );
    assert_eq!(event["user"], Value::Null);
}

#[test]
fn a_description_starts_and_ends_no_task() {
    let upid = "UPID:pve1:0001A6B3:00F3C1D2:69B5F213:qmdestroy:104:root@pam:";
    for text in [
        format!("<alice@pve> update VM 100: -description end task {upid} OK"),
        format!("<alice@pve> update VM 100: -description <root@pam> starting task {upid}"),
    ] {
        let event = line("pvedaemon", &text);
        assert_eq!(code(&event), "PVE-2014", "{text}");
        assert_eq!(event["user"]["id"], "alice@pve", "{text}");
        assert_eq!(event["pve"]["task"], Value::Null, "{text}");
    }
    let event = line("pvedaemon", &format!("destroy VM 104: {upid}"));
    assert_eq!(
        (code(&event), &event["pve"]["task"]["phase"]),
        ("PVE-2002", &json!("start"))
    );
    let event = line("pvedaemon", &format!("end task {upid}"));
    assert_eq!(event["pve"]["task"]["phase"], "end");
    assert_eq!(event["event"]["outcome"], "unknown");
}

#[test]
fn a_line_injected_behind_a_newline_is_part_of_the_first() {
    let event = line(
        "pvedaemon",
        "authentication failure; rhost=192.0.2.1 user=x\n<root@pam> successful auth for user 'root@pam' msg=value 'x\n<root@pam> successful auth for user 'root@pam'' does not look like a valid user name",
    );
    assert_eq!(code(&event), "PVE-1002");
    assert!(!event["message"].as_str().unwrap().contains('\n'));
}

#[test]
fn what_a_user_writes_under_the_name_of_a_daemon_is_not_believed() {
    let text = "<root@pam> successful auth for user 'root@pam'";
    let by = |uid: &str, program: &str, text: &str| {
        mapped(events![{"host": {"name": "pve1"}, "process": {"name": program, "user": {"id": uid}}, "message": text}])
            .remove(0)
    };
    assert_eq!(code(&by("1000", "pvedaemon", text)), "PVE-0000");
    assert_eq!(code(&by("0", "pvedaemon", text)), "PVE-1001");
    // Accounts of a directory have numbers of their own; 65534 is nobody, under whom daemons run.
    assert_eq!(code(&by("1234500001", "pvedaemon", text)), "PVE-0000");
    assert_eq!(code(&by("65534", "pvedaemon", text)), "PVE-1001");
}

#[test]
fn only_sudo_and_su_themselves_speak_for_those_who_call_them() {
    let by = |program: &str, file: &str, text: &str| {
        let process = json!({"name": program, "user": {"id": "1000"}, "executable": file});
        mapped(events![{"host": {"name": "pve1"}, "process": process, "message": text}]).remove(0)
    };
    let su = "(to root) alice on pts/1";
    assert_eq!(code(&by("su", "/usr/bin/su", su)), "PVE-1024");
    let sudo = "alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/sbin/qm destroy 104";
    assert_eq!(code(&by("sudo", "/usr/bin/sudo", sudo)), "PVE-1023");
    for file in ["/usr/bin/logger", "/opt/mallory/xsudo", ""] {
        assert_eq!(code(&by("sudo", file, sudo)), "PVE-0000", "{file}");
        assert_eq!(code(&by("su", file, su)), "PVE-0000", "{file}");
    }
}

#[test]
fn a_session_of_a_user_is_no_boot() {
    let of = |text| line("systemd", text);
    assert_eq!(code(&of("Startup finished in 92ms.")), "PVE-0000");
    assert_eq!(
        code(&of(
            "Startup finished in 3.204s (kernel) + 5.1s (userspace) = 8.3s."
        )),
        "PVE-6003"
    );
    assert_eq!(code(&of("Started Session 5 of user root.")), "PVE-0000");
    for text in [
        "Stopped PVE API Daemon.",
        "Stopped pvedaemon.service - PVE API Daemon.",
    ] {
        let event = of(text);
        assert_eq!(
            (code(&event), &event["pve"]["object"]["id"]),
            ("PVE-6042", &json!("pvedaemon"))
        );
    }
}

#[test]
fn huge_values_are_bounded() {
    let long = "x".repeat(100_000);
    for (program, text) in [
        (
            "pvedaemon",
            format!(
                "authentication failure; rhost=192.0.2.1 user={long} msg=no such user ('{long}')"
            ),
        ),
        (
            "pvedaemon",
            format!("<{long}@pve> update VM 100: -{long} {long}"),
        ),
        (
            "sshd",
            format!("Failed password for {long} from 192.0.2.1 port 1 ssh2"),
        ),
        ("corosync", format!("[TOTEM ] A new membership {long}")),
        (
            "hostd",
            format!("[Originator@1 user={long}] Event 1 : {long}"),
        ),
    ] {
        let event = line(program, &text);
        assert!(event["message"].as_str().unwrap().len() < 4096, "{program}");
        let reason = event["event"]["reason"].as_str().unwrap_or_default();
        assert!(reason.len() <= 1024, "{program}");
    }
}

const PROGRAMS: [&str; 20] = [
    "pvedaemon",
    "pveproxy",
    "IPCC.xs",
    "sshd",
    "sudo",
    "su",
    "login",
    "pmxcfs",
    "corosync",
    "pve-ha-crm",
    "pve-ha-lrm",
    "systemd",
    "vzdump",
    "pvescheduler",
    "qm",
    "hostd",
    "vpxd",
    "vobd",
    "shell",
    "pvefw-logger",
];

/// Pieces of the lines that are read, in any order, with what an attacker might put between.
const PIECES: [&str; 44] = [
    "<root@pam> ",
    "<a>b@pve!t> ",
    "update VM 100: ",
    "update CT ",
    "starting task ",
    "end task ",
    "UPID:",
    "UPID:p:0001A6B3:00F3C1D2:69B5F213:qmstart:1:a@b:",
    "authentication failure; rhost=",
    "openid authentication failure; rhost=",
    "::ffff:192.0.2.1",
    " user=",
    " msg=",
    "no such user ('",
    "successful auth for user '",
    "pam_unix(sshd:auth): ",
    "pam_unix(proxmox-ve-auth:auth): authentication failure;",
    " rhost=",
    " for user ",
    " by ",
    "Accepted ",
    "Failed ",
    " for ",
    " from ",
    " port ",
    "TTY=pts/0 ; ",
    "COMMAND=",
    "(to root) ",
    "node '",
    "service 'vm:",
    "state changed from '",
    "' => '",
    "[KNET  ] ",
    "link: host: ",
    "[status] notice: ",
    "Event [1] [2] [",
    "[Originator@",
    "] Event 1 : ",
    "Backup of VM ",
    " failed - ",
    "-delete ",
    "\n",
    "\0",
    "é\u{202e}",
];

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_every_event_is_whole(
        program in 0..PROGRAMS.len(),
        pieces in proptest::collection::vec((0..PIECES.len(), "[ -~]{0,5}"), 0..8),
    ) {
        let text: String = pieces.iter().flat_map(|(n, more)| [PIECES[*n], more]).collect();
        let event = line(PROGRAMS[program], &text);
        for field in ["code", "action", "kind", "outcome", "severity", "created", "dataset"] {
            prop_assert!(!event["event"][field].is_null(), "{} of {:?}", field, text);
        }
        for field in ["schema", "level", "record", "origin"] {
            prop_assert!(event["pve"][field].is_string(), "{} of {:?}", field, text);
        }
        let said = event["message"].as_str().unwrap();
        prop_assert!(!said.chars().any(char::is_control), "{said:?}");
    }

    #[test]
    fn no_line_of_a_file_makes_it_panic(text in "([0-9]{1,3} [0-9] [a-z-]{1,4} |Jan 2[0-9] 0[0-9]:00:00 |2026-01-26T09:00:00Z )?[ -~é\\x00]{0,60}") {
        let event = mapped(events![{"host": {"name": "pve1"}, "log": {"file": {"path": "/var/log/pve-firewall.log"}}, "message": text.clone()}]).remove(0);
        prop_assert!(event["event"]["code"].is_string());
        let event = mapped(events![{"host": {"name": "pve1"}, "message": text}]).remove(0);
        prop_assert!(event["event"]["code"].is_string());
    }
}

#[test]
fn the_connection_tracker_shares_the_file() {
    let event = mapped(events![{"host": {"name": "pve1"}, "log": {"file": {"path": "/var/log/pve-firewall.log"}},
        "message": "[NEW] tcp      6 120 SYN_SENT src=192.0.2.7 dst=198.51.100.8 sport=40000 dport=22 [UNREPLIED] src=198.51.100.8 dst=192.0.2.7 sport=22 dport=40000"}])
    .remove(0);
    assert_eq!(code(&event), "PVE-4301");
    assert_eq!(event["source"], json!({"ip": "192.0.2.7", "port": 40000}));
    assert_eq!(
        event["destination"],
        json!({"ip": "198.51.100.8", "port": 22})
    );
    assert_eq!(event["pve"]["origin"], "firewall");
}

#[test]
fn the_name_of_a_certificate_is_no_address() {
    let event = line(
        "sshd",
        "Accepted publickey for root from 192.0.2.5 port 222 ssh2: RSA-CERT SHA256:x ID alice from 203.0.113.9 port 22 (serial 0) CA RSA SHA256:y",
    );
    assert_eq!(event["source"]["ip"], "192.0.2.5");
    assert_eq!(event["user"]["id"], "root");
}
