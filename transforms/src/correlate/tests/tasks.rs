//! Tasks and their calls.

use pipeline::testing::json;

use super::super::Config;
use super::made::{Access, feed, forks, logged_in, run, task, text, ticket, told, upid, upid_of};

const DELETE: &str = "DELETE /api2/extjs/nodes/pve1/qemu/104?purge=1";

#[test]
fn a_task_has_the_address_of_its_call_at_its_start_and_at_its_end() {
    let id = upid("pve1", 10.0, "qmdestroy", "104", "alice@pve");
    let mut bench = pipeline::testing::stateful::<Config>("");
    let out = feed(
        &mut bench,
        [
            forks("pve1", "192.0.2.10", "alice@pve", DELETE, &id, 11.0),
            task("journal", &id, "start", 10.0),
        ],
    );
    assert_eq!(told(&out[0]), ["evidence", "direct", "192.0.2.10"]);
    assert_eq!(told(&out[1]), ["evidence", "matched", "192.0.2.10"]);
    assert_eq!(text(&out[0], "pve.links"), out[1].id().to_string());
    bench.restart();
    // Hours later, at once.
    let end = bench.feed(pipeline::testing::events([task(
        "task", &id, "end", 9000.0,
    )]));
    let end = &end.events()[0];
    assert_eq!(told(end), ["primary", "matched", "192.0.2.10"]);
    assert_eq!(text(end, "pve.source.evidence"), out[0].id().to_string());
    assert_eq!(text(end, "related.ip"), "192.0.2.10");
    assert_eq!(
        text(end, "message"),
        "alice@pve destroyed VM 104 on pve1 from 192.0.2.10"
    );
}

#[test]
fn a_call_of_another_length_user_guest_time_or_kind_is_not_its_own() {
    let id = upid("pve1", 10.0, "qmdestroy", "104", "alice@pve");
    let longer = format!("{id}X");
    for line in [
        forks("pve1", "192.0.2.66", "alice@pve", DELETE, &longer, 11.0),
        forks("pve1", "192.0.2.66", "alice@pve!ci", DELETE, &id, 11.0),
        forks("pve1", "192.0.2.66", "bob@pve", DELETE, &id, 11.0),
        forks(
            "pve1",
            "192.0.2.66",
            "alice@pve",
            "DELETE /api2/extjs/nodes/pve1/qemu/105",
            &id,
            11.0,
        ),
        forks("pve1", "192.0.2.66", "alice@pve", DELETE, &id, 8.0),
        forks("pve1", "192.0.2.66", "alice@pve", DELETE, &id, 16.0),
        forks(
            "pve1",
            "192.0.2.66",
            "alice@pve",
            "POST /api2/extjs/nodes/pve1/qemu/104/status/stop",
            &id,
            11.0,
        ),
        forks(
            "pve2",
            "192.0.2.66",
            "alice@pve",
            "DELETE /api2/extjs/nodes/pve2/qemu/104",
            &id,
            11.0,
        ),
    ] {
        let out = run("", [line.clone(), task("task", &id, "end", 12.0)]);
        assert_eq!(told(&out[1]), ["primary", "none", "-"], "{line}");
        assert_eq!(told(&out[0])[0], "primary", "{line}");
    }
}

#[test]
fn two_addresses_for_one_task_are_ambiguous() {
    let id = upid("pve1", 10.0, "qmdestroy", "104", "alice@pve");
    let out = run(
        "",
        [
            forks("pve1", "192.0.2.10", "alice@pve", DELETE, &id, 10.0),
            forks("pve1", "192.0.2.11", "alice@pve", DELETE, &id, 12.0),
            task("task", &id, "end", 12.0),
        ],
    );
    assert_eq!(told(&out[2]), ["primary", "ambiguous", "-"]);
    assert_eq!(
        text(&out[2], "pve.source.candidates"),
        "192.0.2.10 192.0.2.11"
    );
    assert_eq!(told(&out[0])[0], "evidence");
}

#[test]
fn two_tasks_and_one_call_accuse_nobody() {
    // One of them was begun on a shell, where nothing is logged: which one?
    let (one, two) = (
        upid_of("pve1", 1, 10.0, "qmsnapshot", "104", "root@pam"),
        upid_of("pve1", 2, 12.0, "qmsnapshot", "104", "root@pam"),
    );
    let call = "POST /api2/json/nodes/pve1/qemu/104/snapshot";
    let line = forks("pve1", "192.0.2.10", "root@pam", call, &one, 12.0);
    let out = run(
        "",
        [
            line.clone(),
            task("task", &one, "end", 12.0),
            task("task", &two, "end", 14.0),
        ],
    );
    assert_eq!(told(&out[1]), ["primary", "ambiguous", "-"]);
    assert_eq!(told(&out[2]), ["primary", "ambiguous", "-"]);
    // The journal says who began the first.
    let mut shell = task("journal", &one, "start", 10.0);
    shell["process.name"] = json!("qm");
    let out = run(
        "",
        [
            line,
            shell,
            task("task", &one, "end", 12.0),
            task("task", &two, "end", 14.0),
        ],
    );
    assert_eq!(told(&out[2]), ["primary", "local", "-"]);
    assert_eq!(told(&out[3]), ["primary", "matched", "192.0.2.10"]);
}

#[test]
fn a_user_at_two_addresses_is_told_apart_where_the_times_do_so() {
    let (one, two) = (
        upid_of("pve1", 1, 10.0, "qmsnapshot", "104", "shared@pve"),
        upid_of("pve1", 2, 12.0, "qmsnapshot", "104", "shared@pve"),
    );
    let call = "POST /api2/json/nodes/pve1/qemu/104/snapshot";
    let line = |ip, at| forks("pve1", ip, "shared@pve", call, &one, at);
    let out = run(
        "",
        [
            line("192.0.2.10", 10.0),
            line("192.0.2.11", 12.0),
            task("task", &one, "end", 12.0),
            task("task", &two, "end", 14.0),
        ],
    );
    assert_eq!(told(&out[2])[2], "192.0.2.10");
    assert_eq!(told(&out[3])[2], "192.0.2.11");
    let out = run(
        "",
        [
            line("192.0.2.10", 12.0),
            line("192.0.2.11", 13.0),
            task("task", &one, "end", 12.0),
            task("task", &two, "end", 14.0),
        ],
    );
    assert_eq!(told(&out[2])[1], "ambiguous");
    assert_eq!(told(&out[3])[1], "ambiguous");
}

#[test]
fn a_call_whose_answer_was_never_logged_can_be_anybodys() {
    let id = upid("pve1", 10.0, "qmdestroy", "104", "alice@pve");
    let mut gone = Access {
        node: "pve1",
        ip: "192.0.2.11",
        user: "alice@pve",
        request: DELETE,
        status: 500,
        bytes: 0,
    }
    .at(11.0);
    gone["event.outcome"] = json!("unknown");
    gone.as_object_mut()
        .unwrap()
        .remove("http.response.body.bytes");
    let line = forks("pve1", "192.0.2.10", "alice@pve", DELETE, &id, 11.0);
    let out = run("", [gone.clone(), line, task("task", &id, "end", 12.0)]);
    assert_eq!(told(&out[2])[1], "ambiguous");
    let out = run("", [gone, task("task", &id, "end", 12.0)]);
    assert_eq!(told(&out[1])[1], "ambiguous");
}

#[test]
fn a_task_is_told_once_whoever_reads_it() {
    let id = upid("pve1", 10.0, "qmstart", "100", "alice@pve");
    let end = task("task", &id, "end", 12.0);
    let out = run(
        "",
        [
            task("journal", &id, "end", 12.2),
            task("api", &id, "end", 12.0),
            end.clone(),
            task("task", &id, "start", 10.0),
            task("journal", &id, "start", 10.1),
        ],
    );
    let records: Vec<String> = out.iter().map(|event| text(event, "pve.record")).collect();
    assert_eq!(
        records,
        ["evidence", "evidence", "primary", "evidence", "evidence"]
    );
    assert_eq!(text(&out[0], "pve.links"), out[2].id().to_string());
    // The very same record again: the files and the API tell it under one id.
    let mut bench = pipeline::testing::stateful::<Config>("");
    let end = pipeline::testing::events([end]);
    bench.feed(end.clone());
    let again = bench.feed(end);
    assert_eq!((again.filtered(), again.duplicates()), (1, 1));
}

#[test]
fn a_console_is_told_when_it_opens() {
    let id = upid("pve1", 10.0, "vncproxy", "104", "alice@pve");
    let call = "POST /api2/extjs/nodes/pve1/qemu/104/vncproxy";
    let open = Access {
        node: "pve1",
        ip: "192.0.2.10",
        user: "alice@pve",
        request: call,
        status: 200,
        bytes: 1500,
    };
    let socket = "GET /api2/json/nodes/pve1/qemu/104/vncwebsocket?port=5900";
    let mut socket = Access {
        node: "pve1",
        ip: "192.0.2.10",
        user: "alice@pve",
        request: socket,
        status: 101,
        bytes: 0,
    }
    .at(11.0);
    socket["event.code"] = json!("PVE-2301");
    let mut bench = pipeline::testing::stateful::<Config>("");
    let out = feed(
        &mut bench,
        [open.at(10.0), task("journal", &id, "start", 10.0)],
    );
    assert_eq!(told(&out[1]), ["primary", "matched", "192.0.2.10"]);
    assert_eq!(told(&out[0])[0], "evidence");
    let out2 = feed(&mut bench, [socket, task("task", &id, "end", 300.0)]);
    // The client waited, for its line may be read before the record of its console.
    for event in &out2 {
        assert_eq!(text(event, "pve.links"), out[1].id().to_string());
        assert_eq!(told(event)[0], "evidence");
    }
    assert_eq!(out2.len(), 2);
}

#[test]
fn the_ha_manager_acts_upon_a_request() {
    let ask = upid_of("pve1", 1, 10.0, "hastart", "100", "alice@pve");
    let does = upid_of("pve1", 2, 18.0, "qmstart", "100", "root@pam");
    let call = "POST /api2/extjs/nodes/pve1/qemu/100/status/start";
    let out = run(
        "",
        [
            forks("pve1", "192.0.2.10", "alice@pve", call, &ask, 10.0),
            task("task", &ask, "end", 11.0),
            task("task", &does, "end", 20.0),
        ],
    );
    assert_eq!(told(&out[1]), ["primary", "matched", "192.0.2.10"]);
    assert_eq!(told(&out[2]), ["primary", "local", "-"]);
    assert_eq!(text(&out[2], "pve.actor.kind"), "ha");
    assert_eq!(
        text(&out[2], "pve.source.evidence"),
        out[1].id().to_string()
    );
}

#[test]
fn without_a_call_a_login_says_where_the_user_is() {
    let task_of = |user| {
        task(
            "task",
            &upid("pve1", 8000.0, "qmstart", "100", user),
            "end",
            8001.0,
        )
    };
    let login = |ip, at| [logged_in("pve1", "alice@pve", at), ticket("pve1", ip, at)];
    let early = || {
        [
            logged_in("pve1", "else@pve", 1.0),
            ticket("pve1", "192.0.2.99", 1.0),
        ]
    };
    let told_of = |list: Vec<pipeline::testing::Json>| {
        let out = run("", list);
        let last = out.last().unwrap();
        (
            told(last)[1..].join(" "),
            text(last, "pve.source.candidates"),
        )
    };
    let with = |logins: Vec<[pipeline::testing::Json; 2]>, user| {
        let mut list: Vec<_> = logins.into_iter().flatten().collect();
        // The log of the node goes on, so it was read up to the task.
        list.push(logged_in("pve1", "late@pve", 8010.0));
        list.push(ticket("pve1", "192.0.2.98", 8010.0));
        list.push(task_of(user));
        told_of(list)
    };
    // Where the log ends before the task, another login may stand in what was not read.
    let mut list: Vec<_> = [early(), login("192.0.2.10", 7000.0)]
        .into_iter()
        .flatten()
        .collect();
    list.push(task_of("alice@pve"));
    assert_eq!(told_of(list), ("none -".to_owned(), "-".to_owned()));
    let one = ("session 192.0.2.10".to_owned(), "-".to_owned());
    assert_eq!(
        with(vec![early(), login("192.0.2.10", 7000.0)], "alice@pve"),
        one
    );
    // The log of the node was not read for as long as a login lives.
    let open = ("ambiguous -".to_owned(), "192.0.2.10".to_owned());
    assert_eq!(with(vec![login("192.0.2.10", 7000.0)], "alice@pve"), open);
    let two = ("ambiguous -".to_owned(), "192.0.2.10 192.0.2.11".to_owned());
    assert_eq!(
        with(
            vec![
                early(),
                login("192.0.2.10", 7000.0),
                login("192.0.2.11", 7100.0)
            ],
            "alice@pve"
        ),
        two
    );
    let none = ("none -".to_owned(), "-".to_owned());
    assert_eq!(
        with(vec![early(), login("192.0.2.10", 700.0)], "alice@pve"),
        none
    );
    // Tokens do not log in; and root may be a timer.
    assert_eq!(
        with(vec![early(), login("192.0.2.10", 7000.0)], "alice@pve!ci"),
        none
    );
    let root = [
        logged_in("pve1", "root@pam", 7000.0),
        ticket("pve1", "192.0.2.10", 7000.0),
    ];
    assert_eq!(with(vec![early(), root], "root@pam"), none);
}

#[test]
fn a_call_whose_task_does_not_come_is_told_for_itself() {
    let id = upid("pve1", 10.0, "qmdestroy", "104", "alice@pve");
    let out = run(
        "",
        [forks("pve1", "192.0.2.10", "alice@pve", DELETE, &id, 10.0)],
    );
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.10"]);
    assert_eq!(text(&out[0], "event.outcome"), "unknown");
}

#[test]
fn a_record_that_comes_late_does_not_get_the_call_of_another() {
    let (api, shell) = (
        upid_of("pve1", 1, 10.0, "qmsnapshot", "104", "root@pam"),
        upid_of("pve1", 2, 12.0, "qmsnapshot", "104", "root@pam"),
    );
    let call = "POST /api2/json/nodes/pve1/qemu/104/snapshot";
    for late in [20 * 60, 40 * 60, 115 * 60] {
        let mut bench = pipeline::testing::stateful::<Config>("");
        let out = feed(
            &mut bench,
            [
                forks("pve1", "192.0.2.10", "root@pam", call, &api, 12.0),
                task("task", &api, "end", 12.0),
            ],
        );
        assert_eq!(told(&out[1]), ["primary", "matched", "192.0.2.10"]);
        bench.wait(std::time::Duration::from_secs(late));
        bench.restart();
        let out = feed(&mut bench, [task("task", &shell, "end", 14.0)]);
        assert_eq!(told(&out[0])[1..], ["ambiguous", "-"], "{late}");
    }
}

#[test]
fn deletions_one_after_the_other_are_told_apart_by_the_guest_in_the_name() {
    let mut bench = pipeline::testing::stateful::<Config>("");
    let mut told_as = Vec::new();
    for (n, vmid) in [102, 103, 104].into_iter().enumerate() {
        let at = 10.0 + 20.0 * n as f64;
        let id = upid("pve1", at, "imgdel", &format!("{vmid}@nas1"), "alice@pve");
        let call = format!(
            "DELETE /api2/extjs/nodes/pve1/storage/nas1/content/backup/vzdump-qemu-{vmid}-x.vma.zst"
        );
        let line = forks("pve1", "192.0.2.10", "alice@pve", &call, &id, at);
        feed(&mut bench, [line, task("journal", &id, "start", at)]);
        let end = bench.feed(pipeline::testing::events([task(
            "task",
            &id,
            "end",
            at + 1.0,
        )]));
        let events = end.events();
        let end = events
            .iter()
            .find(|event| text(event, "event.code") == "PVE-5111");
        told_as.push(end.map(|event| (told(event), text(event, "pve.object.id").to_owned())));
    }
    for (vmid, told) in [102, 103, 104].into_iter().zip(told_as) {
        let (told, object) = told.unwrap_or_else(|| panic!("{vmid} is not told"));
        assert_eq!(told, ["primary", "matched", "192.0.2.10"]);
        assert_eq!(object, format!("nas1:backup/vzdump-qemu-{vmid}-x.vma.zst"));
    }
}

#[test]
fn a_task_that_deletes_a_volume_is_the_deletion_of_a_backup_where_its_call_says_so() {
    let id = upid("pve1", 10.0, "imgdel", "104@nas1", "alice@pve");
    let call =
        "DELETE /api2/extjs/nodes/pve1/storage/nas1/content/nas1:backup/vzdump-qemu-104-x.vma.zst";
    let mut bench = pipeline::testing::stateful::<Config>("");
    feed(
        &mut bench,
        [
            forks("pve1", "192.0.2.10", "alice@pve", call, &id, 11.0),
            task("journal", &id, "start", 10.0),
        ],
    );
    bench.restart();
    let end = bench.feed(pipeline::testing::events([task("task", &id, "end", 12.0)]));
    let end = &end.events()[0];
    assert_eq!(told(end), ["primary", "matched", "192.0.2.10"]);
    assert_eq!(text(end, "event.code"), "PVE-5111");
    assert_eq!(text(end, "event.action"), "backup-delete");
    assert_eq!(
        text(end, "pve.object.id"),
        "nas1:backup/vzdump-qemu-104-x.vma.zst"
    );
}
