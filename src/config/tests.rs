mod every_key;

use std::fs;

use super::{keys, *};

/// Loads a file with this text and these variables; relative paths as they are.
fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<ConfigProblem>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.toml");
    fs::write(&file, text).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(&file), environment, None)
}

/// The problems as lines, without the folder of the file.
fn problems(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let problems = load(text, environment).map_or_else(|problems| problems, |_| Vec::new());
    let without_folder = |line: String| line.find("test.toml:").map_or(line.clone(), |at| line[at..].to_owned());
    problems.iter().map(|problem| without_folder(problem.to_string())).collect()
}

/// Checks the problems with a text, given without the name of the file.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found = problems(text, &[]);
    let found: Vec<_> = found.iter().map(|line| line.strip_prefix("test.toml:").unwrap_or(line)).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn nothing_at_all_is_a_configuration() {
    assert_eq!(Config::load(None, std::iter::empty(), None), Ok(Config::default()));
    assert_eq!(load("", &[]), Ok(Config::default()));
    let default = Config::default();
    assert_eq!(default.data_dir, Path::new("distmirror-data"));
    assert_eq!(default.catalog.url.expose(), "sqlite://distmirror-data/catalog.db");
    assert!(default.blobs.url.expose().starts_with("file:///"));
    assert!(default.blobs.url.expose().ends_with("/distmirror-data/blobs"));
    assert_eq!(default.ca.key, Path::new("distmirror-data/ca/key.pem"));
}

#[test]
fn the_data_folder_moves_what_lives_in_it() {
    let config = Config::load(None, std::iter::empty(), Some(Path::new("/srv/a b%"))).unwrap();
    assert_eq!(config.catalog.url.expose(), "sqlite:///srv/a b%/catalog.db");
    assert_eq!(config.blobs.url.expose(), "file:///srv/a%20b%25/blobs");
    assert_eq!(config.ca.certificate, Path::new("/srv/a b%/ca/certificate.pem"));
    assert_eq!(config.blobs.cache_dir, Path::new("/srv/a b%/cache"));
    assert_eq!(load("data_dir = \"/srv/x\"", &[]), Ok(Config::in_directory("/srv/x")));
}

#[test]
fn credentials_say_whose_they_are() {
    for (table, problem) in [
        ("username = 'me'\npassword = 'x'", "needs a `host`"),
        ("host = 'h.test'", "of `h.test`: give a `username` with `password_file`, or `token_file` alone"),
        (
            "host = 'h.test'\nusername = 'me'",
            "of `h.test`: give a `username` with `password_file`, or `token_file` alone",
        ),
        (
            "host = 'h.test'\npassword = 'x'",
            "of `h.test`: give a `username` with `password_file`, or `token_file` alone",
        ),
        (
            "host = 'h.test'\nusername = 'me'\ntoken = 'x'",
            "of `h.test`: give a `username` with `password_file`, or `token_file` alone",
        ),
        (
            "host = 'h.test'\ntoken = 'x'\ntoken_file = 'y'",
            "of `h.test`: give a `username` with `password_file`, or `token_file` alone",
        ),
        ("host = 7", "`host` must be a text in quotes, not a number"),
        (
            "host = 'h.test'\ntoken = 'x'\ntokens = 1",
            "has the unknown key `tokens`: use host, username, password, token, password_file, token_file, token_hosts",
        ),
    ] {
        check(&format!("[[fetch.credentials]]\n{table}"), &[&format!("1: fetch.credentials: {problem}")]);
    }
}

#[test]
fn users_say_how_they_sign_in() {
    let good = "password_sha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'";
    for (table, problem) in [
        (
            format!("name = 'a:b'\n{good}"),
            "`name` `a:b` is not a user's name: it must have characters, and no colon among them",
        ),
        (good.to_owned(), "needs a `name`"),
        ("name = 'ci'".to_owned(), "of `ci`: give either `password_file` or `password_sha256`"),
        (
            format!("name = 'ci'\npassword_file = 'x'\n{good}"),
            "of `ci`: give either `password_file` or `password_sha256`",
        ),
        (
            "name = 'ci'\npassword_sha256 = 'hunter2'".to_owned(),
            "`password_sha256` must be 64 hexadecimal digits, as `printf %s PASSWORD | sha256sum` prints",
        ),
        (
            "name = 'ci'\npassword = 'hunter2'".to_owned(),
            "has the unknown key `password`: use name, password_file, password_sha256, project",
        ),
        (
            "name = 'ci'\npassword_file = '/nonexistent/p'".to_owned(),
            "`/nonexistent/p` cannot be read: No such file or directory (os error 2)",
        ),
        (format!("name = 'ci'\n{good}\n[[proxy.users]]\nname = 'ci'\n{good}"), "`ci` is there twice"),
    ] {
        check(&format!("[[proxy.users]]\n{table}"), &[&format!("1: proxy.users: {problem}")]);
    }
    check(
        &format!("[proxy]\ntransparent_http = ['127.0.0.1:3180']\n[[proxy.users]]\nname = 'ci'\n{good}"),
        &[
            "2: proxy.transparent_http: clients that are redirected know no proxy and cannot sign in: leave out this or \
             `proxy.users`",
        ],
    );
    let shown = format!("{:?}", load(&format!("[[proxy.users]]\nname = 'ci'\n{good}"), &[]).unwrap());
    assert!(shown.contains("\"ci\"") && !shown.contains("9f86d081"), "{shown}");
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    check(
        "frobnicate = 1\n[catalog]\nmigrate = 1\n[proxy]\nlissten = [\"x\"]\n[admin]\nlisten = [\"nowhere\"]\n",
        &[
            "1: frobnicate: unknown key",
            "3: catalog.migrate: must be true or false, not a number",
            "5: proxy.lissten: unknown key; did you mean `listen`?",
            "7: admin.listen: `nowhere` is not an address with a port: write it as in `127.0.0.1:3128` or `[::1]:3128`",
        ],
    );
}

#[test]
fn unknown_keys_and_sections() {
    check("[prox]\nlisten = []", &["2: prox.listen: unknown key; did you mean `proxy.listen`?"]);
    check("[proxy]\n[ingress]\n", &["2: ingress: unknown key"]);
    check("proxy = \"127.0.0.1:1\"", &["1: proxy: is a section: write `[proxy]`, and its keys on the lines below"]);
    check("[[proxy]]\nlisten = []", &["1: proxy: is a section: write `[proxy]`, and its keys on the lines below"]);
    check("\"proxy.listen\" = []", &["1: \"proxy.listen\": unknown key; did you mean `proxy.listen`?"]);
    check("[proxy.listen]\nx = 1", &["2: proxy.listen.x: unknown key; did you mean `proxy.listen`?"]);
    check("\"a\\u001b[1m\" = 1", &["1: \"a\\u{1b}[1m\": unknown key"]);
    check("[blobs.options]\n[proxy]\n[admin.auth]", &[]);
}

#[test]
fn a_syntax_error_is_one_line() {
    let found = problems("a = 1\nb = \nc = 2\n", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("test.toml:2: ") && !found[0].contains('\n'), "{found:?}");
    check("log.level = \"info\"\nlog.level = \"info\"", &["2: duplicate key"]);
}

#[test]
fn a_file_that_is_not_there_is_one_line() {
    let found = Config::load(Some(Path::new("/nonexistent.toml")), std::iter::empty(), None).unwrap_err();
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("cannot read the configuration file `/nonexistent.toml`: No such file"), "{lines:?}");
}

#[test]
fn wrong_types() {
    check("data_dir = 1", &["1: data_dir: must be a text in quotes, not a number"]);
    check("data_dir = \"\"", &["1: data_dir: must name a path"]);
    check("catalog.migrate = 1", &["1: catalog.migrate: must be true or false, not a number"]);
    check("proxy.listen = 3128", &["1: proxy.listen: must be a list in brackets, not a number"]);
    check("proxy.listen = [3128]", &["1: proxy.listen: must be a text in quotes, not a number"]);
    check("fetch.workers = 1.5", &["1: fetch.workers: must be a whole number, not a number with a fraction"]);
    check("fetch.workers = 0", &["1: fetch.workers: must be a whole number from 1 to 1000"]);
    check("fetch.retries = -1", &["1: fetch.retries: must be a whole number from 0 to 1000"]);
    check(
        "fetch.connect_timeout = 30",
        &["1: fetch.connect_timeout: must be a time span with its unit in quotes, as in `\"30s\"`, not a number"],
    );
    check("blobs.options.x = [1]", &["1: blobs.options.x: must be a text, a number, or true or false, not a list"]);
    check("log.level = 1979-05-27", &["1: log.level: must be a text in quotes, not a date"]);
}

#[test]
fn public_urls() {
    check(
        "admin.public_url = \"mirror.example.com\"",
        &["1: admin.public_url: `mirror.example.com` is not a URL: write it as in `https://mirror.example.com`"],
    );
    check(
        "proxy.public_url = \"ftp://x\"",
        &["1: proxy.public_url: `ftp://x` is not an http or https URL: write it as in `https://mirror.example.com`"],
    );
    check("proxy.public_url = \"http://u:p@x\"", &["1: proxy.public_url: must not hold a user name or a password"]);
}

/// What the backends say about a URL is theirs; here it counts that the key and its line are named.
#[test]
fn backends_check_their_urls_and_options() {
    for (text, place) in [
        ("catalog.url = \"oracle://x\"", "1: catalog.url: "),
        ("catalog.url = \"catalog.db\"", "1: catalog.url: "),
        ("blobs.url = \"file://blobs\"", "1: blobs.url: "),
        ("blobs.url = \"s3:///prefix\"", "1: blobs.url: "),
        ("blobs.url = \"/srv/blobs\"", "1: blobs.url: "),
        ("blobs.url = \"s3://b\"\nblobs.options.aws_regoin = \"x\"", "2: blobs.options.aws_regoin: "),
    ] {
        let found = problems(text, &[]);
        assert!(found.len() == 1 && found[0].starts_with(&format!("test.toml:{place}")), "{text}: {found:?}");
    }
    let of_folder =
        "1: blobs.cache_bytes: copies what is in an object store, and `blobs.url` names a folder: leave it out";
    check("blobs.cache_bytes = 1\nblobs.url = \"FILE:///srv/blobs\"", &[of_folder]);
    check("blobs.cache_bytes = \"1 GiB\"\nblobs.url = \"gs://b\"", &[]);
    for url in ["sqlite://x.db", "sqlite:///x.db", "postgresql://u@h:5433/d", "mysql://h/d", "mariadb://h/d"] {
        check(&format!("catalog.url = \"{url}\""), &[]);
    }
    for url in ["file:///x", "s3://b", "gs://b/p", "az://c/p"] {
        check(&format!("blobs.url = \"{url}\""), &[]);
    }
}

#[test]
fn a_problem_never_shows_a_password() {
    for text in [
        "catalog.url = \"postgres://u:hunter2/@db:99999/x\"",
        "catalog.url = \"oracle://u:hunter2@db/x\"",
        "proxy.public_url = \"http://u:hunter2@x\"",
        "proxy.public_url = \"http://u:hunter2@:99999\"",
        "[blobs.options]\naws_secret_access_key = [\"hunter2\"]",
        "[fetch]\nproxy = \"https://u:hunter2@x\"",
        "[fetch]\nproxy = \"http://u:hunter2@x:99999\"",
    ] {
        let found = problems(text, &[]).join("\n");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn debug_hides_passwords() {
    let text = "catalog.url = \"postgres://u:hunter2@db/x?sslpassword=hunter2\"\n\
                fetch.proxy = \"http://u:hunter2@proxy.test\"\n\
                blobs.url = \"s3://bucket\"\n\
                blobs.options.aws_secret_access_key = \"hunter2\"\n";
    let shown = format!("{:?}", load(text, &[]).unwrap());
    assert!(shown.contains("postgres://u:****@db/x?sslpassword=****"), "{shown}");
    assert!(shown.contains("aws_secret_access_key") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_proxy_on_the_way_out() {
    let proxy = |text: &str| load(text, &[]).unwrap().fetch.proxy;
    assert_eq!(proxy("[fetch]\nproxy = \"\"\nproxy_except = []\nproxy_password_file = \"\""), None);
    let with_password = proxy("fetch.proxy = \"http://me:p%40ss@[::1]/\"").unwrap();
    assert_eq!(
        (with_password.authority.to_string().as_str(), with_password.username.as_deref()),
        ("[::1]:80", Some("me"))
    );
    assert_eq!(with_password.password, Some(SecretSource::Here(Secret::new("p@ss"))));
    for (text, key, problem) in [
        ("proxy = \"proxy.test:3128\"", "proxy", "is not the `http` URL of a proxy"),
        ("proxy = \"https://proxy.test:3128\"", "proxy", "is not the `http` URL of a proxy"),
        ("proxy = \"http://proxy.test/x\"", "proxy", "is not the `http` URL of a proxy"),
        ("proxy = \"http://u:hunter2@:1\"", "proxy", "is not a URL"),
    ] {
        let example = "write it as in `http://proxy.example.com:3128`";
        check(&format!("[fetch]\n{text}"), &[&format!("2: fetch.{key}: {problem}: {example}")]);
    }
    check("fetch.proxy_except = [\"a.test\"]", &["1: fetch.proxy_except: needs `fetch.proxy` beside it"]);
    let found = problems("[fetch]\nproxy = \"http://proxy.test\"\nproxy_password_file = \"Cargo.toml\"", &[]);
    assert!(found.len() == 1 && found[0].contains("needs a user name"), "{found:?}");
}

#[test]
fn rescue_places_are_urls_with_a_digest_in_them() {
    for bad in ["https://cas.test/", "{hex}", "https://cas.test/{sha256}"] {
        let problem = "is not where a file may be found: write it as in `https://mirror.example.org/{algorithm}/{hex}`";
        check(&format!("fetch.rescue = [\"{bad}\"]"), &[&format!("1: fetch.rescue: `{bad}` {problem}")]);
    }
    check("admin.auth.mode = \"oidc\"", &["1: admin.auth.mode: `oidc` is not supported in this version: use `none`"]);
}

#[test]
fn listeners_do_not_collide() {
    check(
        "admin.listen = [\"127.0.0.1:3128\"]",
        &["1: admin.listen: `127.0.0.1:3128` is taken: `proxy.listen` has `127.0.0.1:3128`"],
    );
    check(
        "proxy.listen = [\"0.0.0.0:8080\"]",
        &["1: proxy.listen: `0.0.0.0:8080` is taken: `admin.listen` has `127.0.0.1:8080`"],
    );
    check("proxy.listen = [\"[::1]:1\", \"[::1]:1\"]", &["1: proxy.listen: `[::1]:1` is there twice"]);
    check(
        "proxy.transparent_https = [\"127.0.0.1:3128\"]",
        &["1: proxy.transparent_https: `127.0.0.1:3128` is taken: `proxy.listen` has `127.0.0.1:3128`"],
    );
    check("proxy.listen = []", &["1: proxy.listen: must name at least one address"]);
    check("proxy.listen = []\nproxy.listen_tls = [\"127.0.0.1:3129\"]", &[]);
    check(
        "proxy.listen = []\nproxy.transparent_http = [\"127.0.0.1:80\"]",
        &["1: proxy.listen: must name at least one address"],
    );
    check("proxy.listen = [\"127.0.0.1:0\"]\nadmin.listen = [\"127.0.0.1:0\"]", &[]);
    check("proxy.listen = [\"[::]:8080\"]", &[]);
}

#[test]
fn an_open_admin_side_must_be_asked_for() {
    check(
        "admin.listen = [\"0.0.0.0:8080\"]",
        &[
            "1: admin.listen: `0.0.0.0:8080` can be reached from other machines, and whoever reaches it may do everything: \
         if that is meant, write `mode = \"none\"` in `[admin.auth]`",
        ],
    );
    check("[admin]\nlisten = [\"0.0.0.0:8080\"]\nauth.mode = \"none\"", &[]);
}

#[test]
fn files_must_be_there() {
    check("ca.key = \"k.pem\"", &["1: ca.key: needs `ca.certificate` beside it"]);
    check("ca.certificate = \"c.pem\"", &["1: ca.certificate: needs `ca.key` beside it"]);
    check("ca.key = \"\"\nca.certificate = \"\"", &[]);
    check(
        "ca.certificate = \"/nonexistent/c\"\nca.key = \"/\"",
        &[
            "1: ca.certificate: `/nonexistent/c` cannot be read: No such file or directory (os error 2)",
            "2: ca.key: `/` is not a file",
        ],
    );
    check(
        "fetch.trusted_roots = [\"/nonexistent/c\"]",
        &["1: fetch.trusted_roots: `/nonexistent/c` cannot be read: No such file or directory (os error 2)"],
    );
}

#[test]
fn the_environment_overrides_the_file() {
    let config = load(
        "[proxy]\nlisten = [\"127.0.0.1:1\"]\npublic_url = \"http://file\"\n[fetch]\nworkers = 3",
        &[
            ("DISTMIRROR__PROXY__LISTEN", "127.0.0.1:2, [::1]:2"),
            ("DISTMIRROR__PROXY__PUBLIC_URL", "http://environment"),
            ("DISTMIRROR__FETCH__WORKERS", "7"),
            ("DISTMIRROR__FETCH__ALLOW_ADDRESSES", "[\"10.0.0.0/8:80\", '[::1]:80']"),
            ("DISTMIRROR__FETCH__IDLE_TIMEOUT", "2s"),
            ("DISTMIRROR__FETCH__MAX_FILE_BYTES", "2048"),
            ("DISTMIRROR__FETCH__PROXY", ""),
            ("DISTMIRROR__CATALOG__MIGRATE", "false"),
            ("DISTMIRROR__BLOBS__URL", "s3://bucket"),
            ("DISTMIRROR__BLOBS__OPTIONS__AWS_ENDPOINT", "http://s3"),
            ("DISTMIRROR__ADMIN__AUTH__MODE", "none"),
            ("DISTMIRROR__DATA_DIR", "/data"),
            ("DISTMIRROR_SERVER", "http://elsewhere"),
            ("DISTMIRROR_TOKEN", "t"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.proxy.listen, ["127.0.0.1:2".parse().unwrap(), "[::1]:2".parse().unwrap()]);
    assert_eq!(config.proxy.public_url.as_deref(), Some("http://environment"));
    assert_eq!((config.fetch.workers, config.fetch.max_file_bytes), (7, 2048));
    assert_eq!(config.fetch.idle_timeout, Duration::from_secs(2));
    assert_eq!(config.fetch.allow_addresses, ["10.0.0.0/8:80", "[::1]:80"]);
    assert!(!config.catalog.migrate);
    assert_eq!(config.blobs.options["aws_endpoint"].expose(), "http://s3");
    assert_eq!(config.data_dir, Path::new("/data"));
}

#[test]
fn a_list_in_the_environment_may_begin_with_an_ipv6_address() {
    let config = load("", &[("DISTMIRROR__PROXY__LISTEN", "[::1]:2,127.0.0.1:2")]).unwrap();
    assert_eq!(config.proxy.listen, ["[::1]:2".parse().unwrap(), "127.0.0.1:2".parse().unwrap()]);
}

#[test]
fn the_environment_is_checked_like_the_file() {
    let environment = [
        ("DISTMIRROR__PROXY__LISSTEN", "x"),
        ("DISTMIRROR__FETCH__WORKERS", "many"),
        ("DISTMIRROR__CATALOG__MIGRATE", "yes"),
        ("DISTMIRROR__PROXY", "x"),
        ("DISTMIRROR__proxy__listen", "127.0.0.1:1"),
        ("DISTMIRROR__", "x"),
    ];
    assert_eq!(
        problems("", &environment),
        [
            "DISTMIRROR__: \"\": unknown key",
            "DISTMIRROR__CATALOG__MIGRATE: catalog.migrate: must be `true` or `false`",
            "DISTMIRROR__FETCH__WORKERS: fetch.workers: must be a whole number from 1 to 1000",
            "DISTMIRROR__PROXY: proxy: is a section: write `[proxy]`, and its keys on the lines below",
            "DISTMIRROR__PROXY__LISSTEN: proxy.lissten: unknown key; did you mean `listen`?",
            "DISTMIRROR__proxy__listen: proxy.listen: must be written in capitals in the environment",
        ]
    );
}

#[test]
fn the_default_public_url_can_be_opened() {
    for (address, expected) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("0.0.0.0:80", "http://localhost:80"),
        ("[::]:80", "http://localhost:80"),
    ] {
        assert_eq!(default_public_url(address.parse().unwrap()), expected);
    }
}

#[test]
fn the_example_lists_every_key_with_its_default() {
    let example = include_str!("../../distmirror.example.toml");
    assert_eq!(load(example, &[]), Ok(Config::default()));

    let mut settings = Settings::default();
    keys::read(&mut settings, None);
    let mut listed = Vec::new();
    let mut section = String::new();
    for line in example.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(list) = line.strip_prefix("[[").and_then(|rest| rest.split(']').next()) {
            listed.push(list.to_owned());
            section = format!("{list}.");
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            listed.push(format!("{section}{key}"));
        }
    }
    for known in settings.known() {
        assert!(listed.iter().any(|key| key == known), "`{known}` is not in the example");
    }
}
