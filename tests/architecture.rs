//! The import rules of the architecture: arrows go one way, and a few things stay in one place.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below `folder`, as its path from the repository's root and its code without
/// comments and tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open = vec![root.join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push((name, code(&text)));
        }
    }
    assert!(!found.is_empty(), "no source below {folder}");
    found
}

fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = before_tests.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// No file below `folder` may name any of `banned`, but for files called as in `except`.
fn assert_absent(folder: &str, banned: &[&str], except: &[&str]) {
    for (name, code) in sources(folder) {
        if except.iter().any(|allowed| name.ends_with(allowed)) {
            continue;
        }
        for banned in banned {
            assert!(!code.contains(banned), "{name} names `{banned}`");
        }
    }
}

const MIDDLEWARE: [&str; 4] = ["rate_limit", "session", "token", "cache"];

/// The layers, and the pages, which are services of their own.
const SPEAKS_HTTP: [&str; 5] = ["rate_limit", "session", "token", "cache", "health"];

#[test]
fn policy_only_decides() {
    let effects = [
        "async ",
        "tokio",
        "redis",
        "tower",
        "axum",
        "http_body",
        "SystemTime::now",
        "Instant",
        "Mutex",
        "crate::store",
        "crate::observe",
        "tracing",
    ];
    assert_absent("src/policy", &effects, &[]);
    for folder in SPEAKS_HTTP {
        assert_absent("src/policy", &[&format!("crate::{folder}")], &[]);
    }
}

#[test]
fn the_store_knows_no_middleware_and_no_http_framework() {
    assert_absent("src/store", &["tower", "axum", "http_body", "crate::store_layer"], &[]);
    for folder in SPEAKS_HTTP {
        assert_absent("src/store", &[&format!("crate::{folder}")], &["contract/mod.rs"]);
    }
}

#[test]
fn what_speaks_http_does_not_import_another() {
    for folder in SPEAKS_HTTP {
        for other in SPEAKS_HTTP.iter().filter(|other| **other != folder) {
            assert_absent(&format!("src/{folder}"), &[&format!("crate::{other}::")], &[]);
        }
    }
}

#[test]
fn keys_know_no_layer() {
    for folder in SPEAKS_HTTP {
        assert_absent("src/key", &[&format!("crate::{folder}")], &[]);
    }
    let others = ["tower", "axum::", "crate::gate", "crate::store_layer", "crate::toolbox"];
    assert_absent("src/key", &others, &[]);
    for folder in ["src/store", "src/policy", "src/toolbox", "src/store_layer", "src/health"] {
        assert_absent(folder, &["crate::key"], &[]);
    }
}

#[test]
fn the_toolbox_and_the_layers_do_not_know_of_each_other() {
    for folder in MIDDLEWARE {
        assert_absent("src/toolbox", &[&format!("crate::{folder}")], &[]);
        assert_absent(&format!("src/{folder}"), &["crate::toolbox"], &[]);
    }
    for folder in ["src/store", "src/policy", "src/store_layer"] {
        assert_absent(folder, &["crate::toolbox"], &[]);
    }
    // The event stream is the only tool that is a response.
    let sse = ["toolbox/sse.rs", "toolbox/response.rs"];
    assert_absent("src/toolbox", &["tower", "axum", "http_body", "http::"], &sse);
    assert_absent("src/toolbox", &["crate::store_layer"], &[]);
}

#[test]
fn only_extractors_rejections_and_the_event_stream_name_axum_core() {
    let files = ["extract.rs", "rejection.rs", "toolbox/response.rs"];
    assert_absent("src", &["axum_core"], &files);
    assert_absent("src", &["axum::"], &["axum_parts.rs"]);
}

#[test]
fn only_the_redis_backend_names_redis_and_only_its_command_file_writes_scripts() {
    for folder in ["src/policy", "src/store_layer", "src/store/memory", "src/toolbox"] {
        assert_absent(folder, &["redis::"], &[]);
    }
    for folder in SPEAKS_HTTP {
        assert_absent(&format!("src/{folder}"), &["redis::"], &[]);
    }
    assert_absent(
        "src",
        &["EVAL", "\"SCRIPT\""],
        &["store/redis/command.rs", "store/redis/raw.rs"],
    );
}

#[test]
fn every_key_is_spelled_in_one_file() {
    assert_absent(
        "src",
        &[
            "\":limit",
            "\":session",
            "\":re",
            "\":tagged",
            "\":purged",
            "\":value",
            "\":lock",
            "\":semaphore",
            "\":log:",
            "\":presence",
            "\":channel",
        ],
        &["keys.rs"],
    );
}

#[test]
fn only_the_store_layer_finds_the_store_in_extensions() {
    assert_absent("src", &["get::<Store>"], &["store_layer/service.rs"]);
}

#[test]
fn pages_need_no_layer_and_no_framework() {
    assert_absent("src/health", &["axum", "crate::gate", "crate::store_layer", "extensions"], &[]);
}

#[test]
fn what_is_counted_is_said_in_one_place() {
    let feature = ["metrics::", "feature = \"metrics\""];
    let observe = ["observe/mod.rs", "observe/event.rs", "observe/record.rs", "lib.rs"];
    assert_absent("src", &feature, &observe);
    assert_absent("src/observe", &["crate::store", "crate::policy", "http::"], &[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let code: String = sources("src").into_iter().map(|(_, code)| code).collect();
    let names = |text: &str, quote: char| {
        let names = text.split(quote).filter(|name| name.starts_with("tower_redis_kit_"));
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&code, '"'), names(&docs, '`'));
    let verbs = code.split("const NAME: &'static str = \"").skip(1);
    for verb in verbs.map(|rest| rest.split('"').next().unwrap()) {
        assert!(docs.contains(&format!("`{verb}`")), "docs/metrics.md does not name {verb}");
    }
}

#[test]
fn the_changelog_names_what_limits_are_made_of() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let changelog = fs::read_to_string(root.join("CHANGELOG.md")).unwrap();
    let words = |text: &str| {
        let words = text.split(|letter: char| letter != '_' && !letter.is_alphanumeric());
        words.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let named: BTreeSet<_> = changelog.split('`').skip(1).step_by(2).flat_map(words).collect();
    let exports = |file: &str| {
        let text = code(&fs::read_to_string(root.join(file)).unwrap());
        let uses = text.split("pub use ").skip(1).map(|rest| rest.split(';').next().unwrap());
        let named = uses.flat_map(words).filter(|word| word.starts_with(char::is_uppercase));
        named.collect::<BTreeSet<_>>()
    };
    let mut wanted = BTreeSet::new();
    let mut files = sources("src/rate_limit/limiter");
    let limiter = fs::read_to_string(root.join("src/rate_limit/limiter.rs")).unwrap();
    files.push((String::new(), code(&limiter)));
    for (_, text) in files {
        let methods = ["pub fn ", "pub async fn "].map(|begin| text.split(begin).skip(1));
        let methods = methods.into_iter().flatten();
        wanted.extend(methods.map(|rest| rest.split(['(', '<']).next().unwrap().to_owned()));
    }
    assert!(["peek_n", "take_all", "take_within"].into_iter().all(|it| wanted.contains(it)));
    for file in ["src/rate_limit/mod.rs", "src/rate_limit/concurrency/mod.rs"] {
        wanted.extend(exports(file));
    }
    // Every layer has one.
    wanted.remove("ResponseFuture");
    let missing: Vec<_> = wanted.difference(&named).collect();
    assert!(missing.is_empty(), "CHANGELOG.md does not name {missing:?}");
}

#[test]
fn the_four_layers_have_the_same_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in MIDDLEWARE {
        for file in ["mod.rs", "layer.rs", "service.rs", "future.rs"] {
            let path: PathBuf = root.join("src").join(folder).join(file);
            assert!(path.is_file(), "{} is missing", path.display());
        }
    }
}

#[test]
fn mod_files_hold_no_logic() {
    for (name, code) in sources("src") {
        let public_face = name.ends_with("lib.rs") || name.ends_with("mod.rs");
        // The two backends' mod files hold the struct that the nouns' files work on.
        let backend = name.ends_with("memory/mod.rs") || name.ends_with("redis/mod.rs");
        // What the facts of all nouns share, and the macros that run them.
        let suite = name.ends_with("contract/mod.rs");
        if public_face && !backend && !suite {
            assert!(!code.contains("fn "), "{name} holds a function");
        }
    }
}

#[test]
fn no_file_is_long() {
    for folder in ["src", "examples"] {
        for (name, code) in sources(folder) {
            assert!(code.lines().count() <= 420, "{name} should be split by noun");
        }
    }
}

#[test]
fn every_script_states_its_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commands = fs::read_to_string(root.join("src/store/redis/command.rs")).unwrap();
    let mut open = vec![root.join("src/store/scripts")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for part in ["-- KEYS", "-- ARGV", "-- returns", "-- clock", "-- TTL"] {
            assert!(text.contains(part), "{} does not say its {part}", path.display());
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            commands.contains(name),
            "{} is not loaded in store/redis/command.rs",
            path.display()
        );
    }
}
