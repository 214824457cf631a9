//! What the README says: its curl commands are run against the quickstart and their output compared.

use std::process::Command;

use support::example::Example;
use support::{RedisServer, example};

/// A command of a `console` block, and the lines that it should print.
struct Shown {
    command: String,
    output: Vec<String>,
}

fn shown() -> Vec<Shown> {
    let readme = include_str!("../README.md");
    let mut found: Vec<Shown> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            found.push(Shown { command: command.to_owned(), output: Vec::new() });
        } else if inside {
            found.last_mut().expect("a command comes first").output.push(line.to_owned());
        }
    }
    assert!(found.len() >= 10, "the README shows a curl session");
    found
}

/// Whether a printed line is the shown one, in which `…` stands for anything.
fn matches(shown: &str, printed: &str) -> bool {
    match shown.split_once('…') {
        None => shown == printed,
        Some((start, end)) => {
            printed.len() >= start.len() + end.len()
                && printed.starts_with(start)
                && printed.ends_with(end)
        }
    }
}

/// Starts an example that serves, on a port that the system chooses, and gives that port.
fn serve(name: &str, env: &[(&str, &str)]) -> (Example, String) {
    let example = example::run(name, &[env, &[("PORT", "0")]].concat());
    let line = example.wait_for("listening on");
    let (_, port) = line.split_once("127.0.0.1:").expect("an address");
    let port = port.chars().take_while(char::is_ascii_digit).collect();
    (example, port)
}

fn run_the_readme(env: &[(&str, &str)]) {
    let (_quickstart, port) = serve("quickstart", env);
    let folder = std::env::temp_dir().join(format!("readme-{port}"));
    std::fs::create_dir(&folder).unwrap();
    for Shown { command, output } in shown() {
        let here = command.replace("127.0.0.1:3000", &format!("127.0.0.1:{port}"));
        let ran = Command::new("sh").arg("-c").arg(&here).current_dir(&folder).output().unwrap();
        let printed = String::from_utf8(ran.stdout).unwrap();
        let printed: Vec<_> = printed.lines().map(str::trim_end).collect();
        let same = printed.len() == output.len()
            && printed.iter().zip(&output).all(|(printed, shown)| matches(shown, printed));
        assert!(same, "$ {command}\nshown:   {output:#?}\nprinted: {printed:#?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_readmes_curl_session_is_true_in_process() {
    run_the_readme(&[]);
}

#[test]
fn the_readmes_curl_session_is_true_on_redis() {
    let server = RedisServer::start();
    run_the_readme(&[("REDIS_URL", &server.url())]);
    assert!(!server.keys().is_empty());
}

#[test]
fn the_commands_that_the_quickstart_prints_work() {
    let (quickstart, port) = serve("quickstart", &[]);
    quickstart.wait_for("401: revoked");
    let output = quickstart.output();
    let commands: Vec<_> = output.lines().filter(|line| line.contains("curl ")).collect();
    assert!(commands.len() >= 7, "{output}");
    let folder = std::env::temp_dir().join(format!("quickstart-{port}"));
    std::fs::create_dir(&folder).unwrap();
    let script = commands.join("\n");
    let ran = Command::new("sh").arg("-ec").arg(script).current_dir(&folder).output().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{printed}");
    for expected in ["visit 1", "slow news", "hello ada", "goodbye", "401 Unauthorized"] {
        assert!(printed.contains(expected), "{expected:?} is not in {printed}");
    }
}

/// Asks the quickstart for a path, and gives its status and the whole answer. `curl` gives up after
/// two seconds, so that a hang fails.
fn ask(port: &str, arguments: &[&str], path: &str) -> (String, String) {
    let url = format!("http://127.0.0.1:{port}{path}");
    let ran =
        Command::new("curl").args(["-is", "-m", "2"]).args(arguments).arg(url).output().unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    let status = printed.split(' ').nth(1).unwrap_or("no answer").to_owned();
    (status, printed)
}

#[test]
fn the_quickstart_goes_on_while_its_redis_is_away_and_recovers_by_itself() {
    let mut server = RedisServer::start();
    let (quickstart, port) = serve("quickstart", &[("REDIS_URL", &server.url())]);
    let (_, answer) = ask(&port, &[], "/visits");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("cookie: {}", cookie.split(';').next().unwrap());
    let token = ask(&port, &["-X", "POST"], "/log-in").1.lines().last().unwrap().to_owned();
    let bearer = format!("authorization: Bearer {token}");

    server.stop();
    for _ in 0..3 {
        let (status, answer) = ask(&port, &["-H", &cookie], "/visits");
        assert_eq!(status, "503", "a session that cannot be read: {answer}");
        assert!(answer.contains("retry-after: 1") && !answer.contains("set-cookie"), "{answer}");
        assert!(answer.contains("ratelimit: "), "the limit goes on in process: {answer}");
        assert_eq!(ask(&port, &["-H", &bearer], "/me").0, "503", "never 401");
        assert_eq!(ask(&port, &[], "/news").0, "200", "the cache steps aside");
        assert!(ask(&port, &[], "/health").1.ends_with("false"));
    }

    server.start_again();
    let back = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(30));
        ask(&port, &[], "/health").1.ends_with("true")
    });
    assert!(back, "{}", quickstart.output());
    // Redis came back empty: the session is gone, the token is not revoked.
    let (status, answer) = ask(&port, &["-H", &cookie], "/visits");
    assert!(status == "200" && answer.ends_with("visit 1\n"), "{answer}");
    assert_eq!(ask(&port, &["-H", &bearer], "/me").0, "200");
}

#[test]
fn the_examples_that_end_by_themselves_say_what_they_show() {
    let server = RedisServer::start();
    for (name, line) in [
        ("per_route_limits", "POST /report: 429 [\"\\\"all\\\""),
        ("tiers", "free-1: 429 Too Many Requests"),
        ("login_lockout", "\"qwerty\": 429 Too Many Requests"),
        ("token_budget", "200 The answer is 42. (300 left)"),
        ("sessions", "GET /me: 200 OK ada"),
        ("revoke_token", "laptop: 401 Unauthorized"),
        ("cache_tags", "all change: 2 dropped"),
        ("health_pages", "GET /health/cache: 503 Service Unavailable"),
    ] {
        for env in [&[][..], &[("REDIS_URL", &*server.url())]] {
            let mut example = example::run(name, env);
            example.wait_for(line);
            example.wait_for_success();
        }
    }
}

#[test]
fn what_is_ordered_shows_in_the_live_events() {
    let (_example, port) = serve("live_events", &[]);
    assert!(ask(&port, &[], "/").1.contains("new EventSource(\"/orders\")"));
    let orders = format!("http://127.0.0.1:{port}/orders");
    let curl = format!("curl -sN -m 3 {orders} & sleep 1; curl -s -d what=tea {orders}; wait");
    let ran = Command::new("sh").args(["-c", &curl]).output().unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(printed, "data: {\"what\":\"tea\"}\n\n");
}

#[test]
fn the_hyper_example_serves_without_axum() {
    let (_server, port) = serve("hyper_server", &[]);
    let curl = |arguments: &[&str], path: &str| ask(&port, arguments, path).1;
    assert!(curl(&[], "/").contains("fwd=uri-miss; stored"));
    assert!(curl(&[], "/").contains("tower-redis-kit; hit"));
    assert!(curl(&[], "/visits").contains("set-cookie: __Host-session="));
    assert!(curl(&["-H", "authorization: Bearer ada"], "/me").contains("hello ada"));
    assert!(curl(&[], "/me").contains("401 Unauthorized"));
    assert!(curl(&[], "/").contains("429 Too Many Requests"));
}
