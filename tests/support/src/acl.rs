//! Users and their passwords.

use crate::RedisServer;

impl RedisServer {
    /// Makes a user who may do what `rules` say, such as `~shop:* +@all`, or makes it anew.
    #[track_caller]
    pub fn acl_user(&self, name: &str, password: &str, rules: &str) {
        let password = format!(">{password}");
        let mut command = vec!["ACL", "SETUSER", name, "reset", "on", &password];
        command.extend(rules.split_whitespace());
        self.command(&command);
    }

    /// Replaces the passwords of a user; `default` is the one who logs in without a name. Who is
    /// logged in stays so: see [`Self::kill_clients`].
    #[track_caller]
    pub fn set_password(&self, name: &str, password: &str) {
        self.command(&["ACL", "SETUSER", name, "resetpass", &format!(">{password}")]);
        if name == "default" {
            self.client.set_password(password);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refusal, stranger};

    #[test]
    fn a_user_may_do_what_the_rules_say() {
        let server = RedisServer::start();
        server.acl_user("shop", "secret", "~shop:* +@all");
        let client = stranger(&server);
        client.call(&["AUTH", "shop", "secret"]).expect("OK");
        client.call(&["SET", "shop:a", "1"]).expect("OK");
        assert!(refusal(&client, &["SET", "other", "1"]).starts_with("NOPERM"));
        server.acl_user("shop", "secret", "~other -@all +set");
        client.call(&["SET", "other", "1"]).expect("OK");
        assert!(refusal(&client, &["SET", "shop:a", "1"]).starts_with("NOPERM"));
        assert!(refusal(&client, &["GET", "other"]).starts_with("NOPERM"));
    }

    #[test]
    fn a_new_password_replaces_the_old_one() {
        let mut server = RedisServer::with(&["--requirepass", "old"]);
        server.acl_user("shop", "first", "~* +@all");
        server.set_password("shop", "second");
        server.set_password("default", "new");
        for (name, wrong, right) in [("shop", "first", "second"), ("default", "old", "new")] {
            let client = stranger(&server);
            assert!(refusal(&client, &["AUTH", name, wrong]).starts_with("WRONGPASS"));
            client.call(&["AUTH", name, right]).expect("OK");
        }
        // The server's own client knows the new password, and the old one once that counts again.
        server.client.connect().expect("logged in");
        server.start_again();
        assert!(server.keys().is_empty());
    }
}
