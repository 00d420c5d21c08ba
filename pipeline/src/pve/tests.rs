//! The tables against what they must hold: names kept apart from them, so that a row that goes missing is missed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::catalogue::{Catalogue, UNCLASSIFIED};

/// Every type of task that PVE's sources fork, one a line.
const TASKS: &str = include_str!("names/tasks.txt");
/// Every writing endpoint of the API schema: method, path, and the types of task it forks, or `-`.
const ENDPOINTS: &str = include_str!("names/endpoints.txt");

/// What events are about.
const OBJECTS: &[&str] = &[
    "vm",
    "ct",
    "node",
    "cluster",
    "storage",
    "volume",
    "backup",
    "backup_job",
    "replication_job",
    "user",
    "group",
    "role",
    "acl",
    "token",
    "tfa",
    "realm",
    "firewall_rule",
    "firewall_group",
    "firewall_options",
    "ipset",
    "alias",
    "network",
    "sdn",
    "pool",
    "ha_resource",
    "service",
    "certificate",
    "repository",
    "notification",
    "mapping",
    "file",
    "pipeline",
    "source",
    "sink",
    "segment",
    "rule",
];

#[test]
fn no_type_of_task_is_missing_and_none_is_made_up() {
    let wanted: BTreeSet<&str> = TASKS.lines().collect();
    let have: BTreeSet<&str> = TaskType::all().iter().map(|one| &*one.kind).collect();
    assert_eq!(wanted.len(), 109);
    assert_eq!(have, wanted);
    for kind in &wanted {
        let one = TaskType::find(kind).unwrap();
        let row = one.act("100", "pve1", Some(Exit::Ok)).row();
        assert_eq!(row.code == UNCLASSIFIED, *kind == "unknown", "{kind}");
        assert!(row.retired.is_none(), "{kind}");
        // What is a guest is told apart by whoever knows the inventory.
        let known = OBJECTS.contains(&&*one.object) || matches!(&*one.object, "guest" | "unknown");
        assert!(known, "{kind}: {}", one.object);
    }
}

#[test]
fn no_endpoint_is_missing_and_none_is_made_up() {
    let wanted: BTreeSet<&str> = ENDPOINTS.lines().collect();
    let have: Vec<String> = Endpoint::all()
        .iter()
        .map(|one| {
            let mut tasks = one.tasks.clone();
            tasks.sort();
            let tasks = if tasks.is_empty() {
                "-".to_owned()
            } else {
                tasks.join("|")
            };
            format!("{} {} {tasks}", one.method, one.path)
        })
        .collect();
    assert_eq!((wanted.len(), have.len()), (328, 328));
    let have: BTreeSet<&str> = have.iter().map(String::as_str).collect();
    let missing: Vec<_> = wanted.difference(&have).collect();
    let made_up: Vec<_> = have.difference(&wanted).collect();
    assert!(
        missing.is_empty() && made_up.is_empty(),
        "{missing:?} {made_up:?}"
    );
}

#[test]
fn every_endpoint_is_mapped_and_found_by_its_own_path() {
    for endpoint in Endpoint::all() {
        let name = format!("{} {}", endpoint.method, endpoint.path);
        let row = Catalogue::builtin().get(&endpoint.code).expect(&name);
        assert!(row.code != UNCLASSIFIED && row.retired.is_none(), "{name}");
        let known = OBJECTS.contains(&&*endpoint.object) || endpoint.object == "guest";
        assert!(known, "{name}: {}", endpoint.object);
        let path = endpoint.path.replace(['{', '}'], "");
        for path in [
            format!("/api2/json{path}"),
            format!("/api2//extjs/{path}//"),
        ] {
            let call = Endpoint::find(&endpoint.method, &path).expect(&name);
            assert!(std::ptr::eq(call.endpoint, endpoint), "{name}");
            let act = call.act();
            assert!(!act.object_id.contains('{'), "{name}: {}", act.object_id);
            for template in [Some(&endpoint.id), endpoint.task_id.as_ref()]
                .into_iter()
                .flatten()
            {
                let params = template.split('{').skip(1);
                for param in params.map(|part| part.split('}').next().unwrap()) {
                    assert_eq!(call.param(param), Some(param), "{name}: {template}");
                }
            }
        }
        for kind in &endpoint.tasks {
            assert!(TaskType::find(kind).is_some(), "{name}: {kind}");
        }
        // Only what forks a task answers a UPID, and only its id can be told.
        let forks = !endpoint.tasks.is_empty();
        let upid = endpoint.answers == Answer::Upid;
        assert!(forks || (!upid && endpoint.task_id.is_none()), "{name}");
        assert!(
            upid || !forks || endpoint.answers == Answer::Object,
            "{name}"
        );
        // The call and its first task mean the same, unless one of them is said to know better.
        let same = endpoint.tasks.iter().any(|kind| {
            let id = endpoint.task_id.as_deref().unwrap_or_default();
            let begun = TaskType::find(kind).unwrap().act(id, "pve1", None);
            begun.code == endpoint.code
        });
        assert!(!forks || same || endpoint.refines, "{name}");
    }
}

#[test]
fn a_task_of_vms_and_containers_takes_the_code_of_what_it_turns_out_to_be() {
    let resize = || {
        TaskType::find("resize")
            .unwrap()
            .act("200", "pve1", Some(Exit::Ok))
    };
    let (vm, ct) = (resize().of_guest("vm"), resize().of_guest("ct"));
    assert_eq!((vm.code, vm.object_type), ("PVE-2015", "vm"));
    assert_eq!(
        (ct.code, ct.object_type, ct.vmid),
        ("PVE-2115", "ct", Some(200))
    );
    // A console has one code for both, and what is no guest stays what it is.
    let console = TaskType::find("vncproxy").unwrap().act("200", "pve1", None);
    assert_eq!(console.of_guest("ct").code, "PVE-2301");
    let user = Endpoint::find("DELETE", "/api2/json/access/users/a@pve")
        .unwrap()
        .act();
    assert_eq!(user.clone().of_guest("ct"), user);
}

#[test]
fn a_call_that_knows_more_than_its_task_says_so() {
    let refined = |method, path| Endpoint::find(method, path).unwrap().refined();
    let backup = "/api2/json/nodes/p/storage/nas/content/nas:backup/vzdump-qemu-104.vma.zst";
    assert_eq!(refined("DELETE", backup), Some("PVE-5111"));
    let call = Endpoint::find(
        "DELETE",
        "/api2/json/nodes/p/storage/nas/content/backup%2Fa.zst",
    );
    let act = call.unwrap().act();
    assert_eq!((act.code, act.object_type), ("PVE-5111", "backup"));
    assert_eq!(act.object_id, "nas:backup/a.zst");
    let disk = "/api2/json/nodes/p/storage/local/content/local:100/vm-100-disk-0.qcow2";
    assert_eq!(refined("DELETE", disk), None);
    assert_eq!(
        refined("POST", "/api2/json/nodes/p/storage/nas/upload"),
        Some("PVE-5011")
    );
    assert_eq!(
        refined("POST", "/api2/json/nodes/p/qemu/1/remote_migrate"),
        Some("PVE-2022")
    );
    assert_eq!(refined("DELETE", "/api2/json/nodes/p/qemu/104"), None);
}

#[test]
fn the_length_of_an_answer_tells_what_became_of_a_call() {
    let of = |method, path, length, user| {
        let call = Endpoint::find(method, path).unwrap();
        call.verdict(200, Some(length), "pve1", user)
    };
    // The lines of the reference.
    let start = "/api2/extjs/nodes/pve1/qemu/100/status/start";
    assert_eq!(of("POST", start, 81, "root@pam"), Verdict::Success);
    // `hastart` is as long as `qmstart`.
    assert_eq!(of("POST", start, 82, "root@pam"), Verdict::Success);
    assert_eq!(of("POST", start, 80, "root@pam"), Verdict::Failure);
    assert_eq!(of("POST", start, 83, "root@pam"), Verdict::Failure);
    assert_eq!(
        of(
            "POST",
            "/api2/extjs/nodes/localhost/qemu/100/status/start",
            81,
            "root@pam"
        ),
        Verdict::Success
    );
    // `hastop` or `qmshutdown`, and no length between them.
    let stop = "/api2/extjs/nodes/pve1/qemu/100/status/shutdown";
    let told = [80u64, 81, 82, 83, 84, 85, 86].map(|length| of("POST", stop, length, "root@pam"));
    let (yes, no) = (Verdict::Success, Verdict::Failure);
    assert_eq!(told, [yes, yes, no, no, yes, yes, no]);
    assert_eq!(of("PUT", "/api2/extjs/access/acl", 25, "root@pam"), yes);
    assert_eq!(of("PUT", "/api2/extjs/access/acl", 93, "root@pam"), no);
    // A number, an empty list, an object: success where it is too short for a failure, else nobody knows.
    assert_eq!(
        of(
            "PUT",
            "/api2/extjs/access/users/a@pve/unlock-tfa",
            22,
            "root@pam"
        ),
        yes
    );
    assert_eq!(
        of("POST", "/api2/extjs/nodes/pve1/execute", 23, "root@pam"),
        yes
    );
    assert_eq!(
        of(
            "POST",
            "/api2/extjs/nodes/pve1/qemu/1/vncproxy",
            1200,
            "root@pam"
        ),
        Verdict::Unknown
    );
    // Where a disk goes is in the body, so the id of the task is unknown.
    assert_eq!(
        of(
            "POST",
            "/api2/extjs/nodes/pve1/qemu/100/move_disk",
            101,
            "root@pam"
        ),
        Verdict::Unknown
    );
    assert_eq!(
        of("POST", "/api2/extjs/nodes/pve1/qemu", 84, "root@pam"),
        Verdict::Unknown
    );
    // JSON writes a quote in a name as two letters, and other letters in more bytes than the log may have.
    assert_eq!(of("POST", start, 80, "a\"b@pam"), no);
    assert_eq!(of("POST", start, 81, "a\"b@pam"), yes);
    assert_eq!(of("POST", start, 81, "röt@pam"), Verdict::Unknown);
    assert_eq!(of("POST", "/api2/extjs/access/ticket", 763, "-"), yes);
    assert_eq!(
        of("POST", "/api2/extjs/access/ticket", 77, "-"),
        Verdict::Denied
    );
}

#[test]
fn every_code_of_the_schema_is_in_the_catalogue() {
    let ranges: &[(u16, u16)] = &[
        (0, 0),
        (1001, 1003),
        (1005, 1005),
        (1011, 1012),
        (1020, 1025),
        (2001, 2025),
        (2101, 2125),
        (2201, 2204),
        (2301, 2302),
        (2311, 2311),
        (2401, 2402),
        (3001, 3007),
        (3011, 3013),
        (3021, 3023),
        (3031, 3033),
        (3041, 3044),
        (3051, 3053),
        (3061, 3064),
        (4001, 4007),
        (4011, 4013),
        (4021, 4023),
        (4031, 4033),
        (4101, 4105),
        (4111, 4112),
        (4201, 4201),
        (4301, 4301),
        (5001, 5003),
        (5011, 5013),
        (5021, 5024),
        (5101, 5104),
        (5111, 5113),
        (5121, 5124),
        (5131, 5131),
        (5201, 5204),
        (6001, 6005),
        (6011, 6013),
        (6021, 6024),
        (6031, 6035),
        (6041, 6044),
        (6051, 6052),
        (6061, 6062),
        (6071, 6071),
        (6091, 6092),
        (7001, 7001),
        (7011, 7011),
        (7099, 7099),
        (8501, 8502),
        (8511, 8511),
        (8521, 8526),
        (8531, 8531),
        (8541, 8541),
        (9001, 9004),
        (9011, 9018),
        (9021, 9026),
        (9031, 9036),
        (9041, 9043),
        (9051, 9051),
        (9061, 9061),
        (9071, 9071),
        (9101, 9105),
    ];
    for code in ranges.iter().flat_map(|(first, last)| *first..=*last) {
        let code = format!("PVE-{code:04}");
        assert!(Catalogue::builtin().get(&code).is_some(), "{code}");
    }
    for row in Catalogue::builtin().rows() {
        assert!(
            OBJECTS.contains(&&*row.object),
            "{}: {}",
            row.code,
            row.object
        );
        // The last two digits of 20xx and 21xx are one verb.
        let Some(verb) = row.code.strip_prefix("PVE-21") else {
            continue;
        };
        let vm = Catalogue::builtin()
            .get(&format!("PVE-20{verb}"))
            .expect(&row.code);
        let of_vm = vm
            .action
            .replacen("vm-", "ct-", 1)
            .replace("disk", "volume");
        assert!(
            row.action.replace("disk", "volume") == of_vm,
            "{}: {of_vm}",
            row.code
        );
        assert_eq!(
            (row.severity, &row.kinds),
            (vm.severity, &vm.kinds),
            "{}",
            row.code
        );
    }
}

proptest! {
    #[test]
    fn a_upid_of_any_parts_is_read_back(
        node in "[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?",
        (pid, start) in (any::<u32>(), any::<u32>()),
        pstart in 0u64..0x10_0000_0000,
        lower: bool,
        kind in "[a-z][a-z_-]{0,18}",
        id in "[^:\\s/]{0,30}",
        user in "[^:\\s/]{1,20}@[A-Za-z][A-Za-z0-9._-]{1,8}(![A-Za-z][A-Za-z0-9._-]{1,8})?",
    ) {
        let text = if lower {
            format!("UPID:{node}:{pid:08x}:{pstart:08x}:{start:08x}:{kind}:{id}:{user}:")
        } else {
            format!("UPID:{node}:{pid:08X}:{pstart:08X}:{start:08X}:{kind}:{id}:{user}:")
        };
        let upid = Upid::parse(&text).unwrap();
        prop_assert_eq!((upid.node, upid.pid, upid.pstart), (&*node, pid, pstart));
        prop_assert_eq!(upid.start.0 / 1_000_000_000, i64::from(start));
        prop_assert_eq!((upid.kind, upid.id, upid.user), (&*kind, &*id, &*user));
        // Whatever stands around it, it is found, unless what stands before looks like its beginning.
        let line = format!("<{user}> end task {text} OK");
        prop_assert_eq!(Upid::find(&line).map(|found| found.0), Some(&*text));
        // Cut anywhere it is none, and says why.
        let cut = text.floor_char_boundary(text.len() / 2);
        prop_assert!(Upid::parse(&text[..cut]).is_err());
        let name = User::parse(upid.user);
        prop_assert!(user.starts_with(&*name.id()) && name.realm.is_some());
    }

    #[test]
    fn no_path_and_no_line_make_a_call_panic(
        method in "(GET|POST|PUT|DELETE|[A-Z]{0,5})",
        which in 0usize..328,
        noise in "[ -~é%/.:]{0,24}",
        at in 0usize..120,
        status: i64,
        length: Option<u64>,
        user in "\\PC{0,20}",
    ) {
        let mut path = format!("/api2/extjs{}", Endpoint::all()[which].path);
        let at = path.floor_char_boundary(at.min(path.len()));
        path.insert_str(at, &noise);
        if let Some(call) = Endpoint::find(&method, &path) {
            let _ = (call.act(), call.refined(), call.upid_lengths("n", &user));
            let _ = call.verdict(status, length, "n", &user);
            let exact = call.upid_exact("n", &user);
            prop_assert!(exact.is_sorted());
        }
    }

    #[test]
    fn no_id_makes_a_task_panic(which in 0usize..109, id in "\\PC{0,30}", status in "\\PC{0,20}") {
        let one = &TaskType::all()[which];
        let exit = Exit::of(&status);
        let _ = one.act(&id, "pve1", Some(exit)).row();
        let _ = one.act(&id, "pve1", None);
        prop_assert!(["success", "failure", "unknown"].contains(&exit.outcome()));
    }
}
