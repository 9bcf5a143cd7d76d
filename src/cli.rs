//! The command line: what can be asked for, and who does it.
//!
//! Commands come in two groups. Server commands read the configuration and work on what it names; they are done by whoever
//! calls [`run`], so that nothing here knows of roles and backends. Client commands talk to a running server through its
//! REST API and are done in [`crate::command`].

use std::{fmt::Display, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use url::Url;

use crate::{
    command::{self, Exit},
    config::{self, Config, Secret},
};

/// Own what your builds download: declared once, verified, kept for ever, served under the original URL.
#[derive(Debug, Parser)]
#[command(name = "distmirror", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Something with the configuration.
    #[command(flatten)]
    Server(ServerCommand),
    /// Something with a running server.
    #[command(flatten)]
    Client(Box<ClientCommand>),
}

/// What is done with a configuration, on this machine.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Run everything in one process: proxy, admin pages and fetch workers
    Serve(ConfigArgs),
    /// Run the proxy alone
    Proxy(ConfigArgs),
    /// Run the admin pages and the REST API alone
    Admin(ConfigArgs),
    /// Run the fetch workers alone
    Fetch {
        /// Fetch what is due and exit, with status 1 if any of it failed: for cron
        #[arg(long)]
        once: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Bring the schema of the catalog up to date
    Migrate(ConfigArgs),
    /// Say what is wrong with a configuration, without starting anything
    CheckConfig(ConfigArgs),
    /// Hash everything that is stored again, and exit with 1 if anything is missing or damaged: for cron
    Scrub {
        /// Fetch what is damaged again
        #[arg(long)]
        repair: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Make or print the certificate that clients must trust
    Ca {
        /// What to do with it.
        #[command(subcommand)]
        command: CaCommand,
    },
}

/// What is done with the certificate authority.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Make a certificate authority where the configuration wants it, unless there is one
    Init(ConfigArgs),
    /// Print the certificate as PEM
    Show(ConfigArgs),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// The configuration file; without one, the environment (DISTMIRROR__SECTION__KEY) and the defaults count
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything lives that has no other place; overrides `data_dir` of the configuration
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What is asked of a running server.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Declare what builds need, so that it is fetched and kept
    Declare {
        /// What kind of artifact.
        #[command(subcommand)]
        kind: DeclareCommand,
    },
    /// See what upstream says of files, and what else is known, before they are declared
    Look(LookArgs),
    /// List artifacts, the newest first
    List(ListArgs),
    /// Show everything about an artifact
    Show(ShowArgs),
    /// List what was asked for and nobody declared, the latest first
    Misses(MissesArgs),
    /// Fetch again, now, what failed
    Retry(RetryArgs),
    /// Take an artifact out of service; its bytes are kept
    Quarantine(DecisionArgs),
    /// Put a quarantined artifact back into service
    Release(DecisionArgs),
}

/// What kind of artifact is declared.
#[derive(Debug, Subcommand)]
pub enum DeclareCommand {
    /// Declare files by their URIs
    File(DeclareFileArgs),
    /// Declare container images by their digests
    Image(DeclareImageArgs),
}

/// How a server is reached, and how its answers are printed.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// The server's admin URL
    #[arg(long, value_name = "URL", env = "DISTMIRROR_SERVER", default_value = DEFAULT_SERVER, value_parser = server_url)]
    pub server: Url,
    /// Who asks: a token of the server
    #[arg(long, value_name = "TOKEN", env = "DISTMIRROR_TOKEN", hide_env_values = true, value_parser = token)]
    pub token: Option<Secret>,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// What every declaration says.
#[derive(Debug, Args)]
pub struct DeclareArgs {
    /// Why they are needed
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The project that needs them
    #[arg(long)]
    pub project: Option<String>,
    /// Their licence, as an SPDX expression
    #[arg(long, value_name = "SPDX")]
    pub license: Option<String>,
    /// Where the request was discussed
    #[arg(long)]
    pub ticket: Option<String>,
    /// Wait until all of them are here, or failed
    #[arg(long)]
    pub wait: bool,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `declare file`
#[derive(Debug, Args)]
pub struct DeclareFileArgs {
    /// The http or https URIs of the files
    #[arg(value_name = "URI", required = true)]
    pub uris: Vec<String>,
    /// What the file must be.
    #[command(flatten)]
    pub checksums: ChecksumArgs,
    /// Reason, project and so on.
    #[command(flatten)]
    pub common: DeclareArgs,
}

/// Which bytes a file must have.
#[derive(Debug, Args)]
pub struct ChecksumArgs {
    /// The SHA-256 that the file must have, in hexadecimal; for one URI only
    #[arg(long, value_name = "HEX", conflicts_with = "integrity")]
    pub sha256: Option<String>,
    /// The SHA-512 that the file must have, in hexadecimal; for one URI only
    #[arg(long, value_name = "HEX")]
    pub sha512: Option<String>,
    /// The SHA-1 that the file must have besides; it proves nothing without a stronger one
    #[arg(long, value_name = "HEX")]
    pub sha1: Option<String>,
    /// The MD5 that the file must have besides; it proves nothing without a stronger one
    #[arg(long, value_name = "HEX")]
    pub md5: Option<String>,
    /// The checksum that the file must have, as Subresource Integrity metadata; for one URI only
    #[arg(long, value_name = "SRI")]
    pub integrity: Option<String>,
}

impl ChecksumArgs {
    /// Each by the name of its field in the API.
    pub fn fields(&self) -> [(&'static str, &Option<String>); 5] {
        let Self { sha256, sha512, sha1, md5, integrity } = self;
        [("sha256", sha256), ("sha512", sha512), ("sha1", sha1), ("md5", md5), ("integrity", integrity)]
    }

    /// Checksums are those of one file.
    ///
    /// # Errors
    /// What to do about it.
    pub fn belong_to_one(&self, files: usize) -> Result<(), &'static str> {
        if files > 1 && self.fields().iter().any(|(_, text)| text.is_some()) {
            return Err("a checksum belongs to one file: give one URI, or leave out the checksums");
        }
        Ok(())
    }
}

/// `look`
#[derive(Debug, Args)]
pub struct LookArgs {
    /// The http or https URIs of the files
    #[arg(value_name = "URI", required = true)]
    pub uris: Vec<String>,
    /// What the file would have to be.
    #[command(flatten)]
    pub checksums: ChecksumArgs,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `declare image`
#[derive(Debug, Args)]
pub struct DeclareImageArgs {
    /// The images, as REGISTRY/REPOSITORY@sha256:HEX; with `http://` before it the registry is reached without TLS
    #[arg(value_name = "REFERENCE", required = true)]
    pub references: Vec<String>,
    /// A platform that is wanted, as linux/arm64; may be given several times [default: linux/amd64, or all if there is none]
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", conflicts_with = "all_platforms")]
    pub platforms: Vec<String>,
    /// All platforms that there are
    #[arg(long)]
    pub all_platforms: bool,
    /// Where a reference has a tag and no digest, ask the registry what it names now, and declare that
    #[arg(long)]
    pub resolve: bool,
    /// Reason, project and so on.
    #[command(flatten)]
    pub common: DeclareArgs,
}

/// `list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only of this kind
    #[arg(long, value_parser = ["file", "image"])]
    pub kind: Option<String>,
    /// Only in this state
    #[arg(long, value_parser = ["pending", "fetching", "present", "failed", "quarantined"])]
    pub state: Option<String>,
    /// Only from this upstream host
    #[arg(long)]
    pub host: Option<String>,
    /// Only for this project
    #[arg(long)]
    pub project: Option<String>,
    /// Only with this text in the name
    #[arg(long, visible_alias = "q", value_name = "TEXT")]
    pub search: Option<String>,
    /// At most so many; all if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The artifact's id, its URI or its reference
    #[arg(value_name = "ID-OR-NAME")]
    pub artifact: String,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `misses`
#[derive(Debug, Args)]
pub struct MissesArgs {
    /// Only with this text in the name
    #[arg(long, visible_alias = "q", value_name = "TEXT")]
    pub search: Option<String>,
    /// At most so many; all if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `retry`
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// The artifact's id, its URI or its reference
    #[arg(value_name = "ID-OR-NAME")]
    pub artifact: String,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `quarantine` and `release`
#[derive(Debug, Args)]
pub struct DecisionArgs {
    /// The artifact's id, its URI or its reference
    #[arg(value_name = "ID-OR-NAME")]
    pub artifact: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

impl ServerCommand {
    /// Where its configuration comes from.
    pub fn config(&self) -> &ConfigArgs {
        match self {
            Self::Serve(config) | Self::Proxy(config) | Self::Admin(config) => config,
            Self::Fetch { config, .. }
            | Self::Scrub { config, .. }
            | Self::Migrate(config)
            | Self::CheckConfig(config) => config,
            Self::Ca { command: CaCommand::Init(config) | CaCommand::Show(config) } => config,
        }
    }
}

/// The whole program: reads the command line and does what it says.
///
/// `serve` does the server commands but `check-config`, with a configuration that has passed [`Config::load`]. `check` looks
/// deeper into a configuration than that, without binding anything; it is what `check-config` adds.
pub fn run<P: Display>(
    serve: impl FnOnce(ServerCommand, Config) -> ExitCode,
    check: impl FnOnce(&Config) -> Vec<P>,
) -> ExitCode {
    let command = match Cli::parse().command {
        Command::Server(command) => command,
        Command::Client(command) => return command::run(*command).into(),
    };
    let ConfigArgs { config, data_dir } = command.config();
    let config = match Config::load(config.as_deref(), config::environment(), data_dir.as_deref()) {
        Ok(config) => config,
        Err(problems) => return report(&problems),
    };
    if !matches!(command, ServerCommand::CheckConfig(_)) {
        return serve(command, config);
    }
    let problems = check(&config);
    if !problems.is_empty() {
        return report(&problems);
    }
    command::say("the configuration is fine").into()
}

/// Tells what is wrong with the configuration, a line each, and gives the exit status for it.
pub fn report(problems: &[impl Display]) -> ExitCode {
    for problem in problems {
        command::complain(problem);
    }
    Exit::Usage.into()
}

fn server_url(text: &str) -> Result<Url, String> {
    // A variable that is set to nothing is as good as none.
    let text = if text.is_empty() { DEFAULT_SERVER } else { text };
    let shape = || format!("write it as in `{DEFAULT_SERVER}`");
    let mut url = Url::parse(text).map_err(|_| shape())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(shape());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

#[expect(clippy::unnecessary_wraps, reason = "this is what clap calls")]
fn token(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text))
}

const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[track_caller]
    fn check_refused(line: &str, expected: ErrorKind) {
        let error = parse(line).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (expected, 2), "{line}");
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn server_commands_know_their_configuration() {
        for (line, config) in [
            ("distmirror serve", None),
            ("distmirror serve --config a.toml", Some("a.toml")),
            ("distmirror proxy --config a.toml", Some("a.toml")),
            ("distmirror admin --config a.toml", Some("a.toml")),
            ("distmirror fetch --once --config a.toml", Some("a.toml")),
            ("distmirror migrate --config a.toml", Some("a.toml")),
            ("distmirror check-config --config a.toml", Some("a.toml")),
            ("distmirror scrub --repair --config a.toml", Some("a.toml")),
            ("distmirror ca init", None),
            ("distmirror ca show --config a.toml", Some("a.toml")),
        ] {
            let Ok(Command::Server(command)) = parse(line) else { panic!("{line}") };
            assert_eq!(command.config().config, config.map(PathBuf::from), "{line}");
        }
        assert!(matches!(parse("distmirror fetch"), Ok(Command::Server(ServerCommand::Fetch { once: false, .. }))));
    }

    #[test]
    fn client_commands_are_accepted() {
        for line in [
            "distmirror declare file http://h/x --reason r",
            "distmirror declare file http://h/x http://h/y --reason r --project p --license MIT --ticket T-1 --wait --json",
            "distmirror declare file http://h/x --reason r --sha256 00",
            "distmirror look http://h/x http://h/y",
            "distmirror look http://h/x --sha256 00 --md5 00 --json",
            "distmirror declare file http://h/x --reason r --sha512 00 --sha1 00 --md5 00",
            "distmirror declare file http://h/x --reason r --integrity sha256-x --server http://s --token t",
            "distmirror declare image h/x@sha256:00 i/y@sha256:00 --reason r --platform linux/amd64 --platform linux/arm/v7 --wait",
            "distmirror declare image h/x:1 --reason r --all-platforms --resolve --project p",
            "distmirror list",
            "distmirror list --kind image",
            "distmirror list --state present --host h --project p --search x --limit 5 --json --server http://s",
            "distmirror list --q x",
            "distmirror show 0192d7c4-7a51-7000-8000-000000000000",
            "distmirror show http://h/x",
            "distmirror misses --json",
            "distmirror retry 0192d7c4-7a51-7000-8000-000000000000",
            "distmirror quarantine http://h/x --reason r",
            "distmirror release http://h/x --reason r",
        ] {
            assert!(matches!(parse(line), Ok(Command::Client(_))), "{line}");
        }
    }

    #[test]
    fn usage_errors_have_status_2() {
        check_refused("distmirror frobnicate", ErrorKind::InvalidSubcommand);
        check_refused("distmirror", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
        check_refused("distmirror serve --port 1", ErrorKind::UnknownArgument);
        check_refused("distmirror declare file http://x.test/", ErrorKind::MissingRequiredArgument);
        check_refused("distmirror declare file --reason r", ErrorKind::MissingRequiredArgument);
        check_refused("distmirror declare gem x --reason r", ErrorKind::InvalidSubcommand);
        check_refused("distmirror declare image --reason r", ErrorKind::MissingRequiredArgument);
        check_refused(
            "distmirror declare image a --reason r --platform x --all-platforms",
            ErrorKind::ArgumentConflict,
        );
        check_refused("distmirror declare file a --reason r --sha256 0 --integrity x", ErrorKind::ArgumentConflict);
        check_refused("distmirror look", ErrorKind::MissingRequiredArgument);
        check_refused("distmirror quarantine x", ErrorKind::MissingRequiredArgument);
        check_refused("distmirror list --state lost", ErrorKind::InvalidValue);
        check_refused("distmirror list --limit 0", ErrorKind::ValueValidation);
        check_refused("distmirror list --server mirror", ErrorKind::ValueValidation);
        check_refused("distmirror scrub --everything", ErrorKind::UnknownArgument);
    }

    #[test]
    fn the_server_is_a_folder_under_which_the_api_lives() {
        for (text, expected) in [
            ("", "http://127.0.0.1:8080/"),
            ("http://h", "http://h/"),
            ("https://h/mirror", "https://h/mirror/"),
            ("https://h/mirror/", "https://h/mirror/"),
        ] {
            assert_eq!(server_url(text).map(String::from).as_deref(), Ok(expected));
        }
        assert!(server_url("ftp://h").is_err());
    }

    #[test]
    fn debug_hides_the_token() {
        let command = parse("distmirror list --token hunter2").unwrap();
        assert!(!format!("{command:?}").contains("hunter2"));
    }
}
