use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Any of the variables, with a value that often fits.
fn variables() -> impl Strategy<Value = HashMap<&'static str, String>> {
    const NAMES: [&str; 20] = [
        "REDIS_URL",
        "REDIS_HOST",
        "REDIS_PORT",
        "REDIS_DB",
        "REDIS_DATABASE",
        "REDIS_USERNAME",
        "REDIS_PASSWORD",
        "REDIS_USE_SSL",
        "REDIS_TIMEOUT",
        "REDIS_MAX_CONNECTIONS",
        "REDIS_USE_SENTINEL",
        "REDIS_SENTINELS",
        "REDIS_SENTINEL_SERVICE_NAME",
        "REDIS_SENTINEL_PASSWORD",
        "REDIS_SENTINEL_SOCKET_TIMEOUT",
        "REDIS_USE_CLUSTERS",
        "REDIS_CLUSTERS",
        "REDIS_CLUSTERS_PASSWORD",
        "REDIS_KEY_PREFIX",
        "REDIS_PASSWORD_FILE",
    ];
    let value = prop_oneof![
        3 => "(true|false|1|0)",
        1 => "[A-Z]{4}[a-z]{4}",
        1 => "(redis://:)?[A-Z]{4}[a-z]{4}(@a)?(:1)?",
        1 => "\\PC{0,9}",
        1 => ".{0,9}",
    ];
    prop::collection::hash_map(prop::sample::select(&NAMES[..]), value, 0..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_environment_is_read_and_no_error_holds_a_value(variables in variables()) {
        let get = |name: &str| variables.get(name).map(OsString::from);
        let Err(error) = Configured::from_env(get) else { return Ok(()) };
        let text = format!("{error} {error:?}");
        for value in variables.values() {
            for word in value.split(|c: char| !c.is_ascii_alphabetic()) {
                let telling = word.len() >= 8;
                prop_assert!(!telling || !text.contains(word), "{}: {}", word, text);
            }
        }
    }

    #[test]
    fn any_password_is_taken_as_it_is(password in "\\PC{1,40}") {
        let get = |name: &str| match name {
            "REDIS_HOST" => Some("redis".into()),
            "REDIS_PASSWORD" => Some(password.as_str().into()),
            _ => None,
        };
        let target = Configured::from_env(get).unwrap().target.unwrap();
        prop_assert_eq!(target.login.password.as_ref().map(Secret::expose), Some(&*password));
    }
}
