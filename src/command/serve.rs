//! The commands that work on a configuration: roles, `fetch --once`, `scrub`, `migrate` and `ca`.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use super::{Exit, complain, say};
use crate::{
    cli::{CaCommand, ServerCommand},
    config::{Config, LogFormat},
    server::{self, Error, Roles},
    telemetry::Traces,
};

/// Does a server command.
pub fn perform(command: ServerCommand, config: Config) -> ExitCode {
    let traces = match start_telemetry(&config) {
        Ok(traces) => traces,
        Err(error) => return fail(&error).into(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("cannot start: {error}"));
            return Exit::Failed.into();
        }
    };
    let done = runtime.block_on(perform_async(command, &config));
    // What hangs in a blocking call must not keep the process alive.
    runtime.shutdown_background();
    if let Some(traces) = traces {
        traces.end();
    }
    done.unwrap_or_else(|error| fail(&error)).into()
}

async fn perform_async(command: ServerCommand, config: &Config) -> Result<Exit, Error> {
    match command {
        ServerCommand::Serve(_) => run(config, Roles::ALL).await,
        ServerCommand::Proxy(_) => run(config, Roles::PROXY).await,
        ServerCommand::Admin(_) => run(config, Roles::ADMIN).await,
        ServerCommand::Fetch { once: false, .. } => run(config, Roles::FETCH).await,
        ServerCommand::Fetch { once: true, .. } => fetch_once(config).await,
        ServerCommand::Scrub { repair, .. } => scrub(config, repair).await,
        ServerCommand::Migrate(_) => {
            server::migrate(config).await.map(|()| say("the schema of the catalog is up to date"))
        }
        ServerCommand::Ca { command: CaCommand::Init(_) } => init_authority(config),
        ServerCommand::Ca { command: CaCommand::Show(_) } => show_authority(config),
        // Done by whoever reads the command line, which needs no more than the configuration for it.
        ServerCommand::CheckConfig(_) => Ok(Exit::Done),
    }
}

async fn run(config: &Config, roles: Roles) -> Result<Exit, Error> {
    server::run(config, roles, |text| {
        say(text.trim_end());
    })
    .await
    .map(|()| Exit::Done)
}

async fn fetch_once(config: &Config) -> Result<Exit, Error> {
    let report = server::fetch_once(config).await?;
    let said = say(format_args!("fetched {}, failed {}", report.done, report.failed));
    Ok(if report.failed == 0 { said } else { Exit::Failed })
}

/// Tells what is damaged, a line each, and what has become of it.
async fn scrub(config: &Config, repair: bool) -> Result<Exit, Error> {
    let report = server::scrub(config, repair).await?;
    for (damage, is_healed) in &report.damaged {
        let outcome = if *is_healed { " (fetched again)" } else { "" };
        say(format_args!("{}  blob {}: {}{outcome}", damage.artifact, damage.sha256, damage.problem));
    }
    let (damaged, healed) = (report.damaged.len(), report.damaged.iter().filter(|(_, is_healed)| *is_healed).count());
    let said = say(format_args!(
        "checked {} blobs with {} bytes: {damaged} damaged, {healed} of them fetched again; {} belong to nothing",
        report.checked, report.bytes, report.unreferenced
    ));
    Ok(if healed == damaged { said } else { Exit::Failed })
}

fn init_authority(config: &Config) -> Result<Exit, Error> {
    server::load_authority(config)?;
    Ok(say(format_args!("the certificate is in `{}`", config.ca.certificate.display())))
}

fn show_authority(config: &Config) -> Result<Exit, Error> {
    if !config.ca.certificate.exists() {
        let problem = format!(
            "there is no certificate in `{}` yet: make one with `distmirror ca init`",
            config.ca.certificate.display()
        );
        return Err(Error::Unavailable(problem));
    }
    Ok(say(server::load_authority(config)?.pem().trim_end()))
}

fn fail(error: &Error) -> Exit {
    complain(error);
    match error {
        Error::Configuration { .. } => Exit::Usage,
        Error::Unavailable(_) => Exit::Failed,
    }
}

/// Logs to standard error, and sends traces if that is configured. The level was checked when the configuration was read.
fn start_telemetry(config: &Config) -> Result<Option<Traces>, Error> {
    let traces = Traces::open(&config.telemetry);
    let traces = traces.map_err(|problem| Error::Configuration { key: "telemetry.otlp_endpoint", problem })?;
    // What libraries say at `info` is for their makers; a level for them in the configuration comes later and wins.
    let filter = format!("sea_orm_migration=warn,sqlx=warn,object_store=warn,{}", config.log.level);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(io::stderr().is_terminal());
    let log = match config.log.format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().boxed(),
    };
    let registry = tracing_subscriber::registry().with(log.with_filter(filter));
    registry.with(traces.as_ref().map(Traces::layer)).init();
    Ok(traces)
}
