//! Each mistake: at its place, in words that say what to write instead.
use std::path::PathBuf;

use super::{FakeEnv, lines, load, load_text, mistakes, mistakes_in, registry, sink};

/// The mistakes of one sink's keys, without its place's line.
fn of_sink(keys: &str) -> Vec<String> {
    let all = mistakes(&sink(keys));
    let cut = |line: &String| line.split_once(' ').map(|(_, rest)| rest.to_owned());
    all.iter().filter_map(cut).collect()
}

fn golden(name: &str, actual: &str, expected: &str) {
    if std::env::var_os("BLESS").is_some() {
        let path = format!("{}/src/config/tests/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, actual).unwrap();
    } else {
        assert_eq!(actual, expected, "BLESS=1 rewrites {name}");
    }
}

#[test]
fn twelve_mistakes_are_twelve_messages() {
    let errors = load_text(include_str!("twelve.toml")).unwrap_err();
    assert_eq!((errors.errors(), errors.warnings()), (12, 0));
    golden(
        "twelve.txt",
        &errors.render(false),
        include_str!("twelve.txt"),
    );
    assert!(
        errors.iter().all(|d| d.help.is_some()),
        "each has its remedy"
    );
}

#[test]
fn syntax_errors_are_all_told_with_what_can_be_known_besides() {
    let errors = load_text(include_str!("syntax.toml")).unwrap_err();
    golden(
        "syntax.txt",
        &errors.render(false),
        include_str!("syntax.txt"),
    );
}

#[test]
fn json_has_places_and_remedies() {
    let errors = load_text(
        "colour = 1\n[sources.in]\ntype = \"lines\"\n[sinks.o]\ntype = \"hole\"\ninputs = [\"in\"]\n",
    );
    let json = errors.unwrap_err().to_json();
    let expected = serde_json::json!([{
        "severity": "error", "file": "site.toml", "line": 1, "column": 1, "end_line": 1, "end_column": 7,
        "path": "colour", "message": "a configuration has no key `colour`",
        "help": "its keys are `data_dir`, `cluster`, `language`, `admin`, `redaction`, `log`, `tests`, `sources`, `transforms`, `sinks` and `enrichment_tables`",
        "note": null,
    }]);
    assert_eq!(json, expected);
}

#[test]
fn a_wrong_type_says_what_to_write() {
    for (keys, wanted) in [
        (
            "port = 70000",
            "sinks.out.port: `port` must be a whole number from 0 to 65535, not 70000 | write port = 65535",
        ),
        (
            "port = \"80\"",
            "sinks.out.port: `port` must be a whole number from 0 to 65535, not the string \"80\" | write port = 80",
        ),
        (
            "eager = \"yes\"",
            "sinks.out.eager: `eager` must be true or false, not the string \"yes\" | write eager = true",
        ),
        (
            "max_body = 5",
            "sinks.out.max_body: `max_body`: 5 does not say 5 of what | write \"5B\" for bytes, \"5MiB\" for mebibytes",
        ),
        (
            "tls = true",
            "sinks.out.tls: `tls` must be a table, not true | write tls = { … }",
        ),
        (
            "tls.fingerprint = \"AA\"",
            "sinks.out.tls.fingerprint: `fingerprint` must be a list, not the string \"AA\" | write fingerprint = [\"AA\"]",
        ),
        (
            "tls.fingerprint = [\"AA\", 5]",
            "sinks.out.tls.fingerprint[1]: `fingerprint[1]` must be a string, not 5 | write \"5\"",
        ),
        (
            "workers = 0",
            "sinks.out.workers: `workers` must be a whole number, 1 or more, not 0 | write workers = 1",
        ),
        (
            "encoding.codec = \"jsn\"",
            "sinks.out.encoding.codec: `codec` cannot be \"jsn\" | did you mean \"json\"? It can be \"json\", \"text\", \"logfmt\", \"cef\" or \"pretty\"",
        ),
        (
            "auth = { strategy = \"basic\", user = 5, password = \"x\" }",
            "sinks.out.auth.user: `user` must be a string, not 5 | write user = \"5\"",
        ),
    ] {
        assert_eq!(of_sink(keys), [wanted], "{keys}");
    }
}

#[test]
fn a_misspelt_key_is_recognised() {
    for (keys, wanted) in [
        (
            "eagre = true",
            "sinks.out.eagre: type \"http\" has no key `eagre` | did you mean `eager`?",
        ),
        (
            "worker = 2",
            "sinks.out.worker: type \"http\" has no key `worker` | did you mean `workers`?",
        ),
        (
            "max_body_bytes = 100",
            "sinks.out.max_body_bytes: type \"http\" has no key `max_body_bytes` | write max_body = \"100B\"",
        ),
        (
            "timeout = 5",
            "sinks.out.timeout: type \"http\" has no key `timeout` | write request = { timeout = \"5s\" }",
        ),
        (
            "request.timeout_secs = 5",
            "sinks.out.request.timeout_secs: `request` has no key `timeout_secs` | write timeout = \"5s\"",
        ),
        (
            "batch.max_bytes = 100",
            "sinks.out.batch.max_bytes: `batch` has no key `max_bytes` | write max_size = \"100B\"",
        ),
        (
            "auth = { strategy = \"basic\", user = \"a\", pasword = \"hunter2\" }",
            "sinks.out.auth.pasword: `auth` has no key `pasword` | did you mean `password`?",
        ),
        (
            "auth = { strategy = \"basic\", user = \"a\" }",
            "sinks.out.auth: `auth` needs `password` | add password = …",
        ),
    ] {
        assert_eq!(of_sink(keys), [wanted], "{keys}");
    }
}

#[test]
fn several_mistakes_in_one_table_are_all_told() {
    let all = of_sink(
        "port = -1, eager = 2, colour = 3, auth = { strategy = \"x\" }, tls = { ca = 1, verify_hostname = 1 }",
    );
    let paths: Vec<&str> = all.iter().filter_map(|l| l.split(':').next()).collect();
    assert_eq!(
        paths,
        [
            "sinks.out.port",
            "sinks.out.eager",
            "sinks.out.colour",
            "sinks.out.auth.strategy",
            "sinks.out.tls.ca",
            "sinks.out.tls.verify_hostname",
        ]
    );
}

#[test]
fn everything_that_is_missing_is_told_and_what_is_misspelt_is_not_missing() {
    let toml = "[sources.in]\ntype = \"lines\"\nmultiline = {}\n[sinks.out]\ntype = \"http\"\ninputs = [\"in\"]\nurri = \"x\"\n";
    assert_eq!(
        mistakes(toml),
        [
            "3:13 sources.in.multiline: `multiline` needs `start` (How a first line looks) | add start = \"…\"",
            "3:13 sources.in.multiline: `multiline` needs `timeout` (When to stop waiting) | add timeout = \"10s\"",
            "7:1 sinks.out.urri: type \"http\" has no key `urri` | did you mean `uri`?",
        ]
    );
}

#[test]
fn a_command_and_exec_belong_together() {
    let all = of_sink("on_failure = \"exec\"");
    assert!(
        all.len() == 1 && all[0].contains("needs a command to run"),
        "{all:?}"
    );
    let all = of_sink("on_failure = \"hold\", failure_command = [\"page\"]");
    assert!(
        all.len() == 1 && all[0].contains("the command never runs"),
        "{all:?}"
    );
    let all = of_sink("on_failure = \"exec\", failure_command = []");
    assert!(
        all.len() == 1 && all[0].contains("needs a program to run"),
        "{all:?}"
    );
    let all = of_sink(
        "on_failure = \"exec\", failure_command = [\"page\", \"root\"], failure_timeout = \"10s\"",
    );
    assert_eq!(all, [""; 0]);
}

#[test]
fn later_versions_are_refused_honestly() {
    assert_eq!(
        mistakes(&sink("buffer = { type = \"memory\", max_size = \"8MiB\" }")),
        [""; 0]
    );
    assert_eq!(
        mistakes(&sink("on_failure = \"warn\", failure_after = \"2m\"")),
        [""; 0]
    );
    let all = mistakes(&format!("retention = {{}}\n{}", sink("port = 1")));
    assert_eq!(
        all,
        ["1:1 retention: `retention` comes with a later version | remove [retention]"]
    );
}

#[test]
fn a_disk_queue_holds_at_least_one_write() {
    assert_eq!(of_sink("buffer.type = \"disk\""), [""; 0]);
    let all = of_sink("buffer = { type = \"disk\", max_size = \"64KiB\" }");
    assert!(
        all.len() == 1 && all[0].contains("a disk queue of 64KiB is smaller than 1MiB"),
        "{all:?}"
    );
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let all = of_sink("request = { retry_initial_backoff = \"2m\" }");
    assert_eq!(
        all,
        [
            "sinks.out.request: the first wait before a repetition (2m) is longer than the longest (1m) | write retry_max_backoff = \"2m\" or more"
        ]
    );
    let all = of_sink("batch.max_size = \"0B\"");
    assert_eq!(
        all,
        [
            "sinks.out.batch.max_size: a batch of no bytes can hold no event | write max_size = \"1MiB\""
        ]
    );
}

#[test]
fn errors_of_components_point_into_their_strings() {
    for (pattern, at) in [
        ("'ab!'", "4:16"),
        ("\"ä\\t!\"", "4:17"),
        ("'''\nx\ny!'''", "6:2"),
    ] {
        let toml = format!(
            "sources.in.type = \"lines\"\n[transforms.t]\ntype = \"match\"\npatterns = [{pattern}]\ninputs = [\"in\"]\n[sinks.o]\ntype = \"hole\"\ninputs = [\"t\"]\n"
        );
        let all = mistakes(&toml);
        assert_eq!(
            all,
            [format!(
                "{at} transforms.t.patterns[0]: a pattern has no \"!\" | remove it"
            )]
        );
    }
}

#[test]
fn variables_are_filled_in_but_never_in_program_text() {
    let env = FakeEnv::new()
        .with_var("BAD", "!")
        .with_var("PORT", "8080")
        .with_var("ON", "true");
    let toml = sink("port = \"${PORT}\", eager = \"${ON}\", tls.ca_file = \"/x/${PORT}\"")
        + "[transforms.t]\ntype = \"match\"\npatterns = ['${BAD} $$']\ninputs = [\"in\"]\n[sinks.o]\ntype = \"hole\"\ninputs = [\"t\"]\n";
    assert_eq!(mistakes_in(&env, &toml), [""; 0]);
}

#[test]
fn what_a_variable_stands_for_is_never_shown() {
    let secret = "correct horse battery staple";
    let env = FakeEnv::new()
        .with_var("SECRET", secret)
        .with_var("CREDENTIALS_DIRECTORY", "/run/cred")
        .with_file("/run/cred/es", secret)
        .with_file("/etc/pass", secret);
    for written in [
        "${SECRET}",
        "x${SECRET}y",
        "${cred:es}",
        "${file:/etc/pass}",
    ] {
        for key in [
            "port = \"V\"",
            "eager = \"V\"",
            "max_body = \"V\"",
            "encoding.codec = \"V\"",
            "auth = { strategy = \"V\" }",
            "auth = { strategy = \"basic\", user = \"V\" }",
            "tls = \"V\"",
            "tls.fingerprint = \"V\"",
            "request.timeout = \"V\"",
        ] {
            let toml = sink(&key.replace('V', written));
            let errors = super::load_in(&env, &toml).unwrap_err();
            let shown =
                errors.render(true) + &errors.to_json().to_string() + &format!("{errors:?}");
            assert!(!shown.contains("horse"), "{key} {written}: {shown}");
        }
        // The component itself quotes its address; the loader covers it.
        let toml = sink("port = 1").replace("\"http://x\"", &format!("\"{written}\""));
        let errors = super::load_in(&env, &toml).unwrap_err();
        assert!(
            errors.render(false).contains(written),
            "it shows how it was written"
        );
        assert!(!format!("{}{errors:?}", errors.render(false)).contains("horse"));
    }
}

#[test]
fn a_secret_that_is_written_openly_is_not_repeated() {
    for keys in [
        "token = 20577312",
        "token = [\"20577312\"]",
        "tokn = \"20577312\"",
        "token = 20577312x",
        "token = \"20577312",
        "auth = { strategy = \"basic\", user = \"a\", password = 20577312 }",
        "auth = { strategy = \"basic\", user = \"a\", pasword = \"20577312\" }",
        "auth = { strategy = \"bearer\", user = \"a\", token = \"20577312\" }",
    ] {
        let errors = load_text(&sink(keys)).unwrap_err();
        let shown = errors.render(false) + &errors.to_json().to_string();
        assert!(!shown.contains("20577312"), "{keys}:\n{shown}");
    }
}

#[test]
fn an_unset_variable_points_at_itself() {
    assert_eq!(
        mistakes(&sink("tls.ca_file = '/a/${NONE}/${CA:?ask the admin}'")),
        [
            "1:83 sinks.out.tls.ca_file: the variable NONE is not set | set it in the environment, or say what holds otherwise: \"${NONE:-…}\"",
            "1:91 sinks.out.tls.ca_file: the variable CA is not set: ask the admin | set it in the environment: CA=…",
        ]
    );
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let env = FakeEnv::new().with_file("d/readme.txt", "");
    let paths = [PathBuf::from("none.toml"), PathBuf::from("d")];
    let errors = load(&paths, &registry(), &env).unwrap_err();
    assert_eq!(
        lines(&errors),
        [
            " : the folder d has no file whose name ends with .toml | give a file, or put one there",
            " : none.toml cannot be read: there is no such file or folder | check the path; relative paths start where the program was started",
        ]
    );
    let errors = load(&[], &registry(), &env).unwrap_err();
    assert_eq!(
        lines(&errors)[0],
        " : no configuration was given | name a file or a folder of *.toml files"
    );
}

#[test]
fn a_clash_between_files_names_both_places() {
    let env = FakeEnv::new()
        .with_file("d/a.toml", "cluster = \"x\"\n[sources.in]\ntype = \"lines\"\n")
        .with_file(
            "d/b.toml",
            "cluster = \"y\"\n[sources.in]\ntype = \"lines\"\n[sinks.o]\ntype = \"hole\"\ninputs = [\"in\"]\n",
        );
    let errors = load(&[PathBuf::from("d")], &registry(), &env).unwrap_err();
    assert_eq!(
        lines(&errors),
        [
            "d/b.toml:1:1 cluster: `cluster` is already set at d/a.toml:1:1 | keep one of the two, or give them different names",
            "d/b.toml:2:10 sources.in: `sources.in` is already set at d/a.toml:2:10 | keep one of the two, or give them different names",
        ]
    );
}

#[test]
fn hostile_text_is_shown_harmlessly() {
    let errors = load_text("\"\\u001b[31m\\u202e\" = 1\n# \u{1b}[2J\n").unwrap_err();
    let text = errors.render(false);
    assert!(
        !text.contains('\u{1b}') && !text.contains('\u{202e}'),
        "{text:?}"
    );
    let long = format!("x = \"{}\"\n", "a".repeat(100_000));
    assert!(load_text(&long).unwrap_err().render(false).len() < 3_000);
    let nested = format!("x = {}1{}\n", "[".repeat(10_000), "]".repeat(10_000));
    assert!(load_text(&nested).is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    #[test]
    fn no_text_makes_the_loader_panic(text in "[\\[\\]a-z.=\"'{}$,#\n 0-9é]{0,200}") {
        if let Err(errors) = load_text(&text) {
            errors.render(true);
            errors.to_json();
        }
    }

    #[test]
    fn no_damage_to_a_good_file_makes_it_panic(at in 0_usize..600, put in ".") {
        let mut text: Vec<char> = include_str!("good.toml").chars().collect();
        let at = at % text.len();
        text.splice(at..(at + 1), put.chars());
        let text: String = text.into_iter().collect();
        if let Err(errors) = load_text(&text) {
            errors.render(true);
        }
    }
}
