//! The store that the environment names, in processes with an environment of their own.

use std::process::Command;

use tower_redis_kit::Store;

use crate::servers::{self, PASSWORD, SENTINEL_PASSWORD, USER};
use crate::shown::assert_nothing_secret;
use crate::timed;

const CHILD: &str = "TOPOLOGIES_CHILD";

/// Not a test of its own: what the child processes of the others do.
#[tokio::test]
async fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (store, time) = timed(Store::builder().prefix("unset").from_env()).await;
    match store {
        Ok(store) => {
            println!("store={store:?}");
            let key = store.values("env").set("key", &1, crate::MINUTE).await;
            println!("wrote={key:?} time={time:?}");
        }
        Err(error) => println!("error={error} config={}", error.is_invalid_config()),
    }
}

/// What a process with this environment, and nothing else of Redis in it, prints.
fn output(env: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().expect("this test's program");
    let mut command = Command::new(program);
    command.args(["environment::child", "--exact", "--nocapture"]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REDIS_") {
            command.env_remove(name);
        }
    }
    let output = command.env(CHILD, "1").envs(env.iter().copied()).output().expect("a process");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_nothing_secret(&output);
    output
}

#[track_caller]
fn assert_output(env: &[(&str, &str)], expected: &[&str]) {
    let output = output(env);
    for expected in expected {
        assert!(output.contains(expected), "no `{expected}` in {output}");
    }
}

#[test]
fn nothing_is_a_store_in_process() {
    assert_output(&[], &["Memory", "wrote=Ok"]);
}

#[test]
fn one_server() {
    let server = servers::server();
    let port = server.port().to_string();
    assert_output(
        &[
            ("REDIS_HOST", "127.0.0.1"),
            ("REDIS_PORT", &port),
            ("REDIS_DB", "9"),
            ("REDIS_USERNAME", USER),
            ("REDIS_PASSWORD", PASSWORD),
            ("REDIS_KEY_PREFIX", "of-env"),
            ("REDIS_TIMEOUT", "2"),
            ("REDIS_MAX_CONNECTIONS", "3"),
            // As in a file full of defaults.
            ("REDIS_USE_SENTINEL", "false"),
            ("REDIS_SENTINELS", "nowhere:1"),
            ("REDIS_USE_SSL", ""),
        ],
        &["wrote=Ok", &port],
    );
    assert!(server.command(&["INFO", "keyspace"]).contains("db9:"));
}

#[test]
fn sentinels() {
    let sentinels: Vec<_> =
        servers::sentinels().sentinel_addrs().iter().map(ToString::to_string).collect();
    let env = [
        ("REDIS_USE_SENTINEL", "true"),
        ("REDIS_SENTINELS", &sentinels.join(",")),
        ("REDIS_SENTINEL_SERVICE_NAME", "mymaster"),
        ("REDIS_SENTINEL_PASSWORD", SENTINEL_PASSWORD),
        ("REDIS_SENTINEL_SOCKET_TIMEOUT", "1"),
        ("REDIS_PASSWORD", PASSWORD),
        ("REDIS_TIMEOUT", "2"),
        ("REDIS_HOST", "localhost"),
    ];
    assert_output(&env, &["wrote=Ok", "mymaster"]);
    assert_output(&env[..2], &["REDIS_SENTINEL_SERVICE_NAME", "config=true"]);
}

#[test]
fn a_cluster() {
    let nodes: Vec<_> =
        servers::cluster().nodes().iter().map(|node| node.addr().to_string()).collect();
    let nodes = nodes.join(",");
    let env = [
        ("REDIS_USE_CLUSTERS", "true"),
        ("REDIS_CLUSTERS", nodes.as_str()),
        ("REDIS_CLUSTERS_PASSWORD", PASSWORD),
        ("REDIS_TIMEOUT", "2"),
    ];
    assert_output(&env, &["wrote=Ok", "Cluster"]);
    let differing = [&env[..], &[("REDIS_PASSWORD", "xyzzy-other")]].concat();
    let both = ["REDIS_CLUSTERS_PASSWORD", "REDIS_PASSWORD", "config=true"];
    assert_output(&differing, &both);
}

#[test]
fn a_url_wins() {
    let url = servers::server_url();
    let env = [("REDIS_URL", url.as_str()), ("REDIS_HOST", "nowhere.invalid")];
    assert_output(&env, &["wrote=Ok", &servers::server().port().to_string()]);
    assert_output(&[("REDIS_URL", "memory:"), ("REDIS_USE_CLUSTERS", "true")], &["Memory"]);
    let wrong = format!("redis://:{PASSWORD}@localhost:port");
    assert_output(&[("REDIS_URL", &wrong)], &["REDIS_URL", "config=false"]);
}

#[test]
fn contradictions_name_both() {
    let switches = [("REDIS_USE_SENTINEL", "true"), ("REDIS_USE_CLUSTERS", "true")];
    assert_output(&switches, &["REDIS_USE_SENTINEL", "REDIS_USE_CLUSTERS", "config=true"]);
    let databases = [("REDIS_HOST", "h"), ("REDIS_DB", "1"), ("REDIS_DATABASE", "2")];
    assert_output(&databases, &["REDIS_DB", "REDIS_DATABASE", "config=true"]);
    let passwords =
        [("REDIS_HOST", "h"), ("REDIS_PASSWORD", "xyzzy-a"), ("REDIS_PASSWORD_FILE", "/xyzzy")];
    assert_output(&passwords, &["REDIS_PASSWORD", "REDIS_PASSWORD_FILE", "config=true"]);
    assert_output(&[("REDIS_PASSWORD", "xyzzy-a")], &["REDIS_PASSWORD", "config=true"]);
    let misspelt = [("REDIS_HOST", "h"), ("REDIS_USERNAME", USER), ("REDIS_PASS", "xyzzy-a")];
    assert_output(&misspelt, &["REDIS_USERNAME", "REDIS_PASSWORD", "config=true"]);
}

#[test]
fn files_of_secrets() {
    let folder = std::env::temp_dir().join(format!("topologies-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (secret, empty) = (folder.join("secret"), folder.join("empty"));
    std::fs::write(&secret, format!("{PASSWORD}\n")).expect("a file");
    std::fs::write(&empty, "").expect("a file");
    let port = servers::server().port().to_string();
    let env = |file: &std::path::Path| {
        let file = file.to_str().expect("a path in UTF-8").to_owned();
        let pairs = [
            ("REDIS_HOST", "127.0.0.1".to_owned()),
            ("REDIS_PORT", port.clone()),
            ("REDIS_PASSWORD_FILE", file),
        ];
        let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
        output(&pairs.collect::<Vec<_>>())
    };
    let right = env(&secret);
    let wrong = [env(&empty), env(&folder.join("none"))];
    std::fs::remove_dir_all(&folder).expect("the folder is there");
    assert!(right.contains("wrote=Ok"), "{right}");
    for wrong in wrong {
        assert!(wrong.contains("REDIS_PASSWORD_FILE") && wrong.contains("config=true"), "{wrong}");
    }
}
